#include "calibrate/sensitivity.h"

#include "base/random.h"
#include "calibrate/record_dialogue.h"
#include "runtime/observe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME = 64, KINDS = LQ_KIND_AFTER + 1 }; /* kinds that are measured: picture, text behind it */

static const double part = 0.02;    /* of the outputs' usual size */
static const double deepest = -690; /* below it a probability is nothing */
static const double most = 1000;    /* between the kinds' weights: neither may vanish from the statistics */

/* What is done to products. */
enum phase { LEAVE, MEASURE, DISTURB };

struct matrix {
    char name[NAME];
    double logs; /* sum of ln rms of its rows */
    size_t n_rows;
};

struct trial {
    struct lq_runtime *rt;
    const struct lq_dataset *data;
    enum phase phase;
    uint64_t state; /* of the noise */
    struct matrix *matrices;
    size_t n_matrices, n_room, at; /* at: the one that was met last */
    bool failed;                   /* no memory for a matrix */
    size_t n_vocab;
    double logs[KINDS]; /* sums over records of ln of the divergence that a token of the kind costs */
    size_t n_used;      /* records */
};

/* ---- what the observer does ---- */

/* The output matrix is left alone: only tokens behind the picture pass through it. */
static bool wants(void *data, const char *weight)
{
    const struct trial *t = data;
    return t->phase != LEAVE && strcmp(weight, "output.weight") != 0 && strcmp(weight, "token_embd.weight") != 0;
}

/* Passes meet the matrices in one order, so the next one is the likeliest. NULL: memory is short. */
static struct matrix *find(struct trial *t, const char *name)
{
    for (size_t i = 0; i < t->n_matrices; i++) {
        size_t k = (t->at + 1 + i) % t->n_matrices;
        if (strcmp(t->matrices[k].name, name) == 0) return &t->matrices[t->at = k];
    }
    if (t->n_matrices == t->n_room) {
        size_t room = 2 * t->n_room + 256;
        struct matrix *matrices = realloc(t->matrices, room * sizeof *matrices);
        if (matrices == NULL) return NULL;
        t->matrices = matrices;
        t->n_room = room;
    }
    t->at = t->n_matrices++;
    struct matrix *matrix = &t->matrices[t->at];
    *matrix = (struct matrix){.n_rows = 0};
    memcpy(matrix->name, name, strnlen(name, NAME - 1));
    return matrix;
}

/* The logarithm's mean, because a few tokens (attention sinks) have outputs hundreds of times the others'. */
static void measure(struct matrix *matrix, const float *rows, size_t n_columns, size_t n_rows)
{
    for (size_t r = 0; r < n_rows; r++) {
        double sum = 0;
        for (size_t i = 0; i < n_columns; i++) sum += (double)rows[r * n_columns + i] * rows[r * n_columns + i];
        if (!(sum > 0)) continue;
        matrix->logs += 0.5 * log(sum / (double)n_columns);
        matrix->n_rows++;
    }
}

static void disturb(const struct matrix *matrix, uint64_t *state, float *rows, size_t n)
{
    if (matrix->n_rows == 0) return;
    float size = (float)(part * exp(matrix->logs / (double)matrix->n_rows));
    uint64_t signs = 0;
    for (size_t i = 0; i < n; i++, signs >>= 1) {
        if (i % 64 == 0) signs = lq_random_next(state);
        rows[i] += signs & 1 ? size : -size;
    }
}

static void changes(void *data, const char *weight, float *rows, size_t n_columns, size_t n_rows)
{
    struct trial *t = data;
    struct matrix *matrix = find(t, weight);
    if (matrix == NULL) t->failed = true;
    else if (t->phase == MEASURE) measure(matrix, rows, n_columns, n_rows);
    else disturb(matrix, &t->state, rows, n_columns * n_rows);
}

/* ---- one pass ---- */

static double log_sum(const float *row, size_t n)
{
    double top = row[0], sum = 0;
    for (size_t i = 1; i < n; i++) top = row[i] > top ? row[i] : top;
    for (size_t i = 0; i < n; i++) sum += exp(row[i] - top);
    return top + log(sum);
}

