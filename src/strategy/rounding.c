#include "strategy/rounding.h"

#include "strategy/crew.h"
#include "strategy/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Records that are run, and rows of a matrix that are read: the shares hardly differ from one to the next. */
enum { RECORDS = 16, ROWS = 256 };
#define MEMORY (UINT64_C(1) << 30)

const uint32_t lq_rounding_blocks[LQ_ROUNDINGS] = {32, 256};

/* A matrix that was multiplied with. */
struct product {
    char *name;
    size_t input; /* the product whose input it takes: its own, unless they share one */
    size_t columns;
    double *squares[LQ_ROUNDINGS]; /* of the input's rounding errors, of each column; NULL where it has another's */
    double outputs;                /* sum of their squares */
};

struct lq_rounding {
    struct product *products;
    size_t n, room, at; /* at: the one that was met last */
    bool failed;        /* no memory for one */
};

/* ---- what the observer does ---- */

/* Passes meet the matrices in one order, so the next one is the likeliest. */
static size_t find(const struct lq_rounding *r, const char *name)
{
    for (size_t i = 0; i < r->n; i++) {
        size_t k = (r->at + 1 + i) % r->n;
        if (strcmp(r->products[k].name, name) == 0) return k;
    }
    return r->n;
}

/* NULL: memory is short. */
static struct product *meet(struct lq_rounding *r, const char *name)
{
    size_t at = find(r, name);
    if (at == r->n && r->n == r->room) {
        size_t room = 2 * r->room + 256;
        struct product *products = realloc(r->products, room * sizeof *products);
        if (products == NULL) return NULL;
        r->products = products;
        r->room = room;
    }
    if (at == r->n) {
        char *copy = strdup(name);
        if (copy == NULL) return NULL;
        r->products[r->n++] = (struct product){.name = copy, .input = at};
    }
    r->at = at;
    return &r->products[at];
}

static bool wants(void *data, const char *weight)
{
    (void)data;
    (void)weight;
    return true;
}

/* Adds the squares of what rounding a block to -127 .. 127 times a scale changes. */
static void add_block(const float *x, size_t n, double *squares)
{
    float most = 0;
    for (size_t i = 0; i < n; i++) most = fmaxf(most, fabsf(x[i]));
    float scale = most / 127;
    if (!(scale > 0) || !isfinite(scale)) return;
    for (size_t i = 0; i < n; i++) {
        double off = (double)x[i] - (double)(rintf(x[i] / scale) * scale);
        squares[i] += off * off;
    }
}

static bool make_room(struct product *p, size_t columns)
{
    p->columns = columns;
    for (int k = 0; k < LQ_ROUNDINGS; k++)
        if (p->squares[k] == NULL) p->squares[k] = calloc(columns, sizeof *p->squares[k]);
    return p->squares[0] != NULL && p->squares[1] != NULL;
}

static void sees(void *data, const struct lq_observation *seen)
{
    struct lq_rounding *r = data;
    struct product *p = meet(r, seen->weight);
    if (p == NULL || (p->columns != 0 && p->columns != seen->n_columns) || !make_room(p, seen->n_columns)) {
        r->failed = true;
        return;
    }
    for (size_t row = 0; row < seen->n_rows; row++)
        for (int k = 0; k < LQ_ROUNDINGS; k++)
            for (size_t i = 0; i < p->columns; i += lq_rounding_blocks[k]) {
                size_t left = p->columns - i, n = left < lq_rounding_blocks[k] ? left : lq_rounding_blocks[k];
                add_block(seen->rows + row * seen->stride + i, n, p->squares[k] + i);
            }
}

static void shares(void *data, const char *weight, const char *first)
{
    struct lq_rounding *r = data;
    const struct product *input = meet(r, first);
    size_t at = r->at;
    struct product *p = input == NULL ? NULL : meet(r, weight);
    if (p == NULL) r->failed = true;
    else p->input = at;
}

/* Only looks at them. */
static void changes(void *data, const char *weight, float *rows, size_t n_columns, size_t n_rows)
{
    struct lq_rounding *r = data;
    struct product *p = meet(r, weight);
    if (p == NULL) {
        r->failed = true;
        return;
    }
    for (size_t i = 0; i < n_columns * n_rows; i++) p->outputs += (double)rows[i] * rows[i];
}

/* ---- the pass ---- */

static void hears(void *data, size_t seat, size_t i, const float *row, int32_t right)
{
    (void)data;
    (void)seat;
    (void)i;
    (void)row;
    (void)right;
}

