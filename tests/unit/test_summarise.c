/* Means, percentiles, intervals and tests: against numpy, exact fractions, and the coverage that intervals promise. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "evaluate/summarise.h"
#include "golden_evaluate.h"

static void assert_close(double found, double expected)
{
    if (!(fabs(found - expected) <= 1e-11 * fmax(1e-3, fabs(expected))))
        fail_msg("%.17g is not %.17g", found, expected);
}

static void assert_estimate(struct lq_estimate found, const json_t *expected)
{
    assert_int_equal(json_array_size(expected), 3);
    assert_close(found.value, json_number_value(json_array_get(expected, 0)));
    assert_close(found.low, json_number_value(json_array_get(expected, 1)));
    assert_close(found.high, json_number_value(json_array_get(expected, 2)));
}

static void assert_not_measured(struct lq_estimate e)
{
    assert_true(isnan(e.value) && isnan(e.low) && isnan(e.high));
}

/* ---- percentiles and the test of flips ---- */

static void test_percentiles(void **state)
{
    (void)state;
    double values[64];
    size_t i, n = 0;
    json_t *v, *percentiles = json_object_get(golden, "percentiles");
    json_array_foreach(json_object_get(percentiles, "values"), i, v) values[n++] = json_number_value(v);
    lq_sort(values, n);
    json_array_foreach(json_object_get(percentiles, "at"), i, v) assert_true(
        lq_percentile(values, n, json_number_value(json_array_get(v, 0))) == json_number_value(json_array_get(v, 1)));
    assert_true(i > 0 && isnan(lq_percentile(values, 0, 50)));
    assert_true(lq_percentile(values, 1, 99.9) == values[0]);
}

static void test_mcnemar(void **state)
{
    (void)state;
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(golden, "mcnemar"), i, c)
    {
        double expected = json_number_value(json_array_get(c, 2));
        double p = lq_mcnemar((uint64_t)json_integer_value(json_array_get(c, 0)),
                              (uint64_t)json_integer_value(json_array_get(c, 1)));
        if (fabs(p - expected) > 1e-11 * expected) fail_msg("%.17g is not %.17g", p, expected);
    }
    assert_int_equal(i, 11);
}

/* ---- tokens: 250 questions of 4 tokens about 125 pictures, as make_evaluate.py has them ---- */

enum { TOKENS = 1000, QUESTIONS = 250, PICTURES = 125 };
static struct lq_token_score scores[TOKENS];
static uint32_t unit[QUESTIONS];
static bool part[QUESTIONS];
static const struct lq_units units = {unit, part, QUESTIONS, PICTURES};

static void fill_scores(void)
{
    for (uint32_t i = 0; i < TOKENS; i++) {
        double kl = (i * 37) % 101 / 100.0;
        scores[i] = (struct lq_token_score){.question = i / 4,
                                            .agree = i % 5 != 0,
                                            .kl = kl * kl,
                                            .log_p_original = -(double)((i * 17) % 31) / 8,
                                            .log_p = -(double)((i * 13) % 29) / 8};
    }
    for (uint32_t i = 0; i < QUESTIONS; i++) unit[i] = i / 2, part[i] = i % 3 != 0;
}

static void test_tokens(void **state)
{
    (void)state;
    const json_t *expected = json_object_get(golden, "summary");
    struct lq_divergence d;
    fill_scores();
    assert_int_equal(lq_summarise_tokens(&d, scores, TOKENS, &units, NULL), LQ_OK);
    assert_int_equal(d.tokens, json_integer_value(json_object_get(expected, "tokens")));
    assert_estimate(d.kl, json_object_get(expected, "kl"));
    assert_estimate(d.agreement, json_object_get(expected, "agreement"));
    assert_estimate(d.dp, json_object_get(expected, "dp"));
    assert_estimate(d.perplexity, json_object_get(expected, "perplexity"));
    assert_estimate(d.perplexity_ratio, json_object_get(expected, "perplexity_ratio"));
    assert_close(d.perplexity_original, json_number_value(json_object_get(expected, "perplexity_original")));
    assert_close(d.dp_rms, json_number_value(json_object_get(expected, "dp_rms")));
    const double kl_at[] = {d.kl_median, d.kl_p90, d.kl_p99, d.kl_p999, d.kl_max};
    for (size_t i = 0; i < 5; i++)
        assert_close(kl_at[i], json_number_value(json_array_get(json_object_get(expected, "kl_at"), i)));
    for (size_t i = 0; i < LQ_DP_PERCENTILES; i++)
        assert_close(d.dp_at[i], json_number_value(json_array_get(json_object_get(expected, "dp_at"), i)));
}

static void test_same_figures_again(void **state)
{
    (void)state;
    struct lq_divergence a, b;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    fill_scores();
    assert_int_equal(lq_summarise_tokens(&a, scores, TOKENS, &units, NULL), LQ_OK);
    assert_int_equal(lq_summarise_tokens(&b, scores, TOKENS, &units, NULL), LQ_OK);
    assert_memory_equal(&a, &b, sizeof a);
}

