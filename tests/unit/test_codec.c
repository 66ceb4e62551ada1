/* The codec room against ggml: the format table, ggml's encoders byte for byte, ours by their error, decoders bit for
 * bit, and input made to break encoders. */
#include "codec/encode.h"

#include <fcntl.h>
#include <ggml.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { COLUMNS = 512, ROWS = 3, WEIGHTS = ROWS * COLUMNS };

static uint64_t random_state = 1;

static double uniform(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(random_state >> 11) * 0x1p-53;
}

static float normal(void)
{
    return (float)(sqrt(-2 * log(uniform() + 1e-12)) * cos(6.283185307179586 * uniform()));
}

static bool is_target(int type)
{
    const struct lq_format *f = lq_format_get(type);
    return f != NULL && (f->flags & LQ_FORMAT_TARGET) != 0;
}

static bool demands(int type)
{
    return (lq_format_get(type)->flags & LQ_FORMAT_NEEDS_IMPORTANCE) != 0;
}

static bool is_block_type(int type)
{
    return is_target(type) && (lq_format_get(type)->flags & LQ_FORMAT_QUANTISED) != 0;
}

static void table_equals_ggml(void **state)
{
    (void)state;
    assert_int_equal(LQ_TYPE_COUNT, GGML_TYPE_COUNT);
    for (int type = 0; type < LQ_TYPE_COUNT; type++) {
        const struct lq_format *f = lq_format_get(type);
        if (f == NULL) {
            assert_int_equal(ggml_type_size((enum ggml_type)type), 0);
            continue;
        }
        assert_int_equal(f->type, type);
        assert_int_equal(f->block, ggml_blck_size((enum ggml_type)type));
        assert_int_equal(f->bytes, ggml_type_size((enum ggml_type)type));
        assert_int_equal(strcasecmp(f->name, ggml_type_name((enum ggml_type)type)), 0);
        assert_int_equal((f->flags & LQ_FORMAT_QUANTISED) != 0, ggml_is_quantized((enum ggml_type)type));
        if (ggml_quantize_requires_imatrix((enum ggml_type)type)) assert_true(demands(type));
    }
}

/* Encoders whose choices are ours: the others' bytes are ggml's. */
static bool is_ours(int type)
{
    return lq_kernels()->encode[type] != NULL;
}

static void encode_equals_ggml(int type, const float *src, const float *importance)
{
    uint64_t bytes = ROWS * lq_format_row_bytes(type, COLUMNS);
    uint8_t *ours = malloc(bytes), *theirs = malloc(bytes);
    struct lq_error err = {0};
    lq_codec_prepare((enum lq_type)type);
    if (lq_codec_encode((enum lq_type)type, src, ROWS, COLUMNS, importance, LQ_EFFORT_NORMAL, ours, &err) != LQ_OK)
        fail_msg("%s", err.message);
    assert_int_equal(ggml_quantize_chunk((enum ggml_type)type, src, theirs, 0, ROWS, COLUMNS, importance), bytes);
    if (memcmp(ours, theirs, bytes) != 0) fail_msg("%s differs from ggml's bytes", lq_format_name(type));
    assert_true(lq_codec_validate((enum lq_type)type, ours, bytes));
    free(ours);
    free(theirs);
}

/* What our decoder makes of blocks is what ggml's does; where that is no number, ours is none either. */
static void decode_equals_ggml(int type, const uint8_t *blocks, uint64_t n)
{
    float *ours = malloc(n * sizeof *ours), *theirs = malloc(n * sizeof *theirs);
    struct lq_error err = {0};
    assert_int_equal(lq_codec_decode((enum lq_type)type, blocks, ours, n, &err), LQ_OK);
    ggml_get_type_traits((enum ggml_type)type)->to_float(blocks, theirs, (int64_t)n);
    for (uint64_t i = 0; i < n; i++)
        if (memcmp(&ours[i], &theirs[i], sizeof *ours) != 0 && !(isnan(ours[i]) && isnan(theirs[i])))
            fail_msg("%s, weight %d: %a against %a", lq_format_name(type), (int)i, (double)ours[i], (double)theirs[i]);
    free(ours);
    free(theirs);
}

enum rows { NORMAL, OUTLIERS, WIDE, ROW_KINDS };

static void fill_rows(enum rows kind, float *src, int n, float importance[COLUMNS])
{
    for (int i = 0; i < n; i++)
        src[i] = (kind == WIDE ? 30.0f : 0.02f) * normal() * (kind != NORMAL && i % 97 == 0 ? 20 : 1);
    for (int i = 0; i < COLUMNS; i++) importance[i] = (float)(exp(1.5 * normal()) * (kind == OUTLIERS ? 1e6 : 1));
}

