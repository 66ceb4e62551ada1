#include "quantize/matrix.h"

#include "base/meter.h"
#include "base/pool.h"
#include "codec/encode.h"
#include "codec/levels.h"
#include "quantize/batches.h"
#include "quantize/factor.h"
#include "quantize/pad.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Block that the factor is made for which types are judged by: that of the largest that fit. */
enum { LARGE_BLOCK = LQ_GRID_WEIGHTS, SMALL_BLOCK = 32 };

/* A factor of second moments; NULL where they make none. */
struct held {
    struct lq_factor *factor;
    uint64_t expert, columns;
    uint32_t block; /* 0: nothing is held */
};

struct lq_matrix {
    struct lq_matrix_terms terms;
    const char *path;        /* of the tensor's half */
    struct lq_batch moments; /* of its input; `input` is NULL where there are none */
    const float *importance; /* where there is */
    uint64_t experts;        /* 1 of a plain matrix */
    uint64_t judged, rows;   /* experts in the sample, and of each so many rows */
    struct held *held;       /* of each judged expert, and one for encoding */
    uint64_t sized;          /* columns that `size` is of; 0: none yet */
    double size;             /* of the sample: sum w' H w */
    struct lq_meter meter;
};

/* A worker's buffers. */
struct room {
    float *weights, *back, *scratch; /* of some rows, and one more; the same decoded again; for feedback and losses */
    uint8_t *coded;
};

/* A call of this room's functions, as the pool works through it. */
struct call {
    struct lq_matrix *m;
    struct lq_plan_entry entry;
    struct lq_use use;
    struct room *rooms;
    uint64_t n_rows; /* of a tile of the sample, or of the largest item */

    double *losses; /* of each tile of the sample */
    bool nothing;   /* what zeros in place of the weights lose */

    const struct lq_item *items; /* of one expert */
    const struct lq_factor *factor;
    uint8_t *coded; /* all rows: one of these two */
    float *numbers;
};

/* ---- opening ---- */

static enum lq_status no_memory(const struct lq_matrix *m, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "%s: tensor '%s': no memory for encoding it", m->path,
                        m->terms.tensor->name);
}

/* As many rows as go together in error feedback, if not all, of as many experts as `rows` allows. */
static void draw(struct lq_matrix *m)
{
    uint64_t rows = m->terms.rows, each = m->terms.tensor->ne[1], judged = rows / LQ_FEEDBACK_ROWS;
    m->judged = rows == 0 || judged > m->experts ? m->experts : judged > 0 ? judged : 1;
    m->rows = rows == 0 || rows / m->judged > each ? each : rows / m->judged;
}

/* A token embedding is looked up, too: see lq_use_of. */
static void find_statistics(struct lq_matrix *m)
{
    const struct lq_tensor *t = m->terms.tensor;
    if (m->terms.stats == NULL) return;
    m->importance = lq_stats_importance(m->terms.stats, t);
    if (t->role != LQ_ROLE_LANGUAGE_EMBEDDING) m->moments.input = lq_stats_input(m->terms.stats, t);
    m->moments.tensor = t;
}

