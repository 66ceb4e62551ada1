/* What is made of statistics: which tensors get error feedback, what it leaves, what it costs, what it does without. */
#include "test_quantize_fixture.h"

#include "codec/encode.h"
#include "test_moments_fixture.h"

#include <math.h>
#include <unistd.h>

enum { COLUMNS = 256, ROWS = 1100, EXPERT_ROWS = 40, EXPERTS = 3 };

#define QUERY "blk.0.attn_q.weight"
#define KEY "blk.0.attn_k.weight"
#define OUT "blk.0.attn_output.weight"
#define DOWN "blk.0.ffn_down.weight"
#define UP "blk.0.ffn_up_exps.weight"

/* q and k share second moments, the attention's output has importance alone, the feed-forward nothing; the second of
 * three experts was never reached. */
static const struct made_input inputs[] = {
    {.members = {QUERY, KEY}, .n = COLUMNS, .experts = 1, .tokens = {600}, .moments = true},
    {.members = {OUT}, .n = COLUMNS, .experts = 1, .tokens = {600}},
    {.members = {UP}, .n = COLUMNS, .experts = EXPERTS, .tokens = {500, 0, 700}, .moments = true},
};

static float noise(uint32_t i)
{
    i = (i ^ 61) * 9;
    i = (i ^ i >> 4) * 0x27d4eb2d;
    return (float)(int32_t)(i ^ i >> 15) * 0x1p-34f;
}

struct scene {
    float *weights;
    char *in, *out, *file;
    struct lq_stats *stats;
};

static struct scene set_scene(void **state)
{
    struct scene s = {.in = fixture_path(*state, "in.gguf"),
                      .out = fixture_path(*state, "out.gguf"),
                      .file = fixture_path(*state, "stats.gguf")};
    s.weights = malloc((size_t)COLUMNS * ROWS * sizeof *s.weights);
    for (uint32_t i = 0; i < COLUMNS * ROWS; i++) s.weights[i] = noise(i);
    const struct made_tensor tensors[] = {{QUERY, LQ_TYPE_F32, 2, {COLUMNS, ROWS}, s.weights},
                                          {OUT, LQ_TYPE_F32, 2, {COLUMNS, ROWS}, s.weights},
                                          {DOWN, LQ_TYPE_F32, 2, {COLUMNS, ROWS}, s.weights},
                                          {UP, LQ_TYPE_F32, 3, {COLUMNS, EXPERT_ROWS, EXPERTS}, s.weights},
                                          {KEY, LQ_TYPE_F32, 2, {COLUMNS, 100}, s.weights}};
    make_gguf(s.in, LQ_LANGUAGE, tensors, 5);
    s.stats = make_moments(s.file, inputs, 3);
    return s;
}

static void clear_scene(struct scene *s)
{
    lq_stats_free(s->stats);
    free(s->weights);
    free(s->in);
    free(s->out);
    free(s->file);
}

static struct lq_quantize_result run(const struct scene *s, const char *spec, enum lq_method method, unsigned threads)
{
    struct lq_quantize_result result;
    quantize_or_fail(
        &(struct ask){
            .input = s->in, .output = s->out, .spec = spec, .stats = s->stats, .method = method, .threads = threads},
        &result);
    return result;
}

static void methods_follow_statistics_and_types(void **state)
{
    static const struct {
        const char *spec;
        enum lq_method asked;
        const char *expected; /* the methods' first letters */
    } cases[] = {
        {"q4_k", LQ_METHOD_FEEDBACK, "fipff"},  {"q4_k", LQ_METHOD_IMATRIX, "iipii"},
        {"q4_k", LQ_METHOD_PLAIN, "ppppp"},     {"f16", LQ_METHOD_FEEDBACK, "ppppp"},
        {"nvfp4", LQ_METHOD_FEEDBACK, "iipii"}, /* no grid of levels */
    };
    struct scene s = set_scene(state);
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct lq_quantize_result result = run(&s, cases[c].spec, cases[c].asked, 2);
        for (int i = 0; i < 5; i++)
            if (*lq_method_name(result.outcome[i].method) != cases[c].expected[i])
                fail_msg("case %zu: tensor %d is %s", c, i, lq_method_name(result.outcome[i].method));
        lq_quantize_result_release(&result);
    }
    clear_scene(&s);
}

