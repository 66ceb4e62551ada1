/* The scalar kernels against ggml and against arithmetic written another way. That the other instruction sets' give the
 * same bits is what tests/codec checks. */
#include "codec/half.h"
#include "codec/kernels.h"

#include <ggml.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { MANY = 1 << 16 };

static uint64_t random_state = 7;

static uint32_t random_bits(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 32);
}

/* Bit patterns over the whole range of floats, dense where F16 rounds, ends, ties and goes denormal. */
static uint32_t float_pattern(uint32_t i)
{
    static const uint32_t edges[] = {0,          1,          0x7fffff,   0x800000,   0x33000000, 0x33000001,
                                     0x32ffffff, 0x387fffff, 0x38800000, 0x477fefff, 0x477ff000, 0x477fffff,
                                     0x47800000, 0x7f7fffff, 0x7f7f7fff, 0x7f7f8000, 0x7f800000, 0x7f800001,
                                     0x7fc00000, 0x7fffffff, 0x7f80ffff};
    uint32_t n = sizeof edges / sizeof edges[0], sign = (i & 1) << 31;
    if (i / 2 < n) return edges[i / 2] | sign;
    if (i % 4 == 0) return ((0x33000000 + random_bits() % 0x14800000) & 0xfffff000) | sign; /* ties among them */
    return random_bits();
}

static void fill_floats(float *dst, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) dst[i] = lq_bits_float(float_pattern(i));
}

static void fill_weights(float *dst, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) dst[i] = ldexpf((float)(int32_t)random_bits(), -31 - (int)(random_bits() % 30));
}

static void half_decodes_by_definition(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < MANY; h++) {
        uint32_t exponent = h >> 10 & 31, mantissa = h & 1023;
        double expected = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, (int)exponent - 25);
        float f = lq_half_to_float((uint16_t)h);
        if (exponent == 31) assert_true(mantissa == 0 ? isinf(f) != 0 : isnan(f) != 0);
        else assert_true(fabs((double)f) == expected);
        assert_int_equal(signbit(f) != 0, h >> 15);
    }
}

/* The nearest of the two neighbours among the halves, the even one on a tie. */
static void half_encodes_to_the_nearest(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 4 * MANY; i++) {
        float f = fabsf(lq_bits_float(float_pattern(i)));
        uint16_t h = lq_float_to_half(f);
        if (isnan(f)) {
            assert_true((h & 0x7e00) == 0x7e00);
            continue;
        }
        double here = (h & 0x7fff) == 0x7c00 ? 65536 : (double)lq_half_to_float(h), value = fmin((double)f, 65536);
        double below = h == 0 ? -1 : (double)lq_half_to_float((uint16_t)(h - 1));
        double above = h >= 0x7bff ? 65536 : (double)lq_half_to_float((uint16_t)(h + 1));
        double distance = fabs(value - here);
        assert_true(distance <= value - below || h == 0);
        assert_true(distance <= fabs(above - value));
        if (h != 0 && (distance == value - below || (distance == above - value && distance != 0)))
            assert_true((h & 1) == 0);
        assert_int_equal(lq_float_to_half(-f), h | 0x8000);
    }
}

static void bf16_equals_ggml(void **state)
{
    (void)state;
    static float floats[MANY];
    static uint16_t ours[MANY], theirs[MANY];
    fill_floats(floats, MANY);
    lq_kernels_scalar.f32_to_bf16(floats, ours, MANY);
    ggml_fp32_to_bf16_row_ref(floats, (ggml_bf16_t *)(void *)theirs, MANY);
    assert_memory_equal(ours, theirs, sizeof ours);
}

static void survey_finds_the_ends(void **state)
{
    (void)state;
    float w[37] = {0};
    struct lq_survey s;
    lq_kernels_scalar.survey(w, 37, &s);
    assert_true(s.largest == 0 && s.smallest == UINT32_MAX);
    for (size_t at = 0; at < 37; at++) {
        memset(w, 0, sizeof w);
        w[at] = -1e-42f;
        w[36 - at] = at == 18 ? -1e-42f : NAN;
        lq_kernels_scalar.survey(w, 37, &s);
        assert_int_equal(s.smallest, lq_float_bits(1e-42f));
        assert_true(at == 18 ? s.largest == s.smallest : s.largest > 0x7f800000);
    }
}

static void largest_16_finds_the_largest(void **state)
{
    (void)state;
    static uint8_t bytes[2 * 70];
    for (size_t n = 0; n < 70; n++) {
        uint32_t expected = 0, found = 1;
        for (size_t k = 0; k < n; k++) {
            uint16_t bits = (uint16_t)random_bits();
            memcpy(bytes + 2 * k, &bits, sizeof bits);
            if ((uint32_t)(bits & 0x7fff) > expected) expected = bits & 0x7fff;
        }
        lq_kernels_scalar.largest_16(bytes, n, &found);
        assert_int_equal(found, expected);
    }
}

