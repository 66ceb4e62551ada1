/* Right answers as tokens, with the token that ends them.
 *
 * Enters: a question and its right answer. Leaves: the tokens around the picture and where the answer stands.
 * Invariants: those of runtime/dialogue.h, which does the same for whole conversations.
 */
#ifndef LQ_RUNTIME_ANSWER_H
#define LQ_RUNTIME_ANSWER_H

#include "runtime/dialogue.h"

/* One turn; a question with a prompt of its own is taken as it is. Errors and *out as for lq_dialogue_build. */
enum lq_status lq_answer_build(struct lq_dialogue *out, const struct lq_runtime *rt, const struct lq_question *question,
                               const char *answer, struct lq_error *err);

#endif
