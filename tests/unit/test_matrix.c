/* One tensor in several types: the bytes that the pipeline writes, and errors by their definition. */
#include "test_quantize_fixture.h"

#include "codec/encode.h"
#include "quantize/feedback.h"
#include "quantize/matrix.h"
#include "test_moments_fixture.h"

#include <math.h>

/* Of the demo: second moments that two matrices share, importance alone, and nothing. */
#define QUERY "blk.0.attn_q.weight"
#define KEY "blk.0.attn_k.weight"
#define DOWN "blk.1.ffn_down.weight"
#define OUT "blk.0.attn_output.weight"
#define TOWER "v.blk.0.ffn_up.weight"
#define NOTHING "v.blk.1.attn_q.weight"
#define EMBEDDING "token_embd.weight"

static const struct made_input inputs[] = {
    {.members = {QUERY, KEY}, .n = 256, .experts = 1, .tokens = {500}, .moments = true},
    {.members = {TOWER}, .n = 256, .experts = 1, .tokens = {400}, .moments = true},
    {.members = {DOWN}, .n = 768, .experts = 1, .tokens = {100}, .moments = true},
    {.members = {OUT}, .n = 256, .experts = 1, .tokens = {600}},
    {.members = {EMBEDDING}, .n = 256, .experts = 1, .tokens = {300}, .moments = true},
};
static const char *const names[] = {QUERY, KEY, DOWN, OUT, TOWER, NOTHING, EMBEDDING};
enum { NAMES = sizeof names / sizeof names[0] };

