/* The error of our encoding of some rows, and of ggml's of the same. */
#include "llava_quantize/bench.h"

#include "base/checked.h"
#include "codec/encode.h"
#include "codec/importance.h"

#include <ggml.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { STRETCH = 32 }; /* weights whose root mean square counts in SPREAD */

/* What ggml's encoder weighs an error by where it gets no importance. */
enum weighting { PLAIN, MAGNITUDE, SQUARE, SPREAD };

static const enum weighting implied[LQ_TYPE_COUNT] = {
    [LQ_TYPE_Q2_K] = MAGNITUDE, [LQ_TYPE_Q3_K] = SQUARE,   [LQ_TYPE_Q4_K] = SPREAD,   [LQ_TYPE_Q5_K] = SPREAD,
    [LQ_TYPE_Q6_K] = SQUARE,    [LQ_TYPE_IQ4_NL] = SQUARE, [LQ_TYPE_IQ4_XS] = SQUARE,
};

struct job {
    enum lq_type type;
    enum lq_effort effort;
    uint64_t columns;
    const float *importance;                   /* as given */
    float *repaired, *weighting, *row, *there; /* a row each: importance, v, what ggml gets, what was decoded */
    uint8_t *blocks;
};

static enum lq_status allocate(struct job *job, struct lq_error *err)
{
    uint64_t row_bytes = lq_format_row_bytes(job->type, job->columns), floats, bytes;
    if (!lq_mul_u64(job->columns, 4 * sizeof(float), &floats) || !lq_add_u64(floats, row_bytes, &bytes) ||
        bytes > SIZE_MAX || (job->repaired = malloc(bytes)) == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a row of %" PRIu64 " columns", job->columns);
    job->weighting = job->repaired + job->columns;
    job->row = job->weighting + job->columns;
    job->there = job->row + job->columns;
    job->blocks = (uint8_t *)(job->there + job->columns);
    return LQ_OK;
}

static float root_mean_square(const float *w, uint64_t n)
{
    double sum = 0;
    for (uint64_t i = 0; i < n; i++) sum += (double)w[i] * w[i];
    return (float)sqrt(sum / (double)n);
}

/* The v of every weight of a row. */
static void weigh(const struct job *job, const float *w, const float *importance)
{
    float spread = 0;
    for (uint64_t i = 0; i < job->columns; i++) {
        uint64_t left = job->columns - i;
        if (i % STRETCH == 0) spread = root_mean_square(w + i, left < STRETCH ? left : STRETCH);
        const float by_type[] = {1, fabsf(w[i]), w[i] * w[i], spread + fabsf(w[i])};
        job->weighting[i] = importance != NULL ? importance[i] : by_type[implied[job->type]];
    }
}

/* sum v (w - q)^2 of what was encoded into `blocks`. */
static enum lq_status add_error(const struct job *job, const float *w, double *sum, struct lq_error *err)
{
    enum lq_status status = lq_codec_decode(job->type, job->blocks, job->there, job->columns, err);
    for (uint64_t i = 0; i < job->columns && status == LQ_OK; i++) {
        double d = (double)w[i] - job->there[i];
        *sum += job->weighting[i] * d * d;
    }
    return status;
}

/* As lq_codec_encode calls it, after that has accepted the row: magnitudes too small for ggml's divisions are zeros. */
static void encode_by_ggml(const struct job *job, const float *w, const float *importance)
{
    bool exact = (lq_format_get(job->type)->flags & LQ_FORMAT_FLOAT) != 0;
    for (uint64_t i = 0; i < job->columns; i++) job->row[i] = exact || fabsf(w[i]) >= 0x1p-100f ? w[i] : 0;
    ggml_quantize_chunk((enum ggml_type)job->type, job->row, job->blocks, 0, 1, (int64_t)job->columns, importance);
}

static enum lq_status compare_row(const struct job *job, const float *w, const float *repaired,
                                  struct lq_bench_error *sum, struct lq_error *err)
{
    weigh(job, w, repaired);
    for (uint64_t i = 0; i < job->columns; i++) sum->weights += (double)job->weighting[i] * w[i] * w[i];
    enum lq_status status =
        lq_codec_encode(job->type, w, 1, job->columns, job->importance, job->effort, job->blocks, err);
    if (status == LQ_OK) status = add_error(job, w, &sum->ours, err);
    if (status != LQ_OK) return status;
    encode_by_ggml(job, w, repaired);
    return add_error(job, w, &sum->ggml, err);
}

bool lq_bench_is_own(enum lq_type type)
{
    return lq_kernels()->encode[type] != NULL;
}

enum lq_status lq_bench_compare(enum lq_type type, enum lq_effort effort, const struct lq_bench_matrix *matrix,
                                struct lq_bench_error *error, struct lq_error *err)
{
    struct job job = {.type = type, .effort = effort, .columns = matrix->columns, .importance = matrix->importance};
    const struct lq_format *f = lq_format_get(type);
    if (f == NULL || lq_format_row_bytes(type, matrix->columns) == 0)
        return lq_error_set(err, LQ_ERR_USAGE, "%" PRIu64 " columns do not divide into %s blocks", matrix->columns,
                            lq_format_name(type));
    enum lq_status status = allocate(&job, err);
    if (status != LQ_OK) return status;
    lq_codec_prepare(type);
    bool demands = (f->flags & LQ_FORMAT_NEEDS_IMPORTANCE) != 0;
    const float *repaired =
        job.importance == NULL ? NULL : lq_importance_repair(job.importance, job.columns, demands, job.repaired);
    struct lq_bench_error sum = *error;
    for (uint64_t r = 0; r < matrix->rows && status == LQ_OK; r++)
        status = compare_row(&job, matrix->weights + r * job.columns, repaired, &sum, err);
    if (status == LQ_OK) *error = sum;
    free(job.repaired);
    return status;
}
