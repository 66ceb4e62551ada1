/* Encoders of the formats that store a scale alone: exact grids, brute force, the search's effort, the ends of f16. */
#include "codec/encode.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { COLUMNS = 512, LARGEST_BLOCK = 256 };

static const enum lq_type types[] = {LQ_TYPE_Q4_0, LQ_TYPE_Q5_0,   LQ_TYPE_Q8_0,   LQ_TYPE_Q3_K,
                                     LQ_TYPE_Q6_K, LQ_TYPE_IQ4_NL, LQ_TYPE_IQ4_XS, LQ_TYPE_MXFP4};
enum { N_TYPES = sizeof types / sizeof types[0] };
static const enum lq_effort efforts[] = {LQ_EFFORT_FAST, LQ_EFFORT_NORMAL, LQ_EFFORT_BEST};

static uint64_t random_state = 7;

static double uniform(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(random_state >> 11) * 0x1p-53;
}

static float normal(void)
{
    return (float)(sqrt(-2 * log(uniform() + 1e-12)) * cos(6.283185307179586 * uniform()));
}

/* Encodes and decodes a row; LQ_OK or why not. */
static enum lq_status there_and_back(enum lq_type type, const float *src, uint64_t n, const float *importance,
                                     enum lq_effort effort, float *back)
{
    uint8_t blocks[COLUMNS * 2];
    struct lq_error err = {0};
    enum lq_status status = lq_codec_encode(type, src, 1, n, importance, effort, blocks, &err);
    if (status == LQ_OK) status = lq_codec_decode(type, blocks, back, n, &err);
    return status;
}

static double error_of(const float *src, const float *back, uint64_t n, const float *importance)
{
    double sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        double off = (double)src[i] - (double)back[i];
        sum += off * off * (importance != NULL ? (double)importance[i] : 1);
    }
    return sum;
}

/* What the format can store comes back as it is. */
static void what_lies_on_the_grid_comes_back(void **state)
{
    (void)state;
    static const struct {
        enum lq_type type;
        int lowest, highest;
    } grids[] = {{LQ_TYPE_Q4_0, -8, 7}, {LQ_TYPE_Q5_0, -16, 15}, {LQ_TYPE_Q8_0, -127, 127}, {LQ_TYPE_MXFP4, -4, 4}};
    float src[32], back[32];
    for (size_t g = 0; g < sizeof grids / sizeof grids[0]; g++)
        for (int sign = -1; sign <= 1; sign += 2) {
            int span = grids[g].highest - grids[g].lowest + 1;
            for (int i = 0; i < 32; i++) src[i] = 0.25f * (float)(sign * (grids[g].lowest + i % span));
            src[31] = 0.25f * (float)(sign * grids[g].lowest);
            for (int e = 0; e < 3; e++) {
                assert_int_equal(there_and_back(grids[g].type, src, 32, NULL, efforts[e], back), LQ_OK);
                if (error_of(src, back, 32, NULL) != 0) fail_msg("%s", lq_format_name(grids[g].type));
            }
        }
}

/* The least error over very many scales, each with the nearest levels. */
static double brute_force(const float *src, const float *importance, int lowest, int highest)
{
    double least = INFINITY;
    float largest = 0;
    for (int i = 0; i < 32; i++) largest = fmaxf(largest, fabsf(src[i]));
    for (int step = -20000; step <= 20000; step++) {
        double scale = (double)largest * step / 20000, sum = 0;
        if (step == 0) continue;
        for (int i = 0; i < 32; i++) {
            double level = fmin(fmax(rint((double)src[i] / scale), lowest), highest),
                   off = (double)src[i] - scale * level;
            sum += off * off * (importance != NULL ? (double)importance[i] : 1);
        }
        least = fmin(least, sum);
    }
    return least;
}

static void best_effort_is_near_the_optimum(void **state)
{
    (void)state;
    static const struct {
        enum lq_type type;
        int lowest, highest;
    } grids[] = {{LQ_TYPE_Q4_0, -8, 7}, {LQ_TYPE_Q5_0, -16, 15}};
    enum { BLOCKS = 12 };
    float src[32], importance[32], back[32];
    for (size_t g = 0; g < sizeof grids / sizeof grids[0]; g++)
        for (int with = 0; with < 2; with++) {
            double ours = 0, optimum = 0;
            for (int b = 0; b < BLOCKS; b++) {
                for (int i = 0; i < 32; i++) src[i] = normal();
                for (int i = 0; i < 32; i++) importance[i] = (float)exp(1.5 * (double)normal());
                const float *weights = with != 0 ? importance : NULL;
                assert_int_equal(there_and_back(grids[g].type, src, 32, weights, LQ_EFFORT_BEST, back), LQ_OK);
                ours += error_of(src, back, 32, weights);
                optimum += brute_force(src, weights, grids[g].lowest, grids[g].highest);
            }
            if (!(ours <= 1.03 * optimum))
                fail_msg("%s: %g, the least is %g", lq_format_name(grids[g].type), ours, optimum);
        }
}

/* On average over some rows; importance alone is what all efforts minimise. */
static void more_effort_means_less_error(void **state)
{
    (void)state;
    enum { ROWS = 24 };
    float src[COLUMNS], importance[COLUMNS], back[COLUMNS];
    for (size_t t = 0; t < N_TYPES; t++) {
        double sums[3] = {0};
        for (int row = 0; row < ROWS; row++) {
            for (int i = 0; i < COLUMNS; i++) src[i] = 0.02f * normal() * (row % 3 == 2 && i % 97 == 0 ? 12 : 1);
            for (int i = 0; i < COLUMNS; i++) importance[i] = (float)exp(1.5 * (double)normal());
            for (int e = 0; e < 3; e++) {
                assert_int_equal(there_and_back(types[t], src, COLUMNS, importance, efforts[e], back), LQ_OK);
                sums[e] += error_of(src, back, COLUMNS, importance);
            }
        }
        if (!(sums[2] <= sums[1] && sums[1] <= 1.0001 * sums[0]))
            fail_msg("%s: fast %g, normal %g, best %g", lq_format_name(types[t]), sums[0], sums[1], sums[2]);
    }
}