/* A pair against itself. */
static void test_no_difference_is_exactly_none(void **state)
{
    (void)state;
    struct lq_divergence d;
    fill_scores();
    for (size_t i = 0; i < TOKENS; i++)
        scores[i].kl = 0, scores[i].agree = true, scores[i].log_p_original = scores[i].log_p;
    assert_int_equal(lq_summarise_tokens(&d, scores, TOKENS, &units, NULL), LQ_OK);
    const double zeros[] = {d.kl.value, d.kl.low,  d.kl.high, d.kl_median, d.kl_max,  d.dp.value,
                            d.dp.low,   d.dp.high, d.dp_rms,  d.dp_at[0],  d.dp_at[6]};
    for (size_t i = 0; i < sizeof zeros / sizeof *zeros; i++) assert_true(zeros[i] == 0);
    assert_true(d.agreement.value == 1 && d.agreement.low == 1 && d.agreement.high == 1);
    assert_true(d.perplexity_ratio.value == 1 && d.perplexity_ratio.low == 1 && d.perplexity_ratio.high == 1);
    assert_true(d.perplexity.value == d.perplexity_original);
}

static void test_without_an_original(void **state)
{
    (void)state;
    struct lq_divergence d, both;
    fill_scores();
    assert_int_equal(lq_summarise_tokens(&both, scores, TOKENS, &units, NULL), LQ_OK);
    for (size_t i = 0; i < TOKENS; i++) scores[i].kl = scores[i].log_p_original = NAN;
    assert_int_equal(lq_summarise_tokens(&d, scores, TOKENS, &units, NULL), LQ_OK);
    assert_true(d.tokens == both.tokens && d.perplexity.value == both.perplexity.value);
    assert_not_measured(d.kl);
    assert_not_measured(d.agreement);
    assert_not_measured(d.perplexity_ratio);
    assert_true(isnan(d.kl_max) && isnan(d.dp_rms) && isnan(d.perplexity_original) && isnan(d.dp_at[3]));
}

static void test_nothing_and_one_picture(void **state)
{
    (void)state;
    struct lq_divergence d;
    fill_scores();
    assert_int_equal(lq_summarise_tokens(&d, scores, 0, &units, NULL), LQ_OK);
    assert_int_equal(d.tokens, 0);
    assert_not_measured(d.kl);
    assert_true(isnan(d.kl_max));
    for (size_t i = 0; i < QUESTIONS; i++) unit[i] = 3;
    assert_int_equal(lq_summarise_tokens(&d, scores, TOKENS, &units, NULL), LQ_OK);
    assert_true(!isnan(d.kl.value) && isnan(d.kl.low) && isnan(d.kl.high) && isnan(d.perplexity.low));
}

/* The worst scores that a token can have. */
static void test_worst_scores_stay_finite(void **state)
{
    (void)state;
    struct lq_divergence d;
    fill_scores();
    for (size_t i = 0; i < TOKENS; i++) scores[i].log_p = -702.5, scores[i].kl = 702.5;
    assert_int_equal(lq_summarise_tokens(&d, scores, TOKENS, &units, NULL), LQ_OK);
    assert_true(isfinite(d.perplexity.value) && isfinite(d.perplexity_ratio.high) && isfinite(d.kl.high));
}

/* ---- answers and pictures ---- */

static void test_answers(void **state)
{
    (void)state;
    enum { N = 12 };
    static const uint32_t picture[N] = {0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5};
    bool chosen[N];
    struct lq_answer_score s[N];
    struct lq_answers a;
    for (size_t i = 0; i < N; i++) {
        chosen[i] = i != 11;
        s[i] = (struct lq_answer_score){
            .exact_original = i<8, .exact = i> 4, .changed = i != 6, .vqa_original = 0.5, .vqa = i < 3 ? 1 : 0};
    }
    const struct lq_units u = {picture, chosen, N, 6};
    assert_int_equal(lq_summarise_answers(&a, s, true, &u, NULL), LQ_OK);
    assert_true(a.questions == 11 && a.lost == 5 && a.gained == 3 && a.changed == 10);
    assert_true(a.exact_original.value == 8.0 / 11 && a.exact.value == 6.0 / 11 && a.vqa.value == 3.0 / 11);
    assert_true(a.vqa_original.low == 0.5 && a.vqa_original.high == 0.5);
    assert_true(a.exact.low >= 0 && a.exact.low < a.exact.value && a.exact.high > a.exact.value && a.exact.high <= 1);
    assert_true(a.p == lq_mcnemar(5, 3));
    assert_int_equal(lq_summarise_answers(&a, s, false, &u, NULL), LQ_OK);
    assert_true(a.exact.value == 6.0 / 11 && a.lost == 0 && isnan(a.p));
    assert_not_measured(a.exact_original);
}

