#include <math.h>
#include <stdlib.h>

#include "base/random.h"
#include "evaluate/summarise.h"

enum { RESAMPLES = 2000 };

/* One unit around the estimate R = sum of sums / sum of counts: its count c and residual e = sum - R c. */
struct unit {
    double c, e, cc, ec, ee;
};

/* A number below n; multiplying is quicker than an exact draw, and n is far below 2^32. */
static size_t draw(uint64_t *state, size_t n)
{
    return (size_t)(((lq_random_next(state) >> 32) * (uint64_t)n) >> 32);
}

/* How far a sample's estimate lies from R, and the standard error of it by linearisation. */
static double shift_of(const struct unit *total, double n, double *error)
{
    double shift = total->e / total->c;
    double squares = total->ee - 2 * shift * total->ec + shift * shift * total->cc;
    *error = squares > 0 ? sqrt(squares * n / (n - 1)) / total->c : 0;
    return shift;
}

static void add(struct unit *total, const struct unit *u)
{
    total->c += u->c;
    total->e += u->e;
    total->cc += u->cc;
    total->ec += u->ec;
    total->ee += u->ee;
}

/* The t of each resample. One without any spread of its own takes the whole sample's standard error. */
static void resample(double *t, const struct unit *units, size_t n, double error)
{
    uint64_t state = 1;
    for (int b = 0; b < RESAMPLES; b++) {
        struct unit total = {0};
        double own;
        for (size_t i = 0; i < n; i++) add(&total, &units[draw(&state, n)]);
        double shift = shift_of(&total, (double)n, &own);
        t[b] = shift / (own > 1e-6 * error ? own : error);
    }
}

/* The units that count at all; returns how many. */
static size_t centre(struct unit *units, const double *sums, const double *counts, size_t n, double *ratio)
{
    double sum = 0, count = 0;
    size_t used = 0;
    for (size_t i = 0; i < n; i++)
        if (counts[i] > 0) sum += sums[i], count += counts[i];
    *ratio = count > 0 ? sum / count : NAN;
    for (size_t i = 0; i < n; i++)
        if (counts[i] > 0) {
            double c = counts[i], e = sums[i] - *ratio * c;
            units[used++] = (struct unit){c, e, c * c, e * c, e * e};
        }
    return used;
}

static void interval(struct lq_estimate *out, const struct unit *units, size_t n, double *t)
{
    struct unit total = {0};
    double error;
    for (size_t i = 0; i < n; i++) add(&total, &units[i]);
    shift_of(&total, (double)n, &error);
    out->low = out->high = out->value;
    if (error <= 0) return;
    resample(t, units, n, error);
    lq_sort(t, RESAMPLES);
    out->low = out->value - lq_percentile(t, RESAMPLES, 97.5) * error;
    out->high = out->value - lq_percentile(t, RESAMPLES, 2.5) * error;
}

enum lq_status lq_bootstrap_ratio(struct lq_estimate *out, const double *sums, const double *counts, size_t n,
                                  struct lq_error *err)
{
    struct unit *units = malloc((n > 0 ? n : 1) * sizeof *units);
    double *t = malloc(RESAMPLES * sizeof *t);
    enum lq_status status = LQ_OK;
    if (units == NULL || t == NULL) status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for an interval");
    if (status == LQ_OK) {
        struct lq_estimate estimate = {NAN, NAN, NAN};
        size_t used = centre(units, sums, counts, n, &estimate.value);
        if (used >= 2) interval(&estimate, units, used, t);
        *out = estimate;
    }
    free(units);
    free(t);
    return status;
}
