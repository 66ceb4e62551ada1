/* Plans for second moments: passes and disk by what they cost, within the memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calibrate/passes.h"
#include "calibrate/second_moments.h"

enum { INPUTS = 8 };

/* Two of the vision half, six of the language half, one of them wide. */
static struct lq_tensor tensors[INPUTS];
static struct lq_input inputs[INPUTS];
static bool wanted[INPUTS];
static double rows[INPUTS];
static const struct lq_census census = {.inputs = inputs, .n = INPUTS};

static int make_inputs(void **state)
{
    (void)state;
    for (size_t i = 0; i < INPUTS; i++) {
        tensors[i] = (struct lq_tensor){.name = i == 5 ? "wide" : "narrow",
                                        .half = i < 2 ? LQ_VISION : LQ_LANGUAGE,
                                        .ne = {i == 5 ? 2048 : 1024, 1, 1, 1}};
        inputs[i].first = &tensors[i];
        wanted[i] = true;
        rows[i] = 100000;
    }
    return 0;
}

static struct lq_passes_terms terms(uint64_t memory, double pass_seconds, double disk_rate)
{
    return (struct lq_passes_terms){.census = &census,
                                    .wanted = wanted,
                                    .memory = memory,
                                    .threads = 2,
                                    .rows = rows,
                                    .full_seconds = pass_seconds,
                                    .vision_seconds = pass_seconds / 10,
                                    .disk_rate = disk_rate};
}

/* Bytes that the inputs of each pass hold stay within the memory, and every input has a pass, in order. */
static void check(const struct lq_passes *p, uint64_t memory)
{
    unsigned last = 0;
    assert_true(p->memory <= memory);
    for (unsigned pass = 0; pass < p->n; pass++) {
        uint64_t bytes = p->sums;
        for (size_t i = 0; i < INPUTS; i++) {
            if (p->of[i] != pass) continue;
            bytes += lq_second_moments_row_bytes(tensors[i].ne[0], p->capacity[i]);
            if (!p->spilled) bytes += lq_input_moments_bytes(&inputs[i]);
        }
        assert_true(bytes > p->sums && bytes <= memory);
    }
    for (size_t i = 0; i < INPUTS; i++) {
        assert_true(p->of[i] >= last && p->of[i] < p->n);
        assert_int_equal(p->capacity[i] % LQ_MOMENTS_CHUNK, 0);
        last = p->of[i];
    }
}

static void test_ways(void **state)
{
    static const struct {
        uint64_t memory;
        double pass_seconds, disk_rate;
        bool several, spilled;
    } cases[] = {
        {200000000, 100, 1e8, false, false}, /* all fits */
        {40000000, 1, 1e8, true, false},     /* passes are cheap */
        {40000000, 1e6, 1e8, false, true},   /* passes are dear, so the disk works */
        {22000000, 1e-3, 1e3, true, true},   /* the wide one fits on disk alone */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lq_passes_terms t = terms(cases[i].memory, cases[i].pass_seconds, cases[i].disk_rate);
        struct lq_error err = {0};
        struct lq_passes p;
        assert_int_equal(lq_passes_plan(&p, &t, &err), LQ_OK);
        check(&p, cases[i].memory);
        assert_int_equal(p.n > 1, cases[i].several);
        assert_int_equal(p.spilled, cases[i].spilled);
        assert_int_equal(p.disk > 0, cases[i].several || cases[i].spilled);
        lq_passes_release(&p);
    }
}

/* One byte less than `whole` takes another way; a later pass over the vision half alone costs a tenth. */
static void test_whole(void **state)
{
    struct lq_passes_terms t = terms(200000000, 1, 1e12);
    struct lq_error err = {0};
    struct lq_passes p;
    (void)state;
    assert_int_equal(lq_passes_plan(&p, &t, &err), LQ_OK);
    assert_int_equal(p.memory, p.whole);
    assert_true(p.seconds == 1);
    t.memory = p.whole;
    lq_passes_release(&p);
    assert_int_equal(lq_passes_plan(&p, &t, &err), LQ_OK);
    assert_int_equal(p.n, 1);
    assert_int_equal(p.disk, 0);
    t.memory--;
    lq_passes_release(&p);
    assert_int_equal(lq_passes_plan(&p, &t, &err), LQ_OK);
    assert_true(p.n > 1 || p.spilled);
    lq_passes_release(&p);
}

static void test_nothing_wanted(void **state)
{
    struct lq_passes_terms t = terms(10000000, 3, 1e8);
    static const bool none[INPUTS];
    struct lq_error err = {0};
    struct lq_passes p;
    (void)state;
    t.wanted = none;
    assert_int_equal(lq_passes_plan(&p, &t, &err), LQ_OK);
    assert_true(p.n == 1 && p.disk == 0 && p.moments == 0 && p.memory == p.sums && p.seconds == 3);
    assert_int_equal(p.of[3], 1);
    lq_passes_release(&p);
}

static void test_too_small(void **state)
{
    struct lq_passes_terms t = terms(5000000, 3, 1e8);
    struct lq_error err = {0};
    struct lq_passes p;
    unsigned long long needed = 0;
    (void)state;
    assert_int_equal(lq_passes_plan(&p, &t, &err), LQ_ERR_USAGE);
    assert_non_null(strstr(err.message, "5.0 MB of memory are too little"));
    assert_non_null(strstr(err.message, "second moments of wide take"));
    assert_int_equal(sscanf(strstr(err.message, "--memory "), "--memory %lluM", &needed), 1);
    t.memory = needed * 1000000;
    assert_int_equal(lq_passes_plan(&p, &t, &err), LQ_OK);
    check(&p, t.memory);
    lq_passes_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ways),
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_nothing_wanted),
        cmocka_unit_test(test_too_small),
    };
    return cmocka_run_group_tests(tests, make_inputs, NULL);
}
