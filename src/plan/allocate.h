/* One type for each tensor so that the whole costs least within a budget of bytes.
 *
 * Enters: for each item its choices, each with bytes and a cost (a divergence: finite, not negative), and a budget.
 * Leaves: one choice for each item. Invariants: within the budget; of least summed cost (a multiple-choice knapsack),
 * proved by bounds, or, where the search would take too long, with the bound that no choice can fall below. Equal costs
 * give fewer bytes, then the earlier choice of the first item that differs, unless the search was cut off; the same
 * items always give the same answer. A thousand items take milliseconds; at most some seconds and 150 MB.
 *
 *     lq_allocate(items, n, budget, chosen, &outcome, &err);
 *     items[i].choices[chosen[i]]
 */
#ifndef LQ_PLAN_ALLOCATE_H
#define LQ_PLAN_ALLOCATE_H

#include "llava_quantize/base.h"

struct lq_choice {
    uint64_t bytes;
    double cost;
};

struct lq_choice_item {
    const struct lq_choice *choices;
    size_t n;
};

struct lq_allocation {
    uint64_t bytes;
    double cost;
    double bound; /* no choice within the budget costs less; of lq_allocate_cost: takes fewer bytes */
    double price; /* what the next byte saves, cost per byte, at the budget; 0: nothing */
    bool optimal; /* the bound was reached */
};

/* Errors: LQ_ERR_USAGE when even the smallest choices exceed the budget (*outcome is then theirs), for an item without
 * choices, a cost that is none, or more than 2^53 bytes; LQ_ERR_MEMORY. `chosen` is untouched on failure. */
enum lq_status lq_allocate(const struct lq_choice_item *items, size_t n, uint64_t budget, size_t *chosen,
                           struct lq_allocation *outcome, struct lq_error *err);
/* The other way round: fewest bytes whose cost is at most `cost`, but for the rounding of a sum. LQ_ERR_USAGE when even
 * the best choices cost more (*outcome is then theirs). */
enum lq_status lq_allocate_cost(const struct lq_choice_item *items, size_t n, double cost, size_t *chosen,
                                struct lq_allocation *outcome, struct lq_error *err);

#endif
