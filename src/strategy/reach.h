/* The smallest plan that a divergence allows, found by measuring plans of several sizes.
 *
 * Enters: a search with a trial, a divergence. Leaves: a pick whose measured divergence, with two standard errors,
 * stays below it. Invariants: what is handed back was itself measured; sizes are halved between one that is too small
 * and one that will do until they are within half a percent.
 */
#ifndef LQ_STRATEGY_REACH_H
#define LQ_STRATEGY_REACH_H

#include "strategy/repair.h"

/* `size`: that of the pick. Errors: LQ_ERR_USAGE where even the largest types diverge more: the message says how
 * much. */
enum lq_status lq_reach(struct lq_pick *pick, struct lq_measured *measured, struct lq_size *size,
                        struct lq_strategy *strategy, double divergence, const char *name, struct lq_error *err);
/* What the interval demands: the mean and two standard errors. */
double lq_reach_upper(const struct lq_trial_divergence *divergence);
uint64_t lq_reach_steps(void);

#endif
