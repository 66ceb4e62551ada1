#include <stdlib.h>
#include <string.h>

#include "calibrate/gather_pass.h"
#include "calibrate/gather_rates.h"
#include "calibrate/kind_weights.h"
#include "calibrate/sensitivity.h"
#include "model/names.h"
#include "write/layout.h"

#define USUAL_MEMORY UINT64_C(2000000000)

enum { TRIAL_RECORDS = 32, TRIAL_SEED = 1 }; /* for measuring how much kinds of tokens count */

/* ---- hooks: a step that has begun is finished ---- */

static void log_on(void *data, enum lq_log_level level, const char *message)
{
    const struct lq_hooks *hooks = ((struct lq_calibration *)data)->options.hooks;
    if (hooks != NULL && hooks->log != NULL) hooks->log(hooks->data, level, message);
}

static bool cancelled(void *data)
{
    const struct lq_calibration *c = data;
    const struct lq_hooks *hooks = c->options.hooks;
    return c->cancellable && hooks != NULL && hooks->cancelled != NULL && hooks->cancelled(hooks->data);
}

/* ---- opening ---- */

static enum lq_status check(const struct lq_calibrate_options *o, struct lq_error *err)
{
    if (o->language == NULL || o->mmproj == NULL || o->data == NULL)
        return lq_error_set(err, LQ_ERR_USAGE, "calibrating takes both halves of a pair, and a data set");
    return LQ_OK;
}

static struct lq_runtime_options runtime_options(const struct lq_calibration *c)
{
    return (struct lq_runtime_options){.language = c->options.language,
                                       .mmproj = c->options.mmproj,
                                       .threads = c->options.threads,
                                       .hooks = &c->hooks};
}

/* Before the pair is opened: measuring opens it too, and two in memory would be too many. */
static enum lq_status measure_kinds(struct lq_calibration *c, struct lq_error *err)
{
    const struct lq_calibrate_options *o = &c->options;
    const struct lq_runtime_options runtime = runtime_options(c);
    if (o->weighting != LQ_WEIGHTING_MEASURED) return LQ_OK;
    return lq_sensitivity_measure(c->options.ratio, &runtime, o->data, TRIAL_RECORDS, TRIAL_SEED, err);
}

static enum lq_status open_output(struct lq_calibration *c, struct lq_error *err)
{
    const struct lq_calibrate_options *o = &c->options;
    return o->output == NULL ? LQ_OK : lq_output_open(&c->output, &o->output, 1, o->force || o->resume, err);
}

static enum lq_status open_pair(struct lq_calibration *c, struct lq_error *err)
{
    const struct lq_calibrate_options *o = &c->options;
    const struct lq_model_options model = {.mmproj = o->mmproj, .only = -1};
    const struct lq_runtime_options runtime = runtime_options(c);
    const struct lq_observer observer = {
        .data = c, .wants = lq_look_wants, .sees = lq_look_sees, .shares = lq_look_shares, .mapped = true};
    enum lq_status status = lq_model_open(&c->model, o->language, &model, err);
    if (status == LQ_OK) status = lq_runtime_open_observed(&c->rt, &runtime, &observer, err);
    return status == LQ_OK ? lq_census_init(&c->census, c->model, err) : status;
}

static enum lq_status set_pair_id(struct lq_calibration *c, struct lq_error *err)
{
    const char *id = "";
    size_t n = 0;
    if (!lq_kvs_get_string(c->model->half[LQ_LANGUAGE]->kvs, LQ_PAIR_ID_KEY, &id, &n)) n = 0;
    c->pair = strndup(id, n);
    return c->pair != NULL ? LQ_OK : lq_error_set(err, LQ_ERR_MEMORY, "no memory for a pair id");
}

static enum lq_status read_course(struct lq_calibration *c, struct lq_error *err)
{
    const struct lq_calibrate_options *o = &c->options;
    const struct lq_course_terms terms = {o->data, o->text, o->window, o->limit, o->hooks};
    enum lq_status status = lq_course_init(&c->course, c->rt, &terms, err);
    if (status == LQ_OK) status = lq_lane_open(&c->lane, c->rt, &c->course.lane, err);
    if (status == LQ_OK) status = set_pair_id(c, err);
    return status == LQ_OK ? lq_kind_weights(c->weights, c->course.tokens, o->weighting, o->ratio, err) : status;
}

/* The first record runs, to see what inputs there are. */
static enum lq_status take_census(struct lq_calibration *c, struct lq_error *err)
{
    c->look.census = true;
    enum lq_status status = lq_course_run(&c->course, 0, c->lane, lq_look_kind, c, err);
    c->look.census = false;
    return status == LQ_OK ? lq_census_finish(&c->census, err) : status;
}

