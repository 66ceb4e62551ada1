/* How fast encoding and decoding are, beside copying memory. */
#include "llava_quantize/bench.h"

#include "base/clock.h"
#include "base/pool.h"
#include "codec/encode.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 9 };
static const uint64_t buffer_weights = UINT64_C(1) << 26, item_weights = UINT64_C(1) << 16;

struct lq_bench {
    float *weights, *there;          /* buffer_weights or a little less each: whole rows, whole items */
    float *importance;               /* of a column, or NULL */
    uint64_t columns, rows, n_items; /* rows of an item; items in the buffer */
    unsigned threads;
    double seconds;
};

/* One kind of work on items `first` .. of the buffer, around its end. */
struct task {
    struct lq_bench *bench;
    enum lq_type type;
    enum lq_effort effort;
    uint8_t *blocks; /* of all items */
    uint64_t first;
};

const char *lq_bench_kernels(void)
{
    return lq_kernels()->name;
}

void lq_bench_free(struct lq_bench *bench)
{
    if (bench == NULL) return;
    free(bench->weights);
    free(bench->there);
    free(bench->importance);
    free(bench);
}

static uint64_t weights_per_item(const struct lq_bench *bench)
{
    return bench->rows * bench->columns;
}

/* The matrix's rows one behind the other, again and again. */
static void fill(struct lq_bench *bench, const struct lq_bench_matrix *matrix)
{
    uint64_t rows = bench->n_items * bench->rows, columns = bench->columns;
    for (uint64_t r = 0; r < rows; r++)
        memcpy(bench->weights + r * columns, matrix->weights + r % matrix->rows * columns, columns * sizeof(float));
    memset(bench->there, 0, rows * columns * sizeof(float)); /* so that no page is new when time counts */
    if (bench->importance != NULL) memcpy(bench->importance, matrix->importance, columns * sizeof(float));
}

enum lq_status lq_bench_new(struct lq_bench **out, const struct lq_bench_matrix *matrix, unsigned threads,
                            double seconds, struct lq_error *err)
{
    if (matrix->rows == 0 || matrix->columns == 0 || matrix->columns > buffer_weights / 4)
        return lq_error_set(err, LQ_ERR_USAGE, "%" PRIu64 " rows of %" PRIu64 " weights cannot be measured",
                            matrix->rows, matrix->columns);
    struct lq_bench *bench = calloc(1, sizeof *bench);
    if (bench == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "out of memory");
    bench->columns = matrix->columns;
    bench->rows = item_weights / matrix->columns + (matrix->columns > item_weights);
    bench->n_items = buffer_weights / weights_per_item(bench);
    bench->threads = threads == 0 ? 1 : threads;
    bench->seconds = seconds;
    size_t bytes = bench->n_items * weights_per_item(bench) * sizeof(float);
    bench->weights = malloc(bytes);
    bench->there = malloc(bytes);
    if (matrix->importance != NULL) bench->importance = malloc(matrix->columns * sizeof(float));
    if (bench->weights == NULL || bench->there == NULL || (matrix->importance != NULL && bench->importance == NULL)) {
        lq_bench_free(bench);
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for two buffers of %zu bytes", bytes);
    }
    fill(bench, matrix);
    *out = bench;
    return LQ_OK;
}

static uint64_t item_bytes(const struct task *task)
{
    return task->bench->rows * lq_format_row_bytes(task->type, task->bench->columns);
}

static enum lq_status encode_item(void *data, size_t item, unsigned worker, struct lq_error *err)
{
    const struct task *task = data;
    const struct lq_bench *bench = task->bench;
    uint64_t at = (task->first + item) % bench->n_items;
    (void)worker;
    return lq_codec_encode(task->type, bench->weights + at * weights_per_item(bench), bench->rows, bench->columns,
                           bench->importance, task->effort, task->blocks + at * item_bytes(task), err);
}

static enum lq_status decode_item(void *data, size_t item, unsigned worker, struct lq_error *err)
{
    const struct task *task = data;
    uint64_t at = (task->first + item) % task->bench->n_items, n = weights_per_item(task->bench);
    (void)worker;
    return lq_codec_decode(task->type, task->blocks + at * item_bytes(task), task->bench->there + at * n, n, err);
}

