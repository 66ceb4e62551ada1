/* What is found out about each tensor before anything is chosen.
 *
 * Enters: menu, groups, and a trial or none. Leaves: the error of each offer; with a trial each group's divergence in
 * its probe types, hence a sensitivity for each of its tensors, and the power of the error, checked at a second type.
 * Invariants: matrices are opened once each, group by group, so that no more than a group's are held encoded.
 */
#ifndef LQ_STRATEGY_SURVEY_H
#define LQ_STRATEGY_SURVEY_H

#include "strategy/searching.h"

/* Errors: of reading, encoding, the runtime; LQ_ERR_CANCELLED. */
enum lq_status lq_survey_run(struct lq_strategy *strategy, struct lq_error *err);
/* Steps that it will tell lq_strategy_step of. */
uint64_t lq_survey_steps(const struct lq_strategy *strategy);

#endif
