#include "strategy/sample.h"

#include "calibrate/record_dialogue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A question that may be taken. */
struct candidate {
    const struct lq_record *record;
    size_t turn;
    struct lq_part part;
};

struct draw {
    const struct lq_sample_terms *terms;
    struct lq_runtime *rt;
    struct candidate *candidates;
    size_t n, n_records; /* that they are of */
    struct lq_sample sample;
};

static enum lq_status no_memory(const struct draw *d, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for its records", d->terms->data->path);
}

/* A record's own fault is told to the log; any other is passed on. */
static enum lq_status leave_out(const struct draw *d, const struct lq_record *record, enum lq_status status,
                                const char *why, struct lq_error *err)
{
    char text[1100];
    const struct lq_hooks *hooks = d->terms->hooks;
    if (!lq_is_record_fault(status)) return lq_error_set(err, status, "%s", why);
    snprintf(text, sizeof text, "%.300s: record '%.60s': %.600s; left out", d->terms->data->path, record->id, why);
    if (hooks != NULL && hooks->log != NULL) hooks->log(hooks->data, LQ_LOG_WARN, text);
    return LQ_OK;
}

/* ---- candidates ---- */

/* Logits of an answer's token, and of the token that ends it, take the least that a record can. */
static size_t most_records(const struct draw *d)
{
    const struct lq_sample_terms *t = d->terms;
    uint64_t fit = t->memory / (2 * lq_runtime_vocabulary(d->rt) * sizeof(float)) + 1;
    size_t n = t->limit != 0 && t->limit < t->data->n_records ? t->limit : t->data->n_records;
    return fit < n ? (size_t)fit : n;
}

static enum lq_status list_questions(struct draw *d, const struct lq_record *record, struct lq_error *err)
{
    size_t before = d->n;
    for (size_t k = 0; k < record->n_turns; k++) {
        struct lq_record alone = *record;
        struct candidate *c = &d->candidates[d->n];
        struct lq_error why = {0};
        alone.turns = &record->turns[k];
        alone.n_turns = 1;
        c->record = record;
        c->turn = k;
        enum lq_status status = lq_part_init(&c->part, d->rt, &alone, &why);
        if (status == LQ_OK) d->n++;
        else status = leave_out(d, record, status, why.message, err);
        if (status != LQ_OK) return status;
    }
    d->n_records += d->n > before;
    return LQ_OK;
}

static enum lq_status list_candidates(struct draw *d, struct lq_error *err)
{
    const struct lq_dataset *data = d->terms->data;
    size_t n = most_records(d);
    enum lq_status status = LQ_OK;
    d->candidates = calloc(data->n_turns + 1, sizeof *d->candidates);
    if (d->candidates == NULL) return no_memory(d, err);
    for (size_t i = 0; i < n && status == LQ_OK; i++)
        status = list_questions(d, &data->records[(uint64_t)i * data->n_records / n], err);
    return status;
}

/* Bytes of the first picture that can be seen: others are taken to be as large. */
static enum lq_status measure_picture(uint64_t *bytes, const struct draw *d, struct lq_error *err)
{
    struct lq_error why = {0};
    enum lq_status status = LQ_ERR_USAGE;
    *bytes = 0;
    for (size_t i = 0; i < d->n && lq_is_record_fault(status); i++) {
        struct lq_view *view = NULL;
        size_t rows = 0, width = 0;
        status = lq_view_open(&view, d->rt, d->candidates[i].record->image, &why);
        if (status == LQ_OK) (void)lq_view_embeddings(view, &rows, &width);
        *bytes = (uint64_t)rows * width * sizeof(float);
        lq_view_free(view);
    }
    return status == LQ_OK || lq_is_record_fault(status) ? LQ_OK : lq_error_set(err, status, "%s", why.message);
}

static uint64_t bytes_of(const struct draw *d, uint64_t picture)
{
    uint64_t tokens = 0;
    for (size_t i = 0; i < d->n; i++) tokens += d->candidates[i].part.n_wanted;
    return tokens * lq_runtime_vocabulary(d->rt) * sizeof(float) + 2 * picture * d->n_records;
}

/* Keeps `n` of the records, evenly spread. */
static void thin(struct draw *d, size_t n)
{
    size_t kept = 0, record = 0, next = 0;
    bool takes = false;
    for (size_t i = 0; i < d->n; i++) {
        if (i == 0 || d->candidates[i].record != d->candidates[i - 1].record) {
            takes = next < n && record == (uint64_t)next * d->n_records / n;
            next += takes;
            record++;
        }
        if (takes) d->candidates[kept++] = d->candidates[i];
        else lq_part_release(&d->candidates[i].part);
    }
    d->n = kept;
    d->n_records = n;
}