static void assert_same_data(const char *a, const char *b, const char *name)
{
    enum lq_type type;
    uint64_t n, m;
    void *x = tensor_data(a, name, &type, &n), *y = tensor_data(b, name, &type, &m);
    if (n != m || memcmp(x, y, n) != 0) fail_msg("%s differs", name);
    free(x);
    free(y);
}

/* `plain` is as good as no statistics, `imatrix` as good as the same without second moments; types that demand
 * importance get it by any method. */
static void other_methods_ignore_second_moments(void **state)
{
    struct scene s = set_scene(state), bare = s;
    struct made_input less[3];
    char *other = fixture_path(*state, "other.gguf"), *bare_file = fixture_path(*state, "bare.gguf");
    for (int i = 0; i < 3; i++) less[i] = inputs[i], less[i].moments = false;
    bare.out = other;
    bare.stats = NULL;
    struct lq_quantize_result result = run(&s, "q4_k", LQ_METHOD_PLAIN, 2);
    lq_quantize_result_release(&result);
    result = run(&bare, "q4_k", LQ_METHOD_FEEDBACK, 2);
    lq_quantize_result_release(&result);
    assert_same_file(s.out, other);

    bare.stats = make_moments(bare_file, less, 3);
    static const struct {
        const char *spec;
        enum lq_method method;
    } cases[] = {{"q4_k", LQ_METHOD_IMATRIX}, {"iq2_xs", LQ_METHOD_PLAIN}};
    for (int c = 0; c < 2; c++) {
        struct ask ask = {.input = s.in, .output = s.out, .spec = "f16", .pattern = "attn_q", .threads = 2};
        ask.type = cases[c].spec;
        ask.method = cases[c].method;
        ask.stats = s.stats;
        quantize_files(&ask);
        ask.output = other;
        ask.stats = bare.stats;
        ask.method = LQ_METHOD_FEEDBACK;
        quantize_files(&ask);
        assert_same_data(s.out, other, QUERY);
    }
    lq_stats_free(bare.stats);
    free(other);
    free(bare_file);
    clear_scene(&s);
}

/* The output error of rows that stand in a file, by its definition. */
static double output_error(const struct scene *s, const char *name, uint64_t first_row, uint64_t rows,
                           const struct made_input *input, uint64_t expert)
{
    uint64_t bytes, n = input->n;
    enum lq_type type;
    struct lq_error err = {0};
    unsigned char *data = tensor_data(s->out, name, &type, &bytes);
    float *h = malloc(n * (n + 1) / 2 * sizeof *h), *q = malloc(n * sizeof *q);
    double total = 0;
    made_hessian(input, expert, h, NULL);
    for (uint64_t r = first_row; r < first_row + rows; r++) {
        assert_int_equal(lq_codec_decode(type, data + r * lq_format_row_bytes(type, n), q, n, &err), LQ_OK);
        for (uint64_t i = 0, at = 0; i < n; i++)
            for (uint64_t j = 0; j <= i; j++)
                total += (i == j ? 1 : 2) * (double)h[at++] * ((double)s->weights[r * n + i] - q[i]) *
                         ((double)s->weights[r * n + j] - q[j]);
    }
    free(data);
    free(h);
    free(q);
    return total / (double)input->tokens[expert];
}

static void assert_near(double found, double expected)
{
    if (fabs(found - expected) > 1e-3 * expected) fail_msg("%.9g, expected %.9g", found, expected);
}

static void feedback_lowers_the_output_error(void **state)
{
    static const char *const specs[] = {"q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "q4_0", "q8_0", "iq4_nl"};
    struct scene s = set_scene(state);
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        struct lq_quantize_result result = run(&s, specs[i], LQ_METHOD_FEEDBACK, 2);
        const struct lq_quantize_outcome *q = &result.outcome[0];
        assert_int_equal(q->fed, ROWS);
        assert_near(q->written, output_error(&s, QUERY, 0, ROWS, &inputs[0], 0));
        if (q->written > 0.6 * q->plain) fail_msg("%s: %g, plainly %g", specs[i], q->written, q->plain);
        lq_quantize_result_release(&result);
    }
    clear_scene(&s);
}

/* Each expert by its own second moments, one without any by importance alone, which is said. */
static void count_warning(void *data, enum lq_log_level level, const char *message)
{
    if (level == LQ_LOG_WARN && strstr(message, UP) != NULL && strstr(message, "expert 1") != NULL) ++*(int *)data;
}

