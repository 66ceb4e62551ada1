/* The runtimes that a trial measures with, side by side.
 *
 * Enters: a pair, threads. Leaves: runtimes of it whose recodings are the same, each with a lane of its own.
 * Invariants: a small pair is opened once for each thread, because ggml's threads wait for one another there more than
 * they compute, and memory allows it; of any other there is one runtime with all the threads. All of them compute the
 * same, bit for bit, so that it does not matter who does what.
 */
#ifndef LQ_STRATEGY_CREW_H
#define LQ_STRATEGY_CREW_H

#include "runtime/recode.h"

struct lq_crew_member {
    struct lq_runtime *rt;
    struct lq_lane *lane; /* NULL until it is needed, and after a failure, which may have left it in any state */
};

struct lq_crew {
    struct lq_crew_member *members;
    unsigned n, most; /* most: that the pair's size and the threads allow */
};

/* Opens the first member; `observer` watches it alone (NULL: nobody does). Errors: those of opening a runtime. Release
 * the crew on failure too. */
enum lq_status lq_crew_open(struct lq_crew *crew, const struct lq_runtime_options *options,
                            const struct lq_observer *observer, struct lq_error *err);
/* A small pair's other members, for at most `n_items` pieces of work. */
enum lq_status lq_crew_grow(struct lq_crew *crew, const struct lq_runtime_options *options, size_t n_items,
                            struct lq_error *err);
void lq_crew_release(struct lq_crew *crew);
/* As lq_runtime_recode, of all members. */
enum lq_status lq_crew_recode(struct lq_crew *crew, const char *weight, enum lq_type type, const void *data,
                              struct lq_error *err);
/* Tokens and pictures of all members; seconds as they go by while all of them work. */
struct lq_runtime_usage lq_crew_used(const struct lq_crew *crew);

#endif
