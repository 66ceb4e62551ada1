/* What rounding inputs to 8 bits costs the demo model's matrices, beside PyTorch's figures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "strategy/rounding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "demo_pair.h"
#include "expect.h"

static struct demo_pair pair;
static struct lq_model *model;
static struct lq_dataset *data;
static struct lq_rounding *rounding; /* with one thread */

static struct lq_runtime_options runtime_of(unsigned threads)
{
    return (struct lq_runtime_options){
        .language = pair.path[LQ_LANGUAGE], .mmproj = pair.path[LQ_VISION], .threads = threads};
}

static int set_up(void **state)
{
    (void)state;
    demo_pair_make(&pair, "f16", NULL);
    expect(lq_model_open(&model, pair.path[LQ_LANGUAGE], NULL, &err));
    expect(lq_dataset_load(&data, LQ_DEMO "/calibration.json", NULL, &err));
    const struct lq_runtime_options options = runtime_of(1);
    expect(lq_rounding_open(&rounding, &options, data, &err));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lq_rounding_free(rounding);
    lq_dataset_free(data);
    lq_model_free(model);
    demo_pair_remove(&pair);
    return 0;
}

static double error_of(const struct lq_rounding *from, const char *name, int place)
{
    double error;
    expect(lq_rounding_error(&error, from, model, demo_pair_tensor(model, name), place, &err));
    return error;
}

/* PyTorch multiplies the rounding errors with the whole matrix. */
static void test_like_torch(void **state)
{
    (void)state;
    char name[64];
    double expected[LQ_ROUNDINGS];
    size_t n = 0;
    FILE *f = fopen(LQ_TESTS "/golden/rounding.txt", "r");
    assert_non_null(f);
    while (fscanf(f, "%63s %lf %lf", name, &expected[0], &expected[1]) == 3) {
        for (int k = 0; k < LQ_ROUNDINGS; k++) {
            double found = error_of(rounding, name, k);
            if (!(fabs(found - expected[k]) <= 0.1 * expected[k]))
                fail_msg("%s, blocks of %u: %.4g instead of %.4g", name, lq_rounding_blocks[k], found, expected[k]);
        }
        n++;
    }
    fclose(f);
    assert_int_equal(n, 55);
    assert_true(error_of(rounding, "token_embd.weight", 1) == 0); /* looked up, not multiplied */
}

static void test_threads(void **state)
{
    (void)state;
    static const char *const names[] = {"blk.2.attn_k.weight", "blk.2.ffn_down.weight", "v.blk.1.attn_out.weight",
                                        "output.weight"};
    struct lq_rounding *other = NULL;
    const struct lq_runtime_options options = runtime_of(2);
    expect(lq_rounding_open(&other, &options, data, &err));
    for (size_t i = 0; i < 4; i++)
        for (int k = 0; k < LQ_ROUNDINGS; k++)
            assert_true(error_of(rounding, names[i], k) == error_of(other, names[i], k));
    lq_rounding_free(other);
}

static void test_types(void **state)
{
    (void)state;
    static const struct {
        enum lq_type type;
        int place;
    } cases[] = {{LQ_TYPE_F32, -1}, {LQ_TYPE_F16, -1}, {LQ_TYPE_BF16, -1},  {LQ_TYPE_Q8_0, 0},
                 {LQ_TYPE_Q4_1, 0}, {LQ_TYPE_Q5_1, 0}, {LQ_TYPE_IQ4_NL, 0}, {LQ_TYPE_MXFP4, 0},
                 {LQ_TYPE_Q6_K, 1}, {LQ_TYPE_Q2_K, 1}, {LQ_TYPE_IQ4_XS, 1}, {LQ_TYPE_TQ1_0, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(lq_rounding_of(cases[i].type), cases[i].place);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_like_torch),
    cmocka_unit_test(test_threads),
    cmocka_unit_test(test_types),
};

int main(void)
{
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