enum lq_status lq_matrix_open(struct lq_matrix **out, const struct lq_matrix_terms *terms, struct lq_error *err)
{
    const struct lq_tensor *t = terms->tensor;
    const char *path = terms->model->half[t->half]->path;
    if (!t->quantisable || t->rows == 0 || t->ne[0] == 0)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: tensor '%s' is never quantised", path, t->name);
    struct lq_matrix *m = calloc(1, sizeof *m);
    if (m == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for tensor '%s'", t->name);
    *m = (struct lq_matrix){.terms = *terms, .path = path, .experts = t->rows / t->ne[1]};
    if (m->terms.threads == 0) m->terms.threads = lq_cpu_count();
    lq_meter_init(&m->meter, terms->hooks, 0);
    find_statistics(m);
    draw(m);
    m->held = calloc(m->judged + 1, sizeof *m->held);
    if (m->held != NULL) {
        *out = m;
        return LQ_OK;
    }
    enum lq_status status = no_memory(m, err);
    lq_matrix_free(m);
    return status;
}

void lq_matrix_free(struct lq_matrix *m)
{
    if (m == NULL) return;
    for (uint64_t i = 0; m->held != NULL && i <= m->judged; i++) lq_factor_free(m->held[i].factor);
    free(m->held);
    lq_meter_release(&m->meter);
    free(m);
}

/* ---- factors ---- */

static bool holds(const struct held *held, uint64_t expert, uint64_t columns, uint32_t block)
{
    return held->block == block && held->expert == expert && held->columns == columns;
}

static enum lq_status hold(struct lq_matrix *m, struct held *held, uint64_t expert, uint64_t columns, uint32_t block,
                           struct lq_error *err)
{
    bool anew;
    struct lq_error useless;
    struct lq_batch batch = m->moments;
    if (batch.input == NULL || holds(held, expert, columns, block)) return LQ_OK;
    lq_factor_free(held->factor);
    *held = (struct held){.expert = expert, .columns = columns};
    batch.expert = expert;
    batch.columns = columns;
    batch.block = block;
    enum lq_status status =
        lq_batch_factor(&held->factor, &anew, &batch, m->terms.stats, NULL, m->terms.threads, &m->meter, &useless, err);
    if (status == LQ_OK) held->block = block;
    return status;
}

/* The expert that the i-th of the sample is. */
static uint64_t judged_expert(const struct lq_matrix *m, uint64_t i)
{
    return i * m->experts / m->judged;
}

static enum lq_status hold_judges(struct lq_matrix *m, uint64_t columns, struct lq_error *err)
{
    uint32_t block = columns % LARGE_BLOCK == 0 ? LARGE_BLOCK : SMALL_BLOCK;
    enum lq_status status = LQ_OK;
    for (uint64_t i = 0; i < m->judged && status == LQ_OK; i++)
        status = hold(m, &m->held[i], judged_expert(m, i), columns, block, err);
    return status;
}

/* What lq_quantize would make for this expert and this type alone. */
static enum lq_status hold_exact(struct call *c, uint64_t expert, struct lq_error *err)
{
    struct lq_matrix *m = c->m;
    struct held *held = &m->held[m->judged];
    uint32_t block = lq_format_get(c->entry.type)->block;
    if (c->use.input == NULL) return LQ_OK;
    for (uint64_t i = 0; i < m->judged; i++)
        if (holds(&m->held[i], expert, c->entry.ne[0], block)) held = &m->held[i];
    enum lq_status status = hold(m, held, expert, c->entry.ne[0], block, err);
    c->factor = held->factor;
    return status;
}

/* ---- rows ---- */

static bool is_copy(const struct call *c)
{
    return c->entry.type == c->entry.tensor->type && !lq_pad_has(&c->entry);
}

static enum lq_status encode_rows(const struct call *c, const struct lq_factor *factor, uint64_t first_row,
                                  uint64_t rows, const struct room *room, uint8_t *dst, struct lq_error *err)
{
    const struct lq_matrix_terms *terms = &c->m->terms;
    struct lq_feedback_outcome outcome;
    uint64_t columns = c->entry.ne[0];
    if (c->use.input != NULL && factor != NULL)
        return lq_feedback_encode(factor, c->entry.type, room->weights, rows, terms->effort, room->scratch, dst,
                                  &outcome, err);
    const float *importance =
        lq_use_importance(&c->use, &c->entry, terms->stats, first_row, room->weights + rows * columns);
    return lq_codec_encode(c->entry.type, room->weights, rows, columns, importance, terms->effort, dst, err);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void release_rooms(struct call *c)
{
    for (unsigned i = 0; c->rooms != NULL && i < c->m->terms.threads; i++) {
        free(c->rooms[i].weights);
        free(c->rooms[i].back);
        free(c->rooms[i].scratch);
        free(c->rooms[i].coded);
    }
    free(c->rooms);
}

/* Release them in any case. */
static enum lq_status make_rooms(struct call *c, struct lq_error *err)
{
    uint64_t columns = c->entry.ne[0], n = c->n_rows * columns;
    bool complete = (c->rooms = calloc(c->m->terms.threads, sizeof *c->rooms)) != NULL;
    for (unsigned i = 0; complete && i < c->m->terms.threads; i++) {
        struct room *r = &c->rooms[i];
        r->weights = malloc((n + columns) * sizeof *r->weights);
        r->back = malloc(n * sizeof *r->back);
        r->scratch = malloc(larger(lq_feedback_scratch(columns), lq_factor_loss_room(columns)) * sizeof *r->scratch);
        r->coded = malloc(c->n_rows * lq_format_row_bytes(c->entry.type, columns));
        complete = r->weights != NULL && r->back != NULL && r->scratch != NULL && r->coded != NULL;
    }
    return complete ? LQ_OK : no_memory(c->m, err);
}

/* A tensor's entry in a plan that gives it this type. `columns`: as written; 0: its own. */
static enum lq_status begin(struct call *c, struct lq_matrix *m, enum lq_type type, uint64_t columns,
                            struct lq_error *err)
{
    const struct lq_tensor *t = m->terms.tensor;
    *c = (struct call){.m = m, .entry = {.tensor = t, .type = type, .rows = t->rows}};
    memcpy(c->entry.ne, t->ne, sizeof t->ne);
    if (columns != 0) c->entry.ne[0] = columns;
    c->use = lq_use_of(&c->entry, m->terms.stats, m->terms.method);
    const struct lq_format *f = lq_format_get(type);
    if (f == NULL || (f->flags & LQ_FORMAT_TARGET) == 0 || lq_format_row_bytes(type, c->entry.ne[0]) == 0 ||
        c->entry.ne[0] < t->ne[0] || c->entry.ne[0] > LQ_LONGEST_ROW)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: tensor '%s': %" PRIu64 " columns do not fit %s", m->path,
                            t->name, c->entry.ne[0], lq_format_name(type));
    if ((f->flags & LQ_FORMAT_NEEDS_IMPORTANCE) != 0 && m->importance == NULL)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: tensor '%s': %s demands importance data", m->path, t->name,
                            f->name);
    lq_codec_prepare(type);
    return LQ_OK;
}

