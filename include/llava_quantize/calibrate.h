/* Statistics of what flows into each matrix: the mean square of each input column, and second moments where a file has
 * them.
 *
 * Enters: a statistics file of `llava-quantize calibrate`, or an imatrix file of llama.cpp in its GGUF form or the
 * older binary one. Leaves: one float row per tensor, per expert for 3-D ones; second moments on demand.
 * Invariants: values are finite and not negative, no row is zero. They are those that llama-quantize would use, save
 * that a row of fewer than 64 tokens is drawn towards its mean, and a column that met nothing but zeros gets the share
 * of one token; docs/rooms/calibrate.md has the table of defects. A tensor whose values are all zero is treated as
 * absent.
 *
 *     struct lq_stats *stats = NULL;
 *     lq_stats_load(&stats, "stats.gguf", &err);
 *     const float *w = lq_stats_importance(stats, tensor);   // tensor->ne[0] * tensor->ne[2] floats or NULL
 *     lq_stats_free(stats);
 */
#ifndef LLAVA_QUANTIZE_CALIBRATE_H
#define LLAVA_QUANTIZE_CALIBRATE_H

#include "llava_quantize/model.h"

#ifdef __cplusplus
extern "C" {
#endif

struct lq_stats;

/* The file stays open until lq_stats_free. Errors: LQ_ERR_IO; LQ_ERR_FORMAT for a file of no such form, a value that is
 * NaN, infinite or negative, a part of another shape than its matrix asks for (the message names the tensor), matrices
 * that share an input which is not there, or no data at all; LQ_ERR_UNSUPPORTED for another version of our form. On
 * failure *out is untouched. */
enum lq_status lq_stats_load(struct lq_stats **out, const char *path, struct lq_error *err);
/* True for a file of one of the forms: GGUF with general.type "imatrix", or what begins as the older form does. */
bool lq_stats_is_file(const char *path);
void lq_stats_free(struct lq_stats *stats);
size_t lq_stats_count(const struct lq_stats *stats);
const char *lq_stats_path(const struct lq_stats *stats);
/* First data set named in the file and chunks counted; "" and 0 where the file does not say. */
const char *lq_stats_dataset(const struct lq_stats *stats);
uint64_t lq_stats_chunks(const struct lq_stats *stats);

/* LQ_ERR_FORMAT for another model's file: one gathered from another pair (where both name one, the message gives both
 * ids), an entry whose length does not fit the tensor of that name (it gives both lengths), or not one entry that
 * belongs to a tensor. A token embedding with data of another length is let pass, as llama-quantize does; it finds
 * none. */
enum lq_status lq_stats_check(const struct lq_stats *stats, const struct lq_model *model, struct lq_error *err);
/* Borrowed: ne[0] * ne[2] * ne[3] floats, or NULL when the file has nothing for this tensor. Row r of a 3-D expert
 * tensor (r / ne[1] is its expert) takes the ne[0] floats from (r / ne[1]) * ne[0]. An expert that calibration never
 * reached, or whose values are all zero, has 1 in every column. */
const float *lq_stats_importance(const struct lq_stats *stats, const struct lq_tensor *tensor);

/* Second moments of a matrix's input, where the file holds them. `input` is the same text for all matrices that share
 * one; NULL from lq_stats_input: none for this tensor, or those of an unfinished run that came less far than the
 * rest. */
const char *lq_stats_input(const struct lq_stats *stats, const struct lq_tensor *tensor);
struct lq_stats_moments {
    double tokens, spread; /* sum c, and sum c^2 |x|^4, over tokens x of weight c */
};
/* Reads sum c x x' of one expert (0 of a plain matrix) into `dst`, ne[0] * (ne[0] + 1) / 2 floats: the lower triangle,
 * row behind row. Thread-safe. Errors: LQ_ERR_IO; LQ_ERR_FORMAT for a value that is NaN, infinite, or a negative one on
 * the diagonal (the message names the tensor); LQ_ERR_USAGE where there is none. An expert that calibration never
 * reached has 0 tokens, and zeros. */
enum lq_status lq_stats_hessian(const struct lq_stats *stats, const struct lq_tensor *tensor, uint64_t expert,
                                float *dst, struct lq_stats_moments *moments, struct lq_error *err);

#ifdef __cplusplus
}
#endif
#endif