/* One record after another: pictures were seen when the sample was drawn. */
static enum lq_status recite(struct lq_runtime *rt, const struct lq_sample *sample, struct lq_error *err)
{
    const struct lq_lane_options options = {
        .cells = (uint32_t)sample->largest, .sequences = 1, .together = (uint32_t)sample->together, .all = true};
    const struct lq_audience audience = {.hears = hears};
    struct lq_lane *lane = NULL;
    enum lq_status status = lq_lane_open(&lane, rt, &options, err);
    for (size_t i = 0; i < sample->n && status == LQ_OK; i++)
        status = lq_recite(lane, sample->seats + i, 1, &audience, err);
    lq_lane_free(lane);
    return status;
}

static enum lq_status run(struct lq_rounding *r, const struct lq_runtime_options *pair, const struct lq_dataset *data,
                          struct lq_error *err)
{
    const struct lq_observer observer = {.data = r, .wants = wants, .sees = sees, .shares = shares, .changes = changes};
    const struct lq_sample_terms terms = {.data = data, .limit = RECORDS, .memory = MEMORY, .hooks = pair->hooks};
    struct lq_crew crew;
    struct lq_sample sample = {.n = 0};
    enum lq_status status = lq_crew_open(&crew, pair, &observer, err);
    if (status == LQ_OK) status = lq_sample_draw(&sample, crew.members[0].rt, &terms, err);
    if (status == LQ_OK) status = recite(crew.members[0].rt, &sample, err);
    if (status == LQ_OK && r->failed) status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for the inputs of matrices");
    lq_sample_release(&sample);
    lq_crew_release(&crew);
    return status;
}

enum lq_status lq_rounding_open(struct lq_rounding **out, const struct lq_runtime_options *pair,
                                const struct lq_dataset *data, struct lq_error *err)
{
    struct lq_rounding *r = calloc(1, sizeof *r);
    if (r == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the inputs of matrices");
    enum lq_status status = run(r, pair, data, err);
    if (status == LQ_OK) *out = r;
    else lq_rounding_free(r);
    return status;
}

void lq_rounding_free(struct lq_rounding *rounding)
{
    if (rounding == NULL) return;
    for (size_t i = 0; i < rounding->n; i++) {
        free(rounding->products[i].name);
        for (int k = 0; k < LQ_ROUNDINGS; k++) free(rounding->products[i].squares[k]);
    }
    free(rounding->products);
    free(rounding);
}

/* ---- what it costs ---- */

int lq_rounding_of(enum lq_type type)
{
    const struct lq_format *format = lq_format_get(type);
    if (format == NULL || !(format->flags & LQ_FORMAT_QUANTISED)) return -1;
    return format->block < lq_rounding_blocks[1] ? 0 : 1;
}

/* Adds to *sum the squares of a row's weights, each times its column's. */
static void add_row(const float *w, const double *squares, size_t n, double *sum)
{
    for (size_t i = 0; i < n; i++) *sum += (double)w[i] * w[i] * squares[i];
}

/* sum over columns of the squares times those of the weights, all rows of one matrix together. */
static enum lq_status weigh(double *out, const double *squares, const struct lq_model *model, const struct lq_tensor *t,
                            struct lq_error *err)
{
    uint64_t n = t->rows < ROWS ? t->rows : ROWS;
    float *row = calloc(t->ne[0], sizeof *row);
    enum lq_status status = LQ_OK;
    double sum = 0;
    if (row == NULL) status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for a row of '%s'", t->name);
    for (uint64_t i = 0; i < n && status == LQ_OK; i++) {
        status = lq_model_weights(model, t, i * t->rows / n, 1, row, err);
        if (status == LQ_OK) add_row(row, squares, t->ne[0], &sum);
    }
    free(row);
    *out = n > 0 ? sum * (double)t->ne[1] / (double)n : 0;
    return status;
}

enum lq_status lq_rounding_error(double *error, const struct lq_rounding *rounding, const struct lq_model *model,
                                 const struct lq_tensor *tensor, int place, struct lq_error *err)
{
    size_t at = find(rounding, tensor->name);
    const struct product *p = at < rounding->n ? &rounding->products[at] : NULL;
    const struct product *input = p != NULL ? &rounding->products[p->input] : NULL;
    double sum = 0;
    *error = 0;
    if (p == NULL || !(p->outputs > 0) || input->columns != tensor->ne[0]) return LQ_OK;
    enum lq_status status = weigh(&sum, input->squares[place], model, tensor, err);
    if (status == LQ_OK && isfinite(sum / p->outputs)) *error = sum / p->outputs;
    return status;
}