static enum lq_status fit_memory(struct draw *d, struct lq_error *err)
{
    uint64_t picture = 0, bytes = 0;
    enum lq_status status = measure_picture(&picture, d, err);
    while (status == LQ_OK && d->n_records > 1 && (bytes = bytes_of(d, picture)) > d->terms->memory) {
        size_t n = (size_t)((double)d->n_records * ((double)d->terms->memory / (double)bytes));
        thin(d, n < 1 ? 1 : n);
    }
    return status;
}

static int by_picture(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    int order = strcmp(x->record->image, y->record->image);
    if (order == 0) order = (x->record > y->record) - (x->record < y->record);
    return order != 0 ? order : (x->turn > y->turn) - (x->turn < y->turn);
}

/* ---- the sample ---- */

static enum lq_status make_room(struct draw *d, struct lq_error *err)
{
    struct lq_sample *s = &d->sample;
    s->parts = calloc(d->n + 1, sizeof *s->parts);
    s->seats = calloc(d->n + 1, sizeof *s->seats);
    s->pictures_of = calloc(d->n + 1, sizeof *s->pictures_of);
    s->pictures = calloc(d->n + 1, sizeof *s->pictures);
    bool all = s->parts != NULL && s->seats != NULL && s->pictures_of != NULL && s->pictures != NULL;
    return all ? LQ_OK : no_memory(d, err);
}

static enum lq_status check_length(const struct draw *d, const struct lq_part *part, const struct lq_view *view,
                                   struct lq_error *err)
{
    size_t text = part->dialogue.n_head + part->dialogue.n_text, picture = lq_view_tokens(view);
    size_t context = lq_runtime_trained_context(d->rt);
    if (text + picture <= context) return LQ_OK;
    return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                        "text of %zu tokens and picture of %zu are longer than the model's context of %zu", text,
                        picture, context);
}

/* The picture that was seen last, where it is the same. */
static enum lq_status see(struct draw *d, const char *path, struct lq_error *err)
{
    struct lq_sample *s = &d->sample;
    if (s->n_pictures > 0 && strcmp(s->pictures[s->n_pictures - 1].path, path) == 0) return LQ_OK;
    enum lq_status status = lq_view_open(&s->pictures[s->n_pictures].view, d->rt, path, err);
    if (status == LQ_OK) s->pictures[s->n_pictures++].path = path;
    return status;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Takes a candidate over. */
static enum lq_status take(struct draw *d, struct candidate *c, struct lq_error *err)
{
    struct lq_sample *s = &d->sample;
    enum lq_status status = see(d, c->record->image, err);
    if (status != LQ_OK) return status;
    const struct lq_view *view = s->pictures[s->n_pictures - 1].view;
    status = check_length(d, &c->part, view, err);
    if (status != LQ_OK) return status;
    s->parts[s->n] = c->part;
    s->seats[s->n] = (struct lq_seat){&s->parts[s->n], view};
    s->pictures_of[s->n++] = s->n_pictures - 1;
    s->answer_tokens += c->part.n_wanted;
    s->together = larger(s->together, lq_view_tokens(view));
    s->largest = larger(s->largest, c->part.dialogue.n_head + lq_view_tokens(view) + c->part.dialogue.n_text);
    c->part = (struct lq_part){.n_wanted = 0};
    return LQ_OK;
}

static enum lq_status take_all(struct draw *d, struct lq_error *err)
{
    enum lq_status status = make_room(d, err);
    qsort(d->candidates, d->n, sizeof *d->candidates, by_picture);
    for (size_t i = 0; i < d->n && status == LQ_OK; i++) {
        struct lq_error why = {0};
        status = take(d, &d->candidates[i], &why);
        if (status != LQ_OK) status = leave_out(d, d->candidates[i].record, status, why.message, err);
    }
    if (status == LQ_OK && d->sample.n == 0)
        status = lq_error_set(err, LQ_ERR_USAGE, "%s: no record is left to measure with", d->terms->data->path);
    return status;
}

enum lq_status lq_sample_draw(struct lq_sample *out, struct lq_runtime *rt, const struct lq_sample_terms *terms,
                              struct lq_error *err)
{
    struct draw d = {.terms = terms, .rt = rt};
    enum lq_status status = list_candidates(&d, err);
    if (status == LQ_OK) status = fit_memory(&d, err);
    if (status == LQ_OK) status = take_all(&d, err);
    for (size_t i = 0; i < d.n; i++) lq_part_release(&d.candidates[i].part);
    free(d.candidates);
    if (status == LQ_OK) *out = d.sample;
    else lq_sample_release(&d.sample);
    return status;
}

void lq_sample_release(struct lq_sample *sample)
{
    for (size_t i = 0; i < sample->n; i++) lq_part_release(&sample->parts[i]);
    for (size_t i = 0; i < sample->n_pictures; i++) lq_view_free(sample->pictures[i].view);
    free(sample->parts);
    free(sample->seats);
    free(sample->pictures_of);
    free(sample->pictures);
    *sample = (struct lq_sample){0};
}
