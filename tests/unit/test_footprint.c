/* What llama.cpp takes beside the weights: the figures are those that it reports when it really opens a pair. */
#include "llava_quantize.h"

#include <llama.h>
#include <math.h>
#include <mtmd-helper.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "demo_pair.h"

static struct demo_pair original, small;
static struct lq_error err;

static int set_up(void **state)
{
    (void)state;
    demo_pair_make(&original, "f16", NULL);
    demo_pair_make(&small, "4", NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    demo_pair_remove(&original);
    demo_pair_remove(&small);
    return 0;
}

static struct lq_footprint measure(const struct demo_pair *pair, uint32_t context)
{
    struct lq_footprint footprint = {0};
    const struct lq_runtime_options options = {
        .language = pair->path[LQ_LANGUAGE], .mmproj = pair->path[LQ_VISION], .context = context};
    if (lq_footprint_measure(&footprint, &options, &err) != LQ_OK) fail_msg("%s", err.message);
    return footprint;
}

/* The demo's language half: keys and values of 4 blocks, 256 wide, 16 bits each. */
static void test_memory_is_that_of_keys_and_values(void **state)
{
    (void)state;
    struct lq_footprint a = measure(&original, 1024), b = measure(&original, 4096);
    uint64_t one = UINT64_C(2) * 2 * 4 * 256, step = 1048576 / 100 + 1;
    assert_int_equal(a.context, 1024);
    assert_int_equal(b.context, 4096);
    assert_in_range(a.memory, 1024 * one, 1024 * one + step);
    assert_in_range(b.memory, 4096 * one, 4096 * one + step);
    assert_true(b.language > a.language && a.vision == b.vision && a.output == b.output);
}

/* Buffers that a client really got, by llama.cpp's log. */
struct reported {
    double keys_and_values, compute, output; /* MiB */
};

static void take(enum ggml_log_level level, const char *text, void *data)
{
    struct reported *reported = data;
    const char *at = strstr(text, "buffer size = ");
    (void)level;
    if (at == NULL) return;
    double mib = strtod(at + strlen("buffer size = "), NULL);
    if (strstr(text, "KV buffer") != NULL) reported->keys_and_values += mib;
    else if (strstr(text, "compute buffer") != NULL) reported->compute += mib;
    else if (strstr(text, "output buffer") != NULL) reported->output += mib;
}

/* As a client opens a pair, weights and all. */
static void open_pair(const struct demo_pair *pair, uint32_t n_ctx)
{
    struct llama_context_params params = llama_context_default_params();
    struct mtmd_context_params vision_params = mtmd_context_params_default();
    params.n_ctx = n_ctx;
    vision_params.use_gpu = false;
    struct llama_model *model = llama_model_load_from_file(pair->path[LQ_LANGUAGE], llama_model_default_params());
    assert_non_null(model);
    struct llama_context *context = llama_init_from_model(model, params);
    assert_non_null(context);
    mtmd_context *vision = mtmd_init_from_file(pair->path[LQ_VISION], model, vision_params);
    assert_non_null(vision);
    mtmd_free(vision);
    llama_free(context);
    llama_model_free(model);
}

static void test_llama_cpp_reports_the_same_when_it_opens_the_pair(void **state)
{
    (void)state;
    struct reported reported = {0};
    ggml_log_callback before = NULL;
    void *data = NULL;
    struct lq_footprint footprint = measure(&original, 2048);
    llama_log_get(&before, &data);
    llama_log_set(take, &reported);
    mtmd_helper_log_set(take, &reported);
    open_pair(&small, 2048);
    llama_log_set(before, data);
    mtmd_helper_log_set(before, data);
    double compute = (double)(footprint.language + footprint.vision) / 1048576;
    assert_true(fabs((double)footprint.memory / 1048576 - reported.keys_and_values) < 0.02);
    assert_true(fabs((double)footprint.output / 1048576 - reported.output) < 0.02);
    if (fabs(compute - reported.compute) > 0.03) fail_msg("%g MiB instead of %g", compute, reported.compute);
}

static void test_types_of_weights_change_nothing(void **state)
{
    (void)state;
    struct lq_footprint a = measure(&original, 2048), b = measure(&small, 2048);
    assert_memory_equal(&a, &b, sizeof a);
}

static void test_files_are_what_is_left(void **state)
{
    (void)state;
    struct lq_footprint footprint = measure(&original, 0);
    uint64_t total = lq_footprint_total(&footprint), left = 7;
    assert_int_equal(total, footprint.memory + footprint.language + footprint.vision + footprint.output);
    assert_int_equal(lq_footprint_files(&left, &footprint, total + 1000, &err), LQ_OK);
    assert_int_equal(left, 1000);
    assert_int_equal(lq_footprint_files(&left, &footprint, total, &err), LQ_ERR_USAGE);
    assert_non_null(strstr(err.message, "give more memory or a smaller context"));
    assert_int_equal(left, 1000);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    struct lq_footprint footprint = {.context = 7};
    struct lq_runtime_options options = {.language = original.path[LQ_LANGUAGE]};
    assert_int_equal(lq_footprint_measure(&footprint, &options, &err), LQ_ERR_USAGE);
    assert_non_null(strstr(err.message, "the mmproj file is missing"));
    options.mmproj = original.path[LQ_VISION];
    options.context = UINT32_MAX;
    assert_int_equal(lq_footprint_measure(&footprint, &options, &err), LQ_ERR_USAGE);
    options.context = 0;
    options.mmproj = original.path[LQ_LANGUAGE];
    assert_true(lq_footprint_measure(&footprint, &options, &err) != LQ_OK);
    assert_int_equal(footprint.context, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_is_that_of_keys_and_values),
        cmocka_unit_test(test_llama_cpp_reports_the_same_when_it_opens_the_pair),
        cmocka_unit_test(test_types_of_weights_change_nothing),
        cmocka_unit_test(test_files_are_what_is_left),
        cmocka_unit_test(test_what_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
