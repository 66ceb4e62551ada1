/* One picture through two projectors: how alike are their outputs? */
#ifndef LQ_EVALUATE_EMBEDDINGS_H
#define LQ_EVALUATE_EMBEDDINGS_H

#include "llava_quantize/evaluate.h"

/* `rows` rows of `width` floats each. Equal outputs give cosines of exactly 1 and an error of exactly 0; two zero
 * vectors count as equal, a zero vector beside another has the cosine 0. out->image is left alone. */
void lq_embeddings_compare(struct lq_picture_result *out, const float *original, const float *pair, size_t rows,
                           size_t width);

#endif
