/* One type for each tensor so that the whole costs least within a budget of bytes.
 *
 * Enters: for each item its choices, each with bytes and a cost (a divergence; any number not negative), and a budget.
 * Leaves: one choice for each item. Invariants: within the budget; optimal for the sum of costs (a multiple-choice
 * knapsack), proved by branch and bound over its Lagrangian relaxation, or, where the search is cut off after `nodes`
 * steps, with the bound that no choice can fall below. Ties give fewer bytes, then the earlier choice, so that the same
 * items give the same answer.
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
    double bound; /* no choice within the budget costs less */
    double price; /* what the next byte saves, cost per byte, at the budget */
    bool optimal; /* cost == bound was proved */
};

/* Errors: LQ_ERR_USAGE when even the smallest choices exceed the budget (outcome->bytes is then their sum),
 * LQ_ERR_MEMORY. */
enum lq_status lq_allocate(const struct lq_choice_item *items, size_t n, uint64_t budget, size_t *chosen,
                           struct lq_allocation *outcome, struct lq_error *err);
/* The other way round: fewest bytes whose cost is at most `cost`. LQ_ERR_USAGE when the dearest do not reach it. */
enum lq_status lq_allocate_cost(const struct lq_choice_item *items, size_t n, double cost, size_t *chosen,
                                struct lq_allocation *outcome, struct lq_error *err);

#endif
