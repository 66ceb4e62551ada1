#include "llava_quantize/inspect.h"

#include "base/portable_math.h"
#include "calibrate/measurements.h"
#include "calibrate/stats.h"

#include <stdlib.h>
#include <string.h>

/* In log: a column farther above the median than so many robust deviations is an outlier, if it is so many times it. */
static const double robust_deviations = 6, normal_share = 1.4826, least_ratio = 10;

/* ---- columns ---- */

static int compare_floats(const void *a, const void *b)
{
    const float *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The upper one of an even number. Sorts `v`. */
static float median_of(float *v, uint64_t n)
{
    qsort(v, n, sizeof *v, compare_floats);
    return v[n / 2];
}

/* Keeps the largest, in their order. */
static void add_worst(struct lq_stats_matrix *m, const struct lq_stats_column *column)
{
    size_t at = m->n_worst;
    while (at > 0 && m->worst[at - 1].ratio < column->ratio) at--;
    if (at == LQ_STATS_WORST) return;
    size_t kept = m->n_worst < LQ_STATS_WORST ? m->n_worst : LQ_STATS_WORST - 1;
    memmove(&m->worst[at + 1], &m->worst[at], (kept - at) * sizeof *m->worst);
    m->worst[at] = *column;
    m->n_worst = kept + 1;
}

/* One expert's means, all above zero; `room` has space for as many. */
static void look_at_row(struct lq_stats_matrix *m, uint64_t expert, const float *row, float *room)
{
    uint64_t n = m->columns;
    memcpy(room, row, n * sizeof *row);
    double median = median_of(room, n);
    for (uint64_t i = 0; i < n; i++) room[i] = (float)fabs(lq_log(row[i] / median));
    double limit = lq_exp(fmin(robust_deviations * normal_share * median_of(room, n), 700));
    limit = fmax(limit, least_ratio);
    for (uint64_t i = 0; i < n; i++) {
        struct lq_stats_column column = {expert, i, row[i] / median};
        m->ratio = fmax(m->ratio, column.ratio);
        if (column.ratio <= limit) continue;
        m->outliers++;
        add_worst(m, &column);
    }
}

/* ---- matrices ---- */

/* By the names that llama.cpp gives the tensors of an mmproj. */
static enum lq_half half_of(const char *name)
{
    static const char *const vision[] = {"v.", "mm.", "resampler.", "adapter.", "model."};
    for (size_t i = 0; i < sizeof vision / sizeof vision[0]; i++)
        if (strncmp(name, vision[i], strlen(vision[i])) == 0) return LQ_VISION;
    return LQ_LANGUAGE;
}

/* Tokens of each kind, where the file tells them. */
static enum lq_status read_kinds(const struct lq_stats *stats, const struct lq_stats_entry *e, double kind[3],
                                 struct lq_error *err)
{
    double of_expert[LQ_KINDS];
    const struct lq_source_tensor *t = lq_stats_tensor(stats, e->first->name, LQ_STATS_TOKENS);
    enum lq_status status = LQ_OK;
    for (uint64_t x = 0; stats->ours && t != NULL && x < e->rows && status == LQ_OK; x++) {
        status = lq_source_read(stats->source, t, x * sizeof of_expert, sizeof of_expert, of_expert, err);
        for (int k = 0; k < LQ_KINDS && status == LQ_OK; k++) {
            if (!isfinite(of_expert[k]) || of_expert[k] < 0)
                return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s': %g tokens", stats->path, t->name,
                                    of_expert[k]);
            kind[k] += of_expert[k];
        }
    }
    return status;
}

static uint64_t moment_bytes(const struct lq_stats *stats, const struct lq_stats_entry *e)
{
    const struct lq_source_tensor *t = lq_stats_tensor(stats, e->first->name, LQ_STATS_HESSIAN);
    return stats->ours && t != NULL ? t->bytes : 0;
}

static enum lq_status look_at_matrix(struct lq_stats_inspection *seen, const struct lq_stats_entry *e,
                                     struct lq_stats_matrix *m, struct lq_error *err)
{
    *m = (struct lq_stats_matrix){.name = e->name,
                                  .input = e->first->name,
                                  .half = half_of(e->name),
                                  .columns = e->n / e->rows,
                                  .experts = e->rows,
                                  .tokens = e->tokens,
                                  .fewest = e->fewest,
                                  .few = e->few,
                                  .dead = e->dead,
                                  .moment_bytes = moment_bytes(seen->stats, e)};
    if (e->first == e) seen->moment_bytes += m->moment_bytes;
    enum lq_status status = read_kinds(seen->stats, e, m->kind, err);
    if (status != LQ_OK || e->means == NULL) return status;
    float *room = malloc(m->columns * sizeof *room);
    if (room == NULL) return lq_stats_no_memory(seen->stats, err);
    for (uint64_t x = 0; x < e->rows; x++) look_at_row(m, x, e->means + x * m->columns, room);
    free(room);
    return LQ_OK;
}

