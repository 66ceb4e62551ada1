/* The curve: the best plan at each of several sizes. */
#include "base/file.h"
#include "strategy/repair.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double most_bpw = 8.5; /* where q8_0 is */

static enum lq_status find_point(struct lq_strategy *s, uint64_t bytes, struct lq_curve_point *point,
                                 struct lq_error *err)
{
    const struct lq_size size = {.bytes = bytes, .data = true};
    struct lq_pick pick = {0};
    struct lq_measured measured = {0};
    enum lq_status status = lq_fit(&pick, s, &size, "auto", err);
    if (status == LQ_OK && s->trial != NULL) status = lq_repair_measure(&measured, s, &pick, &size, err);
    if (status == LQ_OK)
        *point = (struct lq_curve_point){.bytes = pick.bytes,
                                         .bpw = pick.bpw,
                                         .estimate = lq_strategy_estimate(s, &pick),
                                         .measured = s->trial != NULL ? measured.divergence.mean : NAN,
                                         .error = s->trial != NULL ? measured.divergence.error : NAN};
    lq_pick_release(&pick);
    lq_measured_release(&measured);
    return status;
}

enum lq_status lq_strategy_curve(struct lq_strategy *s, struct lq_curve_point *points, size_t n, struct lq_error *err)
{
    struct lq_fit_bounds b;
    lq_strategy_forget(s);
    enum lq_status status = lq_strategy_prepare(s, n, err);
    if (status == LQ_OK) status = lq_fit_bounds(&b, s, err);
    if (status != LQ_OK) return status;
    double first = (double)b.smallest_data, last = fmin((double)b.largest_data, (double)b.weights * most_bpw / 8);
    if (last < first) last = first;
    for (size_t i = 0; i < n && status == LQ_OK; i++) {
        double share = n > 1 ? (double)i / (double)(n - 1) : 1;
        uint64_t bytes = (uint64_t)(first * pow(last / first, share));
        status = find_point(s, bytes > b.smallest_data ? bytes : b.smallest_data, &points[i], err);
    }
    return status;
}

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *point_json(const struct lq_curve_point *p)
{
    return json_pack("{s:I,s:o,s:o,s:o,s:o}", "bytes", (json_int_t)p->bytes, "bpw", number(p->bpw), "estimate",
                     number(p->estimate), "measured", number(p->measured), "error", number(p->error));
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static json_t *curve_json(const struct lq_strategy *s, const struct lq_curve_point *points, size_t n)
{
    size_t questions = s->trial == NULL ? 0 : lq_trial_cost(s->trial).questions;
    json_t *list = json_array(), *data = s->trial == NULL ? json_null() : json_string(base_name(s->options.data->path));
    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(list, point_json(&points[i])) != 0) {
            json_decref(list);
            list = NULL;
            break;
        }
    return json_pack("{s:s,s:i,s:s,s:o,s:I,s:s,s:o}", "format", "llava-quantize curve", "version", 1, "model",
                     s->options.model->name, "data", data, "questions", (json_int_t)questions, "effort",
                     lq_effort_name(s->options.effort), "points", list);
}

enum lq_status lq_strategy_curve_save(const struct lq_strategy *s, const struct lq_curve_point *points, size_t n,
                                      const char *path, struct lq_error *err)
{
    json_t *json = curve_json(s, points, n);
    char *text = json == NULL ? NULL : json_dumps(json, JSON_INDENT(1));
    json_decref(json);
    if (text == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for the curve, or a name that is not UTF-8", path);
    enum lq_status status = lq_file_save(path, text, strlen(text), err);
    free(text);
    return status;
}
