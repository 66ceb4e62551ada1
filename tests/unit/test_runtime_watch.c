/* The callback behind observers: products of other families than the demo's, recomputed from what was seen, and inputs
 * of every layout that ggml multiplies. */
#include "llava_quantize.h"
#include "runtime/dialogue.h"
#include "runtime/lane.h"
#include "runtime/watch.h"

#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "expect.h"

#define PICTURE LQ_DEMO "/exam/00001.png"
enum { MOST = 64, EXPERTS = 4, EXPERTS_USED = 2 };

/* ---- whole models ---- */

/* A matrix: its weights, whose input it takes, what was seen of its own last. */
struct matrix {
    const struct lq_tensor *tensor;
    float *weights;
    char first[64];
    float *rows;
    int32_t *experts;
    size_t n_rows, n_products;
};

struct family {
    struct lq_model *model;
    struct matrix matrices[MOST];
    size_t n, tokens_of_experts[EXPERTS];
    bool shared;
};

static struct matrix *matrix_of(struct family *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->matrices[i].tensor->name, name) == 0) return &f->matrices[i];
    fail_msg("'%s' is no matrix that may be quantised", name);
    return NULL;
}

static bool wants(void *data, const char *weight)
{
    (void)matrix_of(data, weight);
    return true;
}

static void *copy(const void *data, size_t size)
{
    void *copied = malloc(size);
    assert_non_null(copied);
    return memcpy(copied, data, size);
}

static void sees(void *data, const struct lq_observation *seen)
{
    struct family *f = data;
    struct matrix *m = matrix_of(f, seen->weight);
    assert_string_equal(m->first, "");
    assert_int_equal(seen->n_columns, m->tensor->ne[0]);
    assert_int_equal(seen->stride, seen->n_columns);
    assert_int_equal(seen->n_experts, m->tensor->ne[2]);
    assert_int_equal(seen->experts != NULL, m->tensor->ne[2] > 1);
    free(m->rows);
    free(m->experts);
    m->rows = copy(seen->rows, seen->n_rows * seen->n_columns * sizeof *m->rows);
    m->experts = seen->experts != NULL ? copy(seen->experts, seen->n_rows * sizeof *m->experts) : NULL;
    m->n_rows = seen->n_rows;
    for (size_t i = 0; m->experts != NULL && i < seen->n_rows; i++) {
        assert_int_equal(seen->tokens[i], i / EXPERTS_USED);
        f->tokens_of_experts[m->experts[i]]++;
    }
}

static void shares(void *data, const char *weight, const char *first)
{
    struct family *f = data;
    struct matrix *m = matrix_of(f, weight);
    assert_int_equal(m->tensor->ne[0], matrix_of(f, first)->tensor->ne[0]);
    strcpy(m->first, first);
    f->shared = true;
}

/* Every product is its matrix times the rows seen last. */
static void changes(void *data, const char *weight, float *rows, size_t n_columns, size_t n_rows)
{
    struct matrix *m = matrix_of(data, weight);
    const struct matrix *seen = m->first[0] != 0 ? matrix_of(data, m->first) : m;
    const size_t n_in = m->tensor->ne[0];
    double error = 0, size = 0;
    assert_int_equal(n_columns, m->tensor->ne[1]);
    assert_int_equal(n_rows, seen->n_rows);
    for (size_t r = 0; r < n_rows; r++) {
        const float *w = m->weights + (seen->experts != NULL ? (size_t)seen->experts[r] : 0) * n_columns * n_in;
        for (size_t k = 0; k < n_columns; k++) {
            double sum = 0;
            for (size_t c = 0; c < n_in; c++) sum += (double)w[k * n_in + c] * seen->rows[r * n_in + c];
            error += (sum - rows[r * n_columns + k]) * (sum - rows[r * n_columns + k]);
            size += sum * sum;
        }
    }
    if (!(error <= 1e-5 * size)) fail_msg("%s: the product is off by %g", weight, sqrt(error / size));
    m->n_products++;
}