static enum lq_status name_tensor(const struct lq_matrix *m, enum lq_status status, struct lq_error *err)
{
    if (status != LQ_OK) lq_error_prefix(err, "%s: tensor '%s'", m->path, m->terms.tensor->name);
    return status;
}

/* ---- errors ---- */

/* Squares, each times its column's importance; columns behind the tensor's own count for nothing. */
static double weigh(const struct lq_plan_entry *entry, const float *importance, const float *e, uint64_t rows)
{
    double sum = 0;
    for (uint64_t r = 0; r < rows; r++, e += entry->ne[0])
        for (uint64_t i = 0; i < entry->tensor->ne[0]; i++)
            sum += (importance != NULL ? (double)importance[i] : 1) * (double)e[i] * (double)e[i];
    return sum;
}

static double lose(const struct call *c, uint64_t judged, const float *e, uint64_t rows, float *scratch)
{
    const struct lq_matrix *m = c->m;
    if (m->held[judged].factor != NULL) return lq_factor_loss(m->held[judged].factor, e, rows, scratch);
    const float *importance = m->importance;
    if (importance != NULL) importance += judged_expert(m, judged) * m->terms.tensor->ne[0];
    return weigh(&c->entry, importance, e, rows);
}

/* Leaves the errors of the rows in place of their weights. */
static enum lq_status round_rows(const struct call *c, const struct lq_factor *factor, uint64_t first_row,
                                 uint64_t rows, const struct room *room, struct lq_error *err)
{
    uint64_t n = rows * c->entry.ne[0];
    enum lq_status status = encode_rows(c, factor, first_row, rows, room, room->coded, err);
    if (status == LQ_OK) status = lq_codec_decode(c->entry.type, room->coded, room->back, n, err);
    for (uint64_t i = 0; status == LQ_OK && i < n; i++) room->weights[i] -= room->back[i];
    return name_tensor(c->m, status, err);
}

