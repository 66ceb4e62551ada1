/* Encoders of formats with a scale and a minimum: what lies on a grid comes back, searches come close to trying
 * everything, odd blocks stay numbers. */
#include "codec/encode.h"
#include "llava_quantize/bench.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { N = 512, EFFORTS = 3 };
static const enum lq_type types[] = {LQ_TYPE_Q4_1, LQ_TYPE_Q5_1, LQ_TYPE_Q2_K, LQ_TYPE_Q4_K, LQ_TYPE_Q5_K};
enum { TYPES = sizeof types / sizeof types[0] };

static uint64_t random_state;

static unsigned below(unsigned n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % n;
}

/* One row there and back; false: refused, for a reason that names the type. */
static bool there_and_back(enum lq_type type, enum lq_effort effort, const float *src, const float *importance,
                           float *back)
{
    uint8_t blocks[N];
    struct lq_error err = {0};
    enum lq_status status = lq_codec_encode(type, src, 1, N, importance, effort, blocks, &err);
    if (status == LQ_ERR_UNSUPPORTED) assert_non_null(strstr(err.message, lq_format_name(type)));
    if (status != LQ_OK) return false;
    assert_int_equal(lq_codec_decode(type, blocks, back, N, &err), LQ_OK);
    return true;
}

static double error_of(const float *src, const float *importance, const float *back)
{
    double sum = 0;
    for (int i = 0; i < N; i++) {
        double d = (double)src[i] - back[i];
        sum += (importance != NULL ? importance[i] : 1) * d * d;
    }
    return sum;
}

/* Within `tolerance` of the greatest magnitude. */
static void assert_returns(enum lq_type type, const float *src, double tolerance)
{
    double greatest = 0;
    for (int i = 0; i < N; i++) greatest = fmax(greatest, fabs((double)src[i]));
    for (int effort = 0; effort < EFFORTS; effort++) {
        float back[N];
        assert_true(there_and_back(type, (enum lq_effort)effort, src, NULL, back));
        for (int i = 0; i < N; i++)
            if (!(fabs((double)src[i] - back[i]) <= tolerance * greatest))
                fail_msg("%s, effort %d, weight %d: %a became %a", lq_format_name(type), effort, i, (double)src[i],
                         (double)back[i]);
    }
}

/* Every level occurs in every sub-block, so that there is no other way to store these weights. */
static void grids_come_back(void **state)
{
    (void)state;
    static const struct {
        int sub_block, levels;
        bool minimum_is_free; /* an f16 number of each block, not a multiple of the super-block's */
    } grids[TYPES] = {{32, 16, true}, {32, 32, true}, {16, 4, false}, {32, 16, false}, {32, 32, false}};
    random_state = 1;
    for (int t = 0; t < TYPES; t++)
        for (int round = 0; round < 20; round++) {
            float src[N], scale = 0, minimum = 0;
            unsigned most = types[t] == LQ_TYPE_Q2_K ? 15 : 63;
            for (int i = 0; i < N; i++) {
                if (i % grids[t].sub_block == 0) {
                    bool ends = i % 256 == 0;
                    scale = (float)(ends ? most : most / 2 + below(most / 2)) * 0x1p-10f;
                    minimum = (float)(ends ? most : below(most + 1)) * -0x1p-8f;
                    if (grids[t].minimum_is_free && below(2)) minimum = -minimum;
                }
                src[i] = scale * (float)(i * 5 % grids[t].levels) + minimum;
            }
            assert_returns(types[t], src, 0);
        }
}

static void constant_blocks_come_back(void **state)
{
    (void)state;
    static const float constants[] = {0, 0.25f, -3, 1e-3f, -1e-3f, 60000, -60000};
    for (int t = 0; t < TYPES; t++)
        for (size_t c = 0; c < sizeof constants / sizeof constants[0]; c++) {
            float src[N];
            for (int i = 0; i < N; i++) src[i] = constants[c];
            assert_returns(types[t], src, 0x1p-8);
        }
}

static void lone_weights_come_back(void **state)
{
    (void)state;
    for (int t = 0; t < TYPES; t++)
        for (int at = 0; at < N; at += 37) {
            float src[N] = {0};
            src[at] = at % 2 == 0 ? 0.7f : -0.7f;
            assert_returns(types[t], src, 0x1p-8);
        }
}

/* The least error of a block of 32 weights over a fine grid of scales and minima, each with the best levels. */
static double least_error(const float *x, int levels)
{
    enum { STEPS = 240 };
    double low = (double)x[0], high = (double)x[0], least = INFINITY;
    for (int i = 1; i < 32; i++) {
        low = fmin(low, (double)x[i]);
        high = fmax(high, (double)x[i]);
    }
    for (int a = 0; a < STEPS; a++)
        for (int b = 0; b < STEPS; b++) {
            double scale = (high - low) / (levels - 1) * (0.7 + 0.4 * a / STEPS), error = 0;
            double minimum = low + scale * 3 * ((double)b / STEPS - 0.5);
            for (int i = 0; i < 32 && error < least; i++) {
                double d = minimum + scale * fmin(fmax(rint((x[i] - minimum) / scale), 0), levels - 1) - x[i];
                error += d * d;
            }
            least = fmin(least, error);
        }
    return least;
}

static void best_is_nearly_the_least(void **state)
{
    (void)state;
    static const int levels[] = {16, 32};
    float src[N], back[N];
    lq_bench_weights(LQ_BENCH_NORMAL, 1, 1, N, src);
    for (int t = 0; t < 2; t++) {
        double least = 0;
        for (int i = 0; i < N; i += 32) least += least_error(src + i, levels[t]);
        assert_true(there_and_back(types[t], LQ_EFFORT_BEST, src, NULL, back));
        double ours = error_of(src, NULL, back);
        if (ours > 1.06 * least) fail_msg("%s: %g, could be %g", lq_format_name(types[t]), ours, least);
    }
}

