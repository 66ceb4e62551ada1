/* How the divergence grows with the error: groups measured at two types.
 *
 * Enters: pairs of errors and divergences. Leaves: the power p of divergence ~ error^p, and how well it predicts the
 * second from the first. Invariants: p is 1, what small errors must show, unless the points say otherwise by more than
 * twice their own scatter.
 *
 *     struct lq_slope slope = {0};
 *     lq_slope_add(&slope, 0.01, 1e-3, 0.0025, 2e-4);
 *     double p = lq_slope_power(&slope);
 */
#ifndef LQ_STRATEGY_SLOPE_H
#define LQ_STRATEGY_SLOPE_H

#include "llava_quantize/strategy.h"

enum { LQ_SLOPE_POINTS = 16 };

struct lq_slope {
    size_t n;
    double x[LQ_SLOPE_POINTS], y[LQ_SLOPE_POINTS]; /* logarithms of the second's error and divergence to the first's */
};

/* Points without an error or a divergence say nothing and are left out, as are those beyond LQ_SLOPE_POINTS. */
void lq_slope_add(struct lq_slope *slope, double error, double divergence, double second_error,
                  double second_divergence);
/* Least squares through the origin, from 0.5 to 2. */
double lq_slope_power(const struct lq_slope *slope);
/* Sets facts->power, checks, ratio, ratio_low, ratio_high. */
void lq_slope_check(const struct lq_slope *slope, double power, struct lq_strategy_facts *facts);

#endif
