/* The score of a token: against decimals of 50 digits, at the edges of floats, and what must hold for all rows. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/portable_math.h"
#include "evaluate/token_score.h"
#include "golden_evaluate.h"

enum { LARGEST = 256000 };
static float p[LARGEST], q[LARGEST];

/* A float exactly; make_evaluate.py has the same. */
static void fill(float *row, uint64_t n, uint64_t seed, double scale)
{
    for (uint64_t i = 0; i < n; i++)
        row[i] = (float)((double)((int64_t)((i * 7919 + seed * 104729 + i * i * seed) % 1009) - 504) * scale / 512);
}

static void assert_close(double found, double expected, double tolerance)
{
    if (!(fabs(found - expected) <= tolerance * fmax(1e-3, fabs(expected))))
        fail_msg("%.17g is not %.17g", found, expected);
}

/* ---- exp and ln ---- */

static void test_exp_and_log(void **state)
{
    (void)state;
    for (double x = -708; x < 709; x += 0.0037) {
        long double e = expl(x);
        assert_true(fabsl(((long double)lq_exp(x) - e) / e) < 1e-15L);
    }
    for (double x = 1e-300; x < 1e300; x *= 1.037)
        assert_true(fabsl((long double)lq_log(x) - logl(x)) <= 1e-15L * fabsl(logl(x)));
    for (double x = 0.5; x < 2.1; x += 1e-4)
        assert_true(fabsl((long double)lq_log(x) - logl(x)) <= 1e-15L * fabsl(logl(x)) + 1e-18L);
    assert_true(lq_exp(0) == 1 && lq_log(1) == 0);
}

/* ---- scores ---- */

static void test_golden(void **state)
{
    (void)state;
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(golden, "token_scores"), i, c)
    {
        struct lq_token_score s = {.question = 5};
        json_int_t n, seed_p, seed_q, right, top_p, top_q;
        double scale, kl, log_p, log_q;
        assert_int_equal(json_unpack(c, "{s:I,s:[I,I],s:F,s:I,s:F,s:F,s:F,s:I,s:I}", "n", &n, "seeds", &seed_p, &seed_q,
                                     "scale", &scale, "right", &right, "kl", &kl, "log_p_original", &log_p, "log_p",
                                     &log_q, "top_original", &top_p, "top", &top_q),
                         0);
        fill(p, (uint64_t)n, (uint64_t)seed_p, scale);
        fill(q, (uint64_t)n, (uint64_t)seed_q, scale);
        lq_token_score(&s, p, q, (size_t)n, (int32_t)right);
        assert_close(s.kl, kl, 1e-12);
        assert_close(s.log_p_original, log_p, 1e-14);
        assert_close(s.log_p, log_q, 1e-14);
        assert_true(s.top_original == top_p && s.top == top_q && s.agree == (top_p == top_q));
        assert_int_equal(s.question, 5);
    }
    assert_int_equal(i, 8);
}

static void test_equal_rows_give_zero(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 3, 512, 4099, 32064, LARGEST};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct lq_token_score s;
        fill(p, sizes[i], i, 30);
        lq_token_score(&s, p, p, sizes[i], 0);
        assert_true(s.kl == 0 && s.log_p == s.log_p_original && s.agree);
    }
}

static void test_never_negative_and_blind_to_shifts(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct lq_token_score s, shifted;
        size_t n = 2 + seed * 7;
        fill(p, n, seed, 8);
        for (size_t i = 0; i < n; i++) q[i] = p[i] + (float)((i * 31 + seed) % 17) * 0x1p-20f;
        lq_token_score(&s, p, q, n, 1);
        assert_true(s.kl >= 0 && s.log_p <= 0 && s.log_p_original <= 0);
        for (size_t i = 0; i < n; i++) q[i] += 8;
        lq_token_score(&shifted, p, q, n, 1);
        assert_true(fabs(shifted.kl - s.kl) < 1e-15 && fabs(shifted.log_p - s.log_p) < 1e-13);
    }
}

static void test_ties_go_to_the_first(void **state)
{
    (void)state;
    struct lq_token_score s;
    memcpy(p, (float[]){1, 3, 2, 3}, 4 * sizeof *p);
    memcpy(q, (float[]){1, 2, 3, 3}, 4 * sizeof *q);
    lq_token_score(&s, p, q, 4, 0);
    assert_true(s.top_original == 1 && s.top == 2 && !s.agree);
}

/* Masked tokens are as good as impossible in both; one that only the pair masks costs much, but not infinitely much. */
static void test_masked_tokens(void **state)
{
    (void)state;
    struct lq_token_score s, without;
    memcpy(p, (float[]){1, 2, 0.5f, -INFINITY}, 4 * sizeof *p);
    memcpy(q, (float[]){1, 1, 1.5f, -INFINITY}, 4 * sizeof *q);
    lq_token_score(&without, p, q, 3, 0);
    lq_token_score(&s, p, q, 4, 0);
    assert_true(s.kl == without.kl && s.log_p == without.log_p && isfinite(s.kl));
    q[1] = -INFINITY;
    lq_token_score(&s, p, q, 4, 1);
    assert_true(s.kl > 100 && s.kl < 700 && s.log_p < -689 && s.log_p > -700 && isfinite(lq_exp(-s.log_p)));
}

static void test_extreme_logits_stay_finite(void **state)
{
    (void)state;
    static const float values[] = {-INFINITY, -3.4e38f, -1e30f, -1e-45f, 0, 1e-45f, 1, 1e30f, 3.4e38f, INFINITY};
    enum { N = sizeof values / sizeof *values };
    for (size_t i = 0; i < N * N * N * N; i++) {
        struct lq_token_score s;
        memcpy(p, (float[]){values[i % N], values[i / N % N]}, 2 * sizeof *p);
        memcpy(q, (float[]){values[i / N / N % N], values[i / N / N / N]}, 2 * sizeof *q);
        lq_token_score(&s, p, q, 2, 1);
        assert_true(isfinite(s.kl) && s.kl >= 0 && isfinite(s.log_p) && isfinite(s.log_p_original));
    }
}

static void test_without_an_original(void **state)
{
    (void)state;
    struct lq_token_score s, both;
    fill(p, 1000, 1, 8);
    fill(q, 1000, 2, 8);
    lq_token_score(&both, p, q, 1000, 9);
    lq_token_score(&s, NULL, q, 1000, 9);
    assert_true(isnan(s.kl) && isnan(s.log_p_original) && !s.agree);
    assert_true(s.log_p == both.log_p && s.top == both.top);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp_and_log),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_equal_rows_give_zero),
        cmocka_unit_test(test_never_negative_and_blind_to_shifts),
        cmocka_unit_test(test_ties_go_to_the_first),
        cmocka_unit_test(test_masked_tokens),
        cmocka_unit_test(test_extreme_logits_stay_finite),
        cmocka_unit_test(test_without_an_original),
    };
    return cmocka_run_group_tests(tests, load_golden, free_golden);
}
