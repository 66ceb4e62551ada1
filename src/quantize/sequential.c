#include "quantize/sequential.h"

#include "base/blas.h"
#include "base/meter.h"
#include "base/pool.h"
#include "calibrate/course.h"
#include "calibrate/input_sums.h"
#include "calibrate/kind_weights.h"
#include "quantize/factor.h"
#include "runtime/observe.h"

#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BAND = 128 /* rows of a matrix that one item adds to */, MODELS = 2 };
enum { ORIGINAL, QUANTISED };

/* How much of the correction is made: 1 is GPTAQ's, less is QEP's. All of it fits too closely what was calibrated on: on
 * the demo at 2 bits, with 32 records, the answers' mean divergence is .0012 with half of it, .0039 with all, .0022 with
 * none. */
static const float strength = 0.5f;

/* What is summed up for one input. */
struct sums {
    struct lq_sequential_input input;
    float *hessian; /* n x n, of the quantised model; right of the diagonal's band it is not kept */
    float *shift;   /* n x n: sum c (x - X) X', later the correction */
    double tokens, spread;
    float *seen;     /* rows that the original has met in this step and the quantised model has not; later c (x - X) */
    double *weights; /* c of each */
    size_t n_seen, capacity, at;
};

struct model {
    struct lq_sequential *s;
    int which;
    struct lq_runtime *rt;
    struct lq_lane *lane;
    struct lq_course course; /* of the quantised model: the original's, with another runtime */
};

struct lq_sequential {
    const struct lq_calibrate_options *terms;
    unsigned threads;
    struct model model[MODELS];
    double kinds[LQ_KINDS];
    enum lq_half half;
    enum lq_kind kind;
    struct sums *sums;
    size_t n_sums;
    float *weighted; /* c X of the rows in hand */
    size_t weighted_floats;
    struct lq_error err; /* of a callback, the first */
    pthread_mutex_t lock;
};

/* ---- sums ---- */

static struct sums *find(const struct lq_sequential *s, const char *input)
{
    for (size_t i = 0; i < s->n_sums; i++)
        if (strcmp(s->sums[i].input.name, input) == 0) return &s->sums[i];
    return NULL;
}

static void drop_sums(struct lq_sequential *s)
{
    for (size_t i = 0; i < s->n_sums; i++) {
        free(s->sums[i].hessian);
        free(s->sums[i].shift);
        free(s->sums[i].seen);
        free(s->sums[i].weights);
    }
    free(s->sums);
    s->sums = NULL;
    s->n_sums = 0;
}

static enum lq_status make_sums(struct lq_sequential *s, const struct lq_sequential_input *inputs, size_t n,
                                struct lq_error *err)
{
    drop_sums(s);
    s->sums = calloc(n + 1, sizeof *s->sums);
    bool complete = s->sums != NULL;
    for (size_t i = 0; complete && i < n; i++) {
        struct sums *sums = &s->sums[s->n_sums++];
        sums->input = inputs[i];
        sums->hessian = calloc(inputs[i].n * inputs[i].n, sizeof *sums->hessian);
        sums->shift = calloc(inputs[i].n * inputs[i].n, sizeof *sums->shift);
        complete = sums->hessian != NULL && sums->shift != NULL;
    }
    if (complete) return LQ_OK;
    return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for the second moments of %zu inputs", s->terms->language,
                        n);
}

uint64_t lq_sequential_bytes(size_t columns)
{
    return 2 * (uint64_t)columns * columns * sizeof(float);
}

int lq_sequential_group(const struct lq_tensor *tensor)
{
    return tensor->block >= 0 && tensor->block < INT_MAX - 1 ? tensor->block + 1 : INT_MAX;
}

/* ---- what the observers see ---- */

/* `n` more rows of the original. */
static bool make_room(struct sums *sums, size_t n)
{
    size_t need = sums->n_seen + n, room = need + need / 2, columns = sums->input.n;
    if (need <= sums->capacity) return true;
    float *seen = realloc(sums->seen, room * columns * sizeof *seen);
    if (seen != NULL) sums->seen = seen;
    double *weights = realloc(sums->weights, 3 * room * sizeof *weights);
    if (weights != NULL) sums->weights = weights;
    if (seen == NULL || weights == NULL) return false;
    sums->capacity = room;
    return true;
}