static void experts_have_their_own_second_moments(void **state)
{
    struct scene s = set_scene(state);
    int warnings = 0;
    struct lq_hooks hooks = {.data = &warnings, .log = count_warning};
    struct lq_quantize_result result;
    quantize_or_fail(&(struct ask){.input = s.in, .output = s.out, .spec = "q3_k", .stats = s.stats, .hooks = &hooks},
                     &result);
    const struct lq_quantize_outcome *up = &result.outcome[3];
    assert_int_equal(up->fed, 2 * EXPERT_ROWS);
    assert_int_equal(up->alone, EXPERT_ROWS);
    assert_int_equal(warnings, 1);
    assert_near(up->written, output_error(&s, UP, 0, EXPERT_ROWS, &inputs[2], 0) +
                                 output_error(&s, UP, 2 * EXPERT_ROWS, EXPERT_ROWS, &inputs[2], 2));
    assert_true(up->written < 0.6 * up->plain);
    lq_quantize_result_release(&result);
    clear_scene(&s);
}

static void same_bytes_for_any_threads(void **state)
{
    static const unsigned threads[] = {2, 3, 64};
    struct scene s = set_scene(state), other = s;
    other.out = fixture_path(*state, "other.gguf");
    struct lq_quantize_result expected = run(&s, "4", LQ_METHOD_FEEDBACK, 1);
    for (int i = 0; i < 3; i++) {
        struct lq_quantize_result result = run(&other, "4", LQ_METHOD_FEEDBACK, threads[i]);
        assert_same_file(s.out, other.out);
        assert_string_equal(result.pair_id, expected.pair_id);
        for (size_t t = 0; t < result.n_entries; t++) {
            assert_true(result.outcome[t].plain == expected.outcome[t].plain);
            assert_true(result.outcome[t].written == expected.outcome[t].written);
        }
        lq_quantize_result_release(&result);
    }
    lq_quantize_result_release(&expected);
    free(other.out);
    clear_scene(&s);
}

/* Whatever memory is allowed: refused with the tensor's name and before anything is written, or the same bytes. */
static void too_little_memory_is_refused(void **state)
{
    struct scene s = set_scene(state);
    char *reference = fixture_path(*state, "reference.gguf");
    struct ask ask = {.input = s.in, .output = reference, .spec = "q4_k", .stats = s.stats, .threads = 3};
    unsigned refused = 0, done = 0;
    quantize_files(&ask);
    ask.output = s.out;
    for (ask.memory = 1000000; done < 3; ask.memory += ask.memory / 4) {
        struct lq_quantize_result result;
        struct lq_error err = {0};
        enum lq_status status = quantize(&ask, &result, NULL, &err);
        if (status == LQ_OK) {
            assert_same_file(s.out, reference);
            lq_quantize_result_release(&result);
            done++;
            continue;
        }
        assert_int_equal(status, LQ_ERR_MEMORY);
        assert_non_null(strstr(err.message, "in.gguf: error feedback of tensor '" QUERY "' needs "));
        assert_non_null(strstr(err.message, "allow at least "));
        assert_int_equal(access(s.out, F_OK), -1);
        refused++;
    }
    assert_true(refused > 0);
    free(reference);
    clear_scene(&s);
}

static void metadata_name_the_method(void **state)
{
    static const char *const expected[] = {"feedback", "imatrix", NULL};
    struct scene s = set_scene(state);
    for (int method = 0; method < 3; method++) {
        struct lq_quantize_result result = run(&s, "q4_k", (enum lq_method)method, 2);
        struct lq_source *source = NULL;
        struct lq_error err = {0};
        const char *text = NULL;
        size_t n = 0;
        assert_int_equal(lq_source_open(&source, s.out, &err), LQ_OK);
        bool found = lq_kvs_get_string(&source->kvs, "llava_quantize.method", &text, &n);
        assert_int_equal(found, expected[method] != NULL);
        if (found) assert_memory_equal(text, expected[method], n);
        assert_int_equal(lq_kvs_get_string(&source->kvs, "quantize.imatrix.file", &text, &n), found);
        lq_source_close(source);
        lq_quantize_result_release(&result);
    }
    clear_scene(&s);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, fixture_make, fixture_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(methods_follow_statistics_and_types),
        IN_FOLDER(other_methods_ignore_second_moments),
        IN_FOLDER(feedback_lowers_the_output_error),
        IN_FOLDER(experts_have_their_own_second_moments),
        IN_FOLDER(same_bytes_for_any_threads),
        IN_FOLDER(too_little_memory_is_refused),
        IN_FOLDER(metadata_name_the_method),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
