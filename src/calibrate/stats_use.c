/* Statistics for a model's tensors: whether they fit, importance, second moments. */
#include "calibrate/stats.h"

#include "source/kv.h"
#include "write/layout.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static uint64_t expected_values(const struct lq_tensor *t)
{
    return t->ne[0] * t->ne[2] * t->ne[3];
}

/* The entry of a tensor whose length fits. */
static const struct lq_stats_entry *fitting(const struct lq_stats *stats, const struct lq_tensor *t)
{
    const struct lq_stats_entry *e = lq_stats_find(stats, t->name);
    return e != NULL && e->n == expected_values(t) ? e : NULL;
}

/* The token embedding is exempt: its data, where there are any, belong to its other use as output matrix. */
static enum lq_status check_tensor(const struct lq_stats *stats, const struct lq_tensor *t, struct lq_error *err)
{
    const struct lq_stats_entry *e = lq_stats_find(stats, t->name);
    if (e == NULL || e->n == expected_values(t) || t->role == LQ_ROLE_LANGUAGE_EMBEDDING) return LQ_OK;
    return lq_error_set(err, LQ_ERR_FORMAT,
                        "%s: tensor '%s': %" PRIu64 " values, expected %" PRIu64 ": importance data of another model",
                        stats->path, t->name, e->n, expected_values(t));
}

/* `fit` counts the tensors that have data. */
static enum lq_status check_half(const struct lq_stats *stats, const struct lq_model_half *half, size_t *fit,
                                 struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t i = 0; half != NULL && status == LQ_OK && i < half->n_tensors; i++) {
        status = check_tensor(stats, &half->tensors[i], err);
        *fit += fitting(stats, &half->tensors[i]) != NULL;
    }
    return status;
}

/* Where both name a pair: one half of the model must belong to that of the statistics. */
static enum lq_status check_pair(const struct lq_stats *stats, const struct lq_model *model, struct lq_error *err)
{
    const char *id, *other = NULL;
    size_t length, n = strlen(stats->pair), shown = 0;
    for (int h = 0; n > 0 && h < LQ_HALVES; h++) {
        if (model->half[h] == NULL || !lq_kvs_get_string(model->half[h]->kvs, LQ_PAIR_ID_KEY, &id, &length)) continue;
        if (length == n && memcmp(id, stats->pair, n) == 0) return LQ_OK;
        other = id;
        shown = length < 64 && lq_name_is_plain(id, length) ? length : 0;
    }
    if (other == NULL) return LQ_OK;
    return lq_error_set(err, LQ_ERR_FORMAT,
                        "%s: statistics of pair %s, but %s is pair %.*s: calibrate the latter, or quantise the former",
                        stats->path, stats->pair, model->path, shown > 0 ? (int)shown : 1, shown > 0 ? other : "?");
}

enum lq_status lq_stats_check(const struct lq_stats *stats, const struct lq_model *model, struct lq_error *err)
{
    size_t fit = 0;
    enum lq_status status = check_pair(stats, model, err);
    for (int h = 0; status == LQ_OK && h < LQ_HALVES; h++) status = check_half(stats, model->half[h], &fit, err);
    if (status != LQ_OK || fit > 0) return status;
    return lq_error_set(err, LQ_ERR_FORMAT,
                        "%s: not one of its %zu tensors, of which '%s' is one, is a tensor of %s: importance data of "
                        "another model, or of the other half",
                        stats->path, stats->n_entries, stats->entries[0].name, model->path);
}

const float *lq_stats_importance(const struct lq_stats *stats, const struct lq_tensor *tensor)
{
    const struct lq_stats_entry *e = fitting(stats, tensor);
    return e != NULL ? e->means : NULL;
}

/* ---- second moments ---- */

static const struct lq_source_tensor *hessian_of(const struct lq_stats *stats, const struct lq_stats_entry *e,
                                                 const struct lq_tensor *t)
{
    if (e == NULL || !stats->ours || stats->uneven || e->rows != t->ne[2] * t->ne[3]) return NULL;
    return lq_stats_tensor(stats, e->first->name, LQ_STATS_HESSIAN);
}

const char *lq_stats_input(const struct lq_stats *stats, const struct lq_tensor *tensor)
{
    const struct lq_stats_entry *e = fitting(stats, tensor);
    return hessian_of(stats, e, tensor) != NULL ? e->first->name : NULL;
}

/* One number of one expert; each has so many. */
static enum lq_status read_number(const struct lq_stats *stats, const char *name, const char *suffix, uint64_t at,
                                  double *out, struct lq_error *err)
{
    const struct lq_source_tensor *t = lq_stats_tensor(stats, name, suffix);
    double v = 0;
    enum lq_status status = lq_source_read(stats->source, t, at * sizeof v, sizeof v, &v, err);
    if (status != LQ_OK) return status;
    if (!isfinite(v) || v < 0)
        return lq_error_set(err, LQ_ERR_FORMAT,
                            "%s: tensor '%s': value %" PRIu64 " is %g, expected finite and not negative", stats->path,
                            t->name, at, v);
    *out = v;
    return LQ_OK;
}

static enum lq_status check_triangle(const struct lq_stats *stats, const char *name, uint64_t n, const float *v,
                                     struct lq_error *err)
{
    for (uint64_t row = 0; row < n; v += ++row)
        for (uint64_t i = 0; i <= row; i++)
            if (!isfinite(v[i]) || (i == row && v[i] < 0))
                return lq_error_set(err, LQ_ERR_FORMAT,
                                    "%s: tensor '%s': row %" PRIu64 ", column %" PRIu64 " is %g, expected finite%s",
                                    stats->path, name, row, i, (double)v[i], i == row ? " and not negative" : "");
    return LQ_OK;
}

enum lq_status lq_stats_hessian(const struct lq_stats *stats, const struct lq_tensor *tensor, uint64_t expert,
                                float *dst, struct lq_stats_moments *moments, struct lq_error *err)
{
    const struct lq_stats_entry *e = fitting(stats, tensor);
    const struct lq_source_tensor *t = hessian_of(stats, e, tensor);
    if (t == NULL || expert >= e->rows)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: tensor '%s': no second moments of expert %" PRIu64, stats->path,
                            tensor->name, expert);
    struct lq_stats_moments found = {0};
    uint64_t n = e->n / e->rows, bytes = n * (n + 1) / 2 * sizeof *dst;
    const char *name = e->first->name;
    enum lq_status status = lq_source_read(stats->source, t, expert * bytes, bytes, dst, err);
    if (status == LQ_OK) status = check_triangle(stats, t->name, n, dst, err);
    if (status == LQ_OK) status = read_number(stats, name, LQ_STATS_WEIGHTED, expert * (n + 1) + n, &found.tokens, err);
    if (status == LQ_OK) status = read_number(stats, name, LQ_STATS_SPREAD, expert * 2, &found.spread, err);
    if (status == LQ_OK) *moments = found;
    return status;
}