/* Q8_0 among them, whose plain rounding is ours. */
static void ggmls_encoders_give_ggmls_bytes(void **state)
{
    (void)state;
    float src[WEIGHTS], importance[COLUMNS];
    for (int kind = 0; kind < ROW_KINDS; kind++) {
        fill_rows((enum rows)kind, src, WEIGHTS, importance);
        for (int type = 0; type < LQ_TYPE_COUNT; type++) {
            bool ggmls = is_target(type) && !is_ours(type);
            if (ggmls) encode_equals_ggml(type, src, importance);
            if ((ggmls && !demands(type)) || type == LQ_TYPE_Q8_0) encode_equals_ggml(type, src, NULL);
        }
    }
}

/* What an error in a weight counts in ggml's encoders where no importance is given. */
static double implied_weight(int type, const float *src, int i)
{
    double x = src[i], squares = 0;
    switch (type) {
    case LQ_TYPE_Q2_K: return fabs(x);
    case LQ_TYPE_Q3_K:
    case LQ_TYPE_Q6_K:
    case LQ_TYPE_IQ4_NL:
    case LQ_TYPE_IQ4_XS: return x * x;
    case LQ_TYPE_Q4_K:
    case LQ_TYPE_Q5_K:
        for (int k = i / 32 * 32; k < i / 32 * 32 + 32; k++) squares += (double)src[k] * src[k];
        return sqrt(squares / 32) + fabs(x);
    default: return 1;
    }
}

/* The weighted error of blocks as ggml reads them, and that of zeros in their place. */
static void weighted_error(int type, const uint8_t *blocks, const float *src, int n, const float *importance,
                           double sums[2])
{
    float *back = malloc((size_t)n * sizeof *back);
    ggml_get_type_traits((enum ggml_type)type)->to_float(blocks, back, n);
    sums[0] = sums[1] = 0;
    for (int i = 0; i < n; i++) {
        double w = importance != NULL ? importance[i % COLUMNS] : implied_weight(type, src, i), d = src[i] - back[i];
        sums[0] += w * d * d;
        sums[1] += w * src[i] * src[i];
    }
    free(back);
}

static void error_is_not_above_ggml(int type, const float *src, int n, const float *importance)
{
    int rows = n / COLUMNS;
    uint64_t bytes = (uint64_t)rows * lq_format_row_bytes(type, COLUMNS);
    uint8_t *blocks = malloc(bytes);
    struct lq_error err = {0};
    double ours[2], theirs[2];
    ggml_quantize_chunk((enum ggml_type)type, src, blocks, 0, rows, COLUMNS, importance);
    weighted_error(type, blocks, src, n, importance, theirs);
    static const enum lq_effort efforts[] = {LQ_EFFORT_NORMAL, LQ_EFFORT_BEST};
    for (int e = 0; e < 2; e++) {
        if (lq_codec_encode((enum lq_type)type, src, rows, COLUMNS, importance, efforts[e], blocks, &err) != LQ_OK)
            fail_msg("%s", err.message);
        assert_true(lq_codec_validate((enum lq_type)type, blocks, bytes));
        weighted_error(type, blocks, src, n, importance, ours);
        if (!(ours[0] <= theirs[0]))
            fail_msg("%s, %s effort, %s importance: %.3g %% above ggml's error", lq_format_name(type),
                     e == 0 ? "normal" : "best", importance != NULL ? "with" : "without",
                     100 * (ours[0] / theirs[0] - 1));
    }
    decode_equals_ggml(type, blocks, n);
    free(blocks);
}

static void our_encoders_come_at_least_as_close(void **state)
{
    (void)state;
    enum { N = 16 * COLUMNS };
    static float src[N], importance[COLUMNS];
    for (int kind = 0; kind < ROW_KINDS; kind++) {
        fill_rows((enum rows)kind, src, N, importance);
        for (int type = 0; type < LQ_TYPE_COUNT; type++) {
            if (!is_target(type) || !is_ours(type)) continue;
            error_is_not_above_ggml(type, src, N, importance);
            error_is_not_above_ggml(type, src, N, NULL);
        }
    }
}

/* Blocks of random bytes: every scale and every level occurs, and scales that are no numbers. */
static void decoders_equal_ggml(void **state)
{
    (void)state;
    enum { BYTES = 1 << 16 };
    static uint8_t blocks[BYTES];
    for (int i = 0; i < BYTES; i++) blocks[i] = (uint8_t)(uniform() * 256);
    for (int type = 0; type < LQ_TYPE_COUNT; type++) {
        if (!is_block_type(type)) continue;
        const struct lq_format *f = lq_format_get(type);
        if (lq_kernels()->decode[type] != NULL) decode_equals_ggml(type, blocks, BYTES / f->bytes * f->block);
    }
}

