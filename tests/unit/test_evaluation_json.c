/* The result of an evaluation as JSON: written, read again, refused where it is false; and the verdict. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "evaluate/evaluation.h"
#include "evaluate/result.h"
#include "test_folder.h"

/* ---- an evaluation with something in every member ---- */

static struct lq_estimate around(double value, double width)
{
    return (struct lq_estimate){value, value - width, value + width};
}

static struct lq_divergence divergence(uint64_t tokens, double kl)
{
    return (struct lq_divergence){.tokens = tokens,
                                  .kl = around(kl, kl / 3),
                                  .kl_median = kl / 7,
                                  .kl_p90 = kl * 3,
                                  .kl_p99 = kl * 11,
                                  .kl_p999 = kl * 13,
                                  .kl_max = kl * 17,
                                  .agreement = around(1 - kl, kl / 5),
                                  .dp = around(-kl / 3, kl / 9),
                                  .dp_rms = kl * 0.7,
                                  .dp_at = {-0.9, -0.5, -0.1, 0, 0.1, 0.5, 0.9},
                                  .perplexity_original = 1.5,
                                  .perplexity = around(1.6, 0.1),
                                  .perplexity_ratio = around(1.6 / 1.5, 0.05)};
}

static struct lq_answers answers(uint64_t questions)
{
    return (struct lq_answers){.questions = questions,
                               .exact_original = around(0.93, 0.01),
                               .exact = around(0.9, 0.02),
                               .vqa_original = around(0.94, 0.01),
                               .vqa = around(0.91, 0.02),
                               .lost = 20,
                               .gained = 2,
                               .changed = 31,
                               .p = 1.0 / 3};
}

static struct lq_half_facts facts(const char *path, uint64_t bytes)
{
    struct lq_half_facts f = {strdup(path), bytes, bytes / 2, 16.0 / 3, strdup("layered"), ""};
    memset(f.sha256, 'a', 64);
    return f;
}

static void fill_lists(struct lq_evaluation *e)
{
    e->n_kinds = e->n_questions = e->n_pictures = e->n_tensors = 2;
    e->kinds = calloc(2, sizeof *e->kinds);
    e->questions = calloc(2, sizeof *e->questions);
    e->pictures = calloc(2, sizeof *e->pictures);
    e->tensors = calloc(2, sizeof *e->tensors);
    for (int i = 0; i < 2; i++) {
        e->kinds[i] = (struct lq_kind_result){strdup(i == 0 ? "colour" : "shape"), divergence(40, 0.02), answers(300)};
        e->questions[i] = (struct lq_question_result){strdup("7"),
                                                      strdup("exam/a.png"),
                                                      strdup("colour"),
                                                      strdup("What \"colour\"?\n"),
                                                      strdup("red"),
                                                      i == 0 ? strdup("red") : NULL,
                                                      strdup("blue \xC3\xA9"),
                                                      true,
                                                      false,
                                                      1,
                                                      1.0 / 3,
                                                      3,
                                                      1e-9 / 7,
                                                      2.0 / 3};
        e->pictures[i] = (struct lq_picture_result){strdup("exam/a.png"), 0.99, 0.5, 0.1};
        e->tensors[i] = (struct lq_tensor_result){strdup("blk.0.ffn_up.weight"),
                                                  LQ_LANGUAGE,
                                                  LQ_ROLE_LANGUAGE_FFN_UP,
                                                  i - 1,
                                                  LQ_TYPE_Q4_K,
                                                  i == 0 ? NAN : 0.07,
                                                  i == 0 ? NULL : strdup("rule")};
    }
}

static struct lq_evaluation *example(void)
{
    struct lq_evaluation *e = lq_evaluation_new();
    e->name = strdup("layered");
    e->original_name = strdup("model");
    e->pair[LQ_VISION] = facts("q/mmproj.gguf", 1000);
    e->pair[LQ_LANGUAGE] = facts("q/model.gguf", 1700);
    e->original[LQ_VISION] = facts("o/mmproj.gguf", 2000);
    e->original[LQ_LANGUAGE] = facts("o/model.gguf", 3000);
    e->arm[LQ_ARM_BOTH] = (struct lq_arm_result){true, divergence(1234, 0.03), divergence(5000, 0.01), answers(600)};
    e->arm[LQ_ARM_LANGUAGE] = e->arm[LQ_ARM_BOTH];
    e->embedding = (struct lq_embedding){300, 0.9, 0.95, 0.99, 0.1, 0.2, 0.3};
    e->speed = (struct lq_speed){100.25, 3, 1 << 20};
    e->speed_original = (struct lq_speed){90, 2.5, 2 << 20};
    fill_lists(e);
    e->provenance = (struct lq_provenance){.command = strdup("llava-quantize eval"),
                                           .data = strdup("exam.jsonl"),
                                           .data_hash = strdup("0123"),
                                           .pictures = 300,
                                           .records = 600,
                                           .broken = 1,
                                           .seed = 42,
                                           .version = strdup("0.1.0"),
                                           .runtime = strdup("llama.cpp 0.5.0"),
                                           .cpu = strdup("a processor"),
                                           .threads = 2,
                                           .seconds = 12.5,
                                           .peak_memory = 123456789,
                                           .stock = true};
    return e;
}

