#include "inspect/inspect_weights.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/pool.h"
#include "codec/encode.h"
#include "base/meter.h"

enum { ITEM_WEIGHTS = 1 << 18 }; /* 1 MiB of f32 */
static const double outlier_sigmas = 6;

/* What one item of rows leaves. */
struct part {
    float min, max; /* INFINITY and -INFINITY when nothing is finite */
    double sum_sq;
    uint64_t finite, nan, infinite, dead_rows, outliers;
};

struct scratch {
    unsigned char *raw;
    float *weights;
};

struct job {
    const struct lq_model *model;
    const struct lq_tensor *tensor; /* the one in hand */
    uint64_t rows_per_item;
    double limit; /* second reading: magnitude above which a weight is an outlier */
    struct part *parts;
    struct scratch *scratch; /* one per worker */
    unsigned n_scratch;
    struct lq_meter *meter;
};

static bool is_measurable(const struct lq_tensor *t)
{
    const struct lq_format *f = lq_format_get(t->type);
    return f != NULL && (f->flags & LQ_FORMAT_TARGET) != 0 && t->rows > 0 && t->ne[0] > 0 &&
           t->ne[0] <= LQ_INSPECT_LONGEST_ROW;
}

static uint64_t rows_per_item(const struct lq_tensor *t)
{
    uint64_t rows = ITEM_WEIGHTS / t->ne[0];
    return rows == 0 ? 1 : rows < t->rows ? rows : t->rows;
}

static size_t count_items(const struct lq_tensor *t)
{
    uint64_t step = rows_per_item(t);
    return (size_t)((t->rows - 1) / step + 1);
}

/* Reads and decodes the rows of one item; *n becomes the number of weights. */
static enum lq_status load_item(const struct job *job, size_t item, unsigned worker, uint64_t *n, struct lq_error *err)
{
    const struct lq_tensor *t = job->tensor;
    struct scratch *s = &job->scratch[worker];
    uint64_t first = item * job->rows_per_item, left = t->rows - first;
    uint64_t rows = left < job->rows_per_item ? left : job->rows_per_item;
    enum lq_status status = lq_meter_check(job->meter, err);
    if (status == LQ_OK) status = lq_model_read(job->model, t, first, rows, s->raw, err);
    *n = rows * t->ne[0];
    return status == LQ_OK ? lq_codec_decode(t->type, s->raw, s->weights, *n, err) : status;
}

/* Counts what is not finite and puts zeros there. True when the row was all zeros. */
static bool scan_row(float *row, uint64_t columns, struct part *part)
{
    bool dead = true;
    for (uint64_t i = 0; i < columns; i++) {
        float w = row[i];
        dead = dead && w == 0;
        if (isfinite(w)) {
            part->min = w < part->min ? w : part->min;
            part->max = w > part->max ? w : part->max;
            continue;
        }
        part->nan += isnan(w) != 0;
        part->infinite += isinf(w) != 0;
        row[i] = 0;
    }
    return dead;
}

static enum lq_status measure_item(void *data, size_t item, unsigned worker, struct lq_error *err)
{
    struct job *job = data;
    const struct lq_tensor *t = job->tensor;
    float *w = job->scratch[worker].weights;
    struct part part = {.min = INFINITY, .max = -INFINITY};
    uint64_t n = 0;
    enum lq_status status = load_item(job, item, worker, &n, err);
    if (status != LQ_OK) return status;
    for (uint64_t at = 0; at < n; at += t->ne[0]) part.dead_rows += scan_row(w + at, t->ne[0], &part);
    double sums[2] = {0, 0};
    lq_codec_difference(w, w, n, sums);
    part.sum_sq = sums[1];
    part.finite = n - part.nan - part.infinite;
    job->parts[item] = part;
    lq_meter_add(job->meter, t->name, n / lq_format_get(t->type)->block * lq_format_get(t->type)->bytes);
    return LQ_OK;
}

static enum lq_status count_outliers(void *data, size_t item, unsigned worker, struct lq_error *err)
{
    struct job *job = data;
    const float *w = job->scratch[worker].weights;
    uint64_t n = 0, outliers = 0;
    enum lq_status status = load_item(job, item, worker, &n, err);
    if (status != LQ_OK) return status;
    for (uint64_t i = 0; i < n; i++) outliers += isfinite(w[i]) && fabs((double)w[i]) > job->limit;
    job->parts[item].outliers = outliers;
    return LQ_OK;
}

