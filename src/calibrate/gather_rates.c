#include "calibrate/gather_rates.h"

#include "base/clock.h"

#include <stdlib.h>

static const double long_record = 10; /* seconds */

enum { WIDEST_TRIAL = 2048 };

uint64_t lq_steps_done(const struct lq_calibration *c)
{
    uint64_t done = c->sums_done;
    for (size_t i = 0; c->options.hessian && i < c->census.n; i++)
        if (c->moments_done[i] < done) done = c->moments_done[i];
    return done;
}

/* ---- what is to come ---- */

static void count_to_come(const struct lq_calibration *c, uint64_t first, double *tokens, double *pictures)
{
    *tokens = *pictures = 0;
    for (size_t step = first; step < c->course.n; step++) {
        *tokens += (double)lq_course_tokens(&c->course, step);
        *pictures += step < c->course.n_lessons;
    }
}

double lq_rows_to_come(const struct lq_calibration *c, size_t input)
{
    const struct lq_input *in = &c->census.inputs[input];
    double tokens, pictures;
    count_to_come(c, c->moments_done[input], &tokens, &pictures);
    double rows = (double)in->n_rows;
    return in->first->half == LQ_VISION ? rows * pictures : rows * tokens / (double)lq_course_tokens(&c->course, 0);
}

/* ---- measuring ---- */

static enum lq_status measure_record(struct lq_rates *r, struct lq_calibration *c, struct lq_error *err)
{
    struct lq_runtime_usage before = lq_runtime_used(c->rt), after = before;
    enum lq_status status = LQ_OK;
    if (before.token_seconds + before.picture_seconds < long_record) {
        c->look.census = true;
        status = lq_course_run(&c->course, 0, c->lane, lq_look_kind, c, err);
        c->look.census = false;
        after = lq_runtime_used(c->rt);
        after.tokens -= before.tokens;
        after.pictures -= before.pictures;
        after.token_seconds -= before.token_seconds;
        after.picture_seconds -= before.picture_seconds;
    }
    r->token_seconds = after.tokens == 0 ? 0 : after.token_seconds / (double)after.tokens;
    r->picture_seconds = after.pictures == 0 ? 0 : after.picture_seconds / (double)after.pictures;
    return status;
}

/* One chunk of tokens into second moments as wide as the widest input's, or WIDEST_TRIAL. */
static enum lq_status measure_moments(struct lq_rates *r, struct lq_calibration *c, struct lq_error *err)
{
    size_t n = 0;
    struct lq_second_moments m = {0};
    for (size_t i = 0; i < c->census.n; i++)
        if (lq_input_columns(&c->census.inputs[i]) > n) n = lq_input_columns(&c->census.inputs[i]);
    if (n > WIDEST_TRIAL) n = WIDEST_TRIAL;
    float *x = calloc(n, sizeof *x);
    enum lq_status status = lq_second_moments_begin(&m, n, LQ_MOMENTS_CHUNK, err);
    if (status == LQ_OK) status = lq_second_moments_resident(&m, err);
    if (x == NULL) status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for a trial");
    for (int round = 0; round < 2 && status == LQ_OK; round++) {
        for (size_t i = 0; i < LQ_MOMENTS_CHUNK; i++) lq_second_moments_add(&m, x, 1);
        double start = lq_clock_seconds();
        status = lq_second_moments_flush(&m, &c->bench, err);
        double seconds = lq_clock_seconds() - start;
        r->flops = (double)n * (double)n * LQ_MOMENTS_CHUNK / (seconds > 1e-9 ? seconds : 1e-9);
    }
    lq_second_moments_release(&m);
    free(x);
    return status;
}

enum lq_status lq_rates_measure(struct lq_rates *out, struct lq_calibration *c, struct lq_error *err)
{
    struct lq_rates r = {0};
    double tokens, pictures, flops = 0;
    enum lq_status status = measure_record(&r, c, err);
    if (status == LQ_OK && c->options.hessian) status = measure_moments(&r, c, err);
    if (status != LQ_OK) return status;
    count_to_come(c, lq_steps_done(c), &tokens, &pictures);
    r.vision_seconds = pictures * r.picture_seconds;
    r.full_seconds = r.vision_seconds + tokens * r.token_seconds;
    for (size_t i = 0; c->options.hessian && i < c->census.n; i++) {
        double n = (double)lq_input_columns(&c->census.inputs[i]);
        flops += lq_rows_to_come(c, i) * n * n;
    }
    if (flops > 0) r.moments_seconds = flops / r.flops;
    *out = r;
    return LQ_OK;
}
