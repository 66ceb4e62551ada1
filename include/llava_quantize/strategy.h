/* The best mix of types for a size or a quality, over both halves at once.
 *
 * Enters: a model, what is known about it (statistics, questions about pictures), a goal. Leaves: a plan, with each
 * tensor's error, sensitivity and what the next bit would buy; what was measured; the whole curve of size and
 * divergence.
 * Invariants: the plan's files are never larger than asked for; a divergence asked for is met by measurement; the same
 * input gives the same plan, whatever the number of threads; what was measured is kept in the statistics file, so that
 * another goal needs no sensitivities again.
 * Method: the divergence of the answers is taken to be a sum over tensors, sensitivity x error^power, where the error
 * is that of a tensor's outputs in a type (squared, relative), and the sensitivity that of its group, measured by
 * encoding the group in one small type; docs/rooms/strategy.md has more.
 *
 *     struct lq_strategy *strategy = NULL;
 *     lq_strategy_open(&strategy, &options, &err);
 *     lq_strategy_plan(strategy, &(struct lq_goal){.bytes = 4200000000}, &plan, &outcome, &err);   // measures
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

/* All borrowed until lq_strategy_free. */
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
    enum lq_effort effort; /* of the encoders, and: fast: statistics alone; normal: groups measured; best: tensors */
    enum lq_method method;
    uint64_t split_size; /* as in struct lq_quantize_options: shards have headers of their own */
    bool keep_split;
    uint64_t memory; /* bytes for the original's logits; 0: 256 MB */
    unsigned threads;
    const struct lq_hooks *hooks;
};

/* Exactly one is set. */
struct lq_goal {
    uint64_t bytes; /* of all files of both halves */
    double bpw;     /* over all tensors of both halves, as written */
    double kld;     /* mean divergence of answers, nats: what was measured and two standard errors stay below it */
};

/* What a plan for it is called, in its record and in names of files: "auto-4.2G", "auto-4.5bpw", "auto-kld0.02". 32
 * bytes hold it. */
void lq_goal_name(const struct lq_goal *goal, char *dst, size_t size);

struct lq_strategy_outcome {
    uint64_t bytes; /* of the files */
    double bpw;
    double estimate;            /* divergence by the additive model; NaN where no sensitivity was measured */
    double measured, error;     /* of the plan itself, and its standard error; NaN where nothing was measured */
    double bound;               /* the additive model's optimum is not below it; NaN as `estimate` */
    double first;               /* measured before any swaps */
    unsigned swaps, neighbours; /* made after measuring, of so many that were measured */
};

/* What is known of a search: the first four of the model alone, the rest once something was planned. */
struct lq_strategy_facts {
    size_t tensors, choices, groups;       /* to be chosen for, types offered in all, measured together */
    uint64_t smallest, original;           /* bytes of the files */
    size_t known;                          /* measurements that an earlier run had made */
    double power;                          /* of the error, in the additive model */
    size_t checks;                         /* groups measured at a second type ... */
    double ratio, ratio_low, ratio_high;   /* ... and measured / predicted: geometric mean, range */
    size_t questions, pictures, tokens;    /* of one measurement; tokens: pictures' and text's */
    size_t picture_tokens;                 /* of the largest picture */
    size_t answer_tokens;                  /* of those, what the divergence is a mean of */
    uint64_t measurements;                 /* forward passes of all questions */
    double picture_seconds, token_seconds; /* spent on them */
    double seconds;                        /* since the beginning, of opening and planning */
};

/* Errors: those of the choices (limits that contradict each other), LQ_ERR_MEMORY. On failure *out is untouched. Where
 * nothing can be measured (no pair, no data, effort fast) all tensors count alike. */
enum lq_status lq_strategy_open(struct lq_strategy **out, const struct lq_strategy_options *options,
                                struct lq_error *err);
void lq_strategy_free(struct lq_strategy *strategy);
struct lq_strategy_facts lq_strategy_facts(const struct lq_strategy *strategy);
/* The first goal in reach finds out errors and sensitivities. Errors: LQ_ERR_USAGE for a goal out of reach: the message
 * says the smallest (or best) possible and which tensors hold it there; for a divergence where nothing can be measured;
 * those of reading, encoding and the runtime; LQ_ERR_CANCELLED. On failure *out is untouched. */
enum lq_status lq_strategy_plan(struct lq_strategy *strategy, const struct lq_goal *goal, struct lq_plan **out,
                                struct lq_strategy_outcome *outcome, struct lq_error *err);

/* One point of the curve: the best plan of a size. */
struct lq_curve_point {
    uint64_t bytes;                        /* of its files */
    double bpw, estimate, measured, error; /* as in struct lq_strategy_outcome */
};
/* The best plans at `n` sizes, evenly spread (by their logarithm) from the smallest possible to about 8.5 bits per
 * weight; measured where that is possible, each without swaps. `points` holds n. */
enum lq_status lq_strategy_curve(struct lq_strategy *strategy, struct lq_curve_point *points, size_t n,
                                 struct lq_error *err);
/* Writes it as JSON (docs/output.md), whole or not at all. Errors: LQ_ERR_IO, LQ_ERR_MEMORY. */
enum lq_status lq_strategy_curve_save(const struct lq_strategy *strategy, const struct lq_curve_point *points, size_t n,
                                      const char *path, struct lq_error *err);

#ifdef __cplusplus
}
#endif
#endif