/* One of as many parts as there are threads. */
static enum lq_status copy_part(void *data, size_t part, unsigned worker, struct lq_error *err)
{
    const struct lq_bench *bench = data;
    uint64_t n = bench->n_items * weights_per_item(bench);
    uint64_t first = n / bench->threads * part, end = part + 1 == bench->threads ? n : first + n / bench->threads;
    (void)worker;
    (void)err;
    memcpy(bench->there + first, bench->weights + first, (end - first) * sizeof(float));
    return LQ_OK;
}

/* Works on the next n items; *seconds is what it took. */
static enum lq_status run_items(struct task *task, lq_pool_fn *work, uint64_t n, double *seconds, struct lq_error *err)
{
    double started = lq_clock_seconds();
    enum lq_status status = lq_pool_run(task->bench->threads, n, work, task, err);
    *seconds = lq_clock_seconds() - started;
    task->first = (task->first + n) % task->bench->n_items;
    return status;
}

/* Doubles the number of items until they take a round's time or the buffer ends. */
static enum lq_status find_count(struct task *task, lq_pool_fn *work, uint64_t *n, struct lq_error *err)
{
    double spent = 0;
    const struct lq_bench *bench = task->bench;
    uint64_t most = bench->n_items;
    enum lq_status status = LQ_OK;
    for (*n = bench->threads < most ? bench->threads : most; status == LQ_OK; *n = 2 * *n < most ? 2 * *n : most) {
        status = run_items(task, work, *n, &spent, err);
        if (spent >= bench->seconds / ROUNDS || *n == most) break;
    }
    return status;
}

static double speed_of(const struct lq_bench *bench, uint64_t n_items, double seconds)
{
    return (double)(n_items * weights_per_item(bench) * sizeof(float)) / (seconds > 0 ? seconds : 1e-9);
}

static enum lq_status do_round(struct task *task, const uint64_t n[2], struct lq_bench_speed *speed,
                               struct lq_error *err)
{
    struct lq_bench *bench = task->bench;
    double started = lq_clock_seconds(), spent = 0;
    lq_pool_run(bench->threads, bench->threads, copy_part, bench, err);
    speed->copy = speed_of(bench, bench->n_items, lq_clock_seconds() - started);
    enum lq_status status = run_items(task, encode_item, n[0], &spent, err);
    speed->encode = speed_of(bench, n[0], spent);
    if (status == LQ_OK) status = run_items(task, decode_item, n[1], &spent, err);
    speed->decode = speed_of(bench, n[1], spent);
    speed->encode_share = speed->encode / speed->copy;
    return status;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static enum lq_status measure(struct task *task, struct lq_bench_speed *best, struct lq_error *err)
{
    const struct lq_bench *bench = task->bench;
    uint64_t n[2] = {0};
    double shares[ROUNDS];
    enum lq_status status = find_count(task, encode_item, &n[0], err);
    /* every item gets blocks, so that decoding meets real ones everywhere, and no page is new */
    for (uint64_t i = 1; i < bench->n_items && status == LQ_OK; i++)
        memcpy(task->blocks + i * item_bytes(task), task->blocks, item_bytes(task));
    if (status == LQ_OK) status = find_count(task, decode_item, &n[1], err);
    for (int round = 0; round < ROUNDS && status == LQ_OK; round++) {
        struct lq_bench_speed speed = {0};
        status = do_round(task, n, &speed, err);
        best->encode = fmax(best->encode, speed.encode);
        best->decode = fmax(best->decode, speed.decode);
        best->copy = fmax(best->copy, speed.copy);
        shares[round] = speed.encode_share;
    }
    if (status != LQ_OK) return status;
    qsort(shares, ROUNDS, sizeof shares[0], by_size);
    best->encode_share = shares[ROUNDS / 2];
    return LQ_OK;
}

enum lq_status lq_bench_time(struct lq_bench *bench, enum lq_type type, enum lq_effort effort,
                             struct lq_bench_speed *speed, struct lq_error *err)
{
    struct task task = {.bench = bench, .type = type, .effort = effort};
    struct lq_bench_speed best = {0};
    if (lq_format_row_bytes(type, bench->columns) == 0)
        return lq_error_set(err, LQ_ERR_USAGE, "%" PRIu64 " columns do not divide into %s blocks", bench->columns,
                            lq_format_name(type));
    task.blocks = malloc(bench->n_items * item_bytes(&task));
    if (task.blocks == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %s blocks", lq_format_name(type));
    lq_codec_prepare(type);
    enum lq_status status = measure(&task, &best, err);
    if (status == LQ_OK) *speed = best;
    free(task.blocks);
    return status;
}
