#include "calibrate/gathering.h"

#include <math.h>
#include <stdlib.h>

bool lq_gathers(const struct lq_calibration *c, size_t input, unsigned pass)
{
    return c->options.hessian && c->passes.of[input] == pass;
}

static size_t number_of(const struct lq_calibration *c, const struct lq_input *input)
{
    return (size_t)(input - c->census.inputs);
}

static bool adds_sums(const struct lq_calibration *c)
{
    return c->look.pass == 0 && c->look.step >= c->sums_done;
}

static bool adds_moments(const struct lq_calibration *c, size_t input)
{
    return lq_gathers(c, input, c->look.pass) && c->look.step >= c->moments_done[input];
}

bool lq_look_wants(void *data, const char *weight)
{
    struct lq_calibration *c = data;
    if (c->look.census) return lq_census_wants(&c->census, weight);
    const struct lq_input *input = lq_census_find(&c->census, weight);
    return input != NULL && (adds_sums(c) || adds_moments(c, number_of(c, input)));
}

void lq_look_shares(void *data, const char *weight, const char *first)
{
    struct lq_calibration *c = data;
    if (c->look.census) lq_census_shares(&c->census, weight, first);
}

void lq_look_kind(void *data, enum lq_kind kind)
{
    ((struct lq_calibration *)data)->look.kind = kind;
}

/* ---- rows ---- */

static enum lq_status make_room(struct lq_look *look, size_t n)
{
    if (n <= look->capacity) return LQ_OK;
    double *grown = realloc(look->squares, 3 * n * sizeof *grown);
    if (grown == NULL) return lq_error_set(&look->err, LQ_ERR_MEMORY, "no memory for %zu tokens", n);
    look->squares = grown;
    look->scales = grown + n;
    look->room = grown + 2 * n;
    look->capacity = n;
    return LQ_OK;
}

static const float *row_of(const struct lq_observation *o, size_t row)
{
    return o->rows + row * o->stride;
}

static size_t expert_of(const struct lq_observation *o, size_t row)
{
    return o->experts == NULL ? 0 : (size_t)o->experts[row];
}

/* |x|^2 of each row, and by how much those that stand out are held back. */
static enum lq_status measure(struct lq_calibration *c, const struct lq_input *input, const struct lq_observation *o)
{
    struct lq_look *look = &c->look;
    if (make_room(look, o->n_rows) != LQ_OK) return look->err.status;
    for (size_t i = 0; i < o->n_rows; i++) {
        look->squares[i] = lq_square_of(row_of(o, i), o->n_columns);
        if (expert_of(o, i) >= lq_input_experts(input))
            return lq_error_set(&look->err, LQ_ERR_RUNTIME, "%s: tensor '%s': llama.cpp asks expert %zu of %zu",
                                c->options.language, o->weight, expert_of(o, i), lq_input_experts(input));
        if (!isfinite(look->squares[i]))
            return lq_error_set(&look->err, LQ_ERR_RUNTIME,
                                "%s: tensor '%s' takes an input that is NaN or infinite: the weights before it are "
                                "damaged",
                                input->first->half == LQ_VISION ? c->options.mmproj : c->options.language, o->weight);
    }
    lq_cap_scales(look->scales, look->squares, o->n_rows, c->options.cap, look->room);
    return LQ_OK;
}

static enum lq_status add_row(struct lq_calibration *c, size_t input, size_t expert, const float *x, double weight,
                              struct lq_error *err)
{
    struct lq_second_moments *m = &c->matrices[c->first_matrix[input] + expert];
    bool full = lq_second_moments_add(m, x, (float)sqrt(weight));
    return full ? lq_second_moments_flush(m, &c->bench, err) : LQ_OK;
}

void lq_look_sees(void *data, const struct lq_observation *o)
{
    struct lq_calibration *c = data;
    if (c->look.census) {
        lq_census_sees(&c->census, o);
        return;
    }
    const struct lq_input *input = lq_census_find(&c->census, o->weight);
    if (input == NULL || c->look.err.status != LQ_OK || measure(c, input, o) != LQ_OK) return;
    size_t number = number_of(c, input);
    bool sums = adds_sums(c), moments = adds_moments(c, number);
    double of_kind = input->first->half == LQ_VISION ? 1 : c->weights[c->look.kind];
    for (size_t i = 0; i < o->n_rows && c->look.err.status == LQ_OK; i++) {
        double weight = of_kind * c->look.scales[i];
        const float *x = row_of(o, i);
        if (sums) lq_input_sums_add(&c->sums[number], expert_of(o, i), c->look.kind, x, c->look.squares[i], weight);
        if (moments && weight > 0) add_row(c, number, expert_of(o, i), x, weight, &c->look.err);
    }
}

/* ---- steps ---- */

static enum lq_status end_chunks(struct lq_calibration *c, size_t input, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t e = 0; e < lq_input_experts(&c->census.inputs[input]) && status == LQ_OK; e++) {
        struct lq_second_moments *m = &c->matrices[c->first_matrix[input] + e];
        if (lq_second_moments_end_chunk(m)) status = lq_second_moments_flush(m, &c->bench, err);
    }
    return status;
}

enum lq_status lq_look_end_step(struct lq_calibration *c, struct lq_error *err)
{
    if (c->look.err.status != LQ_OK) return lq_error_set(err, c->look.err.status, "%s", c->look.err.message);
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < c->census.n && status == LQ_OK; i++) {
        if (!adds_moments(c, i)) continue;
        status = end_chunks(c, i, err);
        c->moments_done[i] = c->look.step + 1;
    }
    if (adds_sums(c)) c->sums_done = c->look.step + 1;
    return status;
}
