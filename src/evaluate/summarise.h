/* From single tokens and answers to means, percentiles, intervals and tests.
 *
 * Enters: the scores of tokens and of answers, and for each question the unit (picture or text window) that it belongs
 * to. Leaves: struct lq_divergence, struct lq_answers, struct lq_embedding.
 * Invariants: intervals come from a bootstrap over units with a fixed seed, so that figures repeat; with fewer than two
 * units low and high are NaN; no input is changed.
 */
#ifndef LQ_EVALUATE_SUMMARISE_H
#define LQ_EVALUATE_SUMMARISE_H

#include "evaluate/token_score.h"
#include "llava_quantize/evaluate.h"

/* The questions that take part and their units. */
struct lq_units {
    const uint32_t *unit; /* per question: 0 .. n_units-1 */
    const bool *part;     /* per question: it takes part; NULL: all do */
    size_t n_questions, n_units;
};

enum lq_status lq_summarise_tokens(struct lq_divergence *out, const struct lq_token_score *scores, size_t n,
                                   const struct lq_units *units, struct lq_error *err);

/* One greedy answer, judged. */
struct lq_answer_score {
    bool exact_original, exact, changed;
    double vqa_original, vqa;
};

/* scores: one per question. `has_original` false: only exact and vqa are given. */
enum lq_status lq_summarise_answers(struct lq_answers *out, const struct lq_answer_score *scores, bool has_original,
                                    const struct lq_units *units, struct lq_error *err);
enum lq_status lq_summarise_pictures(struct lq_embedding *out, const struct lq_picture_result *pictures, size_t n,
                                     struct lq_error *err);

/* Means over units 0 .. n-1, each a sum and a count: sum of sums / sum of counts with its interval. */
enum lq_status lq_bootstrap_ratio(struct lq_estimate *out, const double *sums, const double *counts, size_t n,
                                  struct lq_error *err);
/* McNemar's exact test: probability of a split at least as uneven by chance. */
double lq_mcnemar(uint64_t lost, uint64_t gained);

#endif
