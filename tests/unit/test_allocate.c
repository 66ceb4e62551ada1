/* The allocation against every possible one on small cases, and against its own bound on large ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan/allocate.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ITEMS = 1000, MOST_CHOICES = 30 };

static struct lq_choice choices[MOST_ITEMS][MOST_CHOICES];
static struct lq_choice_item items[MOST_ITEMS];
static size_t n_items;
static uint64_t seed;

static uint64_t draw(uint64_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % below;
}

/* What a random case looks like: `bytes` and `costs` are the numbers of different values. */
struct kind {
    size_t items, choices;
    uint64_t bytes, costs;
    unsigned alike; /* that many of ten items are as the one before */
};

static void make(const struct kind *kind)
{
    n_items = 1 + draw(kind->items);
    for (size_t i = 0; i < n_items; i++) {
        size_t n = 1 + draw(kind->choices);
        if (i > 0 && draw(10) < kind->alike) {
            memcpy(choices[i], choices[i - 1], sizeof choices[i]);
            n = items[i - 1].n;
        } else {
            for (size_t k = 0; k < n; k++)
                choices[i][k] = (struct lq_choice){draw(kind->bytes), (double)draw(kind->costs)};
        }
        items[i] = (struct lq_choice_item){choices[i], n};
    }
}

/* Of all choices of the first item on, in order: what the rules call best. */
struct brute {
    uint64_t budget, bytes;
    double limit, cost;
    bool by_cost, found;
    size_t now[8], best[8];
};

static bool is_better(const struct brute *b, uint64_t bytes, double cost)
{
    if (!b->found) return true;
    if (b->by_cost) return bytes != b->bytes ? bytes < b->bytes : cost < b->cost;
    return cost != b->cost ? cost < b->cost : bytes < b->bytes;
}

static void try_all(struct brute *b, size_t i, uint64_t bytes, double cost)
{
    if (i < n_items) {
        for (b->now[i] = 0; b->now[i] < items[i].n; b->now[i]++)
            try_all(b, i + 1, bytes + items[i].choices[b->now[i]].bytes, cost + items[i].choices[b->now[i]].cost);
        return;
    }
    if (b->by_cost ? cost > b->limit : bytes > b->budget) return;
    if (!is_better(b, bytes, cost)) return;
    b->found = true;
    b->bytes = bytes;
    b->cost = cost;
    memcpy(b->best, b->now, sizeof b->best);
}

static void compare(struct brute *b, double scale)
{
    size_t chosen[8];
    struct lq_allocation out;
    struct lq_error err = {0};
    enum lq_status status = b->by_cost ? lq_allocate_cost(items, n_items, b->limit, chosen, &out, &err)
                                       : lq_allocate(items, n_items, b->budget, chosen, &out, &err);
    try_all(b, 0, 0, 0);
    if (!b->found) {
        assert_int_equal(status, LQ_ERR_USAGE);
        return;
    }
    if (status != LQ_OK) fail_msg("%s", err.message);
    assert_true(out.optimal);
    assert_int_equal(out.bytes, b->bytes);
    assert_true(out.cost == b->cost);
    assert_true(out.bound == (b->by_cost ? (double)out.bytes : out.cost));
    assert_true(out.price >= 0);
    for (size_t i = 0; i < n_items; i++)
        if (chosen[i] != b->best[i]) fail_msg("item %zu: %zu, not %zu (scale %g)", i, chosen[i], b->best[i], scale);
}

static void scale_costs(double scale)
{
    for (size_t i = 0; i < n_items; i++)
        for (size_t k = 0; k < items[i].n; k++) choices[i][k].cost *= scale;
}

static void best_of_all(void **state)
{
    (void)state;
    static const struct kind kinds[] = {
        {6, 6, 20, 20, 3},    {7, 4, 4, 4, 5},    {5, 8, 1000, 3, 0},
        {7, 4, 3, 100000, 8}, {3, 20, 50, 50, 1}, {7, 3, 2, 2, 3},
    };
    static const double scales[] = {1, 0x1p-60, 0x1p60, 0x1p-1000, 0x1p900};
    seed = 88172645463325252U;
    for (size_t round = 0; round < 6000; round++) {
        make(&kinds[round % 6]);
        double scale = scales[round % 5], sum = 0;
        uint64_t bytes = 0;
        scale_costs(scale);
        for (size_t i = 0; i < n_items; i++) {
            size_t k = draw(items[i].n);
            bytes += choices[i][k].bytes;
            sum += choices[i][k].cost;
        }
        compare(&(struct brute){.budget = bytes + draw(2)}, scale);
        compare(&(struct brute){.by_cost = true, .limit = sum}, scale);
    }
}

