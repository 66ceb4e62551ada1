#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "llava_quantize/model.h"

enum { MADE_UP = 1 << 18, OF_A_TENSOR = 1 << 14 }; /* weights */

static const char *const kinds[] = {"normal", "heavy", "outlier"}; /* enum lq_bench_kind */
static const uint64_t seed = 1;

bool cli_bench_fits(const struct lq_bench_matrix *matrix, enum lq_type type)
{
    return lq_format_row_bytes(type, matrix->columns) != 0;
}

/* About n weights in whole rows, at least one and at most `there`; the matrix owns its arrays as soon as it is added. */
static enum lq_status add_matrix(struct cli_bench_rows *rows, uint64_t columns, uint64_t n, uint64_t there,
                                 bool importance, float **weights, struct lq_error *err)
{
    uint64_t count = n < columns ? 1 : n / columns;
    if (count > there) count = there;
    float *columns_count = importance ? malloc(columns * sizeof(float)) : NULL;
    *weights = malloc(count * columns * sizeof(float));
    rows->matrices[rows->n++] = (struct lq_bench_matrix){*weights, count, columns, columns_count};
    if (*weights == NULL || (importance && columns_count == NULL))
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for rows of %llu weights", (unsigned long long)columns);
    if (importance) lq_bench_importance(seed + rows->n, columns, columns_count);
    return LQ_OK;
}

static enum lq_status make_up(struct cli_bench_rows *rows, const struct cli_bench_job *job, enum lq_bench_kind kind,
                              struct lq_error *err)
{
    float *weights;
    rows->matrices = calloc(1, sizeof *rows->matrices);
    if (rows->matrices == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "out of memory");
    enum lq_status status = add_matrix(rows, job->columns, MADE_UP, UINT64_MAX, job->importance, &weights, err);
    if (status == LQ_OK) lq_bench_weights(kind, seed, rows->matrices[0].rows, job->columns, weights);
    return status;
}

/* Rows that lie evenly over the tensor. */
static enum lq_status take_rows(struct cli_bench_rows *rows, const struct lq_model *model, const struct lq_tensor *t,
                                bool importance, struct lq_error *err)
{
    float *weights;
    enum lq_status status = add_matrix(rows, t->ne[0], OF_A_TENSOR, t->rows, importance, &weights, err);
    uint64_t n = rows->matrices[rows->n - 1].rows;
    for (uint64_t i = 0; i < n && status == LQ_OK; i++)
        status = lq_model_weights(model, t, t->rows / n * i, 1, weights + i * t->ne[0], err);
    return status;
}

static enum lq_status take_half(struct cli_bench_rows *rows, const struct lq_model *model,
                                const struct lq_model_half *half, bool importance, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < half->n_tensors && status == LQ_OK; i++)
        if (half->tensors[i].quantisable && half->tensors[i].rows > 0)
            status = take_rows(rows, model, &half->tensors[i], importance, err);
    return status;
}

static enum lq_status take_model(struct cli_bench_rows *rows, const struct cli_bench_job *job, struct lq_error *err)
{
    struct lq_model *model = NULL;
    size_t n = 0;
    rows->model = true;
    enum lq_status status = lq_model_open(&model, job->rows, NULL, err);
    if (status != LQ_OK) return status;
    for (int h = 0; h < LQ_HALVES; h++) n += model->half[h] == NULL ? 0 : model->half[h]->n_tensors;
    rows->matrices = calloc(n + 1, sizeof *rows->matrices);
    if (rows->matrices == NULL) status = lq_error_set(err, LQ_ERR_MEMORY, "out of memory");
    for (int h = 0; h < LQ_HALVES && status == LQ_OK; h++)
        if (model->half[h] != NULL) status = take_half(rows, model, model->half[h], job->importance, err);
    lq_model_free(model);
    return status;
}

enum lq_status cli_bench_rows_load(struct cli_bench_rows *rows, const struct cli_bench_job *job, struct lq_error *err)
{
    *rows = (struct cli_bench_rows){0};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(job->rows, kinds[i]) == 0) return make_up(rows, job, (enum lq_bench_kind)i, err);
    return take_model(rows, job, err);
}

void cli_bench_rows_release(struct cli_bench_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++) {
        free((void *)rows->matrices[i].weights);
        free((void *)rows->matrices[i].importance);
    }
    free(rows->matrices);
}
