/* The best choice for a size, counted as the files will have it.
 *
 * Enters: a search whose errors and sensitivities are known, a size. Leaves: an offer for each tensor; a plan of them.
 * Invariants: never above the size: headers, metadata and alignment are counted as lq_quantize will write them; nothing
 * that still fits would lower the sum of costs.
 *
 *     struct lq_pick pick = {0};
 *     lq_fit(&pick, strategy, &(struct lq_size){.bytes = 4200000000}, "auto-4200M", &err);
 *     lq_pick_plan(&plan, strategy, &pick, &err);
 *     lq_pick_release(&pick);
 */
#ifndef LQ_STRATEGY_FIT_H
#define LQ_STRATEGY_FIT_H

#include "strategy/searching.h"

struct lq_size {
    uint64_t bytes;
    bool data; /* of the tensors' data alone, without headers and alignment: what bits per weight are of */
};

struct lq_pick {
    size_t *offers;   /* of each item of the menu; owned */
    const char *name; /* of the recipe and for files; borrowed */
    uint64_t bytes;   /* of the files */
    double bpw;
    double cost, bound; /* by the additive model */
};

/* What the fit has of bounds: */
struct lq_fit_bounds {
    uint64_t smallest, largest, original; /* bytes of files */
    uint64_t smallest_data, largest_data, original_data, weights;
};
enum lq_status lq_fit_bounds(struct lq_fit_bounds *out, struct lq_strategy *strategy, struct lq_error *err);

/* Errors: LQ_ERR_USAGE for a size below the smallest possible (the message names what holds it up) or above the
 * original's. Needs no survey. */
enum lq_status lq_fit_check(struct lq_strategy *strategy, const struct lq_size *size, struct lq_error *err);
/* Errors: LQ_ERR_USAGE for a size below the smallest possible (the message names what holds it up) or above the
 * original's. On failure *out is untouched. */
enum lq_status lq_fit(struct lq_pick *out, struct lq_strategy *strategy, const struct lq_size *size, const char *name,
                      struct lq_error *err);
void lq_pick_release(struct lq_pick *pick);
/* What the additive model itself says that a pick costs, before anything corrected it; NaN where nothing was
 * measured. */
double lq_strategy_estimate(const struct lq_strategy *strategy, const struct lq_pick *pick);
/* Forgets what was measured around earlier plans. */
void lq_strategy_forget(struct lq_strategy *strategy);
/* The plan of a pick, without judgements. */
enum lq_status lq_pick_plan(struct lq_plan **out, const struct lq_strategy *strategy, const struct lq_pick *pick,
                            struct lq_error *err);
#endif
