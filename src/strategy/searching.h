/* What a search holds: what the room's parts pass to one another.
 *
 * It is filled in this order: menu and groups by lq_strategy_open; a trial where something can be measured, the
 * survey's errors and sensitivities, the rehearsal by the first goal that is not out of reach. Planning changes the
 * groups' factors and what is rehearsed, both of which begin anew with each plan.
 */
#ifndef LQ_STRATEGY_SEARCHING_H
#define LQ_STRATEGY_SEARCHING_H

#include "base/meter.h"
#include "quantize/matrix.h"
#include "strategy/known.h"
#include "strategy/trial.h"

struct lq_rehearsal;

struct lq_strategy {
    struct lq_strategy_options options;
    struct lq_menu menu;
    struct lq_groups groups, roles; /* roles: none where each tensor is a group */
    struct lq_known *known;         /* NULL: nothing is kept */
    struct lq_trial *trial;         /* NULL: nothing can be measured */
    struct lq_rehearsal *rehearsal; /* NULL as `trial` */
    struct lq_meter meter;
    struct lq_strategy_facts facts; /* but for what the trial counts */
    bool surveyed;
};

/* A tensor's matrix as the plan will be quantised; errors from a sample of rows. */
struct lq_matrix_terms lq_strategy_terms(const struct lq_strategy *strategy, const struct lq_tensor *tensor);
/* Finds out errors and sensitivities, once: before the first fit. Progress counts `more` measurements that follow, where
 * anything can be measured. */
enum lq_status lq_strategy_prepare(struct lq_strategy *strategy, uint64_t more, struct lq_error *err);
/* LQ_ERR_CANCELLED where the hook says so; else tells it that `what` is in hand. */
enum lq_status lq_strategy_step(struct lq_strategy *strategy, const char *what, uint64_t steps, struct lq_error *err);

#endif
