/* What is summed up over the tokens of one input, apart from its second moments: a mean and a mean square per column and
 * kind, the weighted squares that an imatrix is made of, and how much single tokens stand out.
 *
 * Enters: tokens with their kind and weight. Leaves: sums in double precision, in the statistics file's own shapes
 * (calibrate/stats_file.h).
 * Invariants: tokens are added in the order in which they come, each sum by itself: the bits depend on the tokens alone.
 */
#ifndef LQ_CALIBRATE_INPUT_SUMS_H
#define LQ_CALIBRATE_INPUT_SUMS_H

#include "calibrate/stats_file.h"
#include "llava_quantize/base.h"

struct lq_input_sums {
    size_t n, n_experts;
    double *moments;  /* [experts][kinds][2][n] */
    double *tokens;   /* [experts][kinds] */
    double *weighted; /* [experts][n + 1] */
    double *spread;   /* [experts][2] */
};

uint64_t lq_input_sums_bytes(uint64_t n, uint64_t n_experts);
enum lq_status lq_input_sums_init(struct lq_input_sums *s, size_t n, size_t n_experts, struct lq_error *err);
void lq_input_sums_release(struct lq_input_sums *s);

/* |x|^2; infinite or NaN when one of the n numbers is. */
double lq_square_of(const float *x, size_t n);
/* What tokens that stand out count: scales[i] = min(1, cap * median / squares[i]), the median being the lower one of
 * squares[0 .. n). cap 0: all 1. `room` holds n numbers. */
void lq_cap_scales(double *scales, const double *squares, size_t n, double cap, double *room);
/* One token that counts `weight`; `square` is its |x|^2. */
void lq_input_sums_add(struct lq_input_sums *s, size_t expert, enum lq_kind kind, const float *x, double square,
                       double weight);

/* llama.cpp's in_sum2 (n floats) and count of one expert: weighted sums, scaled so that the count is that of tokens. */
void lq_input_sums_imatrix(const struct lq_input_sums *s, size_t expert, float *in_sum2, float *count);

#endif