static void add_up(const struct job *job, size_t n_items, struct lq_weight_stats *out)
{
    struct part sum = {.min = INFINITY, .max = -INFINITY};
    for (size_t i = 0; i < n_items; i++) {
        const struct part *p = &job->parts[i];
        sum.min = p->min < sum.min ? p->min : sum.min;
        sum.max = p->max > sum.max ? p->max : sum.max;
        sum.sum_sq += p->sum_sq;
        sum.finite += p->finite;
        sum.nan += p->nan;
        sum.infinite += p->infinite;
        sum.dead_rows += p->dead_rows;
    }
    bool any = sum.finite > 0;
    *out = (struct lq_weight_stats){
        .measured = true,
        .min = any ? sum.min : 0,
        .max = any ? sum.max : 0,
        .rms = any ? sqrt(sum.sum_sq / (double)sum.finite) : 0,
        .weights = sum.finite + sum.nan + sum.infinite,
        .nan = sum.nan,
        .infinite = sum.infinite,
        .dead_rows = job->tensor->rows > 1 ? sum.dead_rows : 0,
    };
}

static enum lq_status measure(struct job *job, const struct lq_tensor *t, struct lq_weight_stats *out,
                              struct lq_error *err)
{
    size_t n = count_items(t);
    job->tensor = t;
    job->rows_per_item = rows_per_item(t);
    job->parts = calloc(n, sizeof *job->parts);
    if (job->parts == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu work items", n);
    enum lq_status status = lq_pool_run(job->n_scratch, n, measure_item, job, err);
    if (status == LQ_OK) add_up(job, n, out);
    job->limit = outlier_sigmas * out->rms;
    bool wide = out->max > job->limit || -out->min > job->limit;
    if (status == LQ_OK && wide) status = lq_pool_run(job->n_scratch, n, count_outliers, job, err);
    for (size_t i = 0; i < n; i++) out->outliers += job->parts[i].outliers;
    free(job->parts);
    return status;
}

/* Bytes of input, and the sizes of the largest item. */
static void survey(const struct lq_model *model, uint64_t *total, uint64_t *raw_bytes, uint64_t *weights)
{
    for (int h = 0; h < LQ_HALVES; h++) {
        const struct lq_model_half *half = model->half[h];
        for (size_t i = 0; half != NULL && i < half->n_tensors; i++) {
            const struct lq_tensor *t = &half->tensors[i];
            if (!is_measurable(t)) continue;
            uint64_t rows = rows_per_item(t), bytes = rows * lq_format_row_bytes(t->type, t->ne[0]);
            *total += t->bytes;
            *raw_bytes = bytes > *raw_bytes ? bytes : *raw_bytes;
            *weights = rows * t->ne[0] > *weights ? rows * t->ne[0] : *weights;
        }
    }
}

static enum lq_status allocate(struct job *job, unsigned threads, uint64_t raw_bytes, uint64_t weights,
                               struct lq_error *err)
{
    job->scratch = calloc(threads, sizeof *job->scratch);
    bool complete = job->scratch != NULL;
    if (complete) job->n_scratch = threads;
    for (unsigned i = 0; complete && i < threads; i++) {
        job->scratch[i].raw = malloc(raw_bytes + 1);
        job->scratch[i].weights = malloc((weights + 1) * sizeof(float));
        complete = job->scratch[i].raw != NULL && job->scratch[i].weights != NULL;
    }
    if (complete) return LQ_OK;
    return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %u workers of %" PRIu64 " bytes each", threads,
                        raw_bytes + weights * sizeof(float));
}

static void release(struct job *job)
{
    for (unsigned i = 0; i < job->n_scratch; i++) {
        free(job->scratch[i].raw);
        free(job->scratch[i].weights);
    }
    free(job->scratch);
}

enum lq_status lq_inspect_weights(const struct lq_model *model, const struct lq_inspect_options *options,
                                  struct lq_weight_stats *const stats[LQ_HALVES], struct lq_error *err)
{
    struct lq_meter meter;
    struct job job = {.model = model, .meter = &meter};
    uint64_t total = 0, raw_bytes = 0, weights = 0;
    survey(model, &total, &raw_bytes, &weights);
    lq_meter_init(&meter, options->hooks, total);
    enum lq_status status =
        allocate(&job, options->threads == 0 ? lq_cpu_count() : options->threads, raw_bytes, weights, err);
    for (int h = 0; h < LQ_HALVES; h++) {
        const struct lq_model_half *half = model->half[h];
        for (size_t i = 0; half != NULL && status == LQ_OK && i < half->n_tensors; i++)
            if (is_measurable(&half->tensors[i])) status = measure(&job, &half->tensors[i], &stats[h][i], err);
    }
    release(&job);
    lq_meter_release(&meter);
    return status;
}
