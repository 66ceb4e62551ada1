/* Conversations about pictures through a language half, with their right answers given.
 *
 * Enters: records of a data set, their pictures as a vision half sees them, an empty lane. Leaves: the logits of every
 * token that predicts one of an answer's.
 * Invariants: conversations are recited side by side, their text in batches as large as the lane takes; those that
 * follow one another with the same view share its cells; the same seats in the same lane give the same logits.
 *
 *     struct lq_part part;
 *     lq_part_init(&part, rt, &data->records[0], &err);
 *     struct lq_seat seat = {&part, view};
 *     lq_recite(lane, &seat, 1, &(struct lq_audience){.data = me, .hears = hears}, &err);
 */
#ifndef LQ_CALIBRATE_RECITAL_H
#define LQ_CALIBRATE_RECITAL_H

#include "calibrate/stats_file.h"
#include "llava_quantize/dataset.h"
#include "runtime/dialogue.h"
#include "runtime/lane.h"

/* A record ready to be recited. */
struct lq_part {
    struct lq_dialogue dialogue;
    bool *wanted; /* of each text token: does it predict a token of an answer? */
    size_t n_wanted;
};

/* Errors: those of lq_dialogue_build. On failure *out is untouched; else lq_part_release it. */
enum lq_status lq_part_init(struct lq_part *out, const struct lq_runtime *rt, const struct lq_record *record,
                            struct lq_error *err);
void lq_part_release(struct lq_part *part);

struct lq_seat {
    const struct lq_part *part;
    const struct lq_view *view;
};

/* Cells that seats[n] takes beside the seats before it. */
size_t lq_seat_cells(const struct lq_seat *seats, size_t n);

struct lq_audience {
    void *data;
    /* Before tokens of a kind run (LQ_KIND_TEXT: those before pictures), in this order; may be NULL. */
    void (*begins)(void *data, enum lq_kind kind);
    /* n_vocab logits, borrowed, that predict `right`, token i of a seat's answers. Seats in order, each from 0 on. */
    void (*hears)(void *data, size_t seat, size_t i, const float *row, int32_t right);
};

/* Sequences 0 .. n_seats - 1 of the lane, which is cleared. Errors: those of feeding and showing. */
enum lq_status lq_recite(struct lq_lane *lane, const struct lq_seat *seats, size_t n_seats,
                         const struct lq_audience *audience, struct lq_error *err);

#endif
