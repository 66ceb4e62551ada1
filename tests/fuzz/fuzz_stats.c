/* Any bytes as statistics, in all three forms: an error, or means that are finite and not negative, and second moments
 * that are what they say or are refused when they are read. */
#include "anonymous.h"
#include "llava_quantize/inspect.h"

#include <math.h>
#include <stdio.h>

enum { MOST_COLUMNS = 512 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(enum lq_status status, const struct lq_error *err)
{
    if (err->status != status || err->message[0] == 0) abort();
}

static void check_means(const struct lq_stats *stats, const struct lq_tensor *t)
{
    const float *means = lq_stats_importance(stats, t);
    double sum = 0;
    for (uint64_t i = 0; means != NULL && i < t->ne[0] * t->ne[2]; i++) {
        if (!isfinite(means[i]) || means[i] < 0) abort();
        sum += means[i];
    }
    if (means != NULL && sum <= 0) abort();
}

static void check_moments(const struct lq_stats *stats, const struct lq_tensor *t)
{
    static float triangle[MOST_COLUMNS * (MOST_COLUMNS + 1) / 2];
    if (lq_stats_input(stats, t) == NULL || t->ne[0] > MOST_COLUMNS) return;
    for (uint64_t expert = 0; expert <= t->ne[2]; expert++) {
        struct lq_stats_moments moments;
        struct lq_error err = {0};
        enum lq_status status = lq_stats_hessian(stats, t, expert, triangle, &moments, &err);
        if (status != LQ_OK) check_error(status, &err);
        else if (expert == t->ne[2] || !isfinite(moments.tokens) || !(moments.spread >= 0)) abort();
        for (uint64_t i = 0; status == LQ_OK && i < t->ne[0]; i++)
            if (!(triangle[i * (i + 1) / 2 + i] >= 0)) abort();
    }
}

static void check_matrix(const struct lq_stats *stats, const struct lq_stats_matrix *m)
{
    const struct lq_tensor t = {.name = m->name, .ne = {m->columns, 1, m->experts, 1}};
    if (m->n_worst > LQ_STATS_WORST || m->dead > m->columns * m->experts || m->few > m->experts) abort();
    for (size_t i = 0; i < m->n_worst; i++)
        if (m->worst[i].expert >= m->experts || m->worst[i].column >= m->columns) abort();
    check_means(stats, &t);
    check_moments(stats, &t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lq_stats *stats = NULL;
    struct lq_stats_inspection *seen = NULL;
    struct lq_error err = {0};
    char path[64];
    int fd = anonymous_file(data, size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    bool is_file = lq_stats_is_file(path);
    enum lq_status status = lq_stats_load(&stats, path, &err);
    close(fd);
    if (status == LQ_OK) status = lq_stats_inspect(&seen, stats, NULL, &err);
    if (status != LQ_OK) check_error(status, &err);
    else if (!is_file) abort();
    for (size_t i = 0; status == LQ_OK && i < seen->n_matrices; i++) check_matrix(stats, &seen->matrices[i]);
    lq_stats_inspection_free(seen);
    lq_stats_free(stats);
    return 0;
}
