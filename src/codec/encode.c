#include "codec/encode.h"

#include "codec/half.h"
#include "codec/importance.h"
#include "codec/kernels.h"

#include <ggml.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t not_finite = 0x7f800000;

/* ggml's encoders square, cube and sum weights in f32 and divide by tiny scales: between these magnitudes nothing in
 * them overflows to a NaN, which is what makes the IQ types abort. The upper one is beyond any block with f16 scales.
 */
static const float largest_weight = 0x1p28f, smallest_weight = 0x1p-100f;
/* NVFP4 has no scale above 448 and would cut what lies beyond 6 * 448 without a word. */
static const float largest_nvfp4 = 2688;

struct job {
    enum lq_type type;
    const float *src;
    uint64_t rows, columns;
    enum lq_effort effort;
    uint8_t *dst;
    struct lq_survey survey;
};

void lq_codec_prepare(enum lq_type type)
{
    ggml_quantize_init((enum ggml_type)type);
}

uint64_t lq_codec_first_bad(const float *weights, uint64_t n)
{
    struct lq_survey survey;
    lq_kernels()->survey(weights, n, &survey);
    if (survey.largest < not_finite) return n;
    uint64_t i = 0;
    while ((lq_float_bits(weights[i]) & not_finite) != not_finite) i++;
    return i;
}

void lq_codec_difference(const float *w, const float *q, uint64_t n, double sums[2])
{
    lq_kernels()->difference(w, q, n, sums);
}

void lq_codec_half_differences(const uint16_t *w, const float *q, uint64_t n, double (*sums)[2])
{
    lq_kernels()->half_differences(w, q, n, sums);
}

enum lq_status lq_codec_decode(enum lq_type type, const void *src, float *dst, uint64_t n, struct lq_error *err)
{
    const struct lq_format *f = lq_format_get(type);
    if (f == NULL || (f->flags & LQ_FORMAT_TARGET) == 0)
        return lq_error_set(err, LQ_ERR_USAGE, "type %s cannot be decoded", lq_format_name(type));
    if (n % f->block != 0)
        return lq_error_set(err, LQ_ERR_USAGE, "%" PRIu64 " weights do not divide into %s blocks of %u", n, f->name,
                            f->block);
    switch (type) {
    case LQ_TYPE_F32: memcpy(dst, src, n * sizeof *dst); break;
    case LQ_TYPE_F16: lq_kernels()->f16_to_f32(src, dst, n); break;
    case LQ_TYPE_BF16: lq_kernels()->bf16_to_f32(src, dst, n); break;
    default:
        if (lq_kernels()->decode[type] != NULL) lq_kernels()->decode[type](src, dst, n / f->block);
        else ggml_get_type_traits((enum ggml_type)type)->to_float(src, dst, (int64_t)n);
    }
    return LQ_OK;
}

static enum lq_status check_shape(const struct lq_format *f, const struct job *job, const float *importance,
                                  struct lq_error *err)
{
    if (f == NULL || (f->flags & LQ_FORMAT_TARGET) == 0)
        return lq_error_set(err, LQ_ERR_USAGE, "type %s cannot be encoded", lq_format_name(job->type));
    if (lq_format_row_bytes(job->type, job->columns) == 0)
        return lq_error_set(err, LQ_ERR_USAGE, "%" PRIu64 " columns do not divide into %s blocks of %u", job->columns,
                            f->name, f->block);
    if ((f->flags & LQ_FORMAT_NEEDS_IMPORTANCE) != 0 && importance == NULL)
        return lq_error_set(err, LQ_ERR_USAGE, "%s demands importance data", f->name);
    return LQ_OK;
}

static enum lq_status overflow(const struct job *job, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_UNSUPPORTED, "weights up to %g overflow %s",
                        (double)lq_bits_float(job->survey.largest), lq_format_name(job->type));
}

static enum lq_status check_weights(struct job *job, struct lq_error *err)
{
    uint64_t n = job->rows * job->columns;
    lq_kernels()->survey(job->src, n, &job->survey);
    if (job->survey.largest < not_finite) return LQ_OK;
    uint64_t bad = lq_codec_first_bad(job->src, n);
    return lq_error_set(err, LQ_ERR_FORMAT, "weight %g in row %" PRIu64 ", column %" PRIu64, (double)job->src[bad],
                        bad / job->columns, bad % job->columns);
}