static void family_open(struct family *f, const char *path)
{
    memset(f, 0, sizeof *f);
    expect(lq_model_open(&f->model, path, NULL, &err));
    for (int half = 0; half < LQ_HALVES; half++) {
        for (size_t i = 0; i < f->model->half[half]->n_tensors; i++) {
            const struct lq_tensor *t = &f->model->half[half]->tensors[i];
            bool router = strstr(t->name, "ffn_gate_inp.weight") != NULL; /* multiplied, but never quantised */
            if ((!t->quantisable && !router) || t->role == LQ_ROLE_LANGUAGE_EMBEDDING) continue;
            struct matrix *m = &f->matrices[f->n++];
            assert_true(f->n <= MOST);
            m->tensor = t;
            m->weights = malloc(t->rows * t->ne[0] * sizeof *m->weights);
            assert_non_null(m->weights);
            expect(lq_model_weights(f->model, t, 0, t->rows, m->weights, &err));
        }
    }
}

static void family_close(struct family *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->matrices[i].weights);
        free(f->matrices[i].rows);
        free(f->matrices[i].experts);
    }
    lq_model_free(f->model);
}

/* A picture and a text of n tokens. */
static size_t run(struct family *f, const char *mmproj)
{
    const struct lq_observer observer = {.data = f, .wants = wants, .sees = sees, .shares = shares, .changes = changes};
    const struct lq_runtime_options options = {
        .language = f->model->half[LQ_LANGUAGE]->path, .mmproj = mmproj, .threads = 1};
    struct lq_runtime *rt = NULL;
    struct lq_view *view = NULL;
    struct lq_lane *lane = NULL;
    int32_t *tokens = NULL;
    size_t n = 0;
    struct lq_lane_item items[64];
    expect(lq_runtime_open_observed(&rt, &options, &observer, &err));
    expect(lq_runtime_tokenise(&tokens, &n, rt, "a text", 6, &err));
    assert_true(n > 0 && n <= 64);
    expect(lq_view_open(&view, rt, PICTURE, &err));
    expect(lq_lane_open(&lane, rt, &(struct lq_lane_options){.cells = 256, .sequences = 1, .all = true}, &err));
    expect(lq_lane_show(lane, 0, view, &err));
    for (size_t i = 0; i < n; i++) items[i] = (struct lq_lane_item){.token = tokens[i]};
    expect(lq_lane_feed(lane, items, n, &err));
    n += lq_view_tokens(view);
    free(tokens);
    lq_lane_free(lane);
    lq_view_free(view);
    lq_runtime_free(rt);
    return n;
}

static void check_family(const char *name)
{
    struct family f;
    char language[4096], mmproj[4096];
    size_t experts = 0;
    snprintf(language, sizeof language, "%s/%s.gguf", LQ_PAIRS, name);
    snprintf(mmproj, sizeof mmproj, "%s/mmproj-%s.gguf", LQ_PAIRS, name);
    family_open(&f, language);
    size_t n_tokens = run(&f, mmproj);
    for (size_t i = 0; i < f.n; i++) {
        size_t expected = f.matrices[i].tensor->half == LQ_VISION ? 1 : 2; /* the picture, then the text */
        if (f.matrices[i].n_products != expected)
            fail_msg("%s: %zu products", f.matrices[i].tensor->name, f.matrices[i].n_products);
        experts += f.matrices[i].tensor->ne[2] > 1 && f.matrices[i].first[0] == 0;
    }
    size_t routed = 0;
    for (size_t e = 0; e < EXPERTS; e++) routed += f.tokens_of_experts[e];
    assert_int_equal(routed, experts * n_tokens * EXPERTS_USED);
    assert_int_equal(experts > 0, strcmp(name, "experts") == 0);
    assert_true(f.shared);
    family_close(&f);
}

static void test_grouped_heads(void **state)
{
    (void)state;
    check_family("grouped");
}

static void test_fused_matrices(void **state)
{
    (void)state;
    check_family("fused");
}

static void test_experts(void **state)
{
    (void)state;
    check_family("experts");
}

/* ---- single nodes ---- */

/* Two contexts as a runtime has them: weights, and what a graph computes with. */
struct bench {
    struct ggml_context *weights, *graph;
    ggml_backend_buffer_t buffers[2];
    struct lq_watch *watch;
    size_t n_seen;
    float rows[64];
    int32_t experts[64];
    uint32_t tokens[64];
    struct lq_observation seen;
};

static bool want_all(void *data, const char *weight)
{
    (void)data;
    (void)weight;
    return true;
}

