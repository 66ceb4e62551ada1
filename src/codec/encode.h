/* Encoding rows into ggml's block formats and back.
 *
 * Enters: rows of finite f32 weights, optionally an importance per column. Leaves: blocks of the asked type.
 * Invariants: the same input gives the same bytes on any CPU; nothing that would make ggml's encoders abort or divide
 * by zero reaches them; every scale written is finite.
 *
 *     lq_codec_decode(LQ_TYPE_F16, raw, weights, n, &why);
 *     if (lq_codec_encode(LQ_TYPE_Q4_K, weights, rows, columns, NULL, LQ_EFFORT_NORMAL, blocks, &why) != LQ_OK)
 *         ...   // why: the scale overflows
 */
#ifndef LQ_CODEC_ENCODE_H
#define LQ_CODEC_ENCODE_H

#include "codec/kernels.h"
#include "llava_quantize/codec.h"

/* `n` weights (a multiple of the type's block) to f32. Any type of the table that has data (not i8..f64, q8_1, q8_k):
 * others, and an n that does not divide, are LQ_ERR_USAGE. */
enum lq_status lq_codec_decode(enum lq_type type, const void *src, float *dst, uint64_t n, struct lq_error *err);

/* Encodes rows x columns weights; `effort` counts for the types whose encoders are ours. `importance`: `columns` floats
 * or NULL; it is repaired before use: what is NaN, infinite or negative counts as nothing, every column gets a trace so
 * that no block is without any, and a row with nothing at all is as good as NULL (or, for types that demand importance,
 * as ones). Magnitudes so small that no scale reaches them are encoded as zeros. Thread-safe, after lq_codec_prepare for
 * the type. Whatever is refused is refused at the first rows that are at fault; what `dst` then holds is undefined.
 * LQ_ERR_FORMAT: a weight is NaN or infinite (message: row and column within this call).
 * LQ_ERR_UNSUPPORTED: the values overflow the format (f16 scale or value); a wider type is the remedy.
 * LQ_ERR_USAGE: the type is no target, columns do not divide, or the type demands importance and has none. */
enum lq_status lq_codec_encode(enum lq_type type, const float *src, uint64_t rows, uint64_t columns,
                               const float *importance, enum lq_effort effort, void *dst, struct lq_error *err);

/* Builds the look-up tables that ggml needs for some types (IQ2, IQ3, IQ1), once, from one thread. */
void lq_codec_prepare(enum lq_type type);

/* Checks already encoded data: finite scales and floats. False when there is a NaN or infinity, or bytes are no whole
 * blocks. */
bool lq_codec_validate(enum lq_type type, const void *blocks, uint64_t bytes);

/* Index of the first weight that is NaN or infinite; n when there is none. */
uint64_t lq_codec_first_bad(const float *weights, uint64_t n);

/* Adds sum (w - q)^2 and sum w^2 over `n` weights to sums[0] and sums[1], in a fixed order, good to six digits; squares
 * that floats cannot hold are added in doubles, so that what is not finite comes from such a weight. */
void lq_codec_difference(const float *w, const float *q, uint64_t n, double sums[2]);
/* Sets sums[b] to the same two sums of each LQ_DIFFERENCE_BLOCK f16 weights in turn (fewer in the last). Sums that come
 * out infinite or not a number overflowed, or a weight did. */
void lq_codec_half_differences(const uint16_t *w, const float *q, uint64_t n, double (*sums)[2]);

#endif
