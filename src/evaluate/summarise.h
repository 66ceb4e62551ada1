/* From single tokens and answers to means, percentiles, intervals and tests.
 *
 * Enters: the scores of tokens and of answers, and for each question the unit (picture or text window) that it belongs
 * to. Leaves: struct lq_divergence, struct lq_answers, struct lq_embedding.
 * Invariants: intervals come from a bootstrap over units with a fixed seed, so that figures repeat; with fewer than two
 * units low and high are NaN; what was not measured is NaN; no input is changed.
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

/* The scores' `question` says which question each token belongs to. Scores without an original (log_p_original NaN)
 * give tokens and perplexity alone; none that take part, nothing. Errors here and below: LQ_ERR_MEMORY. */
enum lq_status lq_summarise_tokens(struct lq_divergence *out, const struct lq_token_score *scores, size_t n,
                                   const struct lq_units *units, struct lq_error *err);

/* One greedy answer, judged. */
struct lq_answer_score {
    bool exact_original, exact, changed;
    double vqa_original, vqa;
};

/* scores: one per question. `has_original` false: only questions, exact and vqa are given. */
enum lq_status lq_summarise_answers(struct lq_answers *out, const struct lq_answer_score *scores, bool has_original,
                                    const struct lq_units *units, struct lq_error *err);
enum lq_status lq_summarise_pictures(struct lq_embedding *out, const struct lq_picture_result *pictures, size_t n,
                                     struct lq_error *err);

/* Means over units 0 .. n-1, each a sum and a count (0: it does not take part): sum of sums / sum of counts, with the
 * studentised bootstrap's 95 % interval, for which every resample is scaled by its own standard error (Efron and
 * Tibshirani, An Introduction to the Bootstrap, 1993, section 12.5). It keeps its coverage for skewed units, which
 * divergences are, and is not confined to any range. */
enum lq_status lq_bootstrap_ratio(struct lq_estimate *out, const double *sums, const double *counts, size_t n,
                                  struct lq_error *err);
void lq_sort(double *values, size_t n);
/* Percentile of sorted values, between neighbours by straight lines (numpy's default); NaN where n is 0. */
double lq_percentile(const double *sorted, size_t n, double percent);
/* McNemar's exact test: probability of a split at least as uneven by chance. */
double lq_mcnemar(uint64_t lost, uint64_t gained);

#endif
