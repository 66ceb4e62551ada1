/* What a plan says of itself: each entry's error, sensitivity, share, and what more bytes would buy. */
#ifndef LQ_STRATEGY_JUDGED_H
#define LQ_STRATEGY_JUDGED_H

#include "strategy/fit.h"

/* `plan`: that of the pick. Entries whose reason nothing else decided get "budget". */
void lq_judged_set(struct lq_plan *plan, const struct lq_strategy *strategy, const struct lq_pick *pick);

#endif
