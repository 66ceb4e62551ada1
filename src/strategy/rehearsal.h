/* A whole plan in the running original: all its tensors encoded and put in at once.
 *
 * Enters: a search with a trial, an offer for each item. Leaves: the divergence that the plan's files would have.
 * Invariants: what stays as it is from one measurement to the next is not encoded again; the encoded plan is in memory.
 */
#ifndef LQ_STRATEGY_REHEARSAL_H
#define LQ_STRATEGY_REHEARSAL_H

#include "strategy/searching.h"

enum lq_status lq_rehearsal_open(struct lq_rehearsal **out, struct lq_strategy *strategy, struct lq_error *err);
/* The trial goes back to the original. */
void lq_rehearsal_free(struct lq_rehearsal *rehearsal);

/* `offers`: one for each item. `without`: NULL, or for each item whether it stays as in the original. `by_question`: as
 * for lq_trial_measure. Errors: LQ_ERR_UNSUPPORTED where weights overflow a type, which is refused from now on: fit
 * anew; else those of reading, encoding and the runtime. */
enum lq_status lq_rehearsal_measure(struct lq_rehearsal *rehearsal, const size_t *offers, const bool *without,
                                    struct lq_trial_divergence *out, double *by_question, struct lq_error *err);

#endif