/* Rows that break naive encoders. The values are what lies in the files of odd models, and what an attacker would put
 * there. */
static float pattern(int kind, int i)
{
    switch (kind) {
    case 0: return 0;
    case 1: return 0.25f;
    case 2: return -3;
    case 3: return 1e-41f * (float)(i % 7 - 3);                       /* denormal throughout */
    case 4: return i % 32 == 5 ? 1e-40f : 0.02f * (float)(i % 9 - 4); /* one denormal per block */
    case 5: return i == 77 ? 1e4f : 1e-3f * normal();
    case 6: return i % 2 == 0 ? 60000.0f : -60000.0f;
    case 7: return i % 256 < 250 ? 0 : normal();
    case 8: return 1e-30f * normal();
    case 9: return ldexpf(normal(), i % 60 - 40);
    case 10: return 2e8f * (float)(2 * uniform() - 1);
    case 11: return i % 16 == 0 ? 65504.0f : 1e-28f;
    case 12: return 3e38f * (float)(i % 3 - 1);
    default: return normal();
    }
}
enum { PATTERNS = 14 };

static float importance_pattern(int kind, int i)
{
    switch (kind) {
    case 0: return 0;
    case 1: return (float)uniform();
    case 2: return i % 256 < 128 ? 0 : 1; /* whole blocks without any */
    case 3: return i % 16 < 15 ? 0 : 1e-20f;
    case 4: return NAN;
    case 5: return i % 5 == 0 ? NAN : i % 7 == 0 ? INFINITY : i % 11 == 0 ? -1.0f : 1e30f;
    case 6: return 1e-42f;
    case 7: return 3e38f;
    default: return ldexpf(1, i % 250 - 125);
    }
}
enum { IMPORTANCE_PATTERNS = 9 };

/* Either bytes with finite scales that decode to finite weights, no farther from the original than zeros are if the
 * encoder is ours; or a refusal that says why. Never an abort. */
static void survives(int type, const float *src, const float *importance, enum lq_effort effort, int kind)
{
    uint64_t bytes = ROWS * lq_format_row_bytes(type, COLUMNS);
    uint8_t *blocks = malloc(bytes);
    float *back = malloc(WEIGHTS * sizeof *back);
    struct lq_error err = {0};
    enum lq_status status = lq_codec_encode((enum lq_type)type, src, ROWS, COLUMNS, importance, effort, blocks, &err);
    if (status != LQ_OK) {
        if (status != LQ_ERR_UNSUPPORTED) fail_msg("%s, pattern %d: %s", lq_format_name(type), kind, err.message);
        assert_non_null(strstr(err.message, lq_format_name(type)));
    } else {
        double sums[2] = {0};
        assert_true(lq_codec_validate((enum lq_type)type, blocks, bytes));
        assert_int_equal(lq_codec_decode((enum lq_type)type, blocks, back, WEIGHTS, &err), LQ_OK);
        assert_int_equal(lq_codec_first_bad(back, WEIGHTS), WEIGHTS);
        for (int i = 0; kind == 0 && i < WEIGHTS; i++) assert_true(back[i] == 0);
        if (is_ours(type) && importance == NULL) weighted_error(type, blocks, src, WEIGHTS, NULL, sums);
        if (!(sums[0] <= 1.000001 * sums[1]))
            fail_msg("%s, pattern %d: error %g, of zeros %g", lq_format_name(type), kind, sums[0], sums[1]);
    }
    free(blocks);
    free(back);
}

static void survives_all(int type, const float *src, enum lq_effort effort, int kind)
{
    float importance[COLUMNS];
    if (!demands(type)) survives(type, src, NULL, effort, kind);
    for (int k = 0; k < IMPORTANCE_PATTERNS; k++) {
        for (int i = 0; i < COLUMNS; i++) importance[i] = importance_pattern(k, i);
        survives(type, src, importance, effort, kind);
    }
}

static void odd_values_never_abort(void **state)
{
    (void)state;
    float src[WEIGHTS];
    for (int kind = 0; kind < PATTERNS; kind++) {
        for (int i = 0; i < WEIGHTS; i++) src[i] = pattern(kind, i);
        for (int type = 0; type < LQ_TYPE_COUNT; type++) {
            if (!is_target(type)) continue;
            lq_codec_prepare((enum lq_type)type);
            survives_all(type, src, LQ_EFFORT_NORMAL, kind);
            if (!is_ours(type)) continue;
            survives_all(type, src, LQ_EFFORT_FAST, kind);
            survives_all(type, src, LQ_EFFORT_BEST, kind);
        }
    }
}

