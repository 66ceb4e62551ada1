/* llava-quantize ask PAIR IMAGE QUESTION
 *
 * With --json: {"command", "version", "image", "question",
 *               "answers": [{"pair", "language", "mmproj", "answer"}, ...]}, the second answer being --compare's.
 */
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "json.h"
#include "llava_quantize/runtime.h"
#include "pair.h"
#include "progress.h"

struct args {
    const char *pair, *image, *question, *mmproj, *compare;
    uint32_t seed, max_tokens, threads;
    double temperature;
    bool stock, json, quiet, verbose;
};

#define AT(member) offsetof(struct args, member)

static const struct cli_positional positionals[] = {
    {"PAIR", false, "a folder with a GGUF pair, or a language GGUF whose mmproj-*.gguf stands beside it", AT(pair)},
    {"IMAGE", false, "a PNG, JPEG, BMP or GIF file", AT(image)},
    {"QUESTION", false, "what to ask about it", AT(question)},
    {NULL, false, NULL, 0},
};

static const struct cli_option options[] = {
    {"mmproj", 'm', "FILE", "the vision half of PAIR, when it does not stand beside the language half", CLI_TEXT,
     AT(mmproj), 0, 0},
    {"compare", 'c', "OTHER_PAIR", "ask this pair too, and print both answers", CLI_TEXT, AT(compare), 0, 0},
    {"temp", 0, "T", "temperature; default: 0, which always takes the likeliest word", CLI_REAL, AT(temperature), 0,
     10},
    {"seed", 0, "N", "seed of the random numbers, for --temp above 0; default: 0", CLI_NUMBER, AT(seed), 0, UINT32_MAX},
    {"max-tokens", 0, "N", "length of the longest answer; default: 256", CLI_NUMBER, AT(max_tokens), 1, 1000000},
    {"threads", 't', "N", "threads to work with; default: the CPUs this process may use", CLI_NUMBER, AT(threads), 1,
     1024},
    {"stock", 0, NULL,
     "run a CLIP tower just as llama.cpp 0.5.0 does, which misplaces its class token; default: put that right, as the "
     "model was trained",
     CLI_FLAG, AT(stock), 0, 0},
    {"json", 0, NULL, "print question and answers as one JSON object", CLI_FLAG, AT(json), 0, 0},
    {"quiet", 'q', NULL, "print no warnings", CLI_FLAG, AT(quiet), 0, 0},
    {"verbose", 'v', NULL, "show llama.cpp's own messages", CLI_FLAG, AT(verbose), 0, 0},
    CLI_OPTION_HELP,
    CLI_OPTION_END,
};

/* One pair and what it answered; strings owned. */
struct answer {
    struct cli_pair files;
    char *text;    /* collected for JSON */
    size_t length; /* bytes collected or printed */
};

static void answer_release(struct answer *a)
{
    cli_pair_release(&a->files);
    free(a->text);
}

static bool print_piece(void *data, const char *piece, size_t length)
{
    struct answer *a = data;
    a->length += length;
    return fwrite(piece, 1, length, stdout) == length && fflush(stdout) == 0;
}

static bool collect_piece(void *data, const char *piece, size_t length)
{
    struct answer *a = data;
    char *longer = realloc(a->text, a->length + length + 1);
    if (longer == NULL) return false;
    memcpy(longer + a->length, piece, length);
    a->length += length;
    longer[a->length] = '\0';
    a->text = longer;
    return true;
}

static enum lq_status run_pair(const struct args *args, struct answer *a, struct lq_error *err)
{
    struct cli_progress progress;
    cli_progress_init(&progress, args->quiet ? CLI_QUIET : args->verbose ? CLI_VERBOSE : CLI_NORMAL, NULL);
    struct lq_runtime_options options = {
        .language = a->files.language,
        .mmproj = a->files.mmproj,
        .threads = args->threads,
        .stock = args->stock,
        .hooks = &progress.hooks,
    };
    struct lq_question question = {
        .image = args->image,
        .text = args->question,
        .seed = args->seed,
        .temperature = args->temperature,
        .max_tokens = args->max_tokens,
    };
    struct lq_runtime *runtime = NULL;
    enum lq_status status = lq_runtime_open(&runtime, &options, err);
    if (status == LQ_OK) status = lq_runtime_ask(runtime, &question, args->json ? collect_piece : print_piece, a, err);
    lq_runtime_free(runtime);
    if (status == LQ_ERR_CANCELLED) lq_error_set(err, status, "interrupted");
    return status;
}

/* "PAIR: ANSWER" when there are two, the answer alone otherwise. */
static enum lq_status ask_pair(const struct args *args, const char *pair, struct answer *a, struct lq_error *err)
{
    bool label = args->compare != NULL;
    if (!args->json && label) {
        cli_put_clean(stdout, pair);
        fputs(": ", stdout);
    }
    enum lq_status status = run_pair(args, a, err);
    if (!args->json && (status == LQ_OK || label || a->length > 0)) putchar('\n');
    fflush(stdout);
    return status;
}

static json_t *answer_to_json(const char *pair, const struct answer *a)
{
    return json_pack("{s:o,s:o,s:o,s:o}", "pair", cli_json_text(pair), "language", cli_json_text(a->files.language),
                     "mmproj", cli_json_text(a->files.mmproj), "answer", cli_json_text(a->text == NULL ? "" : a->text));
}

static enum lq_status put_json(const struct args *args, const char *const *pairs, const struct answer *answers,
                               size_t n, struct lq_error *err)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; i < n && ok; i++) ok = json_array_append_new(list, answer_to_json(pairs[i], &answers[i])) == 0;
    if (!ok) {
        json_decref(list);
        list = NULL;
    }
    return cli_json_put(json_pack("{s:s,s:s,s:o,s:o,s:o}", "command", cli_ask.name, "version", lq_version(), "image",
                                  cli_json_text(args->image), "question", cli_json_text(args->question), "answers",
                                  list),
                        err);
}

/* All pairs are found before any is run, so that a mistyped one costs no waiting. */
static enum lq_status ask_all(const struct args *args, const char *const *pairs, struct answer *answers, size_t n,
                              struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < n && status == LQ_OK; i++)
        status = cli_pair_find(&answers[i].files, pairs[i], i == 0 ? args->mmproj : NULL, "mmproj", err);
    for (size_t i = 0; i < n && status == LQ_OK; i++) status = ask_pair(args, pairs[i], &answers[i], err);
    if (status == LQ_OK && args->json) status = put_json(args, pairs, answers, n, err);
    return status;
}

static int run(int argc, char **argv)
{
    struct args args = {0};
    int status = cli_parse(&cli_ask, argc, argv, &args);
    if (status != CLI_GO) return status;
    const char *pairs[] = {args.pair, args.compare};
    struct answer answers[2] = {0};
    struct lq_error err = {0};
    enum lq_status done = ask_all(&args, pairs, answers, args.compare == NULL ? 1 : 2, &err);
    for (size_t i = 0; i < 2; i++) answer_release(&answers[i]);
    return done == LQ_OK ? CLI_DONE : cli_fail(&err);
}

const struct cli_command cli_ask = {
    .name = "ask",
    .summary = "ask a model about a picture",
    .positionals = positionals,
    .options = options,
    .example = "llava-quantize convert demo/model out-f16\n"
               "llava-quantize ask out-f16 demo/exam/00000.png \"What is at the center?\"",
    .run = run,
};
