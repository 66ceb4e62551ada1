/* What measuring the whole plan puts right: parts cost more or less together than alone.
 *
 * Enters: a pick and its measured divergence. Leaves: a pick of the same size that measured lower, or the same one.
 * Method: each kind of tensors in turn goes back to the original; what the plan then loses less, against what the
 * additive model says, corrects the kind's sensitivity, and the size is allocated anew. Then neighbours: one kind
 * counts twice or half as much, which swaps types between it and the others. What measures lower is kept, and searched
 * around.
 */
#ifndef LQ_STRATEGY_REPAIR_H
#define LQ_STRATEGY_REPAIR_H

#include "strategy/fit.h"

struct lq_measured {
    struct lq_trial_divergence divergence;
    double *by_question; /* owned */
};

void lq_measured_release(struct lq_measured *measured);
/* Measures a pick as a whole; what overflows its type is refused, and `pick` allocated anew. */
enum lq_status lq_repair_measure(struct lq_measured *out, struct lq_strategy *strategy, struct lq_pick *pick,
                                 const struct lq_size *size, struct lq_error *err);
/* `outcome`: its swaps and neighbours are counted. The menu's factors are as they served the pick. */
enum lq_status lq_repair_run(struct lq_strategy *strategy, struct lq_pick *pick, struct lq_measured *measured,
                             const struct lq_size *size, struct lq_strategy_outcome *outcome, struct lq_error *err);
/* Measurements that it will take at most. */
uint64_t lq_repair_steps(const struct lq_strategy *strategy);

#endif
