#include "calibrate/input_sums.h"

#include <stdlib.h>
#include <string.h>

enum { PARTS = 8 }; /* of a sum over columns, so that its additions need not wait for one another */

uint64_t lq_input_sums_bytes(uint64_t n, uint64_t n_experts)
{
    return n_experts * (2 * n * LQ_KINDS + LQ_KINDS + n + 1 + 2) * sizeof(double);
}

enum lq_status lq_input_sums_init(struct lq_input_sums *s, size_t n, size_t n_experts, struct lq_error *err)
{
    *s = (struct lq_input_sums){.n = n, .n_experts = n_experts};
    s->moments = calloc(n_experts * 2 * n * LQ_KINDS, sizeof *s->moments);
    s->tokens = calloc(n_experts * LQ_KINDS, sizeof *s->tokens);
    s->weighted = calloc(n_experts * (n + 1), sizeof *s->weighted);
    s->spread = calloc(n_experts * 2, sizeof *s->spread);
    if (s->moments != NULL && s->tokens != NULL && s->weighted != NULL && s->spread != NULL) return LQ_OK;
    lq_input_sums_release(s);
    return lq_error_set(err, LQ_ERR_MEMORY, "no memory for sums over %zu columns", n);
}

void lq_input_sums_release(struct lq_input_sums *s)
{
    free(s->moments);
    free(s->tokens);
    free(s->weighted);
    free(s->spread);
    *s = (struct lq_input_sums){0};
}

double lq_square_of(const float *x, size_t n)
{
    double parts[PARTS] = {0}, sum = 0;
    size_t i = 0;
    for (; i + PARTS <= n; i += PARTS)
        for (size_t k = 0; k < PARTS; k++) parts[k] += (double)x[i + k] * x[i + k];
    for (; i < n; i++) sum += (double)x[i] * x[i];
    for (size_t k = 0; k < PARTS; k++) sum += parts[k];
    return sum;
}

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void lq_cap_scales(double *scales, const double *squares, size_t n, double cap, double *room)
{
    double most = 0;
    if (cap > 0 && n > 0) {
        memcpy(room, squares, n * sizeof *room);
        qsort(room, n, sizeof *room, compare_numbers);
        most = cap * room[(n - 1) / 2];
    }
    for (size_t i = 0; i < n; i++) scales[i] = cap > 0 && squares[i] > most ? most / squares[i] : 1;
}

void lq_input_sums_add(struct lq_input_sums *s, size_t expert, enum lq_kind kind, const float *x, double square,
                       double weight)
{
    size_t n = s->n;
    double *restrict sum = s->moments + (expert * LQ_KINDS + kind) * 2 * n, *restrict squares = sum + n;
    double *restrict weighted = s->weighted + expert * (n + 1);
    for (size_t i = 0; i < n; i++) {
        double v = x[i], v2 = v * v;
        sum[i] += v;
        squares[i] += v2;
        weighted[i] += weight * v2;
    }
    weighted[n] += weight;
    s->tokens[expert * LQ_KINDS + kind]++;
    s->spread[expert * 2] += weight * weight * square * square;
    s->spread[expert * 2 + 1] += weight * weight;
}

void lq_input_sums_imatrix(const struct lq_input_sums *s, size_t expert, float *in_sum2, float *count)
{
    const double *weighted = s->weighted + expert * (s->n + 1), *tokens = s->tokens + expert * LQ_KINDS;
    double total = tokens[LQ_KIND_PICTURE] + tokens[LQ_KIND_AFTER] + tokens[LQ_KIND_TEXT];
    double scale = weighted[s->n] > 0 ? total / weighted[s->n] : 0;
    for (size_t i = 0; i < s->n; i++) in_sum2[i] = (float)(weighted[i] * scale);
    *count = weighted[s->n] > 0 ? (float)total : 0;
}