static double relative_error(int type, const float *src, const float *importance)
{
    uint8_t *blocks = malloc(ROWS * lq_format_row_bytes(type, COLUMNS));
    float *back = malloc(WEIGHTS * sizeof *back);
    struct lq_error err = {0};
    double sums[2] = {0};
    lq_codec_prepare((enum lq_type)type);
    if (lq_codec_encode((enum lq_type)type, src, ROWS, COLUMNS, importance, LQ_EFFORT_NORMAL, blocks, &err) != LQ_OK)
        fail_msg("%s", err.message);
    assert_int_equal(lq_codec_decode((enum lq_type)type, blocks, back, WEIGHTS, &err), LQ_OK);
    lq_codec_difference(src, back, WEIGHTS, sums);
    free(blocks);
    free(back);
    return sqrt(sums[0] / sums[1]);
}

/* Dead columns in a calibration set must not switch off the weights of their whole block. */
static void block_without_importance_keeps_its_weights(void **state)
{
    (void)state;
    float src[WEIGHTS], importance[COLUMNS], ones[COLUMNS];
    for (int i = 0; i < WEIGHTS; i++) src[i] = normal();
    for (int i = 0; i < COLUMNS; i++) {
        importance[i] = i < 256 ? 0 : 1;
        ones[i] = 1;
    }
    for (int type = 0; type < LQ_TYPE_COUNT; type++) {
        if (!is_block_type(type)) continue;
        double dead = relative_error(type, src, importance), alive = relative_error(type, src, ones);
        if (!(dead < 1.3 * alive + 1e-6)) fail_msg("%s: %g against %g", lq_format_name(type), dead, alive);
    }
}

static void more_bits_mean_less_error(void **state)
{
    (void)state;
    static const int order[] = {LQ_TYPE_IQ1_S, LQ_TYPE_IQ2_XXS, LQ_TYPE_IQ2_S, LQ_TYPE_IQ3_XXS,
                                LQ_TYPE_IQ3_S, LQ_TYPE_IQ4_XS,  LQ_TYPE_Q5_K,  LQ_TYPE_Q6_K,
                                LQ_TYPE_Q8_0,  LQ_TYPE_F16,     LQ_TYPE_F32};
    float src[WEIGHTS], importance[COLUMNS];
    for (int i = 0; i < WEIGHTS; i++) src[i] = normal();
    for (int i = 0; i < COLUMNS; i++) importance[i] = 1;
    double before = 1;
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        double error = relative_error(order[i], src, importance);
        if (!(error < before)) fail_msg("%s: %g, the type before it %g", lq_format_name(order[i]), error, before);
        before = error;
    }
    assert_true(before == 0);
}

static void bad_weights_are_named(void **state)
{
    (void)state;
    float src[WEIGHTS] = {0};
    uint8_t out[WEIGHTS * 4];
    struct lq_error err = {0};
    src[2 * COLUMNS + 7] = NAN;
    assert_int_equal(lq_codec_first_bad(src, WEIGHTS), 2 * COLUMNS + 7);
    for (int type = 0; type < LQ_TYPE_COUNT; type++) {
        if (!is_target(type)) continue;
        float importance[COLUMNS] = {1};
        assert_int_equal(
            lq_codec_encode((enum lq_type)type, src, ROWS, COLUMNS, importance, LQ_EFFORT_NORMAL, out, &err),
            LQ_ERR_FORMAT);
        assert_non_null(strstr(err.message, "row 2, column 7"));
    }
    src[2 * COLUMNS + 7] = -INFINITY;
    assert_int_equal(lq_codec_encode(LQ_TYPE_Q8_0, src, ROWS, COLUMNS, NULL, LQ_EFFORT_NORMAL, out, &err),
                     LQ_ERR_FORMAT);
    assert_string_equal(err.message, "weight -inf in row 2, column 7");
}