static bool nearly(double found, double expected)
{
    return found == expected || fabs(found / expected - 1) < 2e-6;
}

/* Over all magnitudes, squares that leave the range of floats on either side among them; from a block's part to many
 * blocks. */
static void difference_is_the_sum(void **state)
{
    (void)state;
    static float w[MANY], q[MANY];
    for (int power = -149; power < 128; power += 3)
        for (int n = 3; n < 600; n += 59) {
            double expected[2] = {0}, sums[2] = {1, 2};
            for (int i = 0; i < n; i++) {
                w[i] = ldexpf((float)(int32_t)random_bits() * 0x1p-31f, power);
                q[i] = i % 4 == 0 ? w[i] : w[i] * 0.96875f;
                double a = w[i], d = a - q[i];
                expected[0] += d * d;
                expected[1] += a * a;
            }
            lq_kernels_scalar.difference(w, q, (size_t)n, sums);
            assert_true(nearly(sums[0], 1 + expected[0]) && nearly(sums[1], 2 + expected[1]));
            memset(sums, 0, sizeof sums);
            lq_kernels_scalar.difference(w, q, (size_t)n, sums);
            if (!nearly(sums[0], expected[0]) || !nearly(sums[1], expected[1]))
                fail_msg("2^%d, %d weights: %g and %g", power, n, sums[0] / expected[0], sums[1] / expected[1]);
        }
    w[100] = NAN;
    double sums[2] = {0};
    lq_kernels_scalar.difference(w, q, 300, sums);
    assert_true(isnan(sums[0]) && isnan(sums[1]));
}

static void half_differences_are_nearly_the_sums(void **state)
{
    (void)state;
    enum { BLOCK = LQ_DIFFERENCE_BLOCK, BLOCKS = MANY / BLOCK };
    static float w[MANY], q[MANY];
    static uint16_t half[MANY];
    static double sums[BLOCKS][2];
    fill_weights(w, MANY);
    fill_weights(q, MANY);
    lq_kernels_scalar.f32_to_f16(w, half, MANY);
    lq_kernels_scalar.f16_to_f32(half, w, MANY);
    for (size_t n = MANY; n > MANY - 40; n--) {
        lq_kernels_scalar.half_differences(half, q, n, sums);
        for (size_t at = 0; at < n; at += BLOCK) {
            double exact[2] = {0}, *rough = sums[at / BLOCK];
            lq_kernels_scalar.difference(w + at, q + at, n - at < BLOCK ? n - at : BLOCK, exact);
            assert_true(fabs(rough[0] / exact[0] - 1) < 2e-6 && fabs(rough[1] / exact[1] - 1) < 2e-6);
        }
    }
}

/* Weights on a fine ladder, so that many quotients lie on and beside the halves where rounding turns. */
static void q8_0_equals_ggml(void **state)
{
    (void)state;
    enum { BYTES = MANY / 32 * 34 };
    static float w[MANY], expected[MANY], out[MANY];
    static uint8_t theirs[BYTES], ours[BYTES];
    for (int round = 0; round < 3; round++) {
        fill_weights(w, MANY);
        for (int i = 0; round == 1 && i < MANY; i++)
            w[i] = i % 32 == 0 ? 127 : (float)(random_bits() % 509) * 0.5f - 127;
        for (int i = 0; round == 2 && i < MANY; i++)
            w[i] = i % 32 == 0 ? 127 : nextafterf((float)(random_bits() % 254) + 0.5f - 127, (float)(i % 3 - 1) * 500);
        ggml_quantize_chunk(GGML_TYPE_Q8_0, w, theirs, 0, 1, MANY, NULL);
        ggml_get_type_traits(GGML_TYPE_Q8_0)->to_float(theirs, expected, MANY);
        const struct lq_encode job = {.src = w, .rows = 1, .columns = MANY, .dst = ours};
        lq_kernels_scalar.encode[LQ_TYPE_Q8_0](&job);
        assert_memory_equal(ours, theirs, BYTES);
        lq_kernels_scalar.decode[LQ_TYPE_Q8_0](ours, out, MANY / 32);
        assert_memory_equal(out, expected, sizeof out);
    }
}

static void environment_forces_kernels(void **state)
{
    (void)state;
    assert_ptr_equal(lq_kernels(), &lq_kernels_scalar);
    assert_ptr_equal(lq_kernels_at(0), &lq_kernels_scalar);
}

int main(void)
{
    setenv("LQ_CPU", "scalar", 1); /* looked at once, when kernels are first asked for */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(environment_forces_kernels),
        cmocka_unit_test(half_decodes_by_definition),
        cmocka_unit_test(half_encodes_to_the_nearest),
        cmocka_unit_test(bf16_equals_ggml),
        cmocka_unit_test(survey_finds_the_ends),
        cmocka_unit_test(difference_is_the_sum),
        cmocka_unit_test(q8_0_equals_ggml),
        cmocka_unit_test(half_differences_are_nearly_the_sums),
        cmocka_unit_test(largest_16_finds_the_largest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
