/* Statistics with second moments, of made-up tokens whose columns depend on one another. */
#ifndef LQ_TEST_MOMENTS_FIXTURE_H
#define LQ_TEST_MOMENTS_FIXTURE_H

#include "calibrate/stats_file.h"
#include "llava_quantize/calibrate.h"
#include "test_write_fixture.h"

#include <stdio.h>

enum { MADE_NAME = 96, MADE_MEMBERS = 4 };

/* Matrices that share an input, the first name's own; `tokens` of each expert, 0 for one that was never reached. */
struct made_input {
    const char *members[MADE_MEMBERS];
    uint64_t n, experts, tokens[4];
    bool moments; /* with second moments */
};

/* Column i of token t through expert e: noise that drifts along the columns, so that neighbours are alike. */
static inline void made_token(const struct made_input *input, uint64_t expert, uint64_t t, float *x)
{
    uint32_t state = (uint32_t)(t * 2654435761u + expert * 40503u + 1);
    float drift = 0;
    for (uint64_t i = 0; i < input->n; i++) {
        state = state * 1664525u + 1013904223u;
        drift = 0.9f * drift + (float)(int32_t)state * 0x1p-31f;
        x[i] = drift * (1 + (float)(i % 7) * 0.3f);
    }
}

/* The packed lower triangle of sum x x' of one expert; `diagonal` and `spread` may be NULL. */
static inline void made_hessian(const struct made_input *input, uint64_t expert, float *packed, double *spread)
{
    uint64_t n = input->n;
    float *x = malloc(n * sizeof *x);
    double *sum = calloc(n * (n + 1) / 2, sizeof *sum), fourth = 0;
    for (uint64_t t = 0; t < input->tokens[expert]; t++) {
        double norm = 0;
        made_token(input, expert, t, x);
        for (uint64_t i = 0, at = 0; i < n; i++) {
            norm += (double)x[i] * x[i];
            for (uint64_t j = 0; j <= i; j++) sum[at++] += (double)x[i] * x[j];
        }
        fourth += norm * norm;
    }
    for (uint64_t i = 0; i < n * (n + 1) / 2; i++) packed[i] = (float)sum[i];
    if (spread != NULL) *spread = fourth;
    free(sum);
    free(x);
}

struct made_tensors {
    struct lq_output_tensor list[64];
    char names[64][MADE_NAME];
    void *data[64];
    uint64_t bytes[64];
    size_t n;
};

static inline void *made_add(struct made_tensors *m, const char *name, const char *suffix, enum lq_type type,
                             uint64_t columns, uint64_t rows)
{
    snprintf(m->names[m->n], MADE_NAME, "%s%s", name, suffix);
    m->list[m->n] = (struct lq_output_tensor){m->names[m->n], type, 2, {columns, rows, 1, 1}};
    m->bytes[m->n] = columns * rows * (type == LQ_TYPE_F64 ? sizeof(double) : sizeof(float));
    m->data[m->n] = calloc(1, m->bytes[m->n]);
    return m->data[m->n++];
}

static inline void made_add_input(struct made_tensors *m, const struct made_input *input)
{
    uint64_t n = input->n, packed = n * (n + 1) / 2;
    const char *first = input->members[0];
    float *hessian = calloc(packed * input->experts, sizeof *hessian);
    double spread[8] = {0};
    for (uint64_t e = 0; e < input->experts; e++) {
        made_hessian(input, e, hessian + e * packed, &spread[2 * e]);
        spread[2 * e + 1] = (double)input->tokens[e];
    }
    for (size_t i = 0; i < MADE_MEMBERS && input->members[i] != NULL; i++) {
        float *sums = made_add(m, input->members[i], LQ_STATS_SUMS, LQ_TYPE_F32, n, input->experts);
        float *counts = made_add(m, input->members[i], LQ_STATS_COUNTS, LQ_TYPE_F32, 1, input->experts);
        for (uint64_t e = 0; e < input->experts; e++) {
            counts[e] = (float)input->tokens[e];
            for (uint64_t c = 0; c < n; c++) sums[e * n + c] = hessian[e * packed + c * (c + 3) / 2];
        }
    }
    if (input->moments) {
        double *weighted = made_add(m, first, LQ_STATS_WEIGHTED, LQ_TYPE_F64, n + 1, input->experts);
        for (uint64_t e = 0; e < input->experts; e++) {
            for (uint64_t c = 0; c < n; c++) weighted[e * (n + 1) + c] = hessian[e * packed + c * (c + 3) / 2];
            weighted[e * (n + 1) + n] = (double)input->tokens[e];
        }
        float *moments = made_add(m, first, LQ_STATS_HESSIAN, LQ_TYPE_F32, packed, input->experts);
        memcpy(moments, hessian, packed * input->experts * sizeof *hessian);
        double *spreads = made_add(m, first, LQ_STATS_SPREAD, LQ_TYPE_F64, 2, input->experts);
        memcpy(spreads, spread, 2 * input->experts * sizeof *spreads);
    }
    free(hessian);
}

static inline void made_set_members(struct lq_kvs *kvs, const struct made_input *inputs, size_t n)
{
    const char *members[64], *firsts[64];
    size_t lengths[2][64], count = 0;
    struct lq_error err = {0};
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < MADE_MEMBERS && inputs[i].members[k] != NULL; k++) {
            lengths[0][count] = strlen(inputs[i].members[k]);
            lengths[1][count] = strlen(inputs[i].members[0]);
            members[count] = inputs[i].members[k];
            firsts[count++] = inputs[i].members[0];
        }
    assert_int_equal(lq_kvs_set_strings(kvs, LQ_STATS_KEY_MEMBERS, members, lengths[0], count, &err), LQ_OK);
    assert_int_equal(lq_kvs_set_strings(kvs, LQ_STATS_KEY_FIRSTS, firsts, lengths[1], count, &err), LQ_OK);
}

/* Writes and loads them. */
static inline struct lq_stats *make_moments(const char *path, const struct made_input *inputs, size_t n)
{
    struct made_tensors *m = calloc(1, sizeof *m);
    struct lq_output *o = NULL;
    struct lq_kvs kvs = {0};
    struct lq_error err = {0};
    struct lq_stats *stats = NULL;
    for (size_t i = 0; i < n; i++) made_add_input(m, &inputs[i]);
    assert_int_equal(lq_kvs_set_string(&kvs, "general.type", "imatrix", &err), LQ_OK);
    assert_int_equal(lq_kvs_set_string(&kvs, "llava_quantize.pair_id", FIXTURE_ID, &err), LQ_OK);
    assert_int_equal(lq_kvs_set_u32(&kvs, LQ_STATS_KEY_VERSION, LQ_STATS_VERSION, &err), LQ_OK);
    made_set_members(&kvs, inputs, n);
    assert_int_equal(lq_output_open(&o, &path, 1, true, &err), LQ_OK);
    assert_int_equal(lq_output_begin(o, 0, &kvs, m->list, m->n, 32, &err), LQ_OK);
    for (size_t i = 0; i < m->n; i++)
        assert_int_equal(lq_output_write(o, 0, i, 0, m->data[i], m->bytes[i], &err), LQ_OK);
    if (lq_output_commit(o, FIXTURE_ID, &err) != LQ_OK) fail_msg("%s", err.message);
    lq_output_close(o);
    lq_kvs_release(&kvs);
    for (size_t i = 0; i < m->n; i++) free(m->data[i]);
    free(m);
    if (lq_stats_load(&stats, path, &err) != LQ_OK) fail_msg("%s", err.message);
    return stats;
}

#endif
