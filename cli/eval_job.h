/* One evaluation from the command line to its table, JSON, files and exit status: what `eval` and `compare` share.
 *
 * Enters: the command line as a struct. Leaves: the verdict and the figures on stdout, the result and the report as
 * files where asked for, an exit status.
 * Invariants: everything that can be found wrong without running a model is found first; an interrupted run writes
 * nothing; a bound that is broken is named on stderr.
 *
 * The JSON object is the library's, lq_evaluation_to_json: {"format", "version", "verdict", "name", "original_name",
 * "counts", "kl", "agreement", "dp", "perplexity", "exact", "vqa", "flips", "embedding", "by_half", "kinds", "halves",
 * "questions", "pictures", "tensors", "speed", "provenance"}; docs/output.md says what each holds.
 */
#ifndef LQ_CLI_EVAL_JOB_H
#define LQ_CLI_EVAL_JOB_H

#include "command.h"
#include "llava_quantize/evaluate.h"

struct cli_eval_job {
    const char *command; /* its name */
    const char *pair, *mmproj, *original, *original_mmproj;
    const char *original_option; /* the option that names the original's mmproj */
    const char *data, *images, *text, *plan, *output, *report;
    uint32_t limit, seed, window, max_tokens, threads;
    bool by_half, strict, stock, json, quiet, verbose;
    double max_kld, min_agreement; /* bounds; CLI_NO_BOUND */
    int64_t max_flips;
    int argc; /* as typed, for the record */
    char **argv;
};

#define CLI_NO_BOUND (-1)

int cli_eval_job_run(const struct cli_eval_job *job);

/* Names every bound that the result breaks on stderr; true when there is one. */
bool cli_eval_breaks(const struct cli_eval_job *job, const struct lq_evaluation *e);

/* The figures in a table that people can read, between the verdict and what to do next. `output` and `report`: where the
 * result and the page were asked to go, or NULL. Errors: LQ_ERR_MEMORY. */
enum lq_status cli_eval_table(const struct lq_evaluation *e, const char *output, const char *report,
                              struct lq_error *err);

/* Rows that both commands' tables of options end with; AT(member) is the member's place in struct cli_eval_job. */
/* clang-format off */
#define CLI_EVAL_OPTIONS(AT) \
    {"data", 'd', "FILE", "questions about pictures: LLaVA's conversation JSON, or lines with question_id, image, " \
     "text and answer", CLI_TEXT, AT(data), 0, 0}, \
    {"images", 'i', "DIR", "where relative paths of pictures start; default: the folder of --data", CLI_TEXT, \
     AT(images), 0, 0}, \
    {"text", 0, "FILE", "measure on this plain text too, in windows as llama-perplexity does", CLI_TEXT, AT(text), 0, \
     0}, \
    {"by-half", 0, NULL, "measure either half alone too: which of them does the damage? Takes twice the time", CLI_FLAG, \
     AT(by_half), 0, 0}, \
    {"limit", 0, "N", "take N pictures, drawn by --seed, and N windows of the text, at most", CLI_NUMBER, AT(limit), \
     1, UINT32_MAX}, \
    {"seed", 0, "N", "which pictures --limit draws; default: 0", CLI_NUMBER, AT(seed), 0, UINT32_MAX}, \
    {"strict", 0, NULL, "end at the first broken record or picture, instead of leaving out up to a tenth", CLI_FLAG, \
     AT(strict), 0, 0}, \
    {"output", 'o', "FILE", "write the result as JSON", CLI_TEXT, AT(output), 0, 0}, \
    {"report", 'r', "FILE", "write a report: one HTML page with figures, plots and pictures", CLI_TEXT, AT(report), 0, 0}, \
    {"plan", 0, "FILE", "the plan that made the pair (quantize --save-plan): the report then says why each tensor has " \
     "its type", CLI_TEXT, AT(plan), 0, 0}, \
    {"window", 0, "N", "tokens in a window of the text; default: 512, or the model's context", CLI_NUMBER, AT(window), \
     8, 1 << 24}, \
    {"max-tokens", 0, "N", "length of the longest answer; default: twice the right answer's and 16 more", CLI_NUMBER, \
     AT(max_tokens), 1, 1000000}, \
    {"threads", 't', "N", "threads to work with; default: the CPUs this process may use, 1 for a small model", \
     CLI_NUMBER, AT(threads), 1, 1024}, \
    {"stock", 0, NULL, "run a CLIP tower just as llama.cpp 0.5.0 does, which misplaces its class token; default: put " \
     "that right, as the model was trained", CLI_FLAG, AT(stock), 0, 0}, \
    {"json", 0, NULL, "print the result as one JSON object", CLI_FLAG, AT(json), 0, 0}, \
    {"quiet", 'q', NULL, "print no warnings and no progress", CLI_FLAG, AT(quiet), 0, 0}, \
    {"verbose", 'v', NULL, "show llama.cpp's own messages", CLI_FLAG, AT(verbose), 0, 0}, \
    CLI_OPTION_HELP, CLI_OPTION_END
/* clang-format on */

#endif
