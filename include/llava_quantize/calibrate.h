/* Importance data: the mean square of each input column of a matrix, from llama.cpp's imatrix files.
 *
 * Enters: an imatrix file, GGUF form or the older binary form. Leaves: one float row per tensor, per expert for 3-D
 * ones.
 * Invariants: values are finite and not negative, and those that llama-quantize would use; a tensor whose values are
 * all zero is treated as absent.
 *
 *     struct lq_imatrix *im = NULL;
 *     lq_imatrix_load(&im, "imatrix.gguf", &err);
 *     const float *w = lq_imatrix_find(im, tensor);   // tensor->ne[0] * tensor->ne[2] floats or NULL
 *     lq_imatrix_free(im);
 */
#ifndef LLAVA_QUANTIZE_CALIBRATE_H
#define LLAVA_QUANTIZE_CALIBRATE_H

#include "llava_quantize/model.h"

#ifdef __cplusplus
extern "C" {
#endif

struct lq_imatrix;

/* Errors: LQ_ERR_IO; LQ_ERR_FORMAT for a file of neither form, a value that is NaN, infinite or negative (the message
 * names the tensor), or no data at all. On failure *out is untouched. */
enum lq_status lq_imatrix_load(struct lq_imatrix **out, const char *path, struct lq_error *err);
void lq_imatrix_free(struct lq_imatrix *imatrix);
size_t lq_imatrix_count(const struct lq_imatrix *imatrix);
const char *lq_imatrix_path(const struct lq_imatrix *imatrix);
/* First data set named in the file and chunks counted; "" and 0 where the file does not say. */
const char *lq_imatrix_dataset(const struct lq_imatrix *imatrix);
uint64_t lq_imatrix_chunks(const struct lq_imatrix *imatrix);

/* LQ_ERR_FORMAT when an entry's length does not fit the tensor of that name (another model's file): the message gives
 * both lengths. A token embedding with data of another length is let pass, as llama-quantize does; it finds none. */
enum lq_status lq_imatrix_check(const struct lq_imatrix *imatrix, const struct lq_model *model, struct lq_error *err);
/* Borrowed: ne[0] * ne[2] * ne[3] floats, or NULL when the file has nothing for this tensor. Row r of a 3-D expert
 * tensor (r / ne[1] is its expert) takes the ne[0] floats from (r / ne[1]) * ne[0]. An expert that calibration never
 * reached, or whose values are all zero, has 1 in every column. */
const float *lq_imatrix_find(const struct lq_imatrix *imatrix, const struct lq_tensor *tensor);

#ifdef __cplusplus
}
#endif
#endif