static bool wants(void *data, const char *weight)
{
    const struct model *m = data;
    return find(m->s, weight) != NULL;
}

static enum lq_status not_finite(struct lq_sequential *s, const char *weight)
{
    return lq_error_set(&s->err, LQ_ERR_RUNTIME, "%s: tensor '%s' takes an input that is NaN or infinite",
                        s->terms->language, weight);
}

/* The original's rows are kept until the quantised model's come. */
static void keep_rows(struct lq_sequential *s, struct sums *sums, const struct lq_observation *o)
{
    double kind = s->half == LQ_VISION ? 1 : s->kinds[s->kind];
    if (!make_room(sums, o->n_rows)) {
        lq_error_set(&s->err, LQ_ERR_MEMORY, "%s: no memory for %zu tokens", s->terms->language, o->n_rows);
        return;
    }
    double *weights = sums->weights + sums->n_seen, *squares = sums->weights + sums->capacity,
           *room = squares + sums->capacity;
    for (size_t i = 0; i < o->n_rows; i++) {
        const float *x = o->rows + i * o->stride;
        squares[i] = lq_square_of(x, sums->input.n);
        if (!isfinite(squares[i])) not_finite(s, o->weight);
        memcpy(sums->seen + (sums->n_seen + i) * sums->input.n, x, sums->input.n * sizeof *x);
    }
    lq_cap_scales(weights, squares, o->n_rows, s->terms->cap, room);
    for (size_t i = 0; i < o->n_rows; i++) weights[i] *= kind;
    sums->n_seen += o->n_rows;
}

/* The rows in hand: c X, c (x - X) and X. */
struct adding {
    struct sums *sums;
    const float *weighted, *shifts, *rows;
    size_t n_rows, stride;
};

static enum lq_status add_band(void *data, size_t item, unsigned worker, struct lq_error *err)
{
    (void)worker;
    (void)err;
    const struct adding *a = data;
    size_t n = a->sums->input.n, first = item * BAND, height = n - first < BAND ? n - first : BAND;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)height, (int)(first + height), (int)a->n_rows, 1,
                a->weighted + first, (int)n, a->rows, (int)a->stride, 1, a->sums->hessian + first * n, (int)n);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)height, (int)n, (int)a->n_rows, 1, a->shifts + first,
                (int)n, a->rows, (int)a->stride, 1, a->sums->shift + first * n, (int)n);
    return LQ_OK;
}

static void weigh_row(struct lq_sequential *s, struct sums *sums, const struct lq_observation *o, size_t i)
{
    size_t n = sums->input.n;
    const float *x = o->rows + i * o->stride;
    float *seen = sums->seen + (sums->at + i) * n, *weighted = s->weighted + i * n;
    double weight = sums->weights[sums->at + i], square = lq_square_of(x, n);
    if (!isfinite(square)) not_finite(s, o->weight);
    for (size_t k = 0; k < n; k++) {
        weighted[k] = (float)weight * x[k];
        seen[k] = (float)weight * (seen[k] - x[k]);
    }
    sums->tokens += weight;
    sums->spread += weight * weight * square * square;
}

static void add_rows(struct lq_sequential *s, struct sums *sums, const struct lq_observation *o)
{
    size_t n = sums->input.n, floats = o->n_rows * n;
    if (o->n_rows > sums->n_seen - sums->at) {
        lq_error_set(&s->err, LQ_ERR_RUNTIME, "tensor '%s': the quantised model has more rows than the original",
                     o->weight);
        return;
    }
    if (floats > s->weighted_floats) {
        float *grown = realloc(s->weighted, floats * sizeof *grown);
        if (grown == NULL) {
            lq_error_set(&s->err, LQ_ERR_MEMORY, "%s: no memory for %zu tokens", s->terms->language, o->n_rows);
            return;
        }
        s->weighted = grown;
        s->weighted_floats = floats;
    }
    for (size_t i = 0; i < o->n_rows; i++) weigh_row(s, sums, o, i);
    struct adding adding = {sums, s->weighted, sums->seen + sums->at * n, o->rows, o->n_rows, o->stride};
    lq_pool_run(s->threads, (n + BAND - 1) / BAND, add_band, &adding, &s->err);
    sums->at += o->n_rows;
}