static void best_is_the_closest(void **state)
{
    (void)state;
    enum { ROWS = 24 };
    static float src[ROWS * N], importance[N];
    lq_bench_importance(1, N, importance);
    for (int kind = 0; kind <= LQ_BENCH_OUTLIER; kind++) {
        lq_bench_weights((enum lq_bench_kind)kind, 2, ROWS, N, src);
        for (int t = 0; t < TYPES; t++) {
            double error[EFFORTS] = {0};
            for (int e = 0; e < EFFORTS; e++)
                for (int r = 0; r < ROWS; r++) {
                    float back[N];
                    assert_true(there_and_back(types[t], (enum lq_effort)e, src + r * N, importance, back));
                    error[e] += error_of(src + r * N, importance, back);
                }
            if (!(error[LQ_EFFORT_BEST] < error[LQ_EFFORT_NORMAL] && error[LQ_EFFORT_BEST] < error[LQ_EFFORT_FAST]))
                fail_msg("%s, rows %d: best %g, normal %g, fast %g", lq_format_name(types[t]), kind,
                         error[LQ_EFFORT_BEST], error[LQ_EFFORT_NORMAL], error[LQ_EFFORT_FAST]);
        }
    }
}

/* Where one weight of each sub-block alone counts, it is stored nearly exactly, whatever the others are. */
static void what_alone_counts_is_kept(void **state)
{
    (void)state;
    float src[N], importance[N] = {0}, back[N];
    lq_bench_weights(LQ_BENCH_HEAVY, 3, 1, N, src);
    for (int i = 7; i < N; i += 16) importance[i] = 1;
    for (int t = 0; t < TYPES; t++)
        for (int e = 0; e < EFFORTS; e++) {
            double sum = 0;
            for (int i = 0; i < N; i++) sum += importance[i] * src[i] * src[i];
            assert_true(there_and_back(types[t], (enum lq_effort)e, src, importance, back));
            double lost = error_of(src, importance, back) / sum;
            if (!(lost < (types[t] == LQ_TYPE_Q2_K ? 4e-3 : 1e-3)))
                fail_msg("%s, effort %d: %g of it lost", lq_format_name(types[t]), e, lost);
        }
}

/* Weights of odd sizes: `exponent` says how large. */
static void fill_odd(float *src, int kind, int exponent)
{
    for (int i = 0; i < N; i++) {
        float u = (float)below(1 << 16) * 0x1p-16f;
        const float shapes[] = {u - 0.5f, u + 0.01f, -u - 0.01f, 1 + u * 0x1p-12f, i % 32 == 9 ? 1 : u * 0x1p-20f};
        src[i] = ldexpf(shapes[kind], exponent);
    }
}

/* No closer than zeros would be is no encoding; and what overflows is refused, not written. */
static void odd_sizes_are_stored_or_refused(void **state)
{
    (void)state;
    random_state = 3;
    for (int t = 0; t < TYPES; t++)
        for (int e = 0; e < EFFORTS; e++)
            for (int kind = 0; kind < 5; kind++)
                for (int exponent = -140; exponent < 29; exponent++) {
                    float src[N], back[N];
                    static const float zeros[N];
                    fill_odd(src, kind, exponent);
                    bool stored = there_and_back(types[t], (enum lq_effort)e, src, NULL, back);
                    if (!stored && exponent > 14) continue;
                    double part = stored ? error_of(src, NULL, back) / error_of(src, NULL, zeros) : INFINITY;
                    if (!(part <= (exponent < -16 ? 1.1 : 0.1)) && error_of(src, NULL, zeros) > 0)
                        fail_msg("%s, effort %d, shape %d, 2^%d: %g", lq_format_name(types[t]), e, kind, exponent,
                                 part);
                    for (int i = 0; i < N; i++) assert_true(isfinite(back[i]) != 0);
                }
}

/* -0 and +0 read alike; bytes that depend on which it was would not be the same everywhere. */
static void no_zero_is_negative(void **state)
{
    (void)state;
    static const int offsets[TYPES][2] = {{0, 2}, {0, 2}, {80, 82}, {0, 2}, {0, 2}};
    float src[N];
    uint8_t blocks[N];
    struct lq_error err;
    for (int t = 0; t < TYPES; t++)
        for (int kind = 0; kind < 3; kind++) {
            const struct lq_format *f = lq_format_get(types[t]);
            for (int i = 0; i < N; i++) src[i] = kind == 0 ? -0.0f : kind == 1 ? -1e-9f : 1e-9f * (float)(i % 3 - 1);
            assert_int_equal(lq_codec_encode(types[t], src, 1, N, NULL, LQ_EFFORT_NORMAL, blocks, &err), LQ_OK);
            for (unsigned at = 0; at < N / f->block * f->bytes; at += f->bytes)
                for (int k = 0; k < 2; k++) {
                    uint16_t half;
                    memcpy(&half, blocks + at + offsets[t][k], sizeof half);
                    assert_int_not_equal(half, 0x8000);
                }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grids_come_back),
        cmocka_unit_test(constant_blocks_come_back),
        cmocka_unit_test(lone_weights_come_back),
        cmocka_unit_test(best_is_nearly_the_least),
        cmocka_unit_test(best_is_the_closest),
        cmocka_unit_test(what_alone_counts_is_kept),
        cmocka_unit_test(odd_sizes_are_stored_or_refused),
        cmocka_unit_test(no_zero_is_negative),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
