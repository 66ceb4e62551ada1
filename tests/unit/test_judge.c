/* Is an answer right: exactly, and by the VQA data set's normalisation and soft measure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "evaluate/judge.h"
#include "golden_evaluate.h"

static void test_exact(void **state)
{
    (void)state;
    static const char *const answers[] = {"red", "dark red "};
    const struct lq_turn turn = {"What colour?", answers, 2, 0};
    assert_true(lq_judge_exact("red", &turn));
    assert_true(lq_judge_exact("\n red\t ", &turn));
    assert_true(lq_judge_exact("dark red", &turn));
    assert_false(lq_judge_exact("Red", &turn));
    assert_false(lq_judge_exact("dark  red", &turn));
    assert_false(lq_judge_exact("re", &turn));
    assert_false(lq_judge_exact("", &turn));
}

/* Pairs from the official code. */
static void test_normalised(void **state)
{
    (void)state;
    size_t i;
    json_t *pair;
    assert_true(json_array_size(json_object_get(golden, "vqa")) > 80);
    json_array_foreach(json_object_get(golden, "vqa"), i, pair)
    {
        char *out = NULL;
        const char *answer = json_string_value(json_array_get(pair, 0));
        assert_int_equal(lq_vqa_normalise(&out, answer, NULL), LQ_OK);
        if (strcmp(out, json_string_value(json_array_get(pair, 1))) != 0)
            fail_msg("'%s' became '%s', the official code says '%s'", answer, out,
                     json_string_value(json_array_get(pair, 1)));
        free(out);
    }
}

static void test_normalising_twice_changes_nothing_more(void **state)
{
    (void)state;
    static const char *const answers[] = {"The 1,000 dogs, dont", "It's 2:50 pm!", "y'allll"};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        char *once = NULL, *twice = NULL;
        assert_int_equal(lq_vqa_normalise(&once, answers[i], NULL), LQ_OK);
        assert_int_equal(lq_vqa_normalise(&twice, once, NULL), LQ_OK);
        assert_string_equal(once, twice);
        free(once);
        free(twice);
    }
}

/* The definition, one person left out at a time. */
static double by_definition(size_t same, size_t n)
{
    double sum = 0;
    for (size_t left_out = 0; left_out < n; left_out++) {
        size_t others = same - (left_out < same ? 1 : 0);
        sum += others >= 3 ? 1 : (double)others / 3;
    }
    return sum / (double)n;
}

static void test_soft_measure(void **state)
{
    (void)state;
    const char *answers[10];
    const struct lq_turn ten = {"How many?", answers, 10, 0};
    double share;
    for (size_t same = 0; same <= 10; same++) {
        for (size_t i = 0; i < 10; i++) answers[i] = i < same ? "Two." : "3";
        assert_int_equal(lq_judge_vqa(&share, "2", &ten, NULL), LQ_OK);
        assert_true(share > by_definition(same, 10) - 1e-15 && share < by_definition(same, 10) + 1e-15);
    }
    for (size_t n = 1; n <= 3; n++) {
        const struct lq_turn few = {"How many?", answers, n, 0};
        answers[0] = "two", answers[1] = answers[2] = "four";
        assert_int_equal(lq_judge_vqa(&share, "the two", &few, NULL), LQ_OK);
        assert_true(share == 1.0 / (double)n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_normalised),
        cmocka_unit_test(test_normalising_twice_changes_nothing_more),
        cmocka_unit_test(test_soft_measure),
    };
    return cmocka_run_group_tests(tests, load_golden, free_golden);
}
