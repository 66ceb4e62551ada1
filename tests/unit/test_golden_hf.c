/* Each folder of tests/golden/hf is converted to an f32 pair and must give the log-probabilities that Hugging Face gave
 * for it (tests/golden/make_hf.py): names, permutations, keys, tokens and feature layers are right together or not at
 * all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "expect.h"
#include "llava_quantize.h"

#define GOLDEN LQ_TESTS "/golden/hf/"

/* What two implementations of the same arithmetic differ by is about 5e-6 (llama.cpp keeps its cache and GELU's table
 * in f16). The wrong one of GELU and quick-GELU costs 3e-5 and more, a bias without permutation 5e-3, other mistakes
 * 2e-3 and more. */
static const double largest_divergence = 2e-5;

static void convert(const char *variant, const char *folder, struct lq_quantize_result *result)
{
    char path[512];
    struct lq_model *model = NULL;
    struct lq_plan *plan = NULL;
    const struct lq_plan_request request = {.spec = "f32"};
    const struct lq_quantize_options options = {.output = folder, .force = true, .threads = 2};
    snprintf(path, sizeof path, GOLDEN "%s", variant);
    expect(lq_model_open(&model, path, NULL, &err));
    expect(lq_plan_build(&plan, model, &request, &err));
    expect(lq_quantize(model, plan, &options, result, &err));
    lq_plan_free(plan);
    lq_model_free(model);
}

static json_t *load_golden(const char *variant)
{
    char path[512];
    json_error_t why;
    snprintf(path, sizeof path, GOLDEN "%s/golden.json", variant);
    json_t *golden = json_load_file(path, 0, &why);
    if (golden == NULL) fail_msg("%s: %s", path, why.text);
    return golden;
}

static void score(const struct lq_quantize_result *pair, const json_t *golden, struct lq_scores *scores)
{
    struct lq_runtime *rt = NULL;
    const struct lq_runtime_options options = {
        .language = pair->path[LQ_LANGUAGE], .mmproj = pair->path[LQ_VISION], .threads = 2};
    const struct lq_question question = {.image = GOLDEN "picture.png",
                                         .text = json_string_value(json_object_get(golden, "question"))};
    expect(lq_runtime_open(&rt, &options, &err));
    expect(lq_runtime_score(rt, &question, json_string_value(json_object_get(golden, "answer")), scores, &err));
    lq_runtime_free(rt);
}

/* The tokens must be Hugging Face's: another tokenizer would answer another question. */
static void check_tokens(const struct lq_scores *scores, const json_t *golden)
{
    const json_t *ids = json_object_get(golden, "answer_ids");
    assert_int_equal(scores->n_positions, json_array_size(ids));
    for (size_t i = 0; i < scores->n_positions; i++)
        assert_int_equal(scores->tokens[i], json_integer_value(json_array_get(ids, i)));
}

/* Mean Kullback-Leibler divergence of the scores from Hugging Face's. */
static double divergence(const struct lq_scores *scores, const char *variant)
{
    char path[512], *data = NULL;
    size_t size = 0, n = scores->n_positions * scores->n_vocab;
    double sum = 0;
    snprintf(path, sizeof path, GOLDEN "%s/logprobs.f32", variant);
    expect(lq_file_load(path, 1 << 20, &data, &size, &err));
    assert_int_equal(size, n * sizeof(float));
    const float *theirs = (const float *)(const void *)data;
    for (size_t i = 0; i < n; i++) sum += exp(theirs[i]) * ((double)theirs[i] - scores->logprobs[i]);
    free(data);
    return sum / (double)scores->n_positions;
}

static void matches_hugging_face(void **state)
{
    const char *variant = *state;
    char folder[] = "/tmp/llava-quantize-test-XXXXXX";
    struct lq_quantize_result pair;
    struct lq_scores scores = {0};
    assert_non_null(mkdtemp(folder));
    convert(variant, folder, &pair);
    json_t *golden = load_golden(variant);
    score(&pair, golden, &scores);
    check_tokens(&scores, golden);
    double d = divergence(&scores, variant);
    print_message("%s: mean divergence %.2e\n", variant, d);
    assert_true(d >= -1e-6 && d <= largest_divergence);
    lq_scores_release(&scores);
    json_decref(golden);
    for (int half = 0; half < LQ_HALVES; half++) unlink(pair.path[half]);
    rmdir(folder);
    lq_quantize_result_release(&pair);
}

#define VARIANT(name) \
    { \
        name, matches_hugging_face, NULL, NULL, (void *)(uintptr_t)name \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        VARIANT("v5"),
        VARIANT("hub_f32"),
        VARIANT("v452_bf16_sharded"),
        VARIANT("gqa_tied"),
        VARIANT("gelu_last_layer"),
        VARIANT("first_layer"),
        VARIANT("head_dim_linear_rope"),
        VARIANT("square_ffn"),
    };
    return cmocka_run_group_tests_name("golden_hf", tests, NULL, NULL);
}
