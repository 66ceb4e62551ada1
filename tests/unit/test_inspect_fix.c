/* The feature layer's key through the runtime: without it the demo computes something else, fixed the same again. */
#include "llava_quantize.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "demo_pair.h"
#include "source/kv.h"
#include "write/write.h"

static struct demo_pair pair;
static char without_key[128], fixed[128];

static struct lq_model *open_vision(const char *path)
{
    struct lq_model *model = NULL;
    struct lq_error err = {0};
    if (lq_model_open(&model, path, NULL, &err) != LQ_OK) fail_msg("%s", err.message);
    return model;
}

/* Copies the vision half, but for one key. */
static void write_without(const char *key, const char *from, const char *to)
{
    struct lq_model *model = open_vision(from);
    const struct lq_model_half *half = model->half[LQ_VISION];
    struct lq_output_tensor *tensors = calloc(half->n_tensors, sizeof *tensors);
    struct lq_output *o = NULL;
    struct lq_kvs kvs = {0};
    struct lq_error err = {0};
    struct lq_key id;
    struct lq_value text;
    char pair_id[40] = "";
    uint64_t at = 0;
    assert_true(lq_key_find(half, "llava_quantize.pair_id", &id));
    assert_true(lq_key_next(&id, &at, &text));
    memcpy(pair_id, text.text, text.length);
    assert_int_equal(lq_kvs_copy(&kvs, half->kvs, &err), LQ_OK);
    lq_kvs_remove(&kvs, key);
    for (size_t i = 0; i < half->n_tensors; i++) {
        const struct lq_tensor *t = &half->tensors[i];
        tensors[i] = (struct lq_output_tensor){.name = t->name, .type = t->type, .n_dims = t->n_dims};
        memcpy(tensors[i].ne, t->ne, sizeof tensors[i].ne);
    }
    assert_int_equal(lq_output_open(&o, &to, 1, true, &err), LQ_OK);
    assert_int_equal(lq_output_begin(o, 0, &kvs, tensors, half->n_tensors, 32, &err), LQ_OK);
    for (size_t i = 0; i < half->n_tensors; i++) {
        const struct lq_tensor *t = &half->tensors[i];
        void *data = malloc(t->bytes);
        assert_int_equal(lq_model_read(model, t, 0, t->rows, data, &err), LQ_OK);
        assert_int_equal(lq_output_write(o, 0, i, 0, data, t->bytes, &err), LQ_OK);
        free(data);
    }
    assert_int_equal(lq_output_commit(o, pair_id, &err), LQ_OK);
    lq_output_close(o);
    lq_kvs_release(&kvs);
    free(tensors);
    lq_model_free(model);
}

static int set_up(void **state)
{
    (void)state;
    struct lq_error err = {0};
    demo_pair_make(&pair, "f16", NULL);
    snprintf(without_key, sizeof without_key, "%s/without.gguf", pair.folder);
    snprintf(fixed, sizeof fixed, "%s/fixed.gguf", pair.folder);
    write_without("clip.vision.feature_layer", pair.path[LQ_VISION], without_key);
    struct lq_model *model = open_vision(without_key);
    if (lq_feature_layer_fix(model, fixed, false, NULL, &err) != LQ_OK) fail_msg("%s", err.message);
    lq_model_free(model);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(without_key);
    unlink(fixed);
    demo_pair_remove(&pair);
    return 0;
}

static struct lq_scores score(const char *mmproj)
{
    struct lq_runtime_options options = {.language = pair.path[LQ_LANGUAGE], .mmproj = mmproj, .threads = 1};
    struct lq_question question = {.image = LQ_DEMO "/exam/00001.png", .text = "Describe the image."};
    struct lq_runtime *rt = NULL;
    struct lq_scores scores = {0};
    struct lq_error err = {0};
    enum lq_status status = lq_runtime_open(&rt, &options, &err);
    if (status == LQ_OK) status = lq_runtime_score(rt, &question, "a picture", &scores, &err);
    if (status != LQ_OK) fail_msg("%s", err.message);
    lq_runtime_free(rt);
    return scores;
}

static bool same(const struct lq_scores *a, const struct lq_scores *b)
{
    assert_int_equal(a->n_positions, b->n_positions);
    assert_int_equal(a->n_vocab, b->n_vocab);
    return memcmp(a->logprobs, b->logprobs, a->n_positions * a->n_vocab * sizeof *a->logprobs) == 0;
}

static void test_fixed_is_the_original_again(void **state)
{
    (void)state;
    struct lq_scores original = score(pair.path[LQ_VISION]), old = score(without_key), again = score(fixed);
    assert_false(same(&original, &old));
    assert_true(same(&original, &again));
    lq_scores_release(&original);
    lq_scores_release(&old);
    lq_scores_release(&again);
}

static void test_nothing_is_left_where_fixing_is_refused(void **state)
{
    (void)state;
    char path[160];
    struct lq_error err = {0};
    snprintf(path, sizeof path, "%s/never.gguf", pair.folder);
    struct lq_model *model = open_vision(fixed);
    assert_int_equal(lq_feature_layer_fix(model, path, false, NULL, &err), LQ_ERR_USAGE);
    lq_model_free(model);
    model = open_vision(without_key);
    assert_int_equal(lq_feature_layer_fix(model, fixed, false, NULL, &err), LQ_ERR_USAGE);
    assert_non_null(strstr(err.message, "already exists"));
    lq_model_free(model);
    assert_int_equal(access(path, F_OK), -1);
}

static bool cancel(void *data)
{
    (void)data;
    return true;
}

static void test_cancelled(void **state)
{
    (void)state;
    char path[160];
    struct lq_error err = {0};
    struct lq_hooks hooks = {.cancelled = cancel};
    snprintf(path, sizeof path, "%s/never.gguf", pair.folder);
    struct lq_model *model = open_vision(without_key);
    assert_int_equal(lq_feature_layer_fix(model, path, false, &hooks, &err), LQ_ERR_CANCELLED);
    assert_int_equal(access(path, F_OK), -1);
    struct lq_inspection *seen = NULL;
    struct lq_inspect_options options = {.weights = true, .backend = LQ_BACKEND_NONE, .hooks = &hooks};
    assert_int_equal(lq_inspect(&seen, model, &options, &err), LQ_ERR_CANCELLED);
    assert_null(seen);
    lq_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixed_is_the_original_again),
        cmocka_unit_test(test_nothing_is_left_where_fixing_is_refused),
        cmocka_unit_test(test_cancelled),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
