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

/* Weights that are looked at, encoded and checked in one go: what one pass reads is still in the processor's cache for
 * the next. */
enum { PIECE = 1 << 13 };

/* A call, or the rows of it in hand. */
struct job {
    const struct lq_format *format;
    struct lq_encode encode; /* its importance as repaired */
    uint64_t first_row;
    float *flushed; /* a row of weights with what ggml's encoders cannot stand taken as zero */
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

static enum lq_status check_shape(enum lq_type type, uint64_t columns, bool importance, struct lq_error *err)
{
    const struct lq_format *f = lq_format_get(type);
    if (f == NULL || (f->flags & LQ_FORMAT_TARGET) == 0)
        return lq_error_set(err, LQ_ERR_USAGE, "type %s cannot be encoded", lq_format_name(type));
    if (lq_format_row_bytes(type, columns) == 0)
        return lq_error_set(err, LQ_ERR_USAGE, "%" PRIu64 " columns do not divide into %s blocks of %u", columns,
                            f->name, f->block);
    if ((f->flags & LQ_FORMAT_NEEDS_IMPORTANCE) != 0 && !importance)
        return lq_error_set(err, LQ_ERR_USAGE, "%s demands importance data", f->name);
    return LQ_OK;
}

static enum lq_status not_finite_at(const struct job *job, struct lq_error *err)
{
    const struct lq_encode *e = &job->encode;
    uint64_t bad = lq_codec_first_bad(e->src, e->rows * e->columns);
    return lq_error_set(err, LQ_ERR_FORMAT, "weight %g in row %" PRIu64 ", column %" PRIu64, (double)e->src[bad],
                        job->first_row + bad / e->columns, bad % e->columns);
}

/* The first magnitude that does not fit. */
static uint32_t limit_of(enum lq_type type)
{
    switch (type) {
    case LQ_TYPE_F32: return not_finite;
    case LQ_TYPE_F16: return 0x477ff000;  /* rounds to infinity */
    case LQ_TYPE_BF16: return 0x7f7f8000; /* so does this */
    case LQ_TYPE_NVFP4: return lq_float_bits(largest_nvfp4) + 1;
    default: return lq_float_bits(largest_weight) + 1;
    }
}

/* Row by row, with what is too small for ggml's divisions taken as zero. */
static void encode_flushed(const struct job *job)
{
    const struct lq_encode *e = &job->encode;
    uint64_t row_bytes = lq_format_row_bytes(job->format->type, e->columns);
    for (uint64_t r = 0; r < e->rows; r++) {
        const float *row = e->src + r * e->columns;
        for (uint64_t i = 0; i < e->columns; i++)
            job->flushed[i] = row[i] < smallest_weight && row[i] > -smallest_weight ? 0 : row[i];
        ggml_quantize_chunk((enum ggml_type)job->format->type, job->flushed, e->dst + r * row_bytes, 0, 1,
                            (int64_t)e->columns, e->importance);
    }
}

static void encode_rows(const struct job *job, uint32_t smallest)
{
    const struct lq_encode *e = &job->encode;
    enum lq_type type = job->format->type;
    size_t n = e->rows * e->columns;
    switch (type) {
    case LQ_TYPE_F32: memcpy(e->dst, e->src, n * sizeof *e->src); break;
    case LQ_TYPE_F16: lq_kernels()->f32_to_f16(e->src, (uint16_t *)(void *)e->dst, n); break;
    case LQ_TYPE_BF16: lq_kernels()->f32_to_bf16(e->src, (uint16_t *)(void *)e->dst, n); break;
    default:
        if (lq_kernels()->encode[type] != NULL) lq_kernels()->encode[type](e);
        else if (smallest < lq_float_bits(smallest_weight)) encode_flushed(job);
        else
            ggml_quantize_chunk((enum ggml_type)type, e->src, e->dst, 0, (int64_t)e->rows, (int64_t)e->columns,
                                e->importance);
    }
}

static enum lq_status encode_piece(const struct job *job, struct lq_error *err)
{
    const struct lq_encode *e = &job->encode;
    enum lq_type type = job->format->type;
    struct lq_survey survey;
    lq_kernels()->survey(e->src, e->rows * e->columns, &survey);
    if (survey.largest >= not_finite) return not_finite_at(job, err);
    if (survey.largest < limit_of(type)) {
        encode_rows(job, survey.smallest);
        if ((job->format->flags & LQ_FORMAT_FLOAT) != 0) return LQ_OK;
        if (lq_codec_validate(type, e->dst, e->rows * lq_format_row_bytes(type, e->columns))) return LQ_OK;
    }
    return lq_error_set(err, LQ_ERR_UNSUPPORTED, "weights up to %g overflow %s", (double)lq_bits_float(survey.largest),
                        job->format->name);
}

static enum lq_status encode_pieces(const struct job *whole, struct lq_error *err)
{
    struct job piece = *whole;
    enum lq_status status = LQ_OK;
    const struct lq_encode *e = &whole->encode;
    uint64_t at_once = e->columns < PIECE ? PIECE / e->columns : 1;
    uint64_t row_bytes = lq_format_row_bytes(whole->format->type, e->columns);
    for (uint64_t row = 0; row < e->rows && status == LQ_OK; row += at_once) {
        piece.first_row = row;
        piece.encode.rows = e->rows - row < at_once ? e->rows - row : at_once;
        piece.encode.src = e->src + row * e->columns;
        piece.encode.dst = e->dst + row * row_bytes;
        status = encode_piece(&piece, err);
    }
    return status;
}

enum lq_status lq_codec_encode(enum lq_type type, const float *src, uint64_t rows, uint64_t columns,
                               const float *importance, enum lq_effort effort, void *dst, struct lq_error *err)
{
    enum lq_status status = check_shape(type, columns, importance != NULL, err);
    if (status != LQ_OK) return status;
    struct job job = {.format = lq_format_get(type), .encode = {src, NULL, rows, columns, effort, dst}};
    bool demands = (job.format->flags & LQ_FORMAT_NEEDS_IMPORTANCE) != 0;
    float *scratch = NULL;
    if ((job.format->flags & LQ_FORMAT_QUANTISED) != 0) {
        if (columns > SIZE_MAX / (2 * sizeof *scratch) || (scratch = malloc(2 * columns * sizeof *scratch)) == NULL)
            return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a row of %" PRIu64 " columns", columns);
        job.flushed = scratch + columns;
        if (importance != NULL) job.encode.importance = lq_importance_repair(importance, columns, demands, scratch);
    }
    status = encode_pieces(&job, err);
    free(scratch);
    return status;
}