static void sees(void *data, const struct lq_observation *o)
{
    const struct model *m = data;
    struct sums *sums = find(m->s, o->weight);
    if (sums == NULL || m->s->err.status != LQ_OK) return;
    if (o->experts != NULL || o->n_columns != sums->input.n)
        lq_error_set(&m->s->err, LQ_ERR_RUNTIME, "tensor '%s': %zu columns, expected %zu", o->weight, o->n_columns,
                     sums->input.n);
    else if (m->which == ORIGINAL) keep_rows(m->s, sums, o);
    else add_rows(m->s, sums, o);
}

static void set_kind(void *data, enum lq_kind kind)
{
    ((struct lq_sequential *)data)->kind = kind;
}

/* ---- life ---- */

static enum lq_status open_model(struct lq_sequential *s, int which, struct lq_error *err)
{
    const struct lq_calibrate_options *t = s->terms;
    struct model *m = &s->model[which];
    *m = (struct model){.s = s, .which = which};
    const struct lq_runtime_options options = {
        .language = t->language, .mmproj = t->mmproj, .threads = t->threads, .hooks = t->hooks};
    const struct lq_observer observer = {.data = m, .wants = wants, .sees = sees, .mapped = which == ORIGINAL};
    return lq_runtime_open_observed(&m->rt, &options, &observer, err);
}

static enum lq_status open_course(struct lq_sequential *s, struct lq_error *err)
{
    const struct lq_calibrate_options *t = s->terms;
    const struct lq_course_terms terms = {t->data, t->text, t->window, t->limit, t->hooks};
    struct model *m = s->model;
    enum lq_status status = lq_course_init(&m[ORIGINAL].course, m[ORIGINAL].rt, &terms, err);
    m[QUANTISED].course = m[ORIGINAL].course;
    m[QUANTISED].course.rt = m[QUANTISED].rt;
    for (int i = 0; i < MODELS && status == LQ_OK; i++)
        status = lq_lane_open(&m[i].lane, m[i].rt, &m[i].course.lane, err);
    if (status == LQ_OK) status = lq_kind_weights(s->kinds, m[ORIGINAL].course.tokens, t->weighting, t->ratio, err);
    return status;
}

