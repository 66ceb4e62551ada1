/* Quantises a model with the library, showing how far it is; Ctrl-C ends it and leaves nothing behind.
 *
 *     cc quantize.c $(pkg-config --cflags --libs llava_quantize) -o quantize
 *     ./quantize llava-1.5-7b-hf out layered
 */
#include <llava_quantize.h>

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

static atomic_bool stopped;

static void stop(int signal)
{
    (void)signal;
    stopped = true;
}

static bool cancelled(void *data)
{
    (void)data;
    return stopped;
}

static void progress(void *data, const struct lq_progress *p)
{
    (void)data;
    fprintf(stderr, "\r%3.0f %% of %.1f MB", 100.0 * (double)p->done / (double)p->total, (double)p->total / 1e6);
}

int main(int argc, char **argv)
{
    struct lq_error err = {0};
    struct lq_model *model = NULL;
    struct lq_plan *plan = NULL;
    struct lq_quantize_result result = {0};
    if (argc < 3) return fprintf(stderr, "usage: %s INPUT OUTPUT [RECIPE]\n", argv[0]), 2;
    signal(SIGINT, stop);

    struct lq_hooks hooks = {.progress = progress, .cancelled = cancelled};
    struct lq_plan_request request = {.spec = argv[3]};
    struct lq_quantize_options options = {.output = argv[2], .hooks = &hooks};
    enum lq_status status = lq_model_open(&model, argv[1], NULL, &err);
    if (status == LQ_OK) status = lq_plan_build(&plan, model, &request, &err);
    if (status == LQ_OK) status = lq_quantize(model, plan, &options, &result, &err);
    if (status == LQ_OK) fprintf(stderr, "\n");
    for (int half = 0; half < LQ_HALVES; half++)
        if (result.path[half] != NULL) printf("%s\n", result.path[half]);
    if (status != LQ_OK) fprintf(stderr, "\n%s\n", err.message);

    lq_quantize_result_release(&result);
    lq_plan_free(plan);
    lq_model_free(model);
    return status == LQ_OK ? 0 : 1;
}