static double divergence(const float *original, const float *disturbed, size_t n)
{
    double from = log_sum(original, n), to = log_sum(disturbed, n), sum = 0;
    for (size_t i = 0; i < n; i++) {
        double log_p = original[i] - from;
        if (log_p < deepest) continue; /* masked tokens too */
        sum += exp(log_p) * (log_p - (disturbed[i] - to));
    }
    return sum > 0 ? sum : 0;
}

/* A record on its way through the pair. */
struct run {
    struct trial *trial;
    struct lq_dialogue dialogue;
    struct lq_view *view;
    struct lq_lane *lane;
    bool *wanted; /* of each text token: does it predict a token of an answer? */
    size_t n_wanted;
    float *rows;              /* logits of those, undisturbed */
    size_t at;                /* the next of them in the pass in hand */
    double divergence[KINDS]; /* summed over them */
};

enum { NONE = -1 }; /* the pass that nothing disturbs */

static enum lq_status no_memory(struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "no memory for measuring sensitivities");
}

/* Logits of the next wanted token: kept, or compared with what was kept. */
static void take(struct run *run, const float *row, int kind)
{
    size_t n = run->trial->n_vocab;
    float *kept = run->rows + run->at++ * n;
    if (kind == NONE) memcpy(kept, row, n * sizeof *row);
    else run->divergence[kind] += divergence(kept, row, n);
}

/* How many of the next n text tokens can be fed at once. */
static size_t portion(const struct run *run, const bool *wanted, size_t n)
{
    size_t room = lq_lane_most(run->lane), left = lq_lane_most_wanted(run->lane), i = 0;
    for (; i < n && i < room; i++) {
        if (wanted != NULL && wanted[i] && left == 0) break;
        left -= wanted != NULL && wanted[i];
    }
    return i;
}

/* `wanted` NULL: no logits. */
static enum lq_status feed(struct run *run, const int32_t *tokens, const bool *wanted, size_t n, int kind,
                           struct lq_error *err)
{
    struct lq_lane_item *items = calloc(lq_lane_most(run->lane), sizeof *items);
    enum lq_status status = items != NULL ? LQ_OK : no_memory(err);
    for (size_t first = 0; first < n && status == LQ_OK;) {
        size_t some = portion(run, wanted != NULL ? wanted + first : NULL, n - first);
        for (size_t i = 0; i < some; i++)
            items[i] = (struct lq_lane_item){.token = tokens[first + i], .wanted = wanted != NULL && wanted[first + i]};
        status = lq_lane_feed(run->lane, items, some, err);
        for (size_t i = 0; i < some && status == LQ_OK; i++)
            if (items[i].wanted) take(run, lq_lane_logits(run->lane, i), kind);
        first += some;
    }
    free(items);
    return status;
}

/* What happens to tokens of kind `of` in the pass for `kind`. */
static enum phase phase_of(int kind, int of)
{
    if (kind == NONE) return MEASURE;
    return kind == of ? DISTURB : LEAVE;
}

static enum lq_status pass(struct run *run, int kind, struct lq_error *err)
{
    const struct lq_dialogue *d = &run->dialogue;
    struct trial *t = run->trial;
    lq_lane_clear(run->lane);
    run->at = 0;
    enum lq_status status = feed(run, d->head, NULL, d->n_head, kind, err);
    t->phase = phase_of(kind, LQ_KIND_PICTURE);
    if (status == LQ_OK) status = lq_lane_show(run->lane, 0, run->view, err);
    t->phase = phase_of(kind, LQ_KIND_AFTER);
    if (status == LQ_OK) status = feed(run, d->text, run->wanted, d->n_text - 1, kind, err);
    t->phase = LEAVE;
    if (status == LQ_OK && t->failed) status = no_memory(err);
    return status;
}

/* A record tells nothing where a disturbance is lost in rounding, or shows where no probability was. */
static enum lq_status passes(struct run *run, struct lq_error *err)
{
    struct trial *t = run->trial;
    const double tokens[KINDS] = {(double)lq_view_tokens(run->view), (double)(run->dialogue.n_text - 1)};
    enum lq_status status = pass(run, NONE, err);
    for (int k = 0; k < KINDS && status == LQ_OK; k++) status = pass(run, k, err);
    for (int k = 0; k < KINDS && status == LQ_OK; k++)
        if (!(run->divergence[k] > 0) || isinf(run->divergence[k])) return LQ_OK;
    if (status != LQ_OK) return status;
    for (int k = 0; k < KINDS; k++) t->logs[k] += log(run->divergence[k] / tokens[k]);
    t->n_used++;
    return LQ_OK;
}