static void refusals(void **state)
{
    (void)state;
    float src[WEIGHTS] = {0};
    uint8_t out[WEIGHTS * 4];
    struct lq_error err = {0};
    assert_int_equal(lq_codec_encode(LQ_TYPE_Q4_K, src, 1, 128, NULL, LQ_EFFORT_NORMAL, out, &err), LQ_ERR_USAGE);
    assert_string_equal(err.message, "128 columns do not divide into q4_k blocks of 256");
    assert_int_equal(lq_codec_encode(LQ_TYPE_Q4_K, src, 1, 0, NULL, LQ_EFFORT_NORMAL, out, &err), LQ_ERR_USAGE);
    assert_int_equal(lq_codec_encode(LQ_TYPE_IQ2_XXS, src, 1, 256, NULL, LQ_EFFORT_NORMAL, out, &err), LQ_ERR_USAGE);
    assert_string_equal(err.message, "iq2_xxs demands importance data");
    assert_int_equal(lq_codec_encode(LQ_TYPE_Q8_K, src, 1, 256, NULL, LQ_EFFORT_NORMAL, out, &err), LQ_ERR_USAGE);
    assert_int_equal(lq_codec_encode((enum lq_type)99, src, 1, 256, NULL, LQ_EFFORT_NORMAL, out, &err), LQ_ERR_USAGE);
    assert_int_equal(lq_codec_decode(LQ_TYPE_I32, src, (float *)(void *)out, 32, &err), LQ_ERR_USAGE);
    assert_int_equal(lq_codec_decode(LQ_TYPE_Q8_0, src, (float *)(void *)out, 33, &err), LQ_ERR_USAGE);
}

static void overflow_is_refused(void **state)
{
    (void)state;
    struct {
        enum lq_type type;
        float fits, overflows;
    } limits[] = {
        {LQ_TYPE_F16, 65519, 65520},
        {LQ_TYPE_BF16, 0x1.fep127f, 0x1.ffp127f},
        {LQ_TYPE_Q8_0, 127 * 65504.0f, 127 * 65600.0f},
        {LQ_TYPE_Q4_1, 60000, 1.1e6f},
        {LQ_TYPE_NVFP4, 2688, 2689},
        {LQ_TYPE_F32, 3e38f, 0},
    };
    float src[COLUMNS] = {0};
    uint8_t out[COLUMNS * 4];
    struct lq_error err = {0};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        src[3] = limits[i].fits;
        assert_int_equal(lq_codec_encode(limits[i].type, src, 1, COLUMNS, NULL, LQ_EFFORT_NORMAL, out, &err), LQ_OK);
        src[3] = limits[i].overflows;
        if (src[3] == 0) continue;
        assert_int_equal(lq_codec_encode(limits[i].type, src, 1, COLUMNS, NULL, LQ_EFFORT_NORMAL, out, &err),
                         LQ_ERR_UNSUPPORTED);
    }
}

static bool ggml_says_valid(int type, const void *block, size_t bytes)
{
    int saved = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY);
    dup2(null, STDERR_FILENO);
    bool valid = ggml_validate_row_data((enum ggml_type)type, block, bytes);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(null);
    return valid;
}

/* Not-a-number written over every pair of bytes of a block: refused exactly where ggml refuses it. */
static void validation_knows_every_scale(void **state)
{
    (void)state;
    for (int type = 0; type < LQ_TYPE_COUNT; type++) {
        const struct lq_format *f = lq_format_get(type);
        if (f == NULL || type == LQ_TYPE_Q8_1 || type == LQ_TYPE_F64)
            continue; /* ggml: no check; one after a cast to f32 */
        for (uint32_t at = 0; at < f->bytes; at++) {
            uint8_t block[2 * 512] = {0};
            memset(block + f->bytes + at, 0xff, at + 1 < f->bytes ? 2 : 1);
            bool ours = lq_codec_validate((enum lq_type)type, block, 2 * f->bytes);
            if (ours != ggml_says_valid(type, block, 2 * f->bytes)) fail_msg("%s, byte %u", f->name, at);
        }
        assert_false(f->bytes > 1 && lq_codec_validate((enum lq_type)type, "", 1));
    }
    uint8_t all_ones[56];
    memset(all_ones, 0xff, sizeof all_ones);
    assert_false(lq_codec_validate(LQ_TYPE_IQ1_M, all_ones, sizeof all_ones));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_equals_ggml),
        cmocka_unit_test(ggmls_encoders_give_ggmls_bytes),
        cmocka_unit_test(our_encoders_come_at_least_as_close),
        cmocka_unit_test(decoders_equal_ggml),
        cmocka_unit_test(odd_values_never_abort),
        cmocka_unit_test(block_without_importance_keeps_its_weights),
        cmocka_unit_test(more_bits_mean_less_error),
        cmocka_unit_test(bad_weights_are_named),
        cmocka_unit_test(refusals),
        cmocka_unit_test(overflow_is_refused),
        cmocka_unit_test(validation_knows_every_scale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