enum lq_status lq_sequential_open(struct lq_sequential **out, const struct lq_calibrate_options *terms,
                                  unsigned threads, struct lq_error *err)
{
    struct lq_sequential *s = calloc(1, sizeof *s);
    if (s == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory", terms->language);
    s->terms = terms;
    s->threads = threads;
    pthread_mutex_init(&s->lock, NULL);
    lq_blas_prepare();
    enum lq_status status = LQ_OK;
    for (int i = 0; i < MODELS && status == LQ_OK; i++) status = open_model(s, i, err);
    if (status == LQ_OK) status = open_course(s, err);
    struct model *quantised = &s->model[QUANTISED]; /* knows its matrices once it has run */
    if (status == LQ_OK) status = lq_course_run(&quantised->course, 0, quantised->lane, set_kind, s, err);
    if (status == LQ_OK) *out = s;
    else lq_sequential_free(s);
    return status;
}

void lq_sequential_free(struct lq_sequential *s)
{
    if (s == NULL) return;
    for (int i = 0; i < MODELS; i++) lq_lane_free(s->model[i].lane);
    lq_course_release(&s->model[ORIGINAL].course);
    for (int i = 0; i < MODELS; i++) lq_runtime_free(s->model[i].rt);
    drop_sums(s);
    free(s->weighted);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- a pass ---- */

static enum lq_status run_step(struct lq_sequential *s, size_t step, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < s->n_sums; i++) s->sums[i].n_seen = s->sums[i].at = 0;
    for (int i = 0; i < MODELS && status == LQ_OK; i++) {
        struct model *m = &s->model[i];
        status = lq_course_run(&m->course, step, s->half == LQ_VISION ? NULL : m->lane, set_kind, s, err);
        if (status == LQ_OK && s->err.status != LQ_OK) status = lq_error_set(err, s->err.status, "%s", s->err.message);
    }
    return status;
}

enum lq_status lq_sequential_gather(struct lq_sequential *s, const struct lq_sequential_input *inputs, size_t n,
                                    enum lq_half half, const char *what, struct lq_error *err)
{
    struct lq_meter meter;
    enum lq_status status = make_sums(s, inputs, n, err);
    const struct lq_course *course = &s->model[ORIGINAL].course;
    size_t steps = half == LQ_VISION ? course->n_lessons : course->n;
    s->half = half;
    lq_meter_init(&meter, s->terms->hooks, steps);
    meter.counted = true;
    for (size_t step = 0; step < steps && status == LQ_OK; step++) {
        status = run_step(s, step, err);
        if (status == LQ_OK) lq_meter_add(&meter, what, 1);
        if (status == LQ_OK) status = lq_meter_check(&meter, err);
    }
    lq_meter_release(&meter);
    return status;
}

bool lq_sequential_hessian(const struct lq_sequential *s, const char *input, float *packed,
                           struct lq_stats_moments *moments)
{
    const struct sums *sums = find(s, input);
    if (sums == NULL || sums->tokens == 0) return false;
    for (size_t i = 0; i < sums->input.n; i++) {
        memcpy(packed, sums->hessian + i * sums->input.n, (i + 1) * sizeof *packed);
        packed += i + 1;
    }
    *moments = (struct lq_stats_moments){sums->tokens, sums->spread};
    return true;
}

/* ---- the correction ---- */

struct solving {
    const struct lq_factor *factor;
    struct sums *sums;
    float *room; /* for each worker */
};

static enum lq_status solve_rows(void *data, size_t item, unsigned worker, struct lq_error *err)
{
    (void)err;
    const struct solving *v = data;
    size_t n = v->sums->input.n, first = item * LQ_FEEDBACK_ROWS, left = n - first;
    lq_factor_solve(v->factor, v->sums->shift + first * n, left < LQ_FEEDBACK_ROWS ? left : LQ_FEEDBACK_ROWS, strength,
                    v->room + worker * v->factor->columns * LQ_FEEDBACK_ROWS);
    return LQ_OK;
}

enum lq_status lq_sequential_correct(struct lq_sequential *s, const char *input, const struct lq_factor *factor,
                                     struct lq_error *err)
{
    struct solving v = {.factor = factor, .sums = find(s, input)};
    v.room = malloc(s->threads * factor->columns * LQ_FEEDBACK_ROWS * sizeof *v.room);
    if (v.room == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "tensor '%s': no memory for its correction", input);
    enum lq_status status =
        lq_pool_run(s->threads, (v.sums->input.n + LQ_FEEDBACK_ROWS - 1) / LQ_FEEDBACK_ROWS, solve_rows, &v, err);
    free(v.room);
    return status;
}

void lq_sequential_aim(const struct lq_sequential *s, const char *input, const float *w, size_t rows, size_t stride,
                       float *target)
{
    const struct sums *sums = find(s, input);
    memcpy(target, w, rows * stride * sizeof *w);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)sums->input.n, (int)sums->input.n, 1, w,
                (int)stride, sums->shift, (int)sums->input.n, 1, target, (int)stride);
}

enum lq_status lq_sequential_replace(struct lq_sequential *s, const struct lq_tensor *tensor, uint64_t first_row,
                                     uint64_t n_rows, const float *rows, struct lq_error *err)
{
    struct lq_error why = {0};
    pthread_mutex_lock(&s->lock);
    enum lq_status status = lq_runtime_replace(s->model[QUANTISED].rt, tensor->name, first_row, n_rows, rows, &why);
    pthread_mutex_unlock(&s->lock);
    if (status == LQ_OK || status == LQ_ERR_USAGE) return LQ_OK;
    return lq_error_set(err, LQ_ERR_RUNTIME, "%s: %s", s->terms->language, why.message);
}