/* ---- records ---- */

static enum lq_status mark_answers(struct run *run, struct lq_error *err)
{
    const struct lq_dialogue *d = &run->dialogue;
    run->wanted = calloc(d->n_text, sizeof *run->wanted);
    if (run->wanted == NULL) return no_memory(err);
    for (size_t t = 0; t < d->n_turns; t++) {
        memset(run->wanted + d->answers[t].first - 1, true, d->answers[t].n);
        run->n_wanted += d->answers[t].n;
    }
    run->rows = calloc(run->n_wanted, run->trial->n_vocab * sizeof *run->rows);
    return run->rows != NULL ? LQ_OK : no_memory(err);
}

static enum lq_status open_lane(struct run *run, struct lq_error *err)
{
    size_t together = lq_view_tokens(run->view), cells = run->dialogue.n_head + together + run->dialogue.n_text;
    if (cells > lq_runtime_trained_context(run->trial->rt))
        return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%zu tokens, more than the model's context", cells);
    const struct lq_lane_options options = {.cells = (uint32_t)cells, .sequences = 1, .together = (uint32_t)together};
    return lq_lane_open(&run->lane, run->trial->rt, &options, err);
}

static void run_release(struct run *run)
{
    lq_lane_free(run->lane);
    lq_view_free(run->view);
    lq_dialogue_release(&run->dialogue);
    free(run->wanted);
    free(run->rows);
}

static enum lq_status run_record(struct trial *t, const struct lq_record *record, const struct lq_hooks *hooks,
                                 struct lq_error *err)
{
    struct run run = {.trial = t};
    struct lq_error why = {0};
    char message[sizeof why.message + 128];
    enum lq_status status = lq_dialogue_of_record(&run.dialogue, t->rt, record, &why);
    if (status == LQ_OK) status = lq_view_open(&run.view, t->rt, record->image, &why);
    if (status == LQ_OK) status = open_lane(&run, &why);
    if (lq_is_record_fault(status)) {
        snprintf(message, sizeof message, "record %s takes no part in measuring sensitivities: %s", record->id,
                 why.message);
        if (hooks != NULL && hooks->log != NULL) hooks->log(hooks->data, LQ_LOG_INFO, message);
        status = LQ_OK;
    } else {
        if (status == LQ_OK) status = mark_answers(&run, &why);
        if (status == LQ_OK) status = passes(&run, &why);
        if (status != LQ_OK) lq_error_set(err, status, "%s", why.message);
    }
    run_release(&run);
    return status;
}

static enum lq_status weigh(double weights[LQ_KINDS], const struct trial *t, struct lq_error *err)
{
    if (t->n_used == 0)
        return lq_error_set(err, LQ_ERR_USAGE,
                            "%s: no record shows how sensitive tokens are; choose weights, or name other data",
                            t->data->path);
    double ratio = exp((t->logs[LQ_KIND_AFTER] - t->logs[LQ_KIND_PICTURE]) / (double)t->n_used);
    ratio = fmin(fmax(ratio, 1 / most), most);
    weights[LQ_KIND_PICTURE] = 3 / (1 + 2 * ratio);
    weights[LQ_KIND_AFTER] = weights[LQ_KIND_TEXT] = ratio * weights[LQ_KIND_PICTURE];
    return LQ_OK;
}

enum lq_status lq_sensitivity_measure(double weights[LQ_KINDS], const struct lq_runtime_options *pair,
                                      const struct lq_dataset *data, size_t n_records, uint64_t seed,
                                      struct lq_error *err)
{
    struct trial t = {.data = data, .state = seed};
    const struct lq_observer observer = {.data = &t, .wants = wants, .changes = changes, .mapped = true};
    if (n_records > data->n_records) n_records = data->n_records;
    enum lq_status status = lq_runtime_open_observed(&t.rt, pair, &observer, err);
    if (status == LQ_OK) t.n_vocab = lq_runtime_vocabulary(t.rt);
    for (size_t i = 0; i < n_records && status == LQ_OK; i++)
        status = run_record(&t, &data->records[i * data->n_records / n_records], pair->hooks, err);
    if (status == LQ_OK) status = weigh(weights, &t, err);
    lq_runtime_free(t.rt);
    free(t.matrices);
    return status;
}
