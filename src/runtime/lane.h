/* Many token sequences through a language half, a batch at a time, and pictures through a vision half.
 *
 * Enters: an open runtime; tokens, each with the sequence that it continues; pictures. Leaves: logits of the tokens
 * asked for, which stay readable until the lane's next batch, so that two lanes fed alike can be compared in place.
 * Invariants: a lane is a context of its own over the runtime's weights; sequences are 0 .. sequences-1 and each keeps
 * its own positions; sequences that were forked share their beginning's memory; the picture's embeddings need not come
 * from the same runtime as the lane. Lanes of one runtime, and runtimes, must not run at the same time. A token's time
 * grows with the cells in use, those of other sequences included: beyond one or two thousand, company costs more than
 * it saves.
 *
 *     struct lq_view *view = NULL;
 *     struct lq_lane *lane = NULL;
 *     lq_view_open(&view, rt, "cat.png", &err);
 *     lq_lane_open(&lane, rt, &(struct lq_lane_options){.cells = 1024, .sequences = 8}, &err);
 *     lq_lane_feed(lane, head, n_head, &err);
 *     lq_lane_show(lane, 0, view, &err);
 *     lq_lane_fork(lane, 0, 1, lq_lane_length(lane, 0), &err);     // a second question about the same picture
 *     lq_lane_feed(lane, items, n, &err);                          // of sequences 0 and 1
 *     const float *row = lq_lane_logits(lane, 5);                  // predicts what follows items[5]
 */
#ifndef LQ_RUNTIME_LANE_H
#define LQ_RUNTIME_LANE_H

#include "llava_quantize/runtime.h"

/* One picture as one vision half sees it: what the projector hands to the language half. */
struct lq_view;

/* Errors: those of the picture (LQ_ERR_IO, LQ_ERR_FORMAT, LQ_ERR_UNSUPPORTED: it is broken, too large, ...: the caller
 * may go on without it), LQ_ERR_MEMORY, LQ_ERR_RUNTIME, LQ_ERR_CANCELLED. On failure *out is untouched. */
enum lq_status lq_view_open(struct lq_view **out, struct lq_runtime *rt, const char *path, struct lq_error *err);
void lq_view_free(struct lq_view *view);
/* What a picture will take without running the vision half: its tokens as lq_view_tokens, and those of its largest
 * piece. Errors: those of the picture, LQ_ERR_MEMORY, LQ_ERR_RUNTIME. */
enum lq_status lq_view_measure(size_t *tokens, size_t *largest, const struct lq_runtime *rt, const char *path,
                               struct lq_error *err);
/* Tokens that it takes, its begin and end marks included, and the cells of a lane's memory. */
size_t lq_view_tokens(const struct lq_view *view);
/* The projector's output: *rows rows of *width floats, borrowed. */
const float *lq_view_embeddings(const struct lq_view *view, size_t *rows, size_t *width);

struct lq_lane;

struct lq_lane_options {
    uint32_t cells;     /* positions that all sequences together may take; rounded up */
    uint32_t sequences; /* 1 .. LQ_LANE_SEQUENCES */
    uint32_t together;  /* tokens of the largest picture, which some models must decode at once; 0: none */
    bool all;           /* for an observer: all tokens pass through the last block and get logits, wanted or not */
};

enum { LQ_LANE_SEQUENCES = 64 };

struct lq_lane_item {
    int32_t token;
    uint32_t sequence;
    bool wanted; /* its logits are wanted */
};

enum lq_status lq_lane_open(struct lq_lane **out, struct lq_runtime *rt, const struct lq_lane_options *options,
                            struct lq_error *err);
void lq_lane_free(struct lq_lane *lane);
/* Most items and most wanted ones in one feed: the buffers stay small whatever the vocabulary. */
size_t lq_lane_most(const struct lq_lane *lane);
size_t lq_lane_most_wanted(const struct lq_lane *lane);
uint32_t lq_lane_cells(const struct lq_lane *lane);

/* Forgets all sequences. */
void lq_lane_clear(struct lq_lane *lane);
/* Appends each item to its sequence, in one go. Errors: LQ_ERR_USAGE when the cells do not suffice, after which nothing
 * has changed; LQ_ERR_RUNTIME (also for logits that are no numbers) and LQ_ERR_CANCELLED, after which all sequences are
 * empty. */
enum lq_status lq_lane_feed(struct lq_lane *lane, const struct lq_lane_item *items, size_t n, struct lq_error *err);
/* False for a picture that the model must decode at once and that is larger than the lane was opened for. */
bool lq_lane_takes(const struct lq_lane *lane, const struct lq_view *view);
/* Appends the picture. The view may come from another runtime whose projector is as wide. Errors: LQ_ERR_USAGE when it
 * does not suit the model or the cells do not suffice, after which the sequence is empty; else as above. */
enum lq_status lq_lane_show(struct lq_lane *lane, uint32_t sequence, const struct lq_view *view, struct lq_error *err);
/* n_vocab logits of item i of the latest feed, which was wanted; borrowed until the lane's next call. */
const float *lq_lane_logits(const struct lq_lane *lane, size_t i);
/* Tokens in a sequence so far, its picture's included. */
size_t lq_lane_length(const struct lq_lane *lane, uint32_t sequence);
/* Makes `to` (empty) the same as the first `length` tokens of `from`; `length` is behind any picture, else
 * LQ_ERR_USAGE. LQ_ERR_UNSUPPORTED for a shorter length than all of it in a recurrent model, or behind a sliding
 * window. */
enum lq_status lq_lane_fork(struct lq_lane *lane, uint32_t from, uint32_t to, size_t length, struct lq_error *err);
/* Empties one sequence. */
void lq_lane_drop(struct lq_lane *lane, uint32_t sequence);

/* What a runtime's lanes and views have taken so far. */
struct lq_runtime_usage {
    uint64_t tokens, pictures; /* tokens fed or shown to its lanes, pictures through its tower */
    double token_seconds, picture_seconds;
    unsigned threads; /* that it works with */
    uint64_t memory;  /* bytes by which opening and running it made this process larger */
};
struct lq_runtime_usage lq_runtime_used(const struct lq_runtime *rt);
/* Tokens in the vocabulary, and the longest context that the model was trained for. */
size_t lq_runtime_vocabulary(const struct lq_runtime *rt);
size_t lq_runtime_trained_context(const struct lq_runtime *rt);
bool lq_runtime_is_end(const struct lq_runtime *rt, int32_t token);

#endif