static enum lq_status encode_float(const struct job *job, struct lq_error *err)
{
    uint64_t n = job->rows * job->columns;
    const uint32_t f16_limit = 0x477ff000, bf16_limit = 0x7f7f8000; /* the first magnitudes that round to infinity */
    switch (job->type) {
    case LQ_TYPE_F16:
        if (job->survey.largest >= f16_limit) return overflow(job, err);
        lq_kernels()->f32_to_f16(job->src, (uint16_t *)(void *)job->dst, n);
        break;
    case LQ_TYPE_BF16:
        if (job->survey.largest >= bf16_limit) return overflow(job, err);
        lq_kernels()->f32_to_bf16(job->src, (uint16_t *)(void *)job->dst, n);
        break;
    default: memcpy(job->dst, job->src, n * sizeof *job->src);
    }
    return LQ_OK;
}

static void encode_rows(const struct job *job, const float *src, uint64_t rows, const float *importance, uint8_t *dst)
{
    const struct lq_encode own = {src, importance, rows, job->columns, job->effort, dst};
    if (lq_kernels()->encode[job->type] != NULL) lq_kernels()->encode[job->type](&own);
    else ggml_quantize_chunk((enum ggml_type)job->type, src, dst, 0, (int64_t)rows, (int64_t)job->columns, importance);
}

/* Row by row through `scratch`, with what is too small for ggml's divisions taken as zero. */
static void encode_flushed(const struct job *job, float *scratch, const float *importance)
{
    uint64_t row_bytes = lq_format_row_bytes(job->type, job->columns);
    for (uint64_t r = 0; r < job->rows; r++) {
        const float *row = job->src + r * job->columns;
        for (uint64_t i = 0; i < job->columns; i++)
            scratch[i] = row[i] < smallest_weight && row[i] > -smallest_weight ? 0 : row[i];
        encode_rows(job, scratch, 1, importance, job->dst + r * row_bytes);
    }
}

/* `scratch` holds a row of importance and a row of weights; NULL when neither is needed. */
static void encode_blocks(const struct job *job, const struct lq_format *f, const float *importance, float *scratch)
{
    bool demands = (f->flags & LQ_FORMAT_NEEDS_IMPORTANCE) != 0;
    if (importance != NULL) importance = lq_importance_repair(importance, job->columns, demands, scratch);
    if (job->survey.smallest < lq_float_bits(smallest_weight)) encode_flushed(job, scratch + job->columns, importance);
    else encode_rows(job, job->src, job->rows, importance, job->dst);
}

enum lq_status lq_codec_encode(enum lq_type type, const float *src, uint64_t rows, uint64_t columns,
                               const float *importance, enum lq_effort effort, void *dst, struct lq_error *err)
{
    struct job job = {.type = type, .src = src, .rows = rows, .columns = columns, .effort = effort, .dst = dst};
    const struct lq_format *f = lq_format_get(type);
    enum lq_status status = check_shape(f, &job, importance, err);
    if (status == LQ_OK) status = check_weights(&job, err);
    if (status != LQ_OK) return status;
    if ((f->flags & LQ_FORMAT_FLOAT) != 0) return encode_float(&job, err);

    float limit = type == LQ_TYPE_NVFP4 ? largest_nvfp4 : largest_weight;
    if (job.survey.largest > lq_float_bits(limit)) return overflow(&job, err);
    float *scratch = NULL;
    if (importance != NULL || job.survey.smallest < lq_float_bits(smallest_weight)) {
        if (columns > SIZE_MAX / (2 * sizeof *scratch) || (scratch = malloc(2 * columns * sizeof *scratch)) == NULL)
            return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a row of %" PRIu64 " columns", columns);
    }
    encode_blocks(&job, f, importance, scratch);
    free(scratch);
    return lq_codec_validate(type, dst, rows * lq_format_row_bytes(type, columns)) ? LQ_OK : overflow(&job, err);
}
