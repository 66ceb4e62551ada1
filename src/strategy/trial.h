/* What the answers lose when some matrices are encoded otherwise: the divergence that a plan is judged by.
 *
 * Enters: the original pair, questions about pictures with their answers. Leaves: for any set of recoded tensors the
 * mean Kullback-Leibler divergence (nats) of the answers' tokens from the original's, as `eval` computes it, with its
 * spread. Invariants: each question is asked by itself, also those of one conversation; the pair is loaded once, a small one for each thread; the original's logits and pictures are
 * computed once and kept; pictures are seen anew only after a tensor of the vision half was recoded; the same recodings
 * give the same figure whatever was measured before, and for any number of threads. No recoding at all gives exactly 0.
 *
 *     lq_trial_open(&trial, &options, &err);
 *     lq_trial_recode(trial, "blk.0.ffn_up.weight", LQ_TYPE_Q4_K, data, &err);
 *     lq_trial_measure(trial, &d, &err);             // d.mean
 *     lq_trial_recode(trial, "blk.0.ffn_up.weight", LQ_TYPE_NONE, NULL, &err);
 */
#ifndef LQ_STRATEGY_TRIAL_H
#define LQ_STRATEGY_TRIAL_H

#include "llava_quantize/dataset.h"
#include "runtime/recode.h"

struct lq_trial;

struct lq_trial_options {
    struct lq_runtime_options pair; /* the original's files, threads, hooks */
    const struct lq_dataset *data;  /* borrowed while the trial is open */
    size_t limit;    /* records at most, with all of their questions, evenly spread; 0: all that fit `memory` */
    uint64_t memory; /* bytes, about, for the original's logits and for pictures' embeddings, the recoded ones included;
                        fewer records are used where they do not suffice; 0: 1 GiB */
};

/* `mean` over answer tokens; `error` is its standard error over pictures, because tokens about one picture go together;
 * NaN for a single picture. */
struct lq_trial_divergence {
    double mean, error;
    double agreement; /* share of tokens whose likeliest stayed */
};

/* What measuring takes, for saying so beforehand: */
struct lq_trial_cost {
    size_t questions, pictures, answer_tokens, tokens; /* of one measurement; `tokens` run, pictures' included */
    size_t picture_tokens;                             /* of the largest picture */
    uint64_t measurements;                             /* so far */
    double picture_seconds, token_seconds;             /* so far, the original's pass included */
};

/* Runs the original once. A record whose picture is broken, or whose text is too long, is told to the log hook and left
 * out; LQ_ERR_USAGE when none is left. Else errors of the runtime. On failure *out is untouched. */
enum lq_status lq_trial_open(struct lq_trial **out, const struct lq_trial_options *options, struct lq_error *err);
void lq_trial_free(struct lq_trial *trial);
/* As lq_runtime_recode. */
enum lq_status lq_trial_recode(struct lq_trial *trial, const char *weight, enum lq_type type, const void *data,
                               struct lq_error *err);
/* The divergence with what is recoded now. `by_question`: NULL, or lq_trial_cost().questions sums of KL, for comparing
 * two measurements question by question. Errors: LQ_ERR_RUNTIME, LQ_ERR_CANCELLED, LQ_ERR_MEMORY. */
enum lq_status lq_trial_measure(struct lq_trial *trial, struct lq_trial_divergence *out, double *by_question,
                                struct lq_error *err);
struct lq_trial_cost lq_trial_cost(const struct lq_trial *trial);

#endif
