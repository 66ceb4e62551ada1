/* What gathering statistics adds to plain forward passes, in processor time of one thread.
 *
 *     bench_gather MODEL MMPROJ DATA TEXT WINDOW WINDOWS
 *
 * prints {"plain", "sums", "moments": seconds a window without an observer, with sums, with second moments too,
 * "tokens": of a window, "blas_flops": of one large cblas_ssyrk}. Each is
 * the best of the windows, the first left out.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/blas.h"
#include "calibrate/windows.h"
#include "llava_quantize/gather.h"
#include "runtime/lane.h"

enum { SYRK_COLUMNS = 4096, SYRK_TOKENS = 256, SYRK_ROUNDS = 3 };

static double spent(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

/* Calls of the progress hook, each at the end of a step. */
struct watch {
    double last, best;
    unsigned calls, left_out;
};

static void on_step(void *data, const struct lq_progress *now)
{
    struct watch *w = data;
    double seconds = spent() - w->last;
    (void)now;
    if (w->calls++ > w->left_out && seconds < w->best) w->best = seconds;
    w->last = spent();
}

static enum lq_status feed(struct lq_lane *lane, const struct lq_windows *w, size_t number, struct lq_error *err)
{
    size_t most = lq_lane_most(lane);
    struct lq_lane_item *items = calloc(most, sizeof *items);
    enum lq_status status = items == NULL ? LQ_ERR_MEMORY : LQ_OK;
    lq_lane_clear(lane);
    for (size_t at = 0; at < w->window && status == LQ_OK; at += most) {
        size_t n = w->window - at < most ? w->window - at : most;
        for (size_t i = 0; i < n; i++) items[i].token = w->tokens[number * w->window + at + i];
        status = lq_lane_feed(lane, items, n, err);
    }
    free(items);
    return status;
}

static enum lq_status plain(double *out, char **argv, uint32_t window, size_t windows, struct lq_error *err)
{
    struct lq_runtime *rt = NULL;
    struct lq_lane *lane = NULL;
    struct lq_windows w = {0};
    *out = INFINITY;
    const struct lq_runtime_options options = {.language = argv[1], .mmproj = argv[2], .threads = 1};
    enum lq_status status = lq_runtime_open(&rt, &options, err);
    if (status == LQ_OK) status = lq_windows_load(&w, argv[4], rt, window, windows, err);
    if (status == LQ_OK)
        status = lq_lane_open(&lane, rt, &(struct lq_lane_options){.cells = window, .sequences = 1, .all = true}, err);
    for (size_t i = 0; i < w.n && status == LQ_OK; i++) {
        double start = spent();
        status = feed(lane, &w, i, err);
        if (i > 0 && spent() - start < *out) *out = spent() - start;
    }
    lq_lane_free(lane);
    lq_windows_release(&w);
    lq_runtime_free(rt);
    return status;
}

static enum lq_status gather(double *out, char **argv, uint32_t window, size_t windows, bool hessian,
                             struct lq_error *err)
{
    struct watch watch = {.best = INFINITY};
    const struct lq_hooks hooks = {.data = &watch, .progress = on_step};
    struct lq_dataset *data = NULL;
    struct lq_calibration *c = NULL;
    enum lq_status status = lq_dataset_load(&data, argv[3], NULL, err);
    struct lq_calibrate_options options = {.language = argv[1],
                                           .mmproj = argv[2],
                                           .data = data,
                                           .text = argv[4],
                                           .window = window,
                                           .limit = windows,
                                           .output = "bench-gather.gguf",
                                           .hessian = hessian,
                                           .memory = UINT64_C(8000000000),
                                           .threads = 1,
                                           .force = true,
                                           .hooks = &hooks};
    if (status == LQ_OK) status = lq_calibration_open(&c, &options, err);
    if (status == LQ_OK) watch.left_out = (unsigned)lq_calibration_plan(c)->records;
    if (status == LQ_OK) status = lq_calibration_run(c, err);
    lq_calibration_free(c);
    lq_dataset_free(data);
    remove("bench-gather.gguf");
    *out = watch.best;
    return status;
}

static double syrk_flops(void)
{
    float *x = malloc((size_t)SYRK_COLUMNS * SYRK_TOKENS * sizeof *x);
    float *sum = calloc((size_t)SYRK_COLUMNS * SYRK_COLUMNS, sizeof *sum);
    double best = INFINITY;
    if (x == NULL || sum == NULL) exit(1);
    for (size_t i = 0; i < (size_t)SYRK_COLUMNS * SYRK_TOKENS; i++) x[i] = (float)(i % 251) / 251;
    lq_blas_prepare();
    for (int round = 0; round < SYRK_ROUNDS; round++) {
        double start = spent();
        cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, SYRK_COLUMNS, SYRK_TOKENS, 1, x, SYRK_COLUMNS, 1, sum,
                    SYRK_COLUMNS);
        if (spent() - start < best) best = spent() - start;
    }
    free(x);
    free(sum);
    return (double)SYRK_COLUMNS * SYRK_COLUMNS * SYRK_TOKENS / best;
}

int main(int argc, char **argv)
{
    struct lq_error err = {0};
    double without, sums, moments;
    if (argc != 7) return 2;
    uint32_t window = (uint32_t)strtoul(argv[5], NULL, 10);
    size_t windows = strtoul(argv[6], NULL, 10);
    enum lq_status status = plain(&without, argv, window, windows, &err);
    if (status == LQ_OK) status = gather(&sums, argv, window, windows, false, &err);
    if (status == LQ_OK) status = gather(&moments, argv, window, windows, true, &err);
    if (status != LQ_OK) {
        fprintf(stderr, "bench_gather: %s\n", err.message);
        return 1;
    }
    printf("{\"plain\": %.6f, \"sums\": %.6f, \"moments\": %.6f, \"tokens\": %u, \"blas_flops\": %.6g}\n", without,
           sums, moments, window, syrk_flops());
    return 0;
}