/* Costs that fall with bytes as a type's error does: about by four for each bit, with noise. */
static void make_model(size_t n, unsigned alike)
{
    static const double bits[] = {1.5625, 1.75, 2.0625, 2.5625, 3.0625, 3.4375, 4.25, 4.5, 5.5, 6.5625, 8.5, 16};
    enum { TYPES = sizeof bits / sizeof bits[0] };
    static const uint64_t weights[] = {1 << 24, 1 << 24, 11008 * 4096, 1 << 20, 1152 * 4304, 32064 * 4096};
    n_items = n;
    for (size_t i = 0; i < n; i++) {
        uint64_t size = weights[i % 6];
        double sensitivity = exp((double)draw(1000) / 100) * 1e-6;
        for (size_t k = 0; k < TYPES; k++)
            choices[i][k] = (struct lq_choice){(uint64_t)((double)size * bits[k] / 8),
                                               sensitivity * exp2(-2 * bits[k]) * (0.8 + (double)draw(400) / 1000)};
        if (i >= 6 && draw(10) < alike)
            for (size_t k = 0; k < TYPES; k++) choices[i][k].cost = choices[i - 6][k].cost;
        items[i] = (struct lq_choice_item){choices[i], TYPES};
    }
}

static void total(uint64_t *least, uint64_t *most)
{
    *least = *most = 0;
    for (size_t i = 0; i < n_items; i++) {
        uint64_t low = UINT64_MAX, high = 0;
        for (size_t k = 0; k < items[i].n; k++) {
            low = choices[i][k].bytes < low ? choices[i][k].bytes : low;
            high = choices[i][k].bytes > high ? choices[i][k].bytes : high;
        }
        *least += low;
        *most += high;
    }
}

static struct lq_allocation allocate(uint64_t budget, size_t *chosen)
{
    struct lq_allocation out = {0};
    struct lq_error err = {0};
    if (lq_allocate(items, n_items, budget, chosen, &out, &err) != LQ_OK) fail_msg("%s", err.message);
    uint64_t bytes = 0;
    double cost = 0;
    for (size_t i = 0; i < n_items; i++) {
        bytes += choices[i][chosen[i]].bytes;
        cost += choices[i][chosen[i]].cost;
    }
    assert_int_equal(out.bytes, bytes);
    assert_true(out.cost == cost);
    assert_true(bytes <= budget);
    assert_true(out.bound <= out.cost);
    return out;
}

/* From the smallest to the largest: proved, but for a few that are nearly so; never worse with more bytes, the same
 * again, and no larger the other way round. */
static void large_ones_are_nearly_always_proved(void **state)
{
    (void)state;
    static const size_t sizes[] = {60, 290, 1000};
    static size_t chosen[MOST_ITEMS], again[MOST_ITEMS];
    static const double doubt = 1e-3;
    size_t unproved = 0;
    seed = 1234567;
    for (size_t s = 0; s < 6; s++) {
        uint64_t least, most;
        double last = INFINITY;
        make_model(sizes[s % 3], s < 3 ? 0 : 9);
        total(&least, &most);
        for (size_t k = 0; k <= 16; k++) {
            uint64_t budget = least + (most - least) / 16 * k;
            struct lq_allocation out = allocate(budget, chosen), back;
            unproved += !out.optimal;
            assert_true(out.cost - out.bound <= (out.optimal ? 0 : doubt * out.cost));
            assert_true(out.cost <= last * (out.optimal ? 1 : 1 + doubt));
            assert_true(k > 0 || (out.bytes == least && out.price > 0));
            last = out.cost;
            allocate(budget, again);
            assert_memory_equal(chosen, again, n_items * sizeof *chosen);
            assert_int_equal(lq_allocate_cost(items, n_items, out.cost, again, &back, NULL), LQ_OK);
            assert_true(back.cost <= out.cost * (1 + 1e-12));
            assert_true(back.optimal ? back.bytes <= out.bytes : (double)back.bytes <= back.bound * (1 + doubt));
        }
        assert_true(allocate(UINT64_MAX, chosen).price == 0);
        assert_true(allocate(UINT64_MAX, chosen).cost == last);
    }
    assert_in_range(unproved, 0, 10); /* of 102 */
}