static uint64_t tiles_of(const struct call *c)
{
    return (c->m->rows + c->n_rows - 1) / c->n_rows;
}

/* Item: some rows of the sample. */
static enum lq_status judge_tile(void *data, size_t item, unsigned worker, struct lq_error *err)
{
    const struct call *c = data;
    struct lq_matrix *m = c->m;
    const struct room *room = &c->rooms[worker];
    const struct lq_tensor *t = m->terms.tensor;
    uint64_t judged = item / tiles_of(c), first = item % tiles_of(c) * c->n_rows;
    uint64_t rows = m->rows - first < c->n_rows ? m->rows - first : c->n_rows;
    uint64_t base = judged_expert(m, judged) * t->ne[1];
    enum lq_status status = lq_meter_check(&m->meter, err);
    for (uint64_t r = 0; r < rows && status == LQ_OK; r++)
        status = lq_model_weights(m->terms.model, t, base + (first + r) * t->ne[1] / m->rows, 1,
                                  room->weights + r * t->ne[0], err);
    if (status == LQ_OK) lq_pad_spread(&c->entry, rows, rows, room->weights);
    if (status == LQ_OK && !c->nothing) status = round_rows(c, m->held[judged].factor, base, rows, room, err);
    if (status == LQ_OK) c->losses[item] = lose(c, judged, room->weights, rows, room->scratch);
    return status;
}

static enum lq_status judge(struct call *c, double *out, struct lq_error *err)
{
    size_t n = c->m->judged * tiles_of(c);
    enum lq_status status = lq_pool_run(c->m->terms.threads, n, judge_tile, c, err);
    *out = 0;
    for (size_t i = 0; i < n; i++) *out += c->losses[i];
    return status;
}

static enum lq_status judge_all(struct call *c, double *relative, struct lq_error *err)
{
    struct lq_matrix *m = c->m;
    double loss = 0;
    enum lq_status status = hold_judges(m, c->entry.ne[0], err);
    if (status == LQ_OK && m->sized != c->entry.ne[0]) {
        c->nothing = true;
        status = judge(c, &m->size, err);
        m->sized = status == LQ_OK ? c->entry.ne[0] : 0;
    }
    c->nothing = false;
    if (status == LQ_OK) status = judge(c, &loss, err);
    if (status == LQ_OK) *relative = m->size > 0 ? loss / m->size : 0;
    return status;
}

enum lq_status lq_matrix_error_padded(struct lq_matrix *m, enum lq_type type, uint64_t columns, double *relative,
                                      struct lq_error *err)
{
    struct call c;
    enum lq_status status = begin(&c, m, type, columns, err);
    if (status != LQ_OK) return status;
    if (is_copy(&c)) {
        *relative = 0;
        return LQ_OK;
    }
    c.n_rows = c.entry.ne[0] > LQ_WIDE_ROW ? 1 : LQ_FEEDBACK_ROWS;
    c.losses = calloc(m->judged * tiles_of(&c), sizeof *c.losses);
    status = c.losses != NULL ? make_rooms(&c, err) : no_memory(m, err);
    if (status == LQ_OK) status = judge_all(&c, relative, err);
    release_rooms(&c);
    free(c.losses);
    return status;
}

enum lq_status lq_matrix_error(struct lq_matrix *m, enum lq_type type, double *relative, struct lq_error *err)
{
    return lq_matrix_error_padded(m, type, 0, relative, err);
}