static const struct lq_tensor *tensor_of(const struct lq_model *model, const char *name)
{
    for (int h = 0; h < LQ_HALVES; h++)
        for (size_t i = 0; model->half[h] != NULL && i < model->half[h]->n_tensors; i++)
            if (strcmp(model->half[h]->tensors[i].name, name) == 0) return &model->half[h]->tensors[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

static struct lq_matrix *open_or_fail(const struct lq_matrix_terms *terms)
{
    struct lq_matrix *m = NULL;
    struct lq_error err = {0};
    if (lq_matrix_open(&m, terms, &err) != LQ_OK) fail_msg("%s", err.message);
    return m;
}

static double error_of(struct lq_matrix *m, enum lq_type type)
{
    double relative = NAN;
    struct lq_error err = {0};
    if (lq_matrix_error(m, type, &relative, &err) != LQ_OK) fail_msg("%s", err.message);
    return relative;
}

static uint8_t *encode_or_fail(struct lq_matrix *m, const struct lq_tensor *t, enum lq_type type)
{
    struct lq_error err = {0};
    uint8_t *bytes = malloc(t->rows * lq_format_row_bytes(type, t->ne[0]));
    if (lq_matrix_encode(m, type, bytes, &err) != LQ_OK) fail_msg("%s", err.message);
    return bytes;
}

/* All of the named tensors as they stand in files that lq_quantize wrote for one type. */
static void compare_with_pipeline(const struct ask *ask, const struct lq_model *model, const char *const *wanted,
                                  size_t n)
{
    struct lq_quantize_result result;
    enum lq_type type;
    uint64_t bytes;
    quantize_or_fail(ask, &result);
    for (size_t i = 0; i < n; i++) {
        const struct lq_tensor *t = tensor_of(model, wanted[i]);
        struct lq_matrix *m = open_or_fail(&(struct lq_matrix_terms){.model = model,
                                                                     .tensor = t,
                                                                     .stats = ask->stats,
                                                                     .method = ask->method,
                                                                     .effort = ask->effort,
                                                                     .rows = 64,
                                                                     .threads = 1 + (unsigned)(i % 3)});
        uint8_t *expected = tensor_data(result.path[t->half], wanted[i], &type, &bytes);
        error_of(m, LQ_TYPE_Q5_K); /* leaves no trace */
        uint8_t *found = encode_or_fail(m, t, type);
        if (memcmp(found, expected, bytes) != 0)
            fail_msg("%s as %s by %s differs", wanted[i], lq_format_name(type), lq_method_name(ask->method));
        free(expected);
        free(found);
        lq_matrix_free(m);
    }
    lq_quantize_result_release(&result);
}

static void bytes_are_those_of_the_pipeline(void **state)
{
    static const struct {
        const char *spec;
        enum lq_method method;
        enum lq_effort effort;
    } cases[] = {
        {"q4_k", LQ_METHOD_FEEDBACK, LQ_EFFORT_NORMAL}, {"q4_0", LQ_METHOD_FEEDBACK, LQ_EFFORT_BEST},
        {"q6_k", LQ_METHOD_FEEDBACK, LQ_EFFORT_FAST},   {"iq4_xs", LQ_METHOD_FEEDBACK, LQ_EFFORT_NORMAL},
        {"q2_k", LQ_METHOD_IMATRIX, LQ_EFFORT_NORMAL},  {"q8_0", LQ_METHOD_IMATRIX, LQ_EFFORT_NORMAL},
        {"q3_k", LQ_METHOD_PLAIN, LQ_EFFORT_NORMAL},    {"nvfp4", LQ_METHOD_FEEDBACK, LQ_EFFORT_NORMAL},
        {"bf16", LQ_METHOD_FEEDBACK, LQ_EFFORT_NORMAL},
    };
    struct lq_model *model = NULL;
    struct lq_error err = {0};
    char *out = fixture_path(*state, "out"), *file = fixture_path(*state, "stats.gguf");
    struct lq_stats *stats = make_moments(file, inputs, sizeof inputs / sizeof inputs[0]);
    assert_int_equal(lq_model_open(&model, DEMO_MODEL, NULL, &err), LQ_OK);
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++)
        compare_with_pipeline(&(struct ask){.input = DEMO_MODEL,
                                            .output = out,
                                            .spec = "f16",
                                            .pattern = "blk.[01].(attn_(q|k|output)|ffn_down|ffn_up)|token_embd",
                                            .type = cases[c].spec,
                                            .stats = stats,
                                            .method = cases[c].method,
                                            .effort = cases[c].effort},
                              model, names, NAMES);
    lq_model_free(model);
    lq_stats_free(stats);
    free(out);
    free(file);
}

/* ---- made-up tensors ---- */

enum { COLUMNS = 256, ROWS = 300, EXPERT_ROWS = 150, EXPERTS = 3, WIDE = 192, PADDED = 256 };
#define EXPERT "blk.0.ffn_up_exps.weight"
#define PLAIN "blk.0.ffn_down.weight"
#define NARROW "blk.1.ffn_down.weight"

/* The second of three experts was never reached. */
static const struct made_input made[] = {
    {.members = {QUERY}, .n = COLUMNS, .experts = 1, .tokens = {600}, .moments = true},
    {.members = {OUT}, .n = COLUMNS, .experts = 1, .tokens = {600}},
    {.members = {EXPERT}, .n = COLUMNS, .experts = EXPERTS, .tokens = {500, 0, 700}, .moments = true},
    {.members = {NARROW}, .n = WIDE, .experts = 1, .tokens = {600}, .moments = true},
};

struct scene {
    float *weights;
    char *in, *out, *file;
    struct lq_stats *stats;
    struct lq_model *model;
};

static struct scene set_scene(void **state)
{
    struct lq_error err = {0};
    struct scene s = {.in = fixture_path(*state, "in.gguf"),
                      .out = fixture_path(*state, "out.gguf"),
                      .file = fixture_path(*state, "stats.gguf")};
    uint32_t seed = 1;
    s.weights = malloc((size_t)COLUMNS * EXPERT_ROWS * EXPERTS * sizeof *s.weights);
    for (uint32_t i = 0; i < COLUMNS * EXPERT_ROWS * EXPERTS; i++) {
        seed = seed * 1664525u + 1013904223u;
        s.weights[i] = (float)(int32_t)seed * 0x1p-34f;
    }
    const struct made_tensor tensors[] = {{QUERY, LQ_TYPE_F32, 2, {COLUMNS, ROWS}, s.weights},
                                          {OUT, LQ_TYPE_F32, 2, {COLUMNS, ROWS}, s.weights},
                                          {PLAIN, LQ_TYPE_F32, 2, {COLUMNS, ROWS}, s.weights},
                                          {EXPERT, LQ_TYPE_F32, 3, {COLUMNS, EXPERT_ROWS, EXPERTS}, s.weights},
                                          {NARROW, LQ_TYPE_F32, 2, {WIDE, ROWS}, s.weights}};
    make_gguf(s.in, LQ_LANGUAGE, tensors, 5);
    s.stats = make_moments(s.file, made, 4);
    if (lq_model_open(&s.model, s.in, NULL, &err) != LQ_OK) fail_msg("%s", err.message);
    return s;
}

static void clear_scene(struct scene *s)
{
    lq_model_free(s->model);
    lq_stats_free(s->stats);
    free(s->weights);
    free(s->in);
    free(s->out);
    free(s->file);
}

static struct lq_matrix *open_tensor(const struct scene *s, const char *name, const struct lq_stats *stats,
                                     enum lq_method method, uint64_t rows)
{
    return open_or_fail(&(struct lq_matrix_terms){.model = s->model,
                                                  .tensor = tensor_of(s->model, name),
                                                  .stats = stats,
                                                  .method = method,
                                                  .rows = rows,
                                                  .threads = 2});
}

static void experts_are_encoded_one_by_one(void **state)
{
    static const struct {
        const char *spec;
        enum lq_method method;
    } cases[] = {{"q3_k", LQ_METHOD_FEEDBACK}, {"q5_0", LQ_METHOD_FEEDBACK}, {"nvfp4", LQ_METHOD_IMATRIX}};
    static const char *const all[] = {QUERY, OUT, EXPERT};
    struct scene s = set_scene(state);
    for (size_t i = 0; i < 3; i++)
        compare_with_pipeline(&(struct ask){.input = s.in,
                                            .output = s.out,
                                            .spec = "f32",
                                            .pattern = "blk.0.(attn|ffn_up_exps)",
                                            .type = cases[i].spec,
                                            .method = cases[i].method,
                                            .stats = s.stats},
                              s.model, all, 3);
    clear_scene(&s);
}

/* sum e' H e of a row, H as the packed triangle, a diagonal, or the identity. */
static double form(const float *e, const float *h, const float *diagonal)
{
    double sum = 0;
    for (int i = 0, at = 0; i < COLUMNS; i++)
        for (int j = 0; j <= i; j++, at++) {
            double both = (double)e[i] * (double)e[j];
            if (h != NULL) sum += (i == j ? 1 : 2) * (double)h[at] * both;
            else if (i == j) sum += (diagonal != NULL ? (double)diagonal[i] : 1) * both;
        }
    return sum;
}

/* Encoded and judged on all rows, by the definition. */
static double defined_error(struct lq_matrix *m, const struct lq_tensor *t, enum lq_type type, const float *weights,
                            const float *h, const float *diagonal)
{
    struct lq_error err = {0};
    float e[COLUMNS];
    double loss = 0, size = 0;
    uint64_t row_bytes = lq_format_row_bytes(type, COLUMNS);
    uint8_t *bytes = encode_or_fail(m, t, type);
    for (int r = 0; r < ROWS; r++) {
        assert_int_equal(lq_codec_decode(type, bytes + r * row_bytes, e, COLUMNS, &err), LQ_OK);
        for (int i = 0; i < COLUMNS; i++) e[i] -= weights[r * COLUMNS + i];
        loss += form(e, h, diagonal);
        size += form(weights + r * COLUMNS, h, diagonal);
    }
    free(bytes);
    return loss / size;
}

/* With any method, and of types with and without feedback, under the same second moments. */
static void errors_are_those_of_the_products(void **state)
{
    static const enum lq_type types[] = {LQ_TYPE_Q2_K,  LQ_TYPE_Q4_K, LQ_TYPE_Q6_K,
                                         LQ_TYPE_NVFP4, LQ_TYPE_F16,  LQ_TYPE_BF16};
    static const char *const tensors[] = {QUERY, OUT, PLAIN};
    struct scene s = set_scene(state);
    float *h = malloc(sizeof(float) * COLUMNS * (COLUMNS + 1) / 2);
    made_hessian(&made[0], 0, h, NULL);
    for (int method = 0; method < 3; method++)
        for (int k = 0; k < 3; k++) {
            const struct lq_tensor *t = tensor_of(s.model, tensors[k]);
            struct lq_matrix *m = open_tensor(&s, tensors[k], s.stats, (enum lq_method)method, 0);
            for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
                double found = error_of(m, types[i]);
                double expected = defined_error(m, t, types[i], s.weights, k == 0 ? h : NULL,
                                                k == 1 ? lq_stats_importance(s.stats, t) : NULL);
                if (!(fabs(found - expected) <= 1e-3 * expected))
                    fail_msg("%s as %s, method %d: %g instead of %g", tensors[k], lq_format_name(types[i]), method,
                             found, expected);
            }
            assert_true(error_of(m, LQ_TYPE_F32) == 0);
            lq_matrix_free(m);
        }
    free(h);
    clear_scene(&s);
}

