/* The best mix of types for a size or a quality, over both halves at once.
 *
 * Enters: a model, what is known about it (statistics, questions about pictures), a goal. Leaves: a plan, with each
 * tensor's error, sensitivity and what the next bit would buy; what was measured; the whole curve of size and divergence.
 * Invariants: the plan's files are never larger than asked for; a divergence asked for is met by measurement; the same
 * input gives the same plan; what was measured is kept in the statistics file, so that another goal costs nothing.
 *
 *     struct lq_strategy *strategy = NULL;
 *     lq_strategy_open(&strategy, &options, &err);                 // errors of types, sensitivities
 *     lq_strategy_plan(strategy, &(struct lq_goal){.bytes = 4200000000}, &plan, &outcome, &err);
 *     lq_strategy_free(strategy);
 */
#ifndef LLAVA_QUANTIZE_STRATEGY_H
#define LLAVA_QUANTIZE_STRATEGY_H

#include "llava_quantize/dataset.h"
#include "llava_quantize/plan.h"
#include "llava_quantize/quantize.h"

#ifdef __cplusplus
extern "C" {
#endif

struct lq_strategy;

struct lq_strategy_options {
    const struct lq_model *model;
    const char *language, *mmproj; /* GGUF files of the original that the runtime can load; NULL: statistics alone */
    const struct lq_dataset *data; /* NULL: statistics alone */
    const struct lq_stats *stats;  /* NULL: plain errors of weights */
    const char *cache;             /* statistics file that keeps what is measured; NULL: nowhere */
    const char *types, *device;    /* as --types, --only-fast-on; NULL: all */
    const struct lq_plan_rule *most, *pins;
    size_t n_most, n_pins;
    bool no_padding, allow_requantize;
    enum lq_effort effort; /* fast: statistics alone; normal: groups measured; best: tensors, and neighbours */
    enum lq_method method;
    uint64_t memory;
    unsigned threads;
    const struct lq_hooks *hooks;
};

/* Exactly one is set. */
struct lq_goal {
    uint64_t bytes; /* of all files of both halves */
    double bpw;     /* over all tensors of both halves */
    double kld;     /* mean divergence of answers, nats */
};

struct lq_strategy_outcome {
    uint64_t bytes; /* of the files */
    double bpw;
    double estimate;        /* divergence by the additive model */
    double measured, error; /* of the plan itself, and its standard error; NaN where nothing was measured */
    double bound;           /* the additive model's optimum is not below it */
    unsigned swaps;         /* made after measuring */
};

enum lq_status lq_strategy_open(struct lq_strategy **out, const struct lq_strategy_options *options,
                                struct lq_error *err);
void lq_strategy_free(struct lq_strategy *strategy);
/* Errors: LQ_ERR_USAGE for a goal out of reach: the message says the smallest (or best) possible and which tensors hold
 * it there. On failure *out is untouched. */
enum lq_status lq_strategy_plan(struct lq_strategy *strategy, const struct lq_goal *goal, struct lq_plan **out,
                                struct lq_strategy_outcome *outcome, struct lq_error *err);

#ifdef __cplusplus
}
#endif
#endif
