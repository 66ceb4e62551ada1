/* What one predicted token tells: the divergence of two rows of logits, and the right token's probability in each.
 *
 * Enters: a row of logits of the original (or none) and of the pair, the right token. Leaves: six numbers.
 * Invariants: sums are in double; equal rows give a kl of exactly 0; the outcome does not depend on the CPU. Whatever
 * rows of logits but NaN may hold, masked tokens (-inf) included, nothing is infinite: a logit more than 690 below the
 * row's highest counts as 690 below, so that kl and -ln p end near 700.
 */
#ifndef LQ_EVALUATE_TOKEN_SCORE_H
#define LQ_EVALUATE_TOKEN_SCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lq_token_score {
    uint32_t question; /* which question (or text window) it belongs to */
    bool agree;        /* the likeliest token is the same */
    int32_t top_original, top;
    double kl;                    /* nats */
    double log_p_original, log_p; /* of the right token, natural logarithm */
};

/* `original` NULL: kl, log_p_original are NaN and agree is false. `question` is left alone. */
void lq_token_score(struct lq_token_score *out, const float *original, const float *pair, size_t n_vocab,
                    int32_t right);

#endif