/* A sample says about what all rows say, whatever was asked before, and by any number of threads the same. */
static void samples_are_typical_and_repeatable(void **state)
{
    static const enum lq_type types[] = {LQ_TYPE_Q8_0,   LQ_TYPE_Q6_K, LQ_TYPE_Q5_1, LQ_TYPE_Q4_K,
                                         LQ_TYPE_IQ4_NL, LQ_TYPE_Q3_K, LQ_TYPE_Q2_K};
    enum { N = sizeof types / sizeof types[0] };
    static const char *const tensors[] = {QUERY, EXPERT};
    struct scene s = set_scene(state);
    for (int k = 0; k < 2; k++) {
        struct lq_matrix *whole = open_tensor(&s, tensors[k], s.stats, LQ_METHOD_FEEDBACK, 0);
        struct lq_matrix *some = open_tensor(&s, tensors[k], s.stats, LQ_METHOD_FEEDBACK, LQ_FEEDBACK_ROWS);
        struct lq_matrix *other = open_or_fail(&(struct lq_matrix_terms){.model = s.model,
                                                                         .tensor = tensor_of(s.model, tensors[k]),
                                                                         .stats = s.stats,
                                                                         .rows = LQ_FEEDBACK_ROWS,
                                                                         .threads = 5});
        double found[N];
        for (int i = 0; i < N; i++) {
            double all = error_of(whole, types[i]);
            found[i] = error_of(some, types[i]);
            if (k == 0 && !(fabs(found[i] - all) < 0.1 * all))
                fail_msg("%s: %g, of all rows %g", lq_format_name(types[i]), found[i], all);
            if (i > 0 && types[i] != LQ_TYPE_IQ4_NL) assert_true(found[i] > found[i - 1] * 0.99);
        }
        for (int i = N; i-- > 0;) assert_true(error_of(other, types[i]) == found[i]);
        lq_matrix_free(whole);
        lq_matrix_free(some);
        lq_matrix_free(other);
    }
    clear_scene(&s);
}

