/* Two pairs side by side: the same tokens through a lane of each, their logits compared where they lie.
 *
 * Enters: the two runtimes; pictures and tokens, each token with the sequence that it continues. Leaves: a score for
 * each arm and each token whose prediction is wanted.
 * Invariants: every lane gets the same calls in the same order and the same batches, so a pair beside itself differs
 * by exactly nothing; the scores of all arms stand in the order of the steps.
 *
 *     struct lq_race race;
 *     lq_race_init(&race, original, pair, false);
 *     lq_race_open(&race, &(struct lq_lane_options){.cells = 1024, .sequences = 8}, &err);
 *     lq_race_feed(&race, steps, n, &err);
 *     printf("%g\n", race.scores[LQ_ARM_BOTH].items[0].kl);
 *     lq_race_release(&race);
 */
#ifndef LQ_EVALUATE_RACE_H
#define LQ_EVALUATE_RACE_H

#include "evaluate/token_score.h"
#include "llava_quantize/evaluate.h"
#include "runtime/lane.h"

enum lq_side { LQ_SIDE_ORIGINAL, LQ_SIDE_PAIR, LQ_SIDES };

/* Who runs: the original, and each arm behind it. */
enum { LQ_RUNNER_ORIGINAL, LQ_RUNNER_ARM, LQ_RUNNERS = LQ_RUNNER_ARM + LQ_ARMS };

struct lq_score_list {
    struct lq_token_score *items;
    size_t n, capacity;
};

struct lq_race {
    struct lq_runtime *rt[LQ_SIDES]; /* borrowed; the original's may be NULL */
    bool runs[LQ_RUNNERS];
    struct lq_lane *lane[LQ_RUNNERS]; /* NULL where it does not run */
    struct lq_lane_options size;      /* of the open lanes */
    struct lq_lane_item *items;       /* of the batch in hand */
    struct lq_score_list scores[LQ_ARMS];
};

/* One token for every lane. */
struct lq_step {
    int32_t token;
    uint32_t sequence;
    bool wanted;       /* score what it predicts */
    int32_t right;     /* the token that should follow */
    uint32_t question; /* goes into the score */
};

/* `original` may be NULL: then the pair runs alone, and `by_half` counts for nothing. */
void lq_race_init(struct lq_race *race, struct lq_runtime *original, struct lq_runtime *pair, bool by_half);
void lq_race_release(struct lq_race *race);
/* Whose language half and whose vision half a runner is made of. */
enum lq_side lq_runner_language(size_t runner);
enum lq_side lq_runner_vision(size_t runner);

/* Empty lanes of at least that size: those open, where they suffice. */
enum lq_status lq_race_open(struct lq_race *race, const struct lq_lane_options *size, struct lq_error *err);
/* `views` by side. */
enum lq_status lq_race_show(struct lq_race *race, uint32_t sequence, struct lq_view *const *views,
                            struct lq_error *err);
enum lq_status lq_race_fork(struct lq_race *race, uint32_t from, uint32_t to, struct lq_error *err);
enum lq_status lq_race_feed(struct lq_race *race, const struct lq_step *steps, size_t n, struct lq_error *err);

#endif
