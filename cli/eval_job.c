#include "eval_job.h"

#include <stdlib.h>

#include "llava_quantize/report.h"
#include "pair.h"
#include "place.h"
#include "progress.h"
#include "text.h"

/* What a run holds; all owned. */
struct run {
    struct cli_pair pair, original;
    struct lq_dataset *data;
    char *typed;
    struct lq_evaluation *result;
};

/* The command line as a shell would read it; free(). */
static char *command_line(int argc, char **argv)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) return NULL;
    fputs("llava-quantize", out);
    for (int i = 0; i < argc; i++) {
        putc(' ', out);
        cli_put_shell_word(out, argv[i]);
    }
    if (fclose(out) == 0) return text;
    free(text);
    return NULL;
}

/* What cannot be written should show before hours of work, not after them. */
static enum lq_status check_places(const struct cli_eval_job *job, const struct run *run, struct lq_error *err)
{
    const char *outputs[] = {job->output, job->report};
    const char *inputs[] = {job->data,           job->text,        job->plan,
                            run->pair.language,  run->pair.mmproj, run->original.language,
                            run->original.mmproj};
    enum lq_status status = LQ_OK;
    for (size_t o = 0; o < 2 && status == LQ_OK; o++) {
        status = cli_place_check(outputs[o], err);
        for (size_t i = 0; i < sizeof inputs / sizeof *inputs && status == LQ_OK; i++)
            status = cli_place_apart(outputs[o], inputs[i], err);
    }
    return status;
}

static enum lq_status prepare(const struct cli_eval_job *job, struct run *run, const struct lq_hooks *hooks,
                              struct lq_error *err)
{
    struct lq_dataset_options options = {
        .images = job->images, .strict = job->strict, .limit = job->limit, .seed = job->seed, .hooks = hooks};
    enum lq_status status = cli_pair_find(&run->pair, job->pair, job->mmproj, "mmproj", err);
    if (status == LQ_OK && job->original != NULL)
        status = cli_pair_find(&run->original, job->original, job->original_mmproj, job->original_option, err);
    if (status == LQ_OK) status = check_places(job, run, err);
    if (status == LQ_OK && job->data != NULL) status = lq_dataset_load(&run->data, job->data, &options, err);
    if (status != LQ_OK) return status;
    run->typed = command_line(job->argc, job->argv);
    return run->typed != NULL ? LQ_OK : lq_error_set(err, LQ_ERR_MEMORY, "out of memory");
}

static enum lq_status evaluate(const struct cli_eval_job *job, struct run *run, struct lq_error *err)
{
    struct cli_progress progress;
    cli_progress_init(&progress, job->quiet ? CLI_QUIET : job->verbose ? CLI_VERBOSE : CLI_NORMAL, NULL);
    enum lq_status status = prepare(job, run, &progress.hooks, err);
    struct lq_evaluate_options options = {
        .pair = {run->pair.language, run->pair.mmproj},
        .original = {run->original.language, run->original.mmproj},
        .data = run->data,
        .text = job->text,
        .plan = job->plan,
        .by_half = job->by_half,
        .strict = job->strict,
        .stock = job->stock,
        .window = job->window,
        .max_tokens = job->max_tokens,
        .threads = job->threads,
        .seed = job->seed,
        .limit = job->limit,
        .command = run->typed,
        .hooks = &progress.hooks,
    };
    if (status == LQ_OK) status = lq_evaluate(&run->result, &options, err);
    cli_progress_end(&progress);
    if (status == LQ_ERR_CANCELLED) lq_error_set(err, status, "interrupted");
    return status;
}

static enum lq_status put_json(const struct lq_evaluation *e, struct lq_error *err)
{
    char *text = NULL;
    size_t size = 0;
    enum lq_status status = lq_evaluation_to_json(&text, &size, e, err);
    if (status == LQ_OK) fwrite(text, 1, size, stdout);
    free(text);
    return status;
}

/* The figures first: a full disk then costs the files alone. */
static enum lq_status put_result(const struct cli_eval_job *job, const struct lq_evaluation *e, struct lq_error *err)
{
    enum lq_status status = job->json ? put_json(e, err) : cli_eval_table(e, job->output, job->report, err);
    if (status == LQ_OK && job->output != NULL) status = lq_evaluation_save(e, job->output, err);
    if (status == LQ_OK && job->report != NULL) status = lq_report_save(job->report, &e, 1, NULL, err);
    return status;
}

int cli_eval_job_run(const struct cli_eval_job *job)
{
    struct run run = {.data = NULL};
    struct lq_error err = {0};
    enum lq_status done = evaluate(job, &run, &err);
    if (done == LQ_OK) done = put_result(job, run.result, &err);
    int status = done != LQ_OK ? cli_fail(&err) : cli_eval_breaks(job, run.result) ? CLI_DIFFERS : CLI_DONE;
    lq_evaluation_free(run.result);
    lq_dataset_free(run.data);
    cli_pair_release(&run.pair);
    cli_pair_release(&run.original);
    free(run.typed);
    return status;
}
