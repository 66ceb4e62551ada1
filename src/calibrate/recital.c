#include "calibrate/recital.h"

#include "calibrate/record_dialogue.h"

#include <stdlib.h>
#include <string.h>

static enum lq_status mark_answers(struct lq_part *part, struct lq_error *err)
{
    const struct lq_dialogue *d = &part->dialogue;
    part->wanted = calloc(d->n_text, sizeof *part->wanted);
    if (part->wanted == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu tokens", d->n_text);
    for (size_t t = 0; t < d->n_turns; t++) {
        memset(part->wanted + d->answers[t].first - 1, true, d->answers[t].n);
        part->n_wanted += d->answers[t].n;
    }
    return LQ_OK;
}

enum lq_status lq_part_init(struct lq_part *out, const struct lq_runtime *rt, const struct lq_record *record,
                            struct lq_error *err)
{
    struct lq_part part = {.n_wanted = 0};
    enum lq_status status = lq_dialogue_of_record(&part.dialogue, rt, record, err);
    if (status != LQ_OK) return status;
    status = mark_answers(&part, err);
    if (status == LQ_OK) *out = part;
    else lq_part_release(&part);
    return status;
}

void lq_part_release(struct lq_part *part)
{
    lq_dialogue_release(&part->dialogue);
    free(part->wanted);
}

/* ---- tokens of all seats ---- */

/* A token on its way: of which seat, and which of its answers' tokens it predicts. */
struct step {
    int32_t token, right;
    uint32_t seat;
    uint32_t answer;
    bool wanted;
};

struct steps {
    struct step *items;
    size_t n;
};

/* A seat with the view and the beginning of the one before it. */
static bool shares(const struct lq_seat *seats, size_t i)
{
    if (i == 0 || seats[i].view != seats[i - 1].view) return false;
    const struct lq_dialogue *a = &seats[i - 1].part->dialogue, *b = &seats[i].part->dialogue;
    return a->n_head == b->n_head && memcmp(a->head, b->head, a->n_head * sizeof *a->head) == 0;
}

/* The last token of a text predicts nothing that counts. */
static size_t text_tokens(const struct lq_part *part)
{
    return part->dialogue.n_text - 1;
}

size_t lq_seat_cells(const struct lq_seat *seats, size_t n)
{
    const struct lq_part *part = seats[n].part;
    return text_tokens(part) + (shares(seats, n) ? 0 : part->dialogue.n_head + lq_view_tokens(seats[n].view));
}

static void add_heads(struct steps *steps, const struct lq_seat *seats, size_t n_seats)
{
    for (size_t s = 0; s < n_seats; s++) {
        const struct lq_dialogue *d = &seats[s].part->dialogue;
        for (size_t i = 0; i < d->n_head && !shares(seats, s); i++)
            steps->items[steps->n++] = (struct step){.token = d->head[i], .seat = (uint32_t)s};
    }
}

static void add_texts(struct steps *steps, const struct lq_seat *seats, size_t n_seats)
{
    for (size_t s = 0; s < n_seats; s++) {
        const struct lq_part *part = seats[s].part;
        const int32_t *text = part->dialogue.text;
        uint32_t answer = 0;
        for (size_t i = 0; i < text_tokens(part); i++) {
            steps->items[steps->n++] = (struct step){text[i], text[i + 1], (uint32_t)s, answer, part->wanted[i]};
            answer += part->wanted[i];
        }
    }
}

/* How many of the next n can be fed at once. None is left over alone, because ggml sums for a token alone in as many
 * pieces as there are threads. */
static size_t portion(const struct lq_lane *lane, const struct step *steps, size_t n)
{
    size_t left = lq_lane_most_wanted(lane), i = 0;
    for (; i < n && i < lq_lane_most(lane); i++) {
        if (steps[i].wanted && left == 0) break;
        left -= steps[i].wanted;
    }
    return i > 1 && i + 1 == n ? i - 1 : i;
}

static enum lq_status feed(struct lq_lane *lane, const struct steps *steps, const struct lq_audience *audience,
                           struct lq_error *err)
{
    struct lq_lane_item *items = calloc(lq_lane_most(lane), sizeof *items);
    enum lq_status status = LQ_OK;
    if (items == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu tokens", lq_lane_most(lane));
    for (size_t first = 0, some = 0; first < steps->n && status == LQ_OK; first += some) {
        const struct step *next = steps->items + first;
        some = portion(lane, next, steps->n - first);
        for (size_t i = 0; i < some; i++)
            items[i] =
                (struct lq_lane_item){.token = next[i].token, .sequence = next[i].seat, .wanted = next[i].wanted};
        status = lq_lane_feed(lane, items, some, err);
        for (size_t i = 0; i < some && status == LQ_OK; i++)
            if (next[i].wanted)
                audience->hears(audience->data, next[i].seat, next[i].answer, lq_lane_logits(lane, i), next[i].right);
    }
    free(items);
    return status;
}

/* ---- reciting ---- */

static enum lq_status show(struct lq_lane *lane, const struct lq_seat *seats, size_t n_seats, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (uint32_t s = 0; s < n_seats && status == LQ_OK; s++) {
        if (shares(seats, s)) status = lq_lane_fork(lane, s - 1, s, lq_lane_length(lane, s - 1), err);
        else status = lq_lane_show(lane, s, seats[s].view, err);
    }
    return status;
}

static void begin(const struct lq_audience *audience, enum lq_kind kind)
{
    if (audience->begins != NULL) audience->begins(audience->data, kind);
}

enum lq_status lq_recite(struct lq_lane *lane, const struct lq_seat *seats, size_t n_seats,
                         const struct lq_audience *audience, struct lq_error *err)
{
    struct steps steps = {.n = 0};
    size_t most = 1;
    for (size_t s = 0; s < n_seats; s++) most += seats[s].part->dialogue.n_head + seats[s].part->dialogue.n_text;
    steps.items = calloc(most, sizeof *steps.items);
    if (steps.items == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu tokens", most);
    lq_lane_clear(lane);
    begin(audience, LQ_KIND_TEXT);
    add_heads(&steps, seats, n_seats);
    enum lq_status status = feed(lane, &steps, audience, err);
    begin(audience, LQ_KIND_PICTURE);
    if (status == LQ_OK) status = show(lane, seats, n_seats, err);
    begin(audience, LQ_KIND_AFTER);
    steps.n = 0;
    add_texts(&steps, seats, n_seats);
    if (status == LQ_OK) status = feed(lane, &steps, audience, err);
    free(steps.items);
    return status;
}