static char *json_of(const struct lq_evaluation *e)
{
    char *text = NULL;
    size_t size = 0;
    struct lq_error err = {0};
    assert_int_equal(lq_evaluation_to_json(&text, &size, e, &err), LQ_OK);
    assert_int_equal(strlen(text), size);
    return text;
}

static struct lq_evaluation *parsed(const char *text)
{
    struct lq_evaluation *e = NULL;
    struct lq_error err = {0};
    if (lq_evaluation_parse(&e, text, strlen(text), "r.json", &err) != LQ_OK) fail_msg("%s", err.message);
    return e;
}

/* ---- written and read ---- */

static void test_round_trip(void **state)
{
    (void)state;
    char path[128];
    struct lq_error err = {0};
    struct lq_evaluation *e = example(), *back = NULL;
    char *text = json_of(e);
    snprintf(path, sizeof path, "%s/r.json", folder);
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
    assert_int_equal(lq_evaluation_load(&back, path, &err), LQ_OK);
    char *again = json_of(back);
    assert_string_equal(again, text);
    assert_true(back->questions[1].kl == e->questions[1].kl && back->arm[LQ_ARM_LANGUAGE].measured);
    assert_false(back->arm[LQ_ARM_VISION].measured);
    assert_true(isnan(back->tensors[0].error) && back->tensors[0].block == -1);
    assert_string_equal(back->questions[0].question, "What \"colour\"?\n");
    assert_null(back->questions[1].answer_original);
    assert_int_equal(back->provenance.peak_memory, 123456789);
    lq_evaluation_free(back);
    lq_evaluation_free(e);
    free(text);
    free(again);
}

/* A file with every member, in which tests/cli/test_documents.py looks for those that the documents name. */
static void test_recorded_file(void **state)
{
    (void)state;
    struct lq_evaluation *recorded = NULL, *e = example();
    struct lq_error err = {0};
    if (lq_evaluation_load(&recorded, LQ_TESTS "/fuzz/seeds/fuzz_evaluation/whole", &err) != LQ_OK)
        fail_msg("%s", err.message);
    char *text = json_of(recorded), *expected = json_of(e);
    assert_string_equal(text, expected);
    lq_evaluation_free(recorded);
    lq_evaluation_free(e);
    free(text);
    free(expected);
}

/* The names that scripts rely on are plain numbers. */
static void test_plain_numbers(void **state)
{
    (void)state;
    struct lq_evaluation *e = example();
    char *text = json_of(e);
    double kl, kl_text, agreement, original, quantised;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_int_equal(json_unpack(json, "{s:{s:{s:F},s:{s:F}},s:{s:F},s:{s:F,s:F}}", "kl", "answer", "mean", &kl, "text",
                                 "mean", &kl_text, "agreement", "answer", &agreement, "exact", "original", &original,
                                 "quantised", &quantised),
                     0);
    assert_true(kl == 0.03 && kl_text == 0.01 && agreement == 0.97 && original == 0.93 && quantised == 0.9);
    assert_non_null(strstr(text, "\"mean\": 0.03,"));
    json_decref(json);
    lq_evaluation_free(e);
    free(text);
}

/* Nothing measured, nothing named: nulls, which read back as NaN and NULL. */
static void test_nothing_measured(void **state)
{
    (void)state;
    struct lq_evaluation *e = lq_evaluation_new(), *back;
    e->provenance.seed = UINT64_MAX;
    char *text = json_of(e);
    assert_null(strstr(text, ": nan"));
    back = parsed(text);
    assert_true(isnan(back->arm[LQ_ARM_BOTH].answer.kl.value) && isnan(back->embedding.cosine_min));
    assert_null(back->original_name);
    assert_null(back->pair[LQ_VISION].path);
    lq_evaluation_free(back);
    back = parsed("{\"format\": \"llava-quantize evaluation\", \"version\": 1, \"later\": [1]}");
    assert_true(isnan(back->arm[LQ_ARM_BOTH].answers.p));
    assert_string_equal(back->provenance.cpu, "");
    lq_evaluation_free(back);
    lq_evaluation_free(e);
    free(text);
}