/* The farther down, the fewer digits an f16 scale has, until zeros are nearest; a shift of all weights by a power of
 * two must change nothing before that. */
static void relative_error_holds_until_scales_have_no_digits(void **state)
{
    (void)state;
    float src[COLUMNS], scaled[COLUMNS], back[COLUMNS], ones[COLUMNS];
    for (int i = 0; i < COLUMNS; i++) src[i] = normal();
    for (int i = 0; i < COLUMNS; i++) ones[i] = 1;
    for (size_t t = 0; t < N_TYPES; t++) {
        double all = error_of(src, (float[COLUMNS]){0}, COLUMNS, NULL), at_one = 0;
        for (int exponent = 0; exponent >= -40; exponent--) {
            for (int i = 0; i < COLUMNS; i++) scaled[i] = ldexpf(src[i], exponent);
            assert_int_equal(there_and_back(types[t], scaled, COLUMNS, ones, LQ_EFFORT_NORMAL, back), LQ_OK);
            double error = ldexp(error_of(scaled, back, COLUMNS, NULL), -2 * exponent);
            if (exponent == 0) at_one = error;
            bool digits = types[t] == LQ_TYPE_MXFP4 || exponent >= -4;
            if (!(error <= (digits ? 1.15 * at_one : 1.000001 * all)))
                fail_msg("%s at 2^%d: %g, at 1 %g", lq_format_name(types[t]), exponent, error, at_one);
        }
    }
}

/* Powers of two below every f16 scale are MXFP4's own. */
static void mxfp4_reaches_far_below_f16(void **state)
{
    (void)state;
    float src[32], back[32];
    for (int exponent = -96; exponent <= 24; exponent++) {
        for (int i = 0; i < 32; i++) src[i] = ldexpf((float)(i % 9 - 4), exponent);
        assert_int_equal(there_and_back(LQ_TYPE_MXFP4, src, 32, NULL, LQ_EFFORT_NORMAL, back), LQ_OK);
        assert_true(error_of(src, back, 32, NULL) == 0);
    }
}

/* An outlier that counts nothing: the more MXFP4 may cut off, the better the others become. */
static void mxfp4_cuts_what_counts_nothing(void **state)
{
    (void)state;
    float src[32], back[32], importance[32];
    for (int i = 0; i < 32; i++) {
        src[i] = i == 5 ? 1 : 0.03f * normal();
        importance[i] = i == 5 ? 1e-7f : 1;
    }
    double before = INFINITY;
    for (int e = 0; e < 3; e++) {
        assert_int_equal(there_and_back(LQ_TYPE_MXFP4, src, 32, importance, efforts[e], back), LQ_OK);
        double error = error_of(src, back, 32, importance);
        assert_true(error < 0.5 * before);
        before = error;
    }
}

/* Refused, or no farther from the original than a tenth of it: never cut in silence. */
static void what_overflows_is_refused(void **state)
{
    (void)state;
    float src[COLUMNS], back[COLUMNS];
    for (size_t t = 0; t < N_TYPES; t++)
        for (int exponent = 10; exponent <= 27; exponent++)
            for (int e = 0; e < 3; e++) {
                for (int i = 0; i < COLUMNS; i++) src[i] = ldexpf((float)(i % 2 == 0 ? 1 : -1), exponent);
                enum lq_status status = there_and_back(types[t], src, COLUMNS, NULL, efforts[e], back);
                if (status == LQ_ERR_UNSUPPORTED) continue;
                assert_int_equal(status, LQ_OK);
                for (int i = 0; i < COLUMNS; i++)
                    if (!(fabsf(back[i] - src[i]) <= 0.2f * fabsf(src[i])))
                        fail_msg("%s: %g for %g", lq_format_name(types[t]), (double)back[i], (double)src[i]);
            }
}

static void one_weight_among_zeros_stays(void **state)
{
    (void)state;
    float src[LARGEST_BLOCK] = {0}, back[LARGEST_BLOCK];
    for (size_t t = 0; t < N_TYPES; t++)
        for (int at = 0; at < LARGEST_BLOCK; at += 37) {
            src[at] = at % 2 == 0 ? 0.5f : -0.5f;
            assert_int_equal(there_and_back(types[t], src, LARGEST_BLOCK, NULL, LQ_EFFORT_NORMAL, back), LQ_OK);
            for (int i = 0; i < LARGEST_BLOCK; i++)
                if (!(fabsf(back[i] - src[i]) <= 0.005f))
                    fail_msg("%s: %g for %g", lq_format_name(types[t]), (double)back[i], (double)src[i]);
            src[at] = 0;
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_lies_on_the_grid_comes_back),
        cmocka_unit_test(best_effort_is_near_the_optimum),
        cmocka_unit_test(more_effort_means_less_error),
        cmocka_unit_test(relative_error_holds_until_scales_have_no_digits),
        cmocka_unit_test(mxfp4_reaches_far_below_f16),
        cmocka_unit_test(mxfp4_cuts_what_counts_nothing),
        cmocka_unit_test(what_overflows_is_refused),
        cmocka_unit_test(one_weight_among_zeros_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
