/* Plans by statistics alone, and the parts that need no running model: groups, the power of the error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "strategy/groups.h"
#include "strategy/slope.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct lq_model *model;

static int set_up(void **state)
{
    struct lq_error err = {0};
    (void)state;
    return lq_model_open(&model, LQ_DEMO "/model", NULL, &err) == LQ_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    lq_model_free(model);
    return 0;
}

static struct lq_strategy_options options_of(void)
{
    return (struct lq_strategy_options){.model = model,
                                        .types = "q3_k,q4_k,q6_k,q8_0",
                                        .effort = LQ_EFFORT_FAST,
                                        .method = LQ_METHOD_PLAIN,
                                        .threads = 1};
}

static struct lq_strategy *open_strategy(const struct lq_strategy_options *options)
{
    struct lq_error err = {0};
    struct lq_strategy *s = NULL;
    if (lq_strategy_open(&s, options, &err) != LQ_OK) fail_msg("%s", err.message);
    return s;
}

static struct lq_plan *plan_for(struct lq_strategy *s, struct lq_goal goal, struct lq_strategy_outcome *outcome)
{
    struct lq_error err = {0};
    struct lq_plan *plan = NULL;
    if (lq_strategy_plan(s, &goal, &plan, outcome, &err) != LQ_OK) fail_msg("%s", err.message);
    return plan;
}

static double divergence_of(const struct lq_plan *plan)
{
    double sum = 0;
    for (size_t i = 0; i < plan->n_entries; i++) sum += plan->entries[i].judged.divergence;
    return sum;
}

static void test_sizes(void **state)
{
    struct lq_strategy_options options = options_of();
    struct lq_strategy *s = open_strategy(&options);
    struct lq_strategy_outcome outcome;
    double last = INFINITY;
    (void)state;
    for (uint64_t bytes = 3600000; bytes <= 7200000; bytes += 400000) {
        struct lq_plan *plan = plan_for(s, (struct lq_goal){.bytes = bytes}, &outcome);
        assert_true(outcome.bytes <= bytes);
        assert_true((double)outcome.bytes >= 0.995 * (double)bytes);
        assert_true(isnan(outcome.measured) && isnan(outcome.estimate));
        assert_true(divergence_of(plan) < last);
        last = divergence_of(plan);
        lq_plan_free(plan);
    }
    lq_strategy_free(s);
}

/* What a plan says that more bytes would buy is what it then costs less. */
static void test_judgements(void **state)
{
    struct lq_strategy_options options = options_of();
    struct lq_strategy *s = open_strategy(&options);
    struct lq_strategy_outcome outcome;
    struct lq_plan *plan = plan_for(s, (struct lq_goal){.bpw = 4.5}, &outcome);
    size_t known = 0;
    (void)state;
    assert_true(outcome.bpw <= 4.5 && outcome.bpw > 4.4775);
    assert_string_equal(plan->recipe, "auto-4.5bpw");
    for (size_t i = 0; i < plan->n_entries; i++) {
        const struct lq_plan_entry *e = &plan->entries[i];
        assert_int_equal(e->judged.known, e->tensor->quantisable);
        if (!e->judged.known) continue;
        known++;
        assert_true(e->judged.error > 0 && isnan(e->judged.sensitivity));
        assert_true(e->judged.divergence == e->judged.error);
        assert_string_equal(e->reason, "budget");
        if (e->judged.next == LQ_TYPE_NONE) continue;
        assert_true(e->judged.next_gain > 0 && e->judged.next_gain < e->judged.divergence);
        assert_int_equal(e->bytes + e->judged.next_bytes, lq_format_row_bytes(e->judged.next, e->ne[0]) * e->rows);
    }
    assert_int_equal(known, 56);
    lq_plan_free(plan);
    lq_strategy_free(s);
}

static void test_out_of_reach(void **state)
{
    struct lq_strategy_options options = options_of();
    struct lq_strategy *s = open_strategy(&options);
    struct lq_strategy_outcome outcome;
    struct lq_plan *plan = NULL;
    struct lq_error err = {0};
    const struct lq_goal goals[] = {{.bytes = 3000000}, {.bytes = 30000000}, {.bpw = 2}, {.bpw = 24}, {.kld = 0.01}};
    (void)state;
    for (size_t i = 0; i < sizeof goals / sizeof goals[0]; i++) {
        assert_int_equal(lq_strategy_plan(s, &goals[i], &plan, &outcome, &err), LQ_ERR_USAGE);
        assert_null(plan);
    }
    lq_strategy_free(s);
    options.device = "abacus";
    s = NULL;
    assert_int_equal(lq_strategy_open(&s, &options, &err), LQ_ERR_USAGE);
    assert_null(s);
}