static void test_not_utf8(void **state)
{
    (void)state;
    struct lq_evaluation *e = lq_evaluation_new();
    e->name = strdup("a\xFFz");
    char *text = json_of(e);
    assert_non_null(strstr(text, "\"name\": \"a\xEF\xBF\xBDz\""));
    lq_evaluation_free(e);
    free(text);
}

/* ---- refused ---- */

#define HEAD "{\"format\": \"llava-quantize evaluation\", \"version\": 1, "

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"[]", "r.json: not a JSON object"},
        {"{\"format\": 3}", "r.json: not the result of an evaluation: the key 'format' does not say 'llava-quantize "
                            "evaluation'"},
        {"{\"format\": \"llava-quantize evaluation\", \"version\": 2}",
         "r.json: version 2 of the format, expected 1: write it again with this program's eval"},
        {HEAD "\"name\": 7}", "r.json: key 'name' is 7, expected a text"},
        {HEAD "\"name\": \"a\\u0000b\"}",
         "r.json: key 'name' is \"a\\u0000b\", expected a text without the character 0"},
        {HEAD "\"kl\": {\"answer\": {\"mean\": -1}}}",
         "r.json: key 'kl.answer.mean' is -1, expected null or a number from 0 to inf"},
        {HEAD "\"kl\": {\"answer\": 3}}", "r.json: key 'kl.answer' is 3, expected null or an object"},
        {HEAD "\"agreement\": {\"answer\": 1.5}}",
         "r.json: key 'agreement.answer' is 1.5, expected null or a number from 0 to 1"},
        {HEAD "\"flips\": {\"lost\": -1}}",
         "r.json: key 'flips.lost' is -1, expected a whole number from 0 to 9223372036854775807"},
        {HEAD "\"questions\": {}}", "r.json: key 'questions' is {}, expected null or an array"},
        {HEAD "\"questions\": [{}, 1]}", "r.json: 'questions[1]' is no object"},
        {HEAD "\"questions\": [{}, {\"exact\": 1}]}", "r.json: key 'questions[1].exact' is 1, expected true or false"},
        {HEAD "\"tensors\": [{\"half\": \"both\"}]}",
         "r.json: key 'tensors[0].half' is \"both\", expected vision or language"},
        {HEAD "\"tensors\": [{\"half\": \"vision\", \"role\": \"x\"}]}",
         "r.json: key 'tensors[0].role' is \"x\", expected a role such as language.ffn.up"},
        {HEAD "\"tensors\": [{\"half\": \"vision\", \"role\": \"norm\", \"type\": \"q\"}]}",
         "r.json: key 'tensors[0].type' is \"q\", expected a type such as q4_k"},
        {HEAD "\"tensors\": [{\"half\": \"vision\", \"role\": \"norm\", \"block\": 1e3}]}",
         "r.json: key 'tensors[0].block' is 1000.0, expected a whole number from -1 to 65535"},
        {HEAD "\"halves\": {\"vision\": {\"original\": {\"sha256\": \"ab\"}}}}",
         "r.json: key 'halves.vision.original.sha256' is \"ab\", expected null or 64 hexadecimal digits"},
        {HEAD "\"by_half\": {\"vision\": {\"exact\": {\"quantised\": \"x\"}}}}",
         "r.json: key 'by_half.vision.exact.quantised' is \"x\", expected null or a number from 0 to 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lq_evaluation *e = NULL;
        struct lq_error err = {0};
        assert_true(lq_evaluation_parse(&e, cases[i].text, strlen(cases[i].text), "r.json", &err) < 0);
        assert_null(e);
        assert_string_equal(err.message, cases[i].message);
    }
}

static void test_no_file(void **state)
{
    (void)state;
    struct lq_evaluation *e = NULL;
    struct lq_error err = {0};
    assert_int_equal(lq_evaluation_load(&e, "/nonexistent/r.json", &err), LQ_ERR_IO);
    assert_non_null(strstr(err.message, "/nonexistent/r.json"));
    assert_null(e);
}

/* ---- the verdict ---- */

struct verdict_case {
    double agreement, kl, width; /* `width`: of both intervals, to either side */
    uint64_t lost, gained;
    double p;
    const char *verdict;
};

