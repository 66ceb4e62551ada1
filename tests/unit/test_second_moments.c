/* Second moments against a naive sum, for every way in which tokens come and sums are kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "calibrate/second_moments.h"

enum { COLUMNS = 600, TOKENS = 1500 }; /* three bands, the last one partial */

static float tokens[TOKENS][COLUMNS], roots[TOKENS];

static int make_tokens(void **state)
{
    uint64_t seed = 7;
    (void)state;
    for (size_t t = 0; t < TOKENS; t++) {
        roots[t] = t % 3 == 0 ? 1.0f : 0.5f;
        for (size_t i = 0; i < COLUMNS; i++) tokens[t][i] = (float)((double)lq_random_below(&seed, 2001) / 1000 - 1);
    }
    return 0;
}

struct way {
    unsigned threads;
    bool spilled;
    size_t capacity; /* chunks */
    bool parked;     /* halfway through, and brought back */
};

/* The packed triangle; items are 1 .. 5 hundred tokens long. */
static float *sum_up(struct way way)
{
    struct lq_error err = {0};
    struct lq_spill spill = LQ_SPILL_NONE;
    struct lq_second_moments m = {0};
    struct lq_moments_bench bench = {.threads = way.threads, .spill = &spill};
    assert_int_equal(lq_spill_open(&spill, ".", 4096 + lq_second_moments_bytes(COLUMNS), &err), LQ_OK);
    assert_int_equal(lq_second_moments_begin(&m, COLUMNS, way.capacity * LQ_MOMENTS_CHUNK, &err), LQ_OK);
    m.offset = 4096;
    bench.scratch = malloc(way.threads * lq_moments_band_floats(COLUMNS) * sizeof(float));
    if (!way.spilled) assert_int_equal(lq_second_moments_resident(&m, &err), LQ_OK);
    size_t length = 0, item = 100;
    for (size_t t = 0; t < TOKENS; t++) {
        bool full = lq_second_moments_add(&m, tokens[t], roots[t]);
        if (++length == item) {
            full |= lq_second_moments_end_chunk(&m);
            item += 100;
            length = 0;
        }
        if (full) assert_int_equal(lq_second_moments_flush(&m, &bench, &err), LQ_OK);
        if (way.parked && length == 0 && item == 400) {
            assert_int_equal(lq_second_moments_flush(&m, &bench, &err), LQ_OK);
            assert_int_equal(lq_second_moments_park(&m, &spill, &err), LQ_OK);
        }
    }
    lq_second_moments_end_chunk(&m);
    assert_int_equal(lq_second_moments_flush(&m, &bench, &err), LQ_OK);
    float *packed = malloc((uint64_t)COLUMNS * (COLUMNS + 1) / 2 * sizeof *packed);
    uint64_t at = 0;
    for (size_t b = 0; b < lq_moments_bands(COLUMNS); b++) {
        assert_int_equal(lq_moments_packed_at(b), at);
        assert_int_equal(lq_second_moments_pack(&m, b, &spill, bench.scratch, packed + at, &err), LQ_OK);
        at += lq_moments_packed(COLUMNS, b);
    }
    assert_int_equal(at, (uint64_t)COLUMNS * (COLUMNS + 1) / 2);
    free(bench.scratch);
    lq_second_moments_release(&m);
    lq_spill_close(&spill);
    return packed;
}

static void test_sums(void **state)
{
    float *packed = sum_up((struct way){1, false, 1, false});
    double worst = 0;
    (void)state;
    for (size_t i = 0; i < COLUMNS; i += 7) {
        for (size_t j = 0; j <= i; j++) {
            double sum = 0, size = 0;
            for (size_t t = 0; t < TOKENS; t++) {
                double product = (double)roots[t] * roots[t] * tokens[t][i] * tokens[t][j];
                sum += product;
                size += fabs(product);
            }
            double off = fabs(packed[i * (i + 1) / 2 + j] - sum) / size;
            if (off > worst) worst = off;
        }
    }
    assert_true(worst < 1e-6);
    free(packed);
}

static void test_same_bytes(void **state)
{
    static const struct way ways[] = {
        {2, false, 1, false}, {3, false, 1, false}, {1, false, 5, false}, {1, true, 1, false},
        {3, true, 1, false},  {2, true, 4, false},  {1, false, 1, true},
    };
    float *first = sum_up((struct way){1, false, 1, false});
    (void)state;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        float *other = sum_up(ways[i]);
        assert_memory_equal(other, first, (size_t)COLUMNS * (COLUMNS + 1) / 2 * sizeof *first);
        free(other);
    }
    free(first);
}

/* What was packed and unpacked goes on to the same bytes. */
static void test_unpack(void **state)
{
    struct lq_error err = {0};
    struct lq_spill spill = LQ_SPILL_NONE;
    float *first = sum_up((struct way){1, false, 1, false}), scratch[LQ_MOMENTS_BAND * COLUMNS];
    float packed[LQ_MOMENTS_BAND * COLUMNS];
    (void)state;
    assert_int_equal(lq_spill_open(&spill, ".", lq_second_moments_bytes(COLUMNS), &err), LQ_OK);
    for (int disk = 0; disk < 2; disk++) {
        struct lq_second_moments m = {0};
        assert_int_equal(lq_second_moments_begin(&m, COLUMNS, LQ_MOMENTS_CHUNK, &err), LQ_OK);
        if (!disk) assert_int_equal(lq_second_moments_resident(&m, &err), LQ_OK);
        for (size_t b = 0; b < lq_moments_bands(COLUMNS); b++) {
            const float *rows = first + lq_moments_packed_at(b);
            assert_int_equal(lq_second_moments_unpack(&m, b, &spill, scratch, rows, &err), LQ_OK);
            assert_int_equal(lq_second_moments_pack(&m, b, &spill, scratch, packed, &err), LQ_OK);
            assert_memory_equal(packed, rows, lq_moments_packed(COLUMNS, b) * sizeof *packed);
        }
        lq_second_moments_release(&m);
    }
    lq_spill_close(&spill);
    free(first);
}

static void test_spill_refused(void **state)
{
    struct lq_error err = {0};
    struct lq_spill spill = LQ_SPILL_NONE;
    (void)state;
    assert_int_equal(lq_spill_open(&spill, "no-such-folder", 1, &err), LQ_ERR_IO);
    assert_non_null(strstr(err.message, "no-such-folder: cannot make a file"));
    assert_int_equal(lq_spill_open(&spill, ".", UINT64_C(1) << 62, &err), LQ_ERR_IO);
    assert_non_null(strstr(err.message, "sums that do not fit into memory take"));
    assert_int_equal(spill.fd, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_unpack),
        cmocka_unit_test(test_spill_refused),
    };
    return cmocka_run_group_tests(tests, make_tokens, NULL);
}
