/* Encoding rows into ggml's block formats and back.
 *
 * Enters: rows of finite f32 weights, optionally an importance per column. Leaves: blocks of the asked type.
 * Invariants: the same input gives the same bytes on any CPU; nothing that would make ggml's encoders abort or divide by
 * zero reaches them; every scale written is finite.
 *
 *     lq_codec_decode(LQ_TYPE_F16, raw, weights, n);
 *     if (lq_codec_encode(LQ_TYPE_Q4_K, weights, rows, columns, NULL, blocks, &why) != LQ_OK) ...  // why: scale overflow
 */
#ifndef LQ_CODEC_ENCODE_H
#define LQ_CODEC_ENCODE_H

#include "llava_quantize/codec.h"

/* `n` weights (a multiple of the type's block) to f32. Any type of the table that has data (not i8..f64, q8_1, q8_k). */
enum lq_status lq_codec_decode(enum lq_type type, const void *src, float *dst, uint64_t n, struct lq_error *err);

/* Encodes rows x columns weights. `importance`: `columns` floats or NULL. Thread-safe, after lq_codec_prepare for the type.
 * LQ_ERR_FORMAT: a weight is NaN or infinite (message: row and column within this call).
 * LQ_ERR_UNSUPPORTED: the values overflow the format (f16 scale or value); a wider type is the remedy. */
enum lq_status lq_codec_encode(enum lq_type type, const float *src, uint64_t rows, uint64_t columns,
                               const float *importance, void *dst, struct lq_error *err);

/* Builds the look-up tables that ggml needs for some types (IQ2, IQ3, IQ1), once, from one thread. */
void lq_codec_prepare(enum lq_type type);

/* Checks already encoded data: finite scales. False when any block has a NaN or infinite scale. */
bool lq_codec_validate(enum lq_type type, const void *blocks, uint64_t bytes);

#endif