static void assert_verdict(const struct lq_evaluation *e, const char *expected)
{
    char *verdict = NULL;
    assert_int_equal(lq_evaluation_verdict(&verdict, e, NULL), LQ_OK);
    assert_string_equal(verdict, expected);
    free(verdict);
}

static void test_verdict(void **state)
{
    (void)state;
    static const struct verdict_case cases[] = {
        {1, 0, 0, 0, 0, 1,
         "layered answers exactly as the original: all 1234 answer tokens agree, none of 600 answers turned wrong or "
         "right, at 54 % of its size"},
        {0.992, 0.004, 0.005, 3, 4, 1,
         "layered keeps what the original sees: 99.2 % of 1234 answer tokens agree, 3 of 600 answers turned wrong and "
         "4 "
         "right, at 54 % of its size"},
        {0.99996, 0.004, 0.005, 1, 0, 1,
         "layered keeps what the original sees: 99.9 % of 1234 answer tokens agree, 1 of 600 answers turned wrong and "
         "0 "
         "right, at 54 % of its size"},
        {0.992, 0.004, 0.02, 3, 4, 1,
         "layered shows no clear loss, but this is too little data to be sure: 99.2 % of 1234 answer tokens agree, 3 "
         "of "
         "600 answers turned wrong and 4 right, at 54 % of its size; ask more questions"},
        {0.992, 0.004, 0.005, 9, 1, 0.02,
         "layered loses a little of what the original sees: 99.2 % of 1234 answer tokens agree, 9 of 600 answers "
         "turned "
         "wrong and 1 right, at 54 % of its size; look at the changed answers before you use it"},
        {0.96, 0.004, 0.005, 9, 1, 0.02,
         "layered loses a little of what the original sees: 96.0 % of 1234 answer tokens agree, 9 of 600 answers "
         "turned "
         "wrong and 1 right, at 54 % of its size; look at the changed answers before you use it"},
        {0.96, 0.3, 0.005, 9, 1, 0.02,
         "layered visibly loses what the original sees: 96.0 % of 1234 answer tokens agree, 9 of 600 answers turned "
         "wrong and 1 right, at 54 % of its size; use more bits"},
        {0.96, 0.01, 0.005, 40, 4, 1e-8,
         "layered visibly loses what the original sees: 96.0 % of 1234 answer tokens agree, 40 of 600 answers turned "
         "wrong and 4 right, at 54 % of its size; use more bits"},
        {0.5, 2, 0.005, 300, 4, 1e-60,
         "layered is broken: 50.0 % of 1234 answer tokens agree, 300 of 600 answers turned wrong and 4 right, at 54 % "
         "of "
         "its size; do not use it"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct verdict_case *c = &cases[i];
        struct lq_evaluation *e = example();
        struct lq_arm_result *arm = &e->arm[LQ_ARM_BOTH];
        arm->answer.agreement = around(c->agreement, c->width);
        arm->answer.kl = around(c->kl, c->width);
        arm->answer.kl_max = c->kl;
        arm->answers.lost = c->lost;
        arm->answers.gained = c->gained;
        arm->answers.p = c->p;
        assert_verdict(e, c->verdict);
        lq_evaluation_free(e);
    }
}

static void test_verdict_of_less(void **state)
{
    (void)state;
    struct lq_evaluation *e = example();
    struct lq_arm_result *arm = &e->arm[LQ_ARM_BOTH];
    e->original[LQ_VISION].bytes = e->original[LQ_LANGUAGE].bytes = 0;
    arm->answer.kl.value = NAN;
    arm->text.agreement = around(0.96, 0.001);
    assert_verdict(e,
                   "layered keeps how the original writes: 96.0 % of 5000 text tokens agree, mean KL 0.01, perplexity "
                   "1.067 times the original's; what it sees was not measured");
    arm->text.kl.value = NAN;
    assert_verdict(e,
                   "layered answers 90.0 % of 600 questions exactly; what it lost is not known without its original");
    arm->answers.questions = 0;
    assert_verdict(e, "layered has a perplexity of 1.6 on 5000 tokens of text; what it lost is not known without its "
                      "original");
    lq_evaluation_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, make_folder, remove_folder),
        cmocka_unit_test(test_recorded_file),
        cmocka_unit_test(test_plain_numbers),
        cmocka_unit_test(test_nothing_measured),
        cmocka_unit_test(test_not_utf8),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_verdict),
        cmocka_unit_test(test_verdict_of_less),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