static enum lq_status make_sums(struct lq_calibration *c, struct lq_error *err)
{
    size_t n = c->census.n;
    enum lq_status status = LQ_OK;
    c->sums = calloc(n + 1, sizeof *c->sums);
    c->first_matrix = calloc(n + 1, sizeof *c->first_matrix);
    c->moments_done = calloc(n + 1, sizeof *c->moments_done);
    for (size_t i = 0; i < n && c->first_matrix != NULL; i++) {
        c->first_matrix[i] = c->n_matrices;
        c->n_matrices += lq_input_experts(&c->census.inputs[i]);
    }
    c->matrices = calloc(c->n_matrices + 1, sizeof *c->matrices);
    if (c->sums == NULL || c->first_matrix == NULL || c->moments_done == NULL || c->matrices == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu inputs", n);
    for (size_t i = 0; i < n && status == LQ_OK; i++)
        status = lq_input_sums_init(&c->sums[i], lq_input_columns(&c->census.inputs[i]),
                                    lq_input_experts(&c->census.inputs[i]), err);
    return status;
}

/* ---- the plan ---- */

static enum lq_status set_spill_folder(struct lq_calibration *c, struct lq_error *err)
{
    const char *given = c->options.spill, *output = c->options.output;
    c->spill_folder = given != NULL ? strdup(given) : lq_path_folder(output != NULL ? output : "");
    return c->spill_folder != NULL ? LQ_OK : lq_error_set(err, LQ_ERR_MEMORY, "no memory for a path");
}

/* The disk is measured only where one is needed. */
static enum lq_status plan_passes(struct lq_calibration *c, const struct lq_rates *rates, struct lq_error *err)
{
    size_t n = c->census.n;
    bool *wanted = calloc(n + 1, sizeof *wanted);
    double *rows = calloc(n + 1, sizeof *rows);
    struct lq_passes_terms terms = {.census = &c->census, .wanted = wanted, .rows = rows, .disk_rate = 1e9};
    enum lq_status status = LQ_OK;
    if (wanted == NULL || rows == NULL) status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for a plan");
    for (size_t i = 0; i < n && status == LQ_OK; i++) {
        wanted[i] = c->options.hessian && c->moments_done[i] < c->course.n;
        rows[i] = lq_rows_to_come(c, i);
    }
    terms.memory = c->options.memory != 0 ? c->options.memory : USUAL_MEMORY;
    terms.threads = c->bench.threads;
    terms.full_seconds = rates->full_seconds;
    terms.vision_seconds = rates->vision_seconds;
    if (status == LQ_OK) status = lq_passes_plan(&c->passes, &terms, err);
    if (status == LQ_OK && c->passes.disk > 0) {
        status = lq_spill_rate(&terms.disk_rate, c->spill_folder, err);
        lq_passes_release(&c->passes);
        if (status == LQ_OK) status = lq_passes_plan(&c->passes, &terms, err);
        c->plan.disk_rate = terms.disk_rate;
    }
    free(wanted);
    free(rows);
    return status;
}

static void describe_plan(struct lq_calibration *c, const struct lq_rates *rates)
{
    struct lq_calibration_plan *p = &c->plan;
    p->records = c->course.n_lessons;
    p->windows = c->course.windows.n;
    p->broken = c->course.n_broken + c->options.data->n_broken;
    p->inputs = p->matrices = c->census.n;
    for (size_t i = 0; i < c->census.n; i++) p->matrices += c->census.inputs[i].n_members;
    memcpy(p->tokens, c->course.tokens, sizeof p->tokens);
    memcpy(p->weights, c->weights, sizeof p->weights);
    p->done = c->earlier == NULL ? 0 : lq_steps_done(c);
    p->sums_bytes = c->passes.sums;
    p->hessian_bytes = c->passes.moments;
    p->memory_bytes = c->passes.memory;
    p->disk_bytes = c->passes.disk;
    p->whole_bytes = c->passes.whole;
    p->passes = c->passes.n;
    p->spilled = c->passes.spilled;
    p->token_seconds = rates->token_seconds;
    p->picture_seconds = rates->picture_seconds;
    p->flops = rates->flops;
    p->threads = c->bench.threads;
    p->seconds = p->done == c->course.n ? 0 : c->passes.seconds + rates->moments_seconds;
}

static enum lq_status plan(struct lq_calibration *c, struct lq_error *err)
{
    struct lq_rates rates;
    enum lq_status status = set_spill_folder(c, err);
    if (status == LQ_OK) status = lq_rates_measure(&rates, c, err);
    if (status == LQ_OK) status = plan_passes(c, &rates, err);
    if (status == LQ_OK) status = lq_stats_file_bytes(&c->plan.file_bytes, c, err);
    if (status == LQ_OK) describe_plan(c, &rates);
    return status;
}

static enum lq_status open_all(struct lq_calibration *c, struct lq_error *err)
{
    enum lq_status status = open_output(c, err);
    if (status == LQ_OK) status = measure_kinds(c, err);
    if (status == LQ_OK) status = open_pair(c, err);
    if (status == LQ_OK) status = read_course(c, err);
    if (status == LQ_OK) status = take_census(c, err);
    if (status == LQ_OK) status = make_sums(c, err);
    if (status == LQ_OK) c->bench.threads = lq_runtime_used(c->rt).threads;
    if (status == LQ_OK) status = lq_terms_text(&c->terms, c, err);
    if (status == LQ_OK && c->options.resume && c->output != NULL) status = lq_stats_resume(c, err);
    return status == LQ_OK ? plan(c, err) : status;
}

enum lq_status lq_calibration_open(struct lq_calibration **out, const struct lq_calibrate_options *options,
                                   struct lq_error *err)
{
    enum lq_status status = check(options, err);
    if (status != LQ_OK) return status;
    struct lq_calibration *c = calloc(1, sizeof *c);
    if (c == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a calibration");
    c->options = *options;
    c->hooks = (struct lq_hooks){.data = c, .log = log_on, .cancelled = cancelled};
    c->cancellable = true;
    c->spill = LQ_SPILL_NONE;
    c->bench.spill = &c->spill;
    status = open_all(c, err);
    if (status == LQ_OK) *out = c;
    else lq_calibration_free(c);
    return status;
}

const struct lq_calibration_plan *lq_calibration_plan(const struct lq_calibration *calibration)
{
    return &calibration->plan;
}

void lq_calibration_free(struct lq_calibration *c)
{
    if (c == NULL) return;
    lq_lane_free(c->lane);
    lq_course_release(&c->course);
    lq_runtime_free(c->rt);
    for (size_t i = 0; c->sums != NULL && i < c->census.n; i++) lq_input_sums_release(&c->sums[i]);
    for (size_t i = 0; c->matrices != NULL && i < c->n_matrices; i++) lq_second_moments_release(&c->matrices[i]);
    lq_census_release(&c->census);
    lq_passes_release(&c->passes);
    lq_model_free(c->model);
    lq_source_close(c->earlier);
    lq_output_close(c->output);
    lq_spill_close(&c->spill);
    free(c->bench.scratch);
    free(c->look.squares);
    free(c->sums);
    free(c->matrices);
    free(c->first_matrix);
    free(c->moments_done);
    free(c->terms);
    free(c->pair);
    free(c->spill_folder);
    free(c);
}

/* ---- running ---- */

/* Sums that need a disk get their places on it. */
static enum lq_status open_spill(struct lq_calibration *c, struct lq_error *err)
{
    uint64_t at = 0;
    size_t widest = 0;
    if (c->passes.disk == 0) return LQ_OK;
    for (size_t i = 0; i < c->census.n; i++) {
        size_t n = lq_input_columns(&c->census.inputs[i]);
        if (c->passes.of[i] >= c->passes.n) continue;
        if (n > widest) widest = n;
        if (!c->passes.spilled && c->passes.of[i] + 1 == c->passes.n) continue;
        for (size_t e = 0; e < lq_input_experts(&c->census.inputs[i]); e++) {
            c->matrices[c->first_matrix[i] + e].offset = at;
            at += lq_second_moments_bytes(n);
        }
    }
    c->bench.scratch = malloc(c->bench.threads * lq_moments_band_floats(widest) * sizeof *c->bench.scratch);
    if (c->bench.scratch == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory to work on sums on disk");
    return lq_spill_open(&c->spill, c->spill_folder, at, err);
}

/* Hours of work should not end at a full disk. */
static enum lq_status check_space(const struct lq_calibration *c, struct lq_error *err)
{
    char *folder = lq_path_folder(c->options.output);
    if (folder == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a path");
    enum lq_status status = lq_spill_check_space(folder, c->plan.file_bytes, "the statistics", err);
    free(folder);
    return status;
}

static enum lq_status cancelled_at(const struct lq_calibration *c, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_CANCELLED,
                        "interrupted; %s holds %llu of %zu records and text windows: the same command with --resume "
                        "goes on from there",
                        c->options.output, (unsigned long long)lq_steps_done(c), c->course.n);
}

enum lq_status lq_calibration_run(struct lq_calibration *c, struct lq_error *err)
{
    if (c->output == NULL) return lq_error_set(err, LQ_ERR_USAGE, "a calibration without an output");
    if (lq_steps_done(c) == c->course.n) return LQ_OK;
    enum lq_status status = check_space(c, err);
    if (status == LQ_OK) status = open_spill(c, err);
    if (status == LQ_OK && c->earlier != NULL) status = lq_stats_resume_sums(c, err);
    c->cancellable = false;
    if (status == LQ_OK) status = lq_gather_passes(c, err);
    bool interrupted = status == LQ_ERR_CANCELLED;
    if (interrupted && c->sums_done == 0) return lq_error_set(err, status, "interrupted; nothing was written");
    if (interrupted || status == LQ_OK) status = lq_stats_save(c, err);
    return status == LQ_OK && lq_steps_done(c) < c->course.n ? cancelled_at(c, err) : status;
}
