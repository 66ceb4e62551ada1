/* Sensitivities of kinds of tokens, measured on the demo model. */
#include "calibrate/sensitivity.h"
#include "llava_quantize.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "demo_pair.h"
#include "expect.h"

static struct demo_pair pair;
static struct lq_dataset *data;
static int set_up(void **state)
{
    (void)state;
    demo_pair_make(&pair, "f16", NULL);
    expect(lq_dataset_load(&data, LQ_DEMO "/calibration.json", NULL, &err));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lq_dataset_free(data);
    demo_pair_remove(&pair);
    return 0;
}

/* What the hooks were told, and when they cancel. */
struct told {
    int left_out;
    int calls, cancel_at; /* 0: never */
};

static void note(void *data, enum lq_log_level level, const char *message)
{
    struct told *told = data;
    if (level != LQ_LOG_DEBUG && strstr(message, "takes no part") != NULL) told->left_out++;
}

static bool cancelled(void *data)
{
    struct told *told = data;
    return told->cancel_at != 0 && ++told->calls >= told->cancel_at;
}

static enum lq_status measure(double weights[LQ_KINDS], const struct lq_dataset *from, size_t n_records, uint64_t seed,
                              struct told *told)
{
    const struct lq_hooks hooks = {.data = told, .log = note, .cancelled = cancelled};
    const struct lq_runtime_options options = {
        .language = pair.path[LQ_LANGUAGE], .mmproj = pair.path[LQ_VISION], .threads = 1, .hooks = &hooks};
    return lq_sensitivity_measure(weights, &options, from, n_records, seed, &err);
}

/* A picture's token counts less than one of text, as MBQ found in larger models. */
static void test_pictures_count_less(void **state)
{
    (void)state;
    double weights[LQ_KINDS];
    expect(measure(weights, data, 16, 1, &(struct told){.calls = 0}));
    print_message("picture %.3f, text %.3f\n", weights[LQ_KIND_PICTURE], weights[LQ_KIND_AFTER]);
    assert_true(weights[LQ_KIND_PICTURE] > 0);
    assert_true(weights[LQ_KIND_AFTER] > 1.5 * weights[LQ_KIND_PICTURE]);
    assert_true(weights[LQ_KIND_TEXT] == weights[LQ_KIND_AFTER]);
    assert_float_equal(weights[0] + weights[1] + weights[2], LQ_KINDS, 1e-9);
}

static void test_the_seed_decides(void **state)
{
    (void)state;
    double weights[3][LQ_KINDS];
    for (int i = 0; i < 3; i++)
        expect(measure(weights[i], data, 2, 1 + (uint64_t)(i == 2), &(struct told){.calls = 0}));
    assert_memory_equal(weights[0], weights[1], sizeof weights[0]);
    assert_memory_not_equal(weights[0], weights[2], sizeof weights[0]);
}

static struct lq_dataset *made_of(const char *text)
{
    struct lq_dataset *made = NULL;
    char path[128];
    demo_pair_text(pair.folder, "data.jsonl", text);
    snprintf(path, sizeof path, "%s/data.jsonl", pair.folder);
    expect(lq_dataset_load(&made, path, NULL, &err));
    unlink(path);
    return made;
}

/* Pictures that cannot be read are left out; with none left there is nothing to tell. */
static void test_pictures_that_are_missing(void **state)
{
    (void)state;
    double weights[LQ_KINDS] = {7, 8, 9};
    struct told told = {.calls = 0};
    struct lq_dataset *some =
        made_of("{\"question_id\": 1, \"image\": \"none.png\", \"text\": \"?\", \"answer\": \"a\"}\n"
                "{\"question_id\": 2, \"image\": \"" LQ_DEMO
                "/exam/00001.png\", \"text\": \"Describe the image.\", \"answer\": \"A heart\"}\n");
    struct lq_dataset *none =
        made_of("{\"question_id\": 1, \"image\": \"none.png\", \"text\": \"?\", \"answer\": \"a\"}\n");
    assert_int_equal(measure(weights, none, 9, 1, &told), LQ_ERR_USAGE);
    assert_non_null(strstr(err.message, "no record shows how sensitive tokens are"));
    assert_true(weights[0] == 7 && weights[1] == 8 && weights[2] == 9);
    assert_int_equal(told.left_out, 1);
    expect(measure(weights, some, 9, 1, &told));
    assert_int_equal(told.left_out, 2);
    lq_dataset_free(some);
    lq_dataset_free(none);
}

static void test_cancelling(void **state)
{
    (void)state;
    double weights[LQ_KINDS] = {7, 8, 9};
    assert_int_equal(measure(weights, data, 9, 1, &(struct told){.cancel_at = 2000}), LQ_ERR_CANCELLED);
    assert_true(weights[0] == 7);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_pictures_count_less),
    cmocka_unit_test(test_the_seed_decides),
    cmocka_unit_test(test_pictures_that_are_missing),
    cmocka_unit_test(test_cancelling),
};

int main(void)
{
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