/* 192 columns as 256: what stands behind costs nothing, and is not there when numbers come back. */
static void padded_rows_come_back_in_their_shape(void **state)
{
    struct lq_error err = {0};
    struct scene s = set_scene(state);
    const struct lq_tensor *t = tensor_of(s.model, NARROW);
    const struct lq_stats *with[] = {s.stats, NULL};
    float *back = malloc(t->rows * WIDE * sizeof *back);
    for (int k = 0; k < 2; k++) {
        struct lq_matrix *m = open_tensor(&s, NARROW, with[k], LQ_METHOD_FEEDBACK, 0);
        double relative = 0, nothing, loss = 0, size = 0;
        assert_int_equal(lq_matrix_error(m, LQ_TYPE_Q4_K, &nothing, &err), LQ_ERR_UNSUPPORTED);
        if (lq_matrix_error_padded(m, LQ_TYPE_Q4_K, PADDED, &relative, &err) != LQ_OK) fail_msg("%s", err.message);
        assert_int_equal(lq_matrix_round_trip(m, LQ_TYPE_Q4_K, PADDED, back, &err), LQ_OK);
        for (uint64_t i = 0; i < t->rows * WIDE; i++) {
            loss += ((double)back[i] - s.weights[i]) * ((double)back[i] - s.weights[i]);
            size += (double)s.weights[i] * s.weights[i];
        }
        assert_true(loss > 0 && loss < 0.02 * size);
        if (k == 1) assert_true(fabs(relative - loss / size) < 1e-6 * relative);
        else assert_true(relative > 0 && relative < loss / size); /* feedback: less in the products */
        assert_int_equal(lq_matrix_round_trip(m, LQ_TYPE_F32, 0, back, &err), LQ_OK);
        assert_memory_equal(back, s.weights, t->rows * WIDE * sizeof *back);
        lq_matrix_free(m);
    }
    free(back);
    clear_scene(&s);
}

