/* The questions that a trial asks, and their pictures as the original sees them.
 *
 * Enters: the open original, a data set, how many records and bytes at most. Leaves: questions of records evenly
 * spread over the data, those about one picture side by side, each ready to be recited.
 * Each is asked by itself: behind the others of its conversation, answers can be read off theirs instead of the picture,
 * and what sees it would hardly count.
 * Invariants: a record that cannot be used is told to the log and left out; the same data, limits and runtime give the
 * same sample.
 *
 *     struct lq_sample sample;
 *     lq_sample_draw(&sample, rt, &(struct lq_sample_terms){.data = data, .limit = 32, .memory = 1 << 30}, &err);
 *     lq_recite(lane, sample.seats, 4, &audience, &err);
 *     lq_sample_release(&sample);
 */
#ifndef LQ_STRATEGY_SAMPLE_H
#define LQ_STRATEGY_SAMPLE_H

#include "calibrate/recital.h"
#include "llava_quantize/dataset.h"

struct lq_sample_picture {
    const char *path;
    struct lq_view *view; /* owned */
};

struct lq_sample {
    struct lq_part *parts; /* of n questions */
    struct lq_seat *seats; /* the same with their views */
    size_t *pictures_of;   /* and the numbers of their pictures */
    size_t n;
    struct lq_sample_picture *pictures;
    size_t n_pictures;
    size_t answer_tokens; /* of all questions */
    size_t largest;       /* tokens of the question that has the most, its picture included */
    size_t together;      /* of the largest picture */
};

struct lq_sample_terms {
    const struct lq_dataset *data; /* borrowed while the sample is in use, for its paths */
    size_t limit;                  /* records at most; 0: all */
    uint64_t memory;               /* bytes of the answers' logits and, twice, of the pictures' embeddings; about */
    const struct lq_hooks *hooks;  /* may be NULL */
};

/* Errors: LQ_ERR_USAGE when no record is left, LQ_ERR_MEMORY, LQ_ERR_RUNTIME, LQ_ERR_CANCELLED. On failure *out is
 * untouched; else lq_sample_release it, before the runtime is freed. */
enum lq_status lq_sample_draw(struct lq_sample *out, struct lq_runtime *rt, const struct lq_sample_terms *terms,
                              struct lq_error *err);
void lq_sample_release(struct lq_sample *sample);

#endif