/* Every choice lies on one line, bytes are arbitrary: nothing can be proved early, and the search must end. */
static void the_hardest_end(void **state)
{
    (void)state;
    static size_t chosen[MOST_ITEMS];
    seed = 99;
    n_items = 400;
    for (size_t i = 0; i < n_items; i++) {
        for (size_t k = 0; k < MOST_CHOICES; k++) {
            uint64_t bytes = 1000000000 + 2 * draw(1000000000);
            choices[i][k] = (struct lq_choice){bytes, 4e9 - (double)bytes};
        }
        items[i] = (struct lq_choice_item){choices[i], MOST_CHOICES};
    }
    struct lq_allocation out = allocate(800000000001, chosen);
    assert_true(out.cost - out.bound < 1e-7 * out.cost);
}

static void one_item_or_none(void **state)
{
    (void)state;
    size_t chosen[2] = {7, 7};
    struct lq_allocation out;
    assert_int_equal(lq_allocate(NULL, 0, 0, chosen, &out, NULL), LQ_OK);
    assert_true(out.bytes == 0 && out.cost == 0 && out.optimal && out.price == 0);
    static const struct lq_choice two[] = {{10, 5}, {20, 1}};
    static const struct lq_choice_item item = {two, 2};
    assert_int_equal(lq_allocate(&item, 1, 19, chosen, &out, NULL), LQ_OK);
    assert_int_equal(chosen[0], 0);
    assert_true(out.price == 0.4);
    assert_int_equal(lq_allocate(&item, 1, 20, chosen, &out, NULL), LQ_OK);
    assert_int_equal(chosen[0], 1);
    assert_true(out.price == 0);
    assert_int_equal(lq_allocate_cost(&item, 1, 4.9, chosen, &out, NULL), LQ_OK);
    assert_int_equal(chosen[0], 1);
    assert_int_equal(lq_allocate_cost(&item, 1, INFINITY, chosen, &out, NULL), LQ_OK);
    assert_int_equal(chosen[0], 0);
    assert_true(out.price == 0.4);
}

static void refuse(const struct lq_choice *given, size_t n, uint64_t budget, const char *message)
{
    const struct lq_choice_item two[] = {{given, n}, {given, n}};
    size_t chosen[2] = {7, 7};
    struct lq_allocation out;
    struct lq_error err = {0};
    assert_int_equal(lq_allocate(two, 2, budget, chosen, &out, &err), LQ_ERR_USAGE);
    assert_string_equal(err.message, message);
    assert_int_equal(chosen[0], 7);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    refuse(NULL, 0, 5, "item 0 has nothing to choose from");
    refuse((struct lq_choice[]){{3, 1}, {4, -1}}, 2, 9, "item 0, choice 1: -1 is no cost");
    refuse((struct lq_choice[]){{3, INFINITY}}, 1, 9, "item 0, choice 0: inf is no cost");
    refuse((struct lq_choice[]){{UINT64_C(1) << 53, 1}}, 1, 9,
           "1.80144e+16 bytes are more than can be counted exactly");
    refuse((struct lq_choice[]){{3, 1}, {4, 0}}, 2, 5, "even the smallest choices take 6 bytes, more than 5");
    static const struct lq_choice given[] = {{3, 1}, {4, 0.5}};
    static const struct lq_choice_item two[] = {{given, 2}, {given, 2}};
    size_t chosen[2] = {7, 7};
    struct lq_allocation out;
    struct lq_error err = {0};
    assert_int_equal(lq_allocate_cost(two, 2, 0.75, chosen, &out, &err), LQ_ERR_USAGE);
    assert_string_equal(err.message, "even the best choices cost 1, more than 0.75");
    assert_true(out.cost == 1 && out.bytes == 8);
    assert_int_equal(lq_allocate_cost(two, 2, NAN, chosen, &out, &err), LQ_ERR_USAGE);
    assert_int_equal(chosen[0], 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(best_of_all),
        cmocka_unit_test(large_ones_are_nearly_always_proved),
        cmocka_unit_test(the_hardest_end),
        cmocka_unit_test(one_item_or_none),
        cmocka_unit_test(what_is_wrong_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