static bool is_cancelled(void *data)
{
    (void)data;
    return true;
}

static void what_is_no_candidate_says_so(void **state)
{
    struct lq_error err = {0};
    struct scene s = set_scene(state);
    struct lq_hooks hooks = {.cancelled = is_cancelled};
    struct lq_matrix *plain = open_tensor(&s, PLAIN, NULL, LQ_METHOD_FEEDBACK, 0);
    uint8_t *room = malloc((size_t)COLUMNS * ROWS * sizeof(float));
    double relative = 7;
    assert_int_equal(lq_matrix_error(plain, LQ_TYPE_IQ2_XS, &relative, &err), LQ_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "in.gguf: tensor '" PLAIN "': iq2_xs demands importance data"));
    assert_int_equal(lq_matrix_error(plain, LQ_TYPE_Q8_K, &relative, &err), LQ_ERR_UNSUPPORTED);
    s.weights[5 * COLUMNS] = 1e6f;
    const struct made_tensor large = {PLAIN, LQ_TYPE_F32, 2, {COLUMNS, ROWS}, s.weights};
    make_gguf(s.out, LQ_LANGUAGE, &large, 1);
    lq_matrix_free(plain);
    lq_model_free(s.model);
    assert_int_equal(lq_model_open(&s.model, s.out, NULL, &err), LQ_OK);
    plain = open_tensor(&s, PLAIN, NULL, LQ_METHOD_FEEDBACK, 0);
    assert_int_equal(lq_matrix_error(plain, LQ_TYPE_F16, &relative, &err), LQ_ERR_UNSUPPORTED);
    assert_int_equal(lq_matrix_encode(plain, LQ_TYPE_F16, room, &err), LQ_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "out.gguf: tensor '" PLAIN "': weights up to 1e+06 overflow f16"));
    lq_matrix_free(plain);
    plain = open_or_fail(&(struct lq_matrix_terms){
        .model = s.model, .tensor = tensor_of(s.model, PLAIN), .threads = 2, .hooks = &hooks});
    assert_int_equal(lq_matrix_error(plain, LQ_TYPE_Q4_0, &relative, &err), LQ_ERR_CANCELLED);
    assert_true(relative == 7);
    lq_matrix_free(plain);
    free(room);
    clear_scene(&s);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, fixture_make, fixture_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(bytes_are_those_of_the_pipeline),      IN_FOLDER(experts_are_encoded_one_by_one),
        IN_FOLDER(errors_are_those_of_the_products),     IN_FOLDER(samples_are_typical_and_repeatable),
        IN_FOLDER(padded_rows_come_back_in_their_shape), IN_FOLDER(what_is_no_candidate_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
