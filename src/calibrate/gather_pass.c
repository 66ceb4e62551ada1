#include <stdio.h>

#include "base/meter.h"
#include "calibrate/gather_pass.h"

/* ---- second moments of one pass ---- */

typedef enum lq_status matrix_fn(struct lq_calibration *c, struct lq_second_moments *m, struct lq_error *err);

static enum lq_status for_matrices(struct lq_calibration *c, unsigned pass, matrix_fn *fn, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < c->census.n; i++)
        for (size_t e = 0; lq_gathers(c, i, pass) && e < lq_input_experts(&c->census.inputs[i]); e++)
            if (status == LQ_OK) status = fn(c, &c->matrices[c->first_matrix[i] + e], err);
    return status;
}

static enum lq_status flush(struct lq_calibration *c, struct lq_second_moments *m, struct lq_error *err)
{
    lq_second_moments_end_chunk(m);
    return lq_second_moments_flush(m, &c->bench, err);
}

static enum lq_status park(struct lq_calibration *c, struct lq_second_moments *m, struct lq_error *err)
{
    enum lq_status status = lq_second_moments_park(m, &c->spill, err);
    lq_second_moments_end(m);
    return status;
}

static enum lq_status begin_input(struct lq_calibration *c, size_t input, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    size_t n = lq_input_columns(&c->census.inputs[input]);
    for (size_t e = 0; e < lq_input_experts(&c->census.inputs[input]) && status == LQ_OK; e++) {
        struct lq_second_moments *m = &c->matrices[c->first_matrix[input] + e];
        status = lq_second_moments_begin(m, n, c->passes.capacity[input], err);
        if (status == LQ_OK && !c->passes.spilled) status = lq_second_moments_resident(m, err);
    }
    if (status == LQ_OK && c->moments_done[input] > 0) status = lq_stats_resume_moments(c, input, err);
    return status;
}

static enum lq_status begin_pass(struct lq_calibration *c, unsigned pass, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < c->census.n && status == LQ_OK; i++)
        if (lq_gathers(c, i, pass)) status = begin_input(c, i, err);
    c->look.pass = pass;
    return status;
}

/* ---- steps ---- */

/* The first step that is not yet in everything that the pass sums up. */
static uint64_t first_step(const struct lq_calibration *c, unsigned pass)
{
    uint64_t first = pass == 0 ? c->sums_done : c->course.n;
    for (size_t i = 0; i < c->census.n; i++)
        if (lq_gathers(c, i, pass) && c->moments_done[i] < first) first = c->moments_done[i];
    return first;
}

static bool needs_language(const struct lq_calibration *c, unsigned pass)
{
    if (pass == 0 && c->sums_done < c->course.n) return true;
    for (size_t i = 0; i < c->census.n; i++)
        if (lq_gathers(c, i, pass) && c->census.inputs[i].first->half == LQ_LANGUAGE) return true;
    return false;
}

/* In all passes, those of an earlier run left out. */
static uint64_t tokens_to_run(const struct lq_calibration *c)
{
    uint64_t tokens = 0;
    for (unsigned pass = 0; pass < c->passes.n; pass++)
        for (size_t step = first_step(c, pass); step < c->course.n; step++)
            tokens += lq_course_tokens(&c->course, step);
    return tokens;
}

static void describe(char what[64], const struct lq_calibration *c, unsigned pass, size_t step)
{
    int n = c->passes.n == 1 ? 0 : snprintf(what, 64, "pass %u of %u: ", pass + 1, c->passes.n);
    bool window = step >= c->course.n_lessons;
    snprintf(what + n, 64 - (size_t)n, "%s %zu of %zu", window ? "text window" : "record",
             window ? step - c->course.n_lessons + 1 : step + 1, window ? c->course.windows.n : c->course.n_lessons);
}

static enum lq_status run_steps(struct lq_calibration *c, unsigned pass, struct lq_meter *meter, struct lq_error *err)
{
    struct lq_lane *lane = needs_language(c, pass) ? c->lane : NULL;
    enum lq_status status = LQ_OK;
    for (size_t step = first_step(c, pass); step < c->course.n && status == LQ_OK; step++) {
        char what[64];
        c->look.step = step;
        status = lq_course_run(&c->course, step, lane, lq_look_kind, c, err);
        if (status == LQ_OK) status = lq_look_end_step(c, err);
        if (status != LQ_OK) return status;
        describe(what, c, pass, step);
        lq_meter_add(meter, what, lq_course_tokens(&c->course, step));
        status = lq_meter_check(meter, err);
    }
    return status;
}

static enum lq_status run_pass(struct lq_calibration *c, unsigned pass, struct lq_meter *meter, struct lq_error *err)
{
    enum lq_status status = begin_pass(c, pass, err);
    if (status == LQ_OK) status = run_steps(c, pass, meter, err);
    bool keep = status == LQ_OK || status == LQ_ERR_CANCELLED;
    enum lq_status flushed = keep ? for_matrices(c, pass, flush, err) : status;
    if (status == LQ_OK || flushed != LQ_OK) status = flushed;
    if (status == LQ_OK && c->spill.fd >= 0 && pass + 1 < c->passes.n) status = for_matrices(c, pass, park, err);
    return status;
}

enum lq_status lq_gather_passes(struct lq_calibration *c, struct lq_error *err)
{
    struct lq_meter meter;
    enum lq_status status = LQ_OK;
    lq_meter_init(&meter, c->options.hooks, tokens_to_run(c));
    meter.counted = true;
    for (unsigned pass = 0; pass < c->passes.n && status == LQ_OK; pass++) status = run_pass(c, pass, &meter, err);
    lq_meter_release(&meter);
    return status;
}