static void keep(void *data, const struct lq_observation *seen)
{
    struct bench *b = data;
    b->seen = *seen;
    b->n_seen++;
    assert_true(seen->n_rows * seen->n_columns <= 64);
    for (size_t i = 0; i < seen->n_rows; i++) {
        memcpy(b->rows + i * seen->n_columns, seen->rows + i * seen->stride, seen->n_columns * sizeof *b->rows);
        if (seen->experts != NULL) b->experts[i] = seen->experts[i];
        if (seen->tokens != NULL) b->tokens[i] = seen->tokens[i];
    }
}

static void bench_init(struct bench *b)
{
    const struct ggml_init_params params = {.mem_size = 1 << 16, .no_alloc = true};
    const struct lq_observer observer = {.data = b, .wants = want_all, .sees = keep};
    memset(b, 0, sizeof *b);
    b->weights = ggml_init(params);
    b->graph = ggml_init(params);
    expect(lq_watch_new(&b->watch, &observer, &err));
}

/* Gives all tensors memory; an input's numbers are its elements' own numbers as they lie there. */
static void fill(struct bench *b, struct ggml_tensor *input)
{
    struct ggml_context *contexts[2] = {b->weights, b->graph};
    for (int i = 0; i < 2; i++)
        b->buffers[i] = ggml_backend_alloc_ctx_tensors_from_buft(contexts[i], ggml_backend_cpu_buffer_type());
    ggml_backend_buffer_set_usage(b->buffers[0], GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    for (int64_t i = 0; i < ggml_nelements(input); i++) {
        if (input->type == GGML_TYPE_F16) ((ggml_fp16_t *)input->data)[i] = ggml_fp32_to_fp16((float)i);
        else ((float *)input->data)[i] = (float)i;
    }
}

static void show(struct bench *b, struct ggml_tensor *node)
{
    assert_true(lq_watch_node(node, true, b->watch));
    assert_true(lq_watch_node(node, false, b->watch));
    expect(lq_watch_check(b->watch, &err));
}

static void bench_release(struct bench *b)
{
    lq_watch_free(b->watch);
    for (int i = 0; i < 2; i++) ggml_backend_buffer_free(b->buffers[i]);
    ggml_free(b->weights);
    ggml_free(b->graph);
}

static struct ggml_tensor *weight(struct bench *b, int64_t n0, int64_t n1, int64_t n2)
{
    struct ggml_tensor *w = ggml_new_tensor_3d(b->weights, GGML_TYPE_F32, n0, n1, n2);
    ggml_set_name(w, "w");
    return w;
}

static void assert_rows(const struct bench *b, const float *expected, size_t n_columns, size_t n_rows)
{
    assert_int_equal(b->n_seen, 1);
    assert_string_equal(b->seen.weight, "w");
    assert_int_equal(b->seen.n_columns, n_columns);
    assert_int_equal(b->seen.n_rows, n_rows);
    for (size_t i = 0; i < n_columns * n_rows; i++) assert_float_equal(b->rows[i], expected[i], 0);
}

/* Every second row of a larger tensor; the same in f16. */
static void test_rows_apart(void **state)
{
    (void)state;
    static const enum ggml_type types[] = {GGML_TYPE_F32, GGML_TYPE_F16};
    static const float expected[] = {0, 1, 2, 6, 7, 8};
    for (int i = 0; i < 2; i++) {
        struct bench b;
        bench_init(&b);
        struct ggml_tensor *input = ggml_new_tensor_2d(b.graph, types[i], 3, 4);
        struct ggml_tensor *rows = ggml_view_2d(b.graph, input, 3, 2, 2 * input->nb[1], 0);
        struct ggml_tensor *node = ggml_mul_mat(b.graph, weight(&b, 3, 5, 1), rows);
        fill(&b, input);
        show(&b, node);
        assert_rows(&b, expected, 3, 2);
        assert_null(b.seen.experts);
        bench_release(&b);
    }
}

/* Two heads share a matrix, their rows not in order: [n, tokens, heads] seen as ggml's permutation has it. */
static void test_permuted_rows(void **state)
{
    (void)state;
    static const float expected[] = {0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11};
    struct bench b;
    bench_init(&b);
    struct ggml_tensor *input = ggml_new_tensor_3d(b.graph, GGML_TYPE_F32, 2, 2, 3); /* [n, heads, tokens] */
    struct ggml_tensor *node = ggml_mul_mat(b.graph, weight(&b, 2, 5, 1), ggml_permute(b.graph, input, 0, 2, 1, 3));
    fill(&b, input);
    show(&b, node);
    assert_rows(&b, expected, 2, 6);
    assert_null(b.seen.tokens);
    bench_release(&b);
}

/* A matrix for each of two heads, as in latent attention; four heads of the input, two for each matrix. */
static void test_stacked_matrices(void **state)
{
    (void)state;
    static const int32_t experts[] = {0, 0, 0, 0, 1, 1, 1, 1};
    static const uint32_t tokens[] = {0, 1, 2, 3, 0, 1, 2, 3};
    struct bench b;
    bench_init(&b);
    struct ggml_tensor *input = ggml_new_tensor_3d(b.graph, GGML_TYPE_F32, 2, 2, 4);
    struct ggml_tensor *node = ggml_mul_mat(b.graph, weight(&b, 2, 5, 2), input);
    fill(&b, input);
    show(&b, node);
    assert_rows(&b, input->data, 2, 8);
    assert_int_equal(b.seen.n_experts, 2);
    assert_memory_equal(b.experts, experts, sizeof experts);
    assert_memory_equal(b.tokens, tokens, sizeof tokens);
    bench_release(&b);
}

/* Two of three experts for each of two tokens; the ids are a part of longer rows, as ggml's top-k leaves them. */
static void test_routed_rows(void **state)
{
    (void)state;
    static const int32_t ids[] = {2, 0, 1, 1, 2, 0}, experts[] = {2, 0, 1, 2};
    static const uint32_t tokens[] = {0, 0, 1, 1};
    static const float shared[] = {0, 1, 0, 1, 2, 3, 2, 3}, own[] = {0, 1, 2, 3, 4, 5, 6, 7};
    for (int64_t slots = 1; slots <= 2; slots++) {
        struct bench b;
        bench_init(&b);
        struct ggml_tensor *input = ggml_new_tensor_3d(b.graph, GGML_TYPE_F32, 2, slots, 2);
        struct ggml_tensor *all = ggml_new_tensor_2d(b.graph, GGML_TYPE_I32, 3, 2);
        struct ggml_tensor *chosen = ggml_view_2d(b.graph, all, 2, 2, all->nb[1], 0);
        struct ggml_tensor *node = ggml_mul_mat_id(b.graph, weight(&b, 2, 5, 3), input, chosen);
        fill(&b, input);
        memcpy(all->data, ids, sizeof ids);
        show(&b, node);
        assert_rows(&b, slots == 1 ? shared : own, 2, 4);
        assert_int_equal(b.seen.n_experts, 3);
        assert_memory_equal(b.experts, experts, sizeof experts);
        assert_memory_equal(b.tokens, tokens, sizeof tokens);
        bench_release(&b);
    }
}

/* What is not a matrix of the file as it lies there, or has no rows, is nobody's business. */
static void test_what_is_not_asked_for(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct ggml_tensor *w = weight(&b, 4, 4, 1), *input = ggml_new_tensor_2d(b.graph, GGML_TYPE_F32, 4, 3);
    struct ggml_tensor *nodes[] = {
        ggml_mul_mat(b.graph, ggml_view_2d(b.graph, w, 4, 2, w->nb[1], 0), input),
        ggml_mul_mat(b.graph, ggml_cont(b.graph, ggml_transpose(b.graph, w)), input),
        ggml_mul_mat(b.graph, input, input),
        ggml_mul_mat(b.graph, w, ggml_view_2d(b.graph, input, 4, 0, input->nb[1], 0)),
        ggml_add(b.graph, input, input),
    };
    fill(&b, input);
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) assert_false(lq_watch_node(nodes[i], true, b.watch));
    assert_null(lq_watch_find(b.watch, "v"));
    assert_ptr_equal(lq_watch_find(b.watch, "w"), w); /* noted, though nothing flowed into it */
    assert_int_equal(b.n_seen, 0);
    bench_release(&b);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_grouped_heads), cmocka_unit_test(test_fused_matrices),
    cmocka_unit_test(test_experts),       cmocka_unit_test(test_rows_apart),
    cmocka_unit_test(test_permuted_rows), cmocka_unit_test(test_stacked_matrices),
    cmocka_unit_test(test_routed_rows),   cmocka_unit_test(test_what_is_not_asked_for),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
