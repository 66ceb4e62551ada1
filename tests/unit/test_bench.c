/* Measuring: made-up rows are the same everywhere, errors are those of the definition, and no encoder of ours is worse
 * than ggml's. */
#include "llava_quantize/bench.h"

#include <ggml.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include <cmocka.h>

enum { ROWS = 8, MANY = 128, COLUMNS = 1024, WEIGHTS = ROWS * COLUMNS, KINDS = LQ_BENCH_OUTLIER + 1 };

static float weights[MANY * COLUMNS], importance[COLUMNS];

/* Mean of w^4 over the square of the mean of w^2, rows brought to one scale: 3 for normal ones. */
static double kurtosis(void)
{
    double fourth = 0;
    for (size_t r = 0; r < ROWS; r++) {
        double square = 0, fourth_of_row = 0;
        for (size_t i = 0; i < COLUMNS; i++) {
            double w = weights[r * COLUMNS + i];
            square += w * w;
            fourth_of_row += w * w * w * w;
        }
        fourth += fourth_of_row * COLUMNS / (square * square) / ROWS;
    }
    return fourth;
}

static void rows_are_the_same_everywhere(void **state)
{
    (void)state;
    static const struct {
        uint64_t hash;
        double least, most; /* kurtosis */
    } expected[KINDS] = {
        [LQ_BENCH_NORMAL] = {0xc9c697242abfeb2b, 2.8, 3.2},
        [LQ_BENCH_HEAVY] = {0xb0d5c231905d9f4b, 5, 100},
        [LQ_BENCH_OUTLIER] = {0xc1309f85e04ba1df, 50, 500},
    };
    for (int kind = 0; kind < KINDS; kind++) {
        lq_bench_weights((enum lq_bench_kind)kind, 7, ROWS, COLUMNS, weights);
        assert_true(kurtosis() > expected[kind].least && kurtosis() < expected[kind].most);
        assert_int_equal(XXH3_64bits(weights, WEIGHTS * sizeof *weights), expected[kind].hash);
    }
    lq_bench_importance(7, COLUMNS, importance);
    assert_int_equal(XXH3_64bits(importance, sizeof importance), 0xa9b237f1274c6da9);
}

/* What an error counts without importance, written down a second time. */
static double implied(enum lq_type type, const float *w, size_t i)
{
    double square = 0, magnitude = fabs((double)w[i]);
    for (size_t k = i / 32 * 32; k < i / 32 * 32 + 32; k++) square += (double)w[k] * w[k];
    switch (type) {
    case LQ_TYPE_Q2_K: return magnitude;
    case LQ_TYPE_Q4_K:
    case LQ_TYPE_Q5_K: return magnitude + sqrt(square / 32);
    case LQ_TYPE_Q3_K:
    case LQ_TYPE_Q6_K:
    case LQ_TYPE_IQ4_NL:
    case LQ_TYPE_IQ4_XS: return magnitude * magnitude;
    default: return 1;
    }
}

static const enum lq_type types[] = {
    LQ_TYPE_Q4_0, LQ_TYPE_Q4_1, LQ_TYPE_Q5_0, LQ_TYPE_Q5_1,   LQ_TYPE_Q8_0,   LQ_TYPE_Q2_K,  LQ_TYPE_Q3_K,
    LQ_TYPE_Q4_K, LQ_TYPE_Q5_K, LQ_TYPE_Q6_K, LQ_TYPE_IQ4_NL, LQ_TYPE_IQ4_XS, LQ_TYPE_MXFP4,
};
enum { TYPES = sizeof types / sizeof types[0] };

/* ggml's own functions, and the sums of the definition. */
static struct lq_bench_error by_definition(enum lq_type type, bool weighted)
{
    static uint8_t blocks[WEIGHTS * 2];
    static float there[WEIGHTS];
    struct lq_bench_error sum = {0};
    ggml_quantize_chunk((enum ggml_type)type, weights, blocks, 0, ROWS, COLUMNS, weighted ? importance : NULL);
    ggml_get_type_traits((enum ggml_type)type)->to_float(blocks, there, WEIGHTS);
    for (size_t i = 0; i < WEIGHTS; i++) {
        double v = weighted ? (double)importance[i % COLUMNS] : implied(type, weights, i), d = weights[i] - there[i];
        sum.ggml += v * d * d;
        sum.weights += v * weights[i] * weights[i];
    }
    return sum;
}

/* Importance is scaled by a power of two on the way, which no ratio sees. */
static void check_relative(double a, double a_whole, double b, double b_whole)
{
    assert_true(fabs(a / a_whole - b / b_whole) <= 1e-5 * (a / a_whole));
}

static void errors_are_those_of_the_definition(void **state)
{
    (void)state;
    lq_bench_weights(LQ_BENCH_HEAVY, 3, ROWS, COLUMNS, weights);
    lq_bench_importance(3, COLUMNS, importance);
    for (size_t t = 0; t < TYPES; t++) {
        for (int weighted = 0; weighted < 2; weighted++) {
            struct lq_bench_matrix m = {weights, ROWS, COLUMNS, weighted != 0 ? importance : NULL};
            struct lq_bench_error seen = {0}, expected = by_definition(types[t], weighted != 0);
            assert_int_equal(lq_bench_compare(types[t], LQ_EFFORT_NORMAL, &m, &seen, NULL), LQ_OK);
            check_relative(seen.ggml, seen.weights, expected.ggml, expected.weights);
            if (!lq_bench_is_own(types[t])) assert_true(seen.ours == seen.ggml);
        }
    }
}

