/* Aiming at the original's outputs: the solver against its definition, and both models beside one another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "demo_pair.h"
#include "quantize/factor.h"
#include "quantize/sequential.h"

#include <math.h>

enum { COLUMNS = 300, WRITTEN = 320, SAMPLES = 500, ROWS = 7 };

static float noise(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state * 0x1p-31f;
}

/* Packed sum x x' of tokens whose columns depend on one another. */
static float *make_hessian(void)
{
    static float x[COLUMNS];
    float *h = calloc(COLUMNS * (COLUMNS + 1) / 2, sizeof *h);
    uint32_t state = 1;
    for (int t = 0; t < SAMPLES; t++) {
        for (int i = 0; i < COLUMNS; i++) x[i] = noise(&state) + (i > 0 ? 0.5f * x[i - 1] : 0);
        for (int i = 0, at = 0; i < COLUMNS; i++)
            for (int j = 0; j <= i; j++) h[at++] += x[i] * x[j];
    }
    return h;
}

/* x H gives back half of r, where x is what solving with 0.5 left; H as damped, in a matrix that is padded. */
static void a_solution_solves(void **state)
{
    (void)state;
    struct lq_error err = {0};
    struct lq_factor *factor = NULL;
    float *h = make_hessian(), r[ROWS * COLUMNS], x[ROWS * COLUMNS],
          *room = malloc(sizeof(float) * LQ_FEEDBACK_ROWS * WRITTEN);
    const struct lq_factor_terms terms = {
        .n = COLUMNS, .columns = WRITTEN, .tokens = SAMPLES, .damping = 0.01, .block = 32, .threads = 1};
    assert_int_equal(lq_factor_make(&factor, h, &terms, &err), LQ_OK);
    uint32_t seed = 9;
    for (int i = 0; i < ROWS * COLUMNS; i++) x[i] = r[i] = noise(&seed);
    lq_factor_solve(factor, x, ROWS, 0.5f, room);
    for (int row = 0; row < ROWS; row++)
        for (int j = 0; j < COLUMNS; j++) {
            double sum = (double)x[row * COLUMNS + j] * factor->added;
            for (int i = 0; i < COLUMNS; i++) {
                int low = i < j ? i : j, high = i < j ? j : i;
                sum += (double)x[row * COLUMNS + i] * (double)h[high * (high + 1) / 2 + low];
            }
            if (fabs(sum - 0.5 * (double)r[row * COLUMNS + j]) > 1e-3)
                fail_msg("row %d, column %d: %g instead of %g", row, j, sum, 0.5 * (double)r[row * COLUMNS + j]);
        }
    lq_factor_free(factor);
    free(room);
    free(h);
}

static const struct lq_sequential_input inputs[] = {{"blk.1.attn_q.weight", 256}, {"blk.1.ffn_down.weight", 768}};

static struct lq_factor *gather(struct lq_sequential *s, float *packed, struct lq_stats_moments *moments)
{
    struct lq_error err = {0};
    struct lq_factor *factor = NULL;
    if (lq_sequential_gather(s, inputs, 2, LQ_LANGUAGE, "test", &err) != LQ_OK) fail_msg("%s", err.message);
    assert_true(lq_sequential_hessian(s, inputs[0].name, packed, moments));
    const struct lq_factor_terms terms = {
        .n = 256, .columns = 256, .tokens = moments->tokens, .damping = 0.01, .block = 256, .threads = 1};
    assert_int_equal(lq_factor_make(&factor, packed, &terms, &err), LQ_OK);
    assert_int_equal(lq_sequential_correct(s, inputs[0].name, factor, &err), LQ_OK);
    return factor;
}

/* While nothing is quantised, second moments are those of a calibration and there is nothing to correct; once a matrix
 * before them is another one, there is. */
static void models_alike_need_no_correction(void **state)
{
    enum { N = 256, PACKED = N * (N + 1) / 2 };
    (void)state;
    struct lq_error err = {0};
    struct demo_pair pair;
    struct lq_dataset *data = NULL;
    struct lq_sequential *s = NULL;
    struct lq_stats_moments moments;
    const struct lq_dataset_options few = {.limit = 2};
    demo_pair_make(&pair, "f16", NULL);
    assert_int_equal(lq_dataset_load(&data, LQ_DEMO "/calibration.json", &few, &err), LQ_OK);
    const struct lq_calibrate_options terms = {
        .language = pair.path[LQ_LANGUAGE], .mmproj = pair.path[LQ_VISION], .data = data, .threads = 1};
    if (lq_sequential_open(&s, &terms, 2, &err) != LQ_OK) fail_msg("%s", err.message);
    float *packed = malloc(PACKED * sizeof *packed), w[2 * N], target[2 * N], rows[4 * N];
    uint32_t seed = 5;
    for (int i = 0; i < 2 * N; i++) w[i] = noise(&seed);

    lq_factor_free(gather(s, packed, &moments));
    assert_true(moments.tokens > 100 && packed[0] > 0);
    lq_sequential_aim(s, inputs[0].name, w, 2, N, target);
    assert_memory_equal(target, w, sizeof w);

    const struct lq_tensor changed = {.name = "blk.0.ffn_gate.weight"}, unknown = {.name = "blk.9.ffn_gate.weight"};
    for (int i = 0; i < 4 * N; i++) rows[i] = 2 * noise(&seed);
    assert_int_equal(lq_sequential_replace(s, &changed, 3, 4, rows, &err), LQ_OK);
    assert_int_equal(lq_sequential_replace(s, &unknown, 0, 1, rows, &err), LQ_OK);
    float before = packed[0];
    lq_factor_free(gather(s, packed, &moments));
    assert_true(packed[0] != before);
    lq_sequential_aim(s, inputs[0].name, w, 2, N, target);
    assert_memory_not_equal(target, w, sizeof w);
    assert_false(lq_sequential_hessian(s, "blk.0.attn_q.weight", packed, &moments));
    free(packed);
    lq_sequential_free(s);
    lq_dataset_free(data);
    demo_pair_remove(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_solution_solves),
                                       cmocka_unit_test(models_alike_need_no_correction)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
