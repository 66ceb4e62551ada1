/* Error feedback: encoding a matrix so that its products, not its weights, change least.
 *
 * Enters: rows of weights W and the second moments H of the matrix's input. Leaves: the same rows encoded as Q, with
 * sum over rows of (w - q)' H (w - q) as small as GPTQ (arXiv 2210.17323) on the type's own grid and a closing round
 * get it.
 * Invariants: a row that seems to gain little is compared with its plain encoding, and left plain where that loses no
 * more. On one kind of CPU the same bytes for any number of threads, and however the rows are cut into calls at
 * multiples of LQ_FEEDBACK_ROWS (BLAS adds up a row in an order that depends on where it stands among the others, not
 * on what they hold).
 *
 * H = L L' in an order of columns that keeps blocks together; (w - q)' H (w - q) = |L' (w - q)|^2, whose terms are made
 * small from the last column to the first: the errors of the columns done call for a correction of the next block,
 * L_bb'^-1 L_db' e_d; the block's scales are searched for on the corrected weights with importance L_ii^2; then each
 * column is rounded and its error carried on. Then, once for normal effort, three times for the best and never for the
 * fast one, each block's scales are fitted to its levels under the whole H, and each level steps to the best value that
 * it can take while all others stay.
 *
 *     struct lq_factor *factor = NULL;
 *     lq_factor_make(&factor, hessian, &terms, &err);
 *     lq_feedback_encode(factor, LQ_TYPE_Q4_K, w, rows, columns, effort, scratch, coded, &outcome, &err);
 *     lq_factor_free(factor);
 */
#ifndef LQ_QUANTIZE_FEEDBACK_H
#define LQ_QUANTIZE_FEEDBACK_H

#include "base/meter.h"
#include "llava_quantize/codec.h"

/* Rows that go together; fewer take as long. */
enum { LQ_FEEDBACK_ROWS = 128 };

struct lq_factor;

struct lq_factor_terms {
    size_t n;              /* columns of H */
    size_t columns;        /* of the matrix as written: n, or more where it is padded with zeros */
    double tokens, spread; /* behind H: sum c, and sum c^2 |x|^4 (see calibrate/stats_file.h); from them the damping */
    double damping;        /* share of the mean diagonal; below 0: chosen by the data */
    uint32_t block;        /* weights that stay together: the largest block of the types to come, 32 or 256 */
    unsigned threads;
    const struct lq_meter *meter; /* asked before each panel whether to go on; NULL: to the end in any case */
};

/* Bytes that a factor takes once made, and at most while it is being made. */
uint64_t lq_factor_bytes(size_t columns, bool making);
/* `hessian`: the packed lower triangle as in a statistics file; borrowed. A matrix that is not positive definite is
 * damped until it is. Errors: LQ_ERR_FORMAT (a value that is not finite, or nothing but zeros), LQ_ERR_MEMORY,
 * LQ_ERR_CANCELLED. */
enum lq_status lq_factor_make(struct lq_factor **out, const float *hessian, const struct lq_factor_terms *terms,
                              struct lq_error *err);
void lq_factor_free(struct lq_factor *factor);
double lq_factor_damping(const struct lq_factor *factor);

/* What the rows lose in their products, sum (w - q)' H (w - q) / tokens: encoded plainly with H's diagonal as
 * importance, and as written. `kept` rows were left plain. Sixteen rows in LQ_FEEDBACK_ROWS are compared with their
 * plain encoding in any case. What others would lose plainly is estimated: as much as those, in proportion to their
 * scales' squares weighed with H's diagonal. Where one loses more than 0.6 times that, it and the fifteen beside it are
 * compared too, and `plain` has what they do lose. */
struct lq_feedback_outcome {
    double plain, written;
    uint64_t kept;
};

/* Floats that lq_feedback_encode needs in `scratch`, for any number of rows. */
size_t lq_feedback_scratch(size_t columns);
/* Errors: as lq_codec_encode. Thread-safe for one factor. */
enum lq_status lq_feedback_encode(const struct lq_factor *factor, enum lq_type type, const float *w, size_t rows,
                                  enum lq_effort effort, float *scratch, uint8_t *dst,
                                  struct lq_feedback_outcome *outcome, struct lq_error *err);

#endif
