/* What it costs a product that ggml rounds its inputs to 8 bits, as it does on a CPU for every quantised matrix.
 *
 * Enters: the original pair, records about pictures. Leaves: for a matrix and a type the squared error that rounding the
 * inputs adds to its outputs, relative to their size: beside 6 bits and more it is what counts, and inputs with outliers
 * are rounded several times worse in blocks of 256 than in blocks of 32.
 * Invariants: nothing is recoded for it, a type is known by the length of the blocks that its kernels round in; rounding
 * errors of different columns are taken not to go together; the same numbers for any number of threads.
 *
 *     lq_rounding_open(&rounding, &pair, data, &err);
 *     lq_rounding_error(&error, rounding, model, tensor, lq_rounding_of(LQ_TYPE_Q6_K), &err);
 *     lq_rounding_free(rounding);
 */
#ifndef LQ_STRATEGY_ROUNDING_H
#define LQ_STRATEGY_ROUNDING_H

#include "llava_quantize/codec.h"
#include "llava_quantize/dataset.h"
#include "llava_quantize/model.h"
#include "llava_quantize/runtime.h"

/* Blocks of inputs that share a scale, by their place in an array: q8_0 and q8_1, q8_K. */
enum { LQ_ROUNDINGS = 2 };
extern const uint32_t lq_rounding_blocks[LQ_ROUNDINGS];

struct lq_rounding;

/* Runs some of the records, evenly spread, through a runtime of its own. Errors: of the runtime; LQ_ERR_USAGE when no
 * record can be used; LQ_ERR_MEMORY, LQ_ERR_CANCELLED. On failure *out is untouched. */
enum lq_status lq_rounding_open(struct lq_rounding **out, const struct lq_runtime_options *pair,
                                const struct lq_dataset *data, struct lq_error *err);
void lq_rounding_free(struct lq_rounding *rounding);
/* The place of the blocks that inputs of a matrix in this type are rounded in; -1: they are not rounded to 8 bits. */
int lq_rounding_of(enum lq_type type);
/* Of one of the model's tensors; 0 for one that nothing was multiplied with, such as embeddings. Weights are read.
 * Errors: of reading. */
enum lq_status lq_rounding_error(double *error, const struct lq_rounding *rounding, const struct lq_model *model,
                                 const struct lq_tensor *tensor, int place, struct lq_error *err);

#endif