/* ---- all rows ---- */

static enum lq_status give_numbers(const struct call *c, const struct lq_item *item, const struct room *room,
                                   struct lq_error *err)
{
    uint64_t from = c->entry.ne[0], to = c->entry.tensor->ne[0];
    enum lq_status status = lq_codec_decode(c->entry.type, room->coded, room->back, item->n_rows * from, err);
    for (uint64_t r = 0; r < item->n_rows && status == LQ_OK; r++)
        memcpy(c->numbers + (item->first_row + r) * to, room->back + r * from, to * sizeof *c->numbers);
    return status;
}

static enum lq_status encode_item(void *data, size_t index, unsigned worker, struct lq_error *err)
{
    const struct call *c = data;
    const struct lq_matrix_terms *terms = &c->m->terms;
    const struct lq_item *item = &c->items[index];
    const struct room *room = &c->rooms[worker];
    uint64_t row_bytes = lq_format_row_bytes(c->entry.type, c->entry.ne[0]);
    uint8_t *dst = c->coded != NULL ? c->coded + item->first_row * row_bytes : room->coded;
    enum lq_status status = lq_meter_check(&c->m->meter, err);
    if (status == LQ_OK)
        status = lq_model_weights(terms->model, terms->tensor, item->first_row, item->n_rows, room->weights, err);
    if (status != LQ_OK) return status;
    lq_pad_spread(&c->entry, item->n_rows, item->n_rows, room->weights);
    status = encode_rows(c, c->factor, item->first_row, item->n_rows, room, dst, err);
    if (status == LQ_OK && c->numbers != NULL) status = give_numbers(c, item, room, err);
    return name_tensor(c->m, status, err);
}

/* Expert by expert, each with its own factor; all have as many items. */
static enum lq_status encode_experts(struct call *c, const struct lq_items *items, struct lq_error *err)
{
    struct lq_matrix *m = c->m;
    size_t each = items->n / m->experts;
    for (size_t i = 0; i < each; i++)
        if (items->items[i].n_rows > c->n_rows) c->n_rows = items->items[i].n_rows;
    enum lq_status status = make_rooms(c, err);
    for (uint64_t expert = 0; expert < m->experts && status == LQ_OK; expert++) {
        c->items = items->items + expert * each;
        status = hold_exact(c, expert, err);
        if (status == LQ_OK) status = lq_pool_run(m->terms.threads, each, encode_item, c, err);
    }
    release_rooms(c);
    return status;
}

/* One of both is not NULL. */
static enum lq_status encode_all(struct lq_matrix *m, enum lq_type type, uint64_t columns, uint8_t *coded,
                                 float *numbers, struct lq_error *err)
{
    struct call c;
    struct lq_items items = {0};
    const struct lq_matrix_terms *terms = &m->terms;
    enum lq_status status = begin(&c, m, type, columns, err);
    if (status != LQ_OK) return status;
    if (is_copy(&c))
        return coded != NULL ? lq_model_read(terms->model, terms->tensor, 0, terms->tensor->rows, coded, err)
                             : lq_model_weights(terms->model, terms->tensor, 0, terms->tensor->rows, numbers, err);
    c.coded = coded;
    c.numbers = numbers;
    status = lq_items_build(&items, m->path, &c.entry, 1, err);
    if (status == LQ_OK) status = encode_experts(&c, &items, err);
    free(items.items);
    return status;
}

enum lq_status lq_matrix_encode(struct lq_matrix *m, enum lq_type type, void *dst, struct lq_error *err)
{
    return encode_all(m, type, 0, dst, NULL, err);
}

enum lq_status lq_matrix_round_trip(struct lq_matrix *m, enum lq_type type, uint64_t columns, float *dst,
                                    struct lq_error *err)
{
    return encode_all(m, type, columns, NULL, dst, err);
}
