#include "strategy/reach.h"

#include <math.h>

enum { STEPS = 12 };
static const double near_enough = 1.005;

/* Sizes of data between which the answer lies, and the best of what was found to do. */
struct reach {
    struct lq_strategy *strategy;
    const char *name;
    double divergence;
    uint64_t low, high;
    struct lq_pick pick;
    struct lq_measured measured;
};

double lq_reach_upper(const struct lq_trial_divergence *d)
{
    return d->mean + 2 * d->error;
}

/* Measures the plan of that size; keeps it where it will do. */
static enum lq_status attempt(struct reach *r, uint64_t bytes, double *upper, struct lq_error *err)
{
    const struct lq_size size = {.bytes = bytes, .data = true};
    struct lq_pick pick = {0};
    struct lq_measured measured = {0};
    enum lq_status status = lq_fit(&pick, r->strategy, &size, r->name, err);
    if (status == LQ_OK) status = lq_repair_measure(&measured, r->strategy, &pick, &size, err);
    if (status == LQ_OK) *upper = lq_reach_upper(&measured.divergence);
    if (status == LQ_OK && *upper <= r->divergence) {
        lq_pick_release(&r->pick);
        lq_measured_release(&r->measured);
        r->pick = pick;
        r->measured = measured;
        r->high = bytes;
        return LQ_OK;
    }
    r->low = bytes;
    lq_pick_release(&pick);
    lq_measured_release(&measured);
    return status;
}

static enum lq_status search(struct reach *r, struct lq_error *err)
{
    double upper;
    enum lq_status status = attempt(r, r->high, &upper, err);
    if (status == LQ_OK && r->pick.offers == NULL)
        return lq_error_set(err, LQ_ERR_USAGE,
                            "%s: a divergence of at most %.3g is asked for; with the largest types allowed it is %.3g, "
                            "two standard errors included",
                            r->strategy->options.model->path, r->divergence, upper);
    for (int step = 1; step < STEPS && status == LQ_OK; step++) {
        if ((double)r->high <= near_enough * (double)r->low) break;
        uint64_t middle = (uint64_t)sqrt((double)r->low * (double)r->high);
        status = attempt(r, middle, &upper, err);
    }
    return status;
}

enum lq_status lq_reach(struct lq_pick *pick, struct lq_measured *measured, struct lq_size *size,
                        struct lq_strategy *strategy, double divergence, const char *name, struct lq_error *err)
{
    struct lq_fit_bounds bounds;
    enum lq_status status = lq_fit_bounds(&bounds, strategy, err);
    if (status != LQ_OK) return status;
    struct reach r = {.strategy = strategy,
                      .name = name,
                      .divergence = divergence,
                      .low = bounds.smallest_data,
                      .high = bounds.largest_data < bounds.original_data ? bounds.largest_data : bounds.original_data};
    status = search(&r, err);
    if (status == LQ_OK) {
        *pick = r.pick;
        *measured = r.measured;
        *size = (struct lq_size){.bytes = r.high, .data = true};
        return LQ_OK;
    }
    lq_pick_release(&r.pick);
    lq_measured_release(&r.measured);
    return status;
}

uint64_t lq_reach_steps(void)
{
    return STEPS;
}