static bool stop(void *data)
{
    return --*(int *)data < 0;
}

/* Cancelled at any moment: nothing is left behind, and the same search goes on afterwards. */
static void test_cancelled(void **state)
{
    struct lq_strategy_outcome outcome;
    struct lq_error err = {0};
    int left = 0;
    struct lq_hooks hooks = {.data = &left, .cancelled = stop};
    struct lq_strategy_options options = options_of();
    (void)state;
    options.hooks = &hooks;
    struct lq_strategy *s = open_strategy(&options);
    const struct lq_goal goal = {.bpw = 4.5};
    for (int after = 0; after < 40; after += 13) {
        struct lq_plan *plan = NULL;
        left = after;
        assert_int_equal(lq_strategy_plan(s, &goal, &plan, &outcome, &err), LQ_ERR_CANCELLED);
        assert_null(plan);
    }
    left = 1 << 30;
    lq_plan_free(plan_for(s, goal, &outcome));
    lq_strategy_free(s);
}

static void test_groups(void **state)
{
    struct lq_strategy_options options = options_of();
    struct lq_menu menu;
    struct lq_error err = {0};
    const size_t expected[] = {19, 13, 56};
    (void)state;
    assert_int_equal(lq_menu_open(&menu, &options, &err), LQ_OK);
    for (int by = LQ_BY_BLOCK; by <= LQ_BY_TENSOR; by++) {
        struct lq_groups groups;
        size_t members = 0;
        assert_int_equal(lq_groups_build(&groups, &menu, (enum lq_grouping)by, &err), LQ_OK);
        assert_int_equal(groups.n, expected[by]);
        for (size_t g = 0; g < groups.n; g++) members += groups.groups[g].n;
        assert_int_equal(members, by == LQ_BY_ROLE ? 52 : 56);
        if (by == LQ_BY_BLOCK) assert_string_equal(groups.groups[0].name, "vision.attention 0");
        if (by == LQ_BY_BLOCK) assert_int_equal(groups.groups[0].n, 4);
        if (by == LQ_BY_ROLE) assert_string_equal(groups.groups[12].name, "language.ffn.down");
        lq_groups_release(&groups);
    }
    lq_menu_release(&menu);
}

static struct lq_slope slope_of(double power, double scatter)
{
    struct lq_slope slope = {0};
    for (int i = 0; i < 4; i++) {
        double error = 0.01 * (i + 1), second = error / (3 + i), off = i % 2 == 0 ? 1 + scatter : 1 / (1 + scatter);
        lq_slope_add(&slope, error, pow(error, power), second, pow(second, power) * off);
    }
    return slope;
}

/* A power is taken where the points show it, and 1 where they scatter about it. */
static void test_power(void **state)
{
    struct lq_strategy_facts facts = {0};
    (void)state;
    struct lq_slope clear = slope_of(1.5, 0.01), blurred = slope_of(1.1, 0.5), flat = slope_of(0.2, 0);
    assert_float_equal(lq_slope_power(&clear), 1.5, 0.02);
    assert_float_equal(lq_slope_power(&blurred), 1, 0);
    assert_float_equal(lq_slope_power(&flat), 0.5, 0);
    lq_slope_add(&clear, 0.01, 0, 0.001, 1e-5); /* tells nothing */
    lq_slope_check(&clear, 1.5, &facts);
    assert_int_equal(facts.checks, 4);
    assert_float_equal(facts.ratio, 1, 0.001);
    assert_float_equal(facts.ratio_high, 1.01, 0.001);
    assert_float_equal(facts.ratio_low, 1 / 1.01, 0.001);
    assert_float_equal(lq_slope_power(&(struct lq_slope){0}), 1, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),     cmocka_unit_test(test_judgements), cmocka_unit_test(test_out_of_reach),
        cmocka_unit_test(test_cancelled), cmocka_unit_test(test_groups),     cmocka_unit_test(test_power),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