static enum lq_status look_at_matrices(struct lq_stats_inspection *seen, struct lq_error *err)
{
    const struct lq_stats *stats = seen->stats;
    enum lq_status status = LQ_OK;
    seen->matrices = calloc(stats->n_entries, sizeof *seen->matrices);
    if (seen->matrices == NULL) return lq_stats_no_memory(stats, err);
    seen->n_matrices = stats->n_entries;
    for (size_t i = 0; i < stats->n_entries && status == LQ_OK; i++)
        status = look_at_matrix(seen, &stats->entries[i], &seen->matrices[i], err);
    return status;
}

/* ---- a model beside them ---- */

static void compare_tensor(struct lq_stats_inspection *seen, const struct lq_tensor *t)
{
    const struct lq_stats_entry *e = lq_stats_find(seen->stats, t->name);
    struct lq_stats_matrix *m = e != NULL ? &seen->matrices[e - seen->stats->entries] : NULL;
    if (m != NULL) {
        m->tensor = t;
        m->half = t->half;
    } else if (t->quantisable && t->role != LQ_ROLE_LANGUAGE_EMBEDDING) {
        seen->missing[seen->n_missing++] = t;
    }
}

static enum lq_status compare_model(struct lq_stats_inspection *seen, struct lq_error *err)
{
    size_t n = 0;
    for (int h = 0; h < LQ_HALVES; h++)
        if (seen->model->half[h] != NULL) n += seen->model->half[h]->n_tensors;
    seen->missing = calloc(n + 1, sizeof *seen->missing);
    if (seen->missing == NULL) return lq_stats_no_memory(seen->stats, err);
    for (int h = 0; h < LQ_HALVES; h++) {
        const struct lq_model_half *half = seen->model->half[h];
        for (size_t i = 0; half != NULL && i < half->n_tensors; i++) compare_tensor(seen, &half->tensors[i]);
    }
    return LQ_OK;
}

/* ---- metadata ---- */

static enum lq_status add_dataset(struct lq_stats_inspection *seen, const char *text, size_t length,
                                  struct lq_error *err)
{
    seen->datasets[seen->n_datasets] = strndup(text, length);
    if (seen->datasets[seen->n_datasets] == NULL) return lq_stats_no_memory(seen->stats, err);
    seen->n_datasets++;
    return LQ_OK;
}

static enum lq_status list_datasets(struct lq_stats_inspection *seen, struct lq_error *err)
{
    const struct lq_stats *stats = seen->stats;
    const struct lq_kv *kv = seen->legacy ? NULL : lq_kvs_find(&stats->source->kvs, "imatrix.datasets");
    const char *text;
    size_t length;
    enum lq_status status = LQ_OK;
    seen->datasets = calloc(kv != NULL ? kv->count + 1 : 1, sizeof *seen->datasets);
    if (seen->datasets == NULL) return lq_stats_no_memory(stats, err);
    if (kv == NULL && stats->dataset[0] != '\0') return add_dataset(seen, stats->dataset, strlen(stats->dataset), err);
    for (uint64_t at = 0; kv != NULL && status == LQ_OK && lq_kv_next_string(kv, &at, &text, &length);)
        status = add_dataset(seen, text, length, err);
    return status;
}

static void read_numbers(struct lq_stats_inspection *seen)
{
    if (!seen->ours) return;
    const struct lq_kv *weights = lq_kvs_find(&seen->stats->source->kvs, LQ_STATS_KEY_WEIGHTS);
    seen->done = seen->stats->done;
    seen->total = seen->stats->total;
    if (weights != NULL && weights->element == LQ_KV_F64 && weights->raw_size == sizeof seen->weights)
        memcpy(seen->weights, weights->raw, sizeof seen->weights);
}

enum lq_status lq_stats_inspect(struct lq_stats_inspection **out, const struct lq_stats *stats,
                                const struct lq_model *model, struct lq_error *err)
{
    struct lq_stats_inspection *seen = calloc(1, sizeof *seen);
    if (seen == NULL) return lq_stats_no_memory(stats, err);
    *seen = (struct lq_stats_inspection){.stats = stats,
                                         .model = model,
                                         .ours = stats->ours,
                                         .legacy = stats->source == NULL,
                                         .pair = stats->pair,
                                         .chunks = stats->chunks,
                                         .uneven = stats->uneven};
    read_numbers(seen);
    enum lq_status status = list_datasets(seen, err);
    if (status == LQ_OK) status = look_at_matrices(seen, err);
    if (status == LQ_OK) status = lq_measured_counts(stats, seen->measured, err);
    if (status == LQ_OK && model != NULL) status = compare_model(seen, err);
    if (status == LQ_OK) *out = seen;
    else lq_stats_inspection_free(seen);
    return status;
}

void lq_stats_inspection_free(struct lq_stats_inspection *inspection)
{
    if (inspection == NULL) return;
    for (size_t i = 0; i < inspection->n_datasets; i++) free(inspection->datasets[i]);
    free(inspection->datasets);
    free(inspection->matrices);
    free(inspection->missing);
    free(inspection);
}