static void test_pictures(void **state)
{
    (void)state;
    struct lq_picture_result p[201];
    struct lq_embedding e;
    for (int i = 0; i <= 200; i++)
        p[i] = (struct lq_picture_result){.cosine = 1 - i / 200.0, .relative_error = i / 100.0};
    assert_int_equal(lq_summarise_pictures(&e, p, 201, NULL), LQ_OK);
    assert_true(e.pictures == 201 && e.cosine_min == 0 && e.error_max == 2);
    assert_close(e.cosine_p1, 0.01);
    assert_close(e.cosine_mean, 0.5);
    assert_close(e.error_mean, 1);
    assert_close(e.error_p99, 1.98);
    assert_int_equal(lq_summarise_pictures(&e, p, 0, NULL), LQ_OK);
    assert_true(e.pictures == 0 && isnan(e.cosine_min) && isnan(e.error_mean));
}

/* ---- intervals ---- */

static uint64_t state_of_draws;

static double uniform(void)
{
    state_of_draws = state_of_draws * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return ((double)(state_of_draws >> 11) + 0.5) * 0x1p-53;
}

static double normal(void)
{
    double radius = sqrt(-2 * log(uniform()));
    return radius * cos(6.283185307179586 * uniform());
}

/* A picture's mean divergence, as skewed as real ones are, and its expectation. */
static double log_normal(void)
{
    return exp(normal());
}

static double gamma_half(void)
{
    double x = normal();
    return x * x / 2;
}

/* The share of a picture's tokens that agree: pictures differ, and most agree in everything. */
static double share(void)
{
    double u = uniform();
    return u < 0.7 ? 1 : u;
}

struct kind {
    const char *name;
    double (*draw)(void);
    double expectation;
    size_t pictures;
    double least, most; /* share of intervals that must hold the expectation */
};

static double coverage(const struct kind *kind, int sets)
{
    static double sums[300], counts[300];
    int held = 0;
    state_of_draws = 7;
    for (int set = 0; set < sets; set++) {
        struct lq_estimate e;
        for (size_t i = 0; i < kind->pictures; i++) {
            counts[i] = 2 + floor(uniform() * 12);
            sums[i] = counts[i] * kind->draw();
        }
        assert_int_equal(lq_bootstrap_ratio(&e, sums, counts, kind->pictures, NULL), LQ_OK);
        held += e.low <= kind->expectation && kind->expectation <= e.high;
    }
    return held / (double)sets;
}

/* 95 % intervals hold the truth about 95 times in a hundred; with 30 skewed pictures somewhat less often. */
static void test_coverage(void **state)
{
    (void)state;
    const struct kind kinds[] = {
        {"log-normal, 30 pictures", log_normal, 1.6487212707001282, 30, 0.9, 0.98},
        {"log-normal, 100 pictures", log_normal, 1.6487212707001282, 100, 0.91, 0.98},
        {"log-normal, 300 pictures", log_normal, 1.6487212707001282, 300, 0.91, 0.98},
        {"gamma, 30 pictures", gamma_half, 0.5, 30, 0.91, 0.98},
        {"gamma, 100 pictures", gamma_half, 0.5, 100, 0.91, 0.98},
        {"shares, 30 pictures", share, 0.955, 30, 0.91, 0.98},
        {"normal, 30 pictures", normal, 0, 30, 0.91, 0.98},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        double held = coverage(&kinds[i], 400);
        print_message("%s: %.3f\n", kinds[i].name, held);
        assert_true(held >= kinds[i].least && held <= kinds[i].most);
    }
}

/* One picture in a hundred disagrees: the interval stays about it, though a third of the resamples miss that one. */
static void test_rare_disagreement(void **state)
{
    (void)state;
    double sums[100], counts[100];
    struct lq_estimate e;
    for (int i = 0; i < 100; i++) sums[i] = i == 0 ? 3 : 4, counts[i] = 4;
    assert_int_equal(lq_bootstrap_ratio(&e, sums, counts, 100, NULL), LQ_OK);
    assert_true(e.value == 0.9975 && e.low > 0.98 && e.low < 0.9975 && e.high >= 0.9975 && e.high < 1.01);
}

static void test_pictures_without_tokens_do_not_count(void **state)
{
    (void)state;
    const double sums[] = {1, 0, 2, 0, 4}, counts[] = {1, 0, 1, 0, 1};
    struct lq_estimate with, without;
    assert_int_equal(lq_bootstrap_ratio(&with, sums, counts, 5, NULL), LQ_OK);
    assert_int_equal(lq_bootstrap_ratio(&without, (double[]){1, 2, 4}, (double[]){1, 1, 1}, 3, NULL), LQ_OK);
    assert_memory_equal(&with, &without, sizeof with);
    assert_int_equal(lq_bootstrap_ratio(&with, sums, counts, 0, NULL), LQ_OK);
    assert_not_measured(with);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_percentiles),
        cmocka_unit_test(test_mcnemar),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_same_figures_again),
        cmocka_unit_test(test_no_difference_is_exactly_none),
        cmocka_unit_test(test_without_an_original),
        cmocka_unit_test(test_nothing_and_one_picture),
        cmocka_unit_test(test_worst_scores_stay_finite),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_pictures),
        cmocka_unit_test(test_coverage),
        cmocka_unit_test(test_rare_disagreement),
        cmocka_unit_test(test_pictures_without_tokens_do_not_count),
    };
    return cmocka_run_group_tests(tests, load_golden, free_golden);
}
