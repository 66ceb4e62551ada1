/* One tensor in another type, as the running original can take it.
 *
 * Enters: a matrix that is open, a type, the columns it is to be written with. Leaves: its error, or its bytes.
 * Invariants: the bytes have the tensor's own shape: what is padded comes back as the numbers that it decodes to.
 *
 *     lq_coded_make(&coded, matrix, tensor, LQ_TYPE_Q4_K, tensor->ne[0], &err);
 *     lq_trial_recode(trial, tensor->name, coded.type, coded.data, &err);
 *     lq_coded_release(&coded);
 */
#ifndef LQ_STRATEGY_CODED_H
#define LQ_STRATEGY_CODED_H

#include "quantize/matrix.h"

struct lq_coded {
    enum lq_type type; /* f32 of what is padded */
    void *data;
};

/* Errors: those of lq_matrix_encode. On failure *out is untouched. */
enum lq_status lq_coded_make(struct lq_coded *out, struct lq_matrix *matrix, const struct lq_tensor *tensor,
                             enum lq_type type, uint64_t columns, struct lq_error *err);
void lq_coded_release(struct lq_coded *coded);
/* Relative squared error of the outputs. Errors: those of lq_matrix_error. */
enum lq_status lq_coded_error(struct lq_matrix *matrix, const struct lq_tensor *tensor, enum lq_type type,
                              uint64_t columns, double *error, struct lq_error *err);

#endif