/* Normal is not above ggml's, and best is not above normal: over many rows, for two searches may end a little apart. */
static void check_efforts(enum lq_type type, const struct lq_bench_matrix *m, const char *what)
{
    struct lq_bench_error normal = {0}, best = {0};
    assert_int_equal(lq_bench_compare(type, LQ_EFFORT_NORMAL, m, &normal, NULL), LQ_OK);
    assert_int_equal(lq_bench_compare(type, LQ_EFFORT_BEST, m, &best, NULL), LQ_OK);
    const char *name = lq_format_name(type), *with = m->importance != NULL ? "with" : "without";
    if (normal.ours > normal.ggml)
        fail_msg("%s, %s rows, %s importance: error %.4f of ggml's", name, what, with, normal.ours / normal.ggml);
    if (best.ours > normal.ours)
        fail_msg("%s, %s rows, %s importance: best is %.4f of normal", name, what, with, best.ours / normal.ours);
}

static void no_error_is_above_ggml(void **state)
{
    (void)state;
    static const char *const names[KINDS] = {"normal", "heavy", "outlier"};
    lq_bench_importance(5, COLUMNS, importance);
    for (int kind = 0; kind < KINDS; kind++) {
        lq_bench_weights((enum lq_bench_kind)kind, 5, MANY, COLUMNS, weights);
        for (size_t t = 0; t < TYPES; t++) {
            check_efforts(types[t], &(struct lq_bench_matrix){weights, MANY, COLUMNS, NULL}, names[kind]);
            check_efforts(types[t], &(struct lq_bench_matrix){weights, MANY, COLUMNS, importance}, names[kind]);
        }
    }
}

static void sums_add_up_and_stay_on_failure(void **state)
{
    (void)state;
    lq_bench_weights(LQ_BENCH_NORMAL, 3, ROWS, COLUMNS, weights);
    struct lq_bench_error whole = {0}, parts = {0};
    struct lq_error err = {0};
    struct lq_bench_matrix m = {weights, ROWS, COLUMNS, NULL}, head = m, rest = m;
    head.rows = 5;
    rest.rows -= 5;
    rest.weights += 5 * COLUMNS;
    assert_int_equal(lq_bench_compare(LQ_TYPE_Q4_K, LQ_EFFORT_FAST, &m, &whole, &err), LQ_OK);
    assert_int_equal(lq_bench_compare(LQ_TYPE_Q4_K, LQ_EFFORT_FAST, &head, &parts, &err), LQ_OK);
    assert_int_equal(lq_bench_compare(LQ_TYPE_Q4_K, LQ_EFFORT_FAST, &rest, &parts, &err), LQ_OK);
    assert_memory_equal(&whole, &parts, sizeof whole);

    weights[WEIGHTS - 1] = NAN;
    assert_int_equal(lq_bench_compare(LQ_TYPE_Q4_K, LQ_EFFORT_FAST, &m, &parts, &err), LQ_ERR_FORMAT);
    assert_memory_equal(&whole, &parts, sizeof whole);
    m.columns = 100;
    assert_int_equal(lq_bench_compare(LQ_TYPE_Q4_K, LQ_EFFORT_FAST, &m, &parts, &err), LQ_ERR_USAGE);
    assert_int_equal(lq_bench_compare(LQ_TYPE_I8, LQ_EFFORT_FAST, &m, &parts, &err), LQ_ERR_USAGE);
}

static void speeds_are_measured(void **state)
{
    (void)state;
    lq_bench_weights(LQ_BENCH_NORMAL, 3, ROWS, COLUMNS, weights);
    struct lq_bench_matrix m = {weights, ROWS, COLUMNS, NULL};
    struct lq_bench *bench = NULL;
    struct lq_bench_speed speed = {0};
    assert_int_equal(lq_bench_new(&bench, &m, 2, 0.01, NULL), LQ_OK);
    assert_int_equal(lq_bench_time(bench, LQ_TYPE_Q8_0, LQ_EFFORT_NORMAL, &speed, NULL), LQ_OK);
    assert_true(speed.encode > 0 && speed.decode > 0 && speed.copy > 0 && speed.encode_share > 0);
    assert_int_equal(lq_bench_time(bench, LQ_TYPE_I8, LQ_EFFORT_NORMAL, &speed, NULL), LQ_ERR_USAGE);
    lq_bench_free(bench);
    m.rows = 0;
    assert_int_equal(lq_bench_new(&bench, &m, 1, 0, NULL), LQ_ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_the_same_everywhere), cmocka_unit_test(errors_are_those_of_the_definition),
        cmocka_unit_test(no_error_is_above_ggml),       cmocka_unit_test(sums_add_up_and_stay_on_failure),
        cmocka_unit_test(speeds_are_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
