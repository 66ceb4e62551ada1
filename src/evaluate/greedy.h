/* Greedy answers: each goes on from where a lane already stands, many at a time.
 *
 * Enters: a lane whose sequences hold what was fed; answers that have begun, each with the place in a sequence that it
 * continues. Leaves: the answers, up to an end token or their longest length.
 * Invariants: the same jobs in the same lane give the same answers; the sequences that are continued stay as they are,
 * unless the model keeps no memory per token: then the lane is cleared and each prefix fed again.
 */
#ifndef LQ_EVALUATE_GREEDY_H
#define LQ_EVALUATE_GREEDY_H

#include "runtime/dialogue.h"
#include "runtime/lane.h"

struct lq_greedy_job {
    uint32_t from;   /* sequence that holds what stands before the answer's last token so far */
    size_t length;   /* tokens of it that count */
    int32_t *tokens; /* the answer, of which `n` tokens, at least one, are there; room for `most` */
    size_t n, most;
    size_t begun; /* set by lq_greedy_run: n as it came */
    /* The same once more, for a lane that cannot go back: */
    const struct lq_dialogue *dialogue;
    const struct lq_view *view;
    size_t n_text; /* tokens of the dialogue's text that stand before the answer's last token so far */
};

/* `first` .. `first + n_sequences - 1` are empty sequences, `cells` positions are free. */
struct lq_greedy_room {
    uint32_t first, n_sequences;
    size_t cells;
};

enum lq_status lq_greedy_run(struct lq_lane *lane, const struct lq_runtime *rt, struct lq_greedy_job *jobs, size_t n,
                             const struct lq_greedy_room *room, struct lq_error *err);

#endif
