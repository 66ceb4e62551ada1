#include "strategy/slope.h"

#include <math.h>

void lq_slope_add(struct lq_slope *slope, double error, double divergence, double second_error,
                  double second_divergence)
{
    bool tells = error > 0 && divergence > 0 && second_error > 0 && second_divergence > 0;
    if (!tells || slope->n == LQ_SLOPE_POINTS) return;
    slope->x[slope->n] = log(second_error / error);
    slope->y[slope->n++] = log(second_divergence / divergence);
}

double lq_slope_power(const struct lq_slope *slope)
{
    double xx = 0, xy = 0, rest = 0;
    for (size_t i = 0; i < slope->n; i++) {
        xx += slope->x[i] * slope->x[i];
        xy += slope->x[i] * slope->y[i];
    }
    if (slope->n < 2 || xx <= 0) return 1;
    double power = xy / xx;
    for (size_t i = 0; i < slope->n; i++) {
        double off = slope->y[i] - power * slope->x[i];
        rest += off * off;
    }
    double error = sqrt(rest / (double)(slope->n - 1) / xx);
    if (fabs(power - 1) <= 2 * error) return 1;
    return fmin(fmax(power, 0.5), 2);
}

void lq_slope_check(const struct lq_slope *slope, double power, struct lq_strategy_facts *facts)
{
    double sum = 0, low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < slope->n; i++) {
        double ratio = slope->y[i] - power * slope->x[i];
        sum += ratio;
        low = fmin(low, ratio);
        high = fmax(high, ratio);
    }
    facts->power = power;
    facts->checks = slope->n;
    if (slope->n == 0) return;
    facts->ratio = exp(sum / (double)slope->n);
    facts->ratio_low = exp(low);
    facts->ratio_high = exp(high);
}
