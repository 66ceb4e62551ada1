/* From an exam that was sat, or a text that was read, to the figures of an evaluation. */
#ifndef LQ_EVALUATE_OUTCOME_H
#define LQ_EVALUATE_OUTCOME_H

#include "evaluate/exam.h"

/* Arms' answers and divergence, kinds, questions, pictures, embedding. */
enum lq_status lq_outcome_of_exam(struct lq_evaluation *out, const struct lq_exam *exam, const struct lq_race *race,
                                  struct lq_error *err);
/* Divergence on text, of the pair and, `by_half`, of its language half, which is the same. */
enum lq_status lq_outcome_of_text(struct lq_evaluation *out, const struct lq_race *race, size_t n_windows, bool by_half,
                                  struct lq_error *err);

#endif
