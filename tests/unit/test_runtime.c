/* Asking and scoring the demo pair, and every way in which a pair or a question can be wrong. */
#include "llava_quantize.h"
#include "runtime/state.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "answer.h"
#include "demo_pair.h"

#define PICTURE LQ_DEMO "/exam/00001.png"
#define DESCRIBE "Describe the image."

static struct demo_pair pair;
static struct lq_runtime *rt;

static enum lq_status open_files(struct lq_runtime **out, const char *language, const char *mmproj,
                                 struct lq_error *err)
{
    return lq_runtime_open(out, &(struct lq_runtime_options){.language = language, .mmproj = mmproj, .threads = 1},
                           err);
}

static int set_up(void **state)
{
    (void)state;
    struct lq_error err = {0};
    demo_pair_make(&pair, "f16", NULL);
    if (open_files(&rt, pair.path[LQ_LANGUAGE], pair.path[LQ_VISION], &err) != LQ_OK) fail_msg("%s", err.message);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lq_runtime_free(rt);
    demo_pair_remove(&pair);
    return 0;
}

static void ask(struct lq_runtime *runtime, const struct lq_question *question, struct answer *answer)
{
    struct lq_error err = {0};
    if (lq_runtime_ask(runtime, question, answer_append, answer, &err) != LQ_OK) fail_msg("%s", err.message);
}

static void check_answer(struct lq_runtime *runtime, const struct lq_question *question, const char *expected)
{
    struct answer answer = {.n = 0};
    ask(runtime, question, &answer);
    assert_string_equal(answer.text, expected);
}

static void refuse(const struct lq_question *question, enum lq_status status, const char *message)
{
    struct lq_error err = {0};
    struct answer answer = {.n = 0};
    assert_int_equal(lq_runtime_ask(rt, question, answer_append, &answer, &err), status);
    assert_string_equal(err.message, message);
    assert_int_equal(err.status, status);
    assert_int_equal(answer.n, 0);
}

static void test_answers(void **state)
{
    (void)state;
    const struct lq_question question = {.image = PICTURE, .text = "What shape is the pink object?"};
    check_answer(rt, &question, "triangle"); /* as golden.jsonl has it */
    check_answer(rt, &question, "triangle");
}

static void test_other_pictures_and_threads_do_not_matter(void **state)
{
    (void)state;
    struct lq_error err = {0};
    struct lq_runtime *other = NULL;
    const struct lq_question question = {.image = PICTURE, .text = DESCRIBE};
    const struct lq_question elsewhere = {.image = LQ_DEMO "/exam/00002.png", .text = DESCRIBE};
    struct answer first = {.n = 0}, between = {.n = 0};
    ask(rt, &question, &first);
    ask(rt, &elsewhere, &between);
    assert_string_not_equal(first.text, between.text);
    check_answer(rt, &question, first.text);
    const struct lq_runtime_options two = {
        .language = pair.path[LQ_LANGUAGE], .mmproj = pair.path[LQ_VISION], .threads = 2};
    assert_int_equal(lq_runtime_open(&other, &two, &err), LQ_OK);
    check_answer(other, &question, first.text);
    lq_runtime_free(other);
}

static void test_length_is_limited(void **state)
{
    (void)state;
    struct answer one = {.n = 0}, stopped = {.limit = 2};
    ask(rt, &(struct lq_question){.image = PICTURE, .text = DESCRIBE, .max_tokens = 1}, &one);
    assert_int_equal(one.pieces, 1);
    ask(rt, &(struct lq_question){.image = PICTURE, .text = DESCRIBE}, &stopped);
    assert_int_equal(stopped.pieces, 2);
}

static void test_seed_decides_at_a_temperature(void **state)
{
    (void)state;
    struct lq_question question = {.image = PICTURE, .text = DESCRIBE, .temperature = 1.5f, .max_tokens = 16};
    struct answer first = {.n = 0};
    bool differs = false;
    question.seed = 7;
    ask(rt, &question, &first);
    check_answer(rt, &question, first.text);
    for (question.seed = 8; question.seed < 16; question.seed++) {
        struct answer other = {.n = 0};
        ask(rt, &question, &other);
        differs = differs || strcmp(first.text, other.text) != 0;
    }
    assert_true(differs);
}

static void test_scores_are_probabilities(void **state)
{
    (void)state;
    struct lq_error err = {0};
    struct lq_scores scores;
    const struct lq_question question = {.image = PICTURE, .text = "What shape is the pink object?"};
    assert_int_equal(lq_runtime_score(rt, &question, "triangle", &scores, &err), LQ_OK);
    assert_int_equal(scores.n_vocab, 512);
    assert_int_equal(scores.tokens[scores.n_positions - 1], 2);
    for (size_t i = 0; i < scores.n_positions; i++) {
        const float *row = scores.logprobs + i * scores.n_vocab;
        double sum = 0;
        for (size_t t = 0; t < scores.n_vocab; t++) {
            sum += exp(row[t]);
            assert_true(row[t] <= row[scores.tokens[i]]); /* its own greedy answer */
        }
        assert_true(fabs(sum - 1) < 1e-5);
    }
    lq_scores_release(&scores);
    assert_null(scores.logprobs);
}

static void test_bad_questions(void **state)
{
    (void)state;
    refuse(&(struct lq_question){.image = PICTURE}, LQ_ERR_USAGE, "the question is empty");
    refuse(&(struct lq_question){.image = PICTURE, .text = ""}, LQ_ERR_USAGE, "the question is empty");
    refuse(&(struct lq_question){.image = PICTURE, .text = "\xff"}, LQ_ERR_USAGE, "the question is not valid UTF-8");
    refuse(&(struct lq_question){.image = PICTURE, .prompt = "no picture"}, LQ_ERR_USAGE,
           "the prompt must hold <image> exactly once");
    refuse(&(struct lq_question){.image = PICTURE, .prompt = "<image> and <image>"}, LQ_ERR_USAGE,
           "the prompt must hold <image> exactly once");
    refuse(&(struct lq_question){.image = PICTURE, .prompt = "USER:<image>"}, LQ_ERR_USAGE,
           "no text follows <image> in the prompt");
    refuse(&(struct lq_question){.image = PICTURE, .text = "?", .temperature = -1}, LQ_ERR_USAGE,
           "temperature -1: a number from 0 up is expected");
    refuse(&(struct lq_question){.image = PICTURE, .text = "?", .temperature = NAN}, LQ_ERR_USAGE,
           "temperature nan: a number from 0 up is expected");
    refuse(&(struct lq_question){.text = "?"}, LQ_ERR_USAGE, "no picture given");
    refuse(&(struct lq_question){.image = "missing.png", .text = "?"}, LQ_ERR_IO,
           "missing.png: cannot open: No such file or directory");
}

static void test_long_questions(void **state)
{
    (void)state;
    char text[9000], message[512], *huge = malloc(3 << 20);
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    struct lq_error err = {0};
    struct answer answer = {.n = 0};
    assert_int_equal(
        lq_runtime_ask(rt, &(struct lq_question){.image = PICTURE, .text = text}, answer_append, &answer, &err),
        LQ_ERR_USAGE);
    snprintf(message, sizeof message, "%s: the prompt takes ", pair.path[LQ_LANGUAGE]);
    assert_memory_equal(err.message, message, strlen(message));
    assert_non_null(strstr(err.message, "(picture 64, text "));
    assert_non_null(strstr(err.message, "), the context holds 1024"));
    assert_non_null(huge);
    memset(huge, 'x', (3 << 20) - 1);
    huge[(3 << 20) - 1] = 0;
    assert_int_equal(
        lq_runtime_ask(rt, &(struct lq_question){.image = PICTURE, .text = huge}, answer_append, &answer, &err),
        LQ_ERR_USAGE);
    assert_non_null(strstr(err.message, "is too long; at most 1048576 are taken"));
    free(huge);
}

static void test_damaged_pictures(void **state)
{
    (void)state;
    char path[128], message[512];
    unsigned char png[4096];
    FILE *f = fopen(PICTURE, "rb");
    assert_non_null(f);
    size_t n = fread(png, 1, sizeof png, f);
    fclose(f);
    snprintf(path, sizeof path, "%s/cut.png", pair.folder);
    f = fopen(path, "wb");
    assert_int_equal(fwrite(png, 1, n / 2, f), n / 2);
    fclose(f);
    snprintf(message, sizeof message,
             "%s: the PNG data (64 x 64) are damaged or of a kind that llama.cpp does not read", path);
    refuse(&(struct lq_question){.image = path, .text = "?"}, LQ_ERR_FORMAT, message);
    unlink(path);
}

static bool yes(void *data)
{
    int *calls = data;
    return ++*calls > 0;
}

static void test_cancelling(void **state)
{
    (void)state;
    int calls = 0;
    struct lq_error err = {0};
    struct lq_runtime *other = NULL;
    struct answer answer = {.n = 0};
    const struct lq_hooks hooks = {.data = &calls, .cancelled = yes};
    const struct lq_runtime_options options = {
        .language = pair.path[LQ_LANGUAGE], .mmproj = pair.path[LQ_VISION], .threads = 1, .hooks = &hooks};
    assert_int_equal(lq_runtime_open(&other, &options, &err), LQ_ERR_CANCELLED);
    assert_null(other);
    assert_true(calls > 0);
    rt->hooks = hooks;
    assert_int_equal(
        lq_runtime_ask(rt, &(struct lq_question){.image = PICTURE, .text = "?"}, answer_append, &answer, &err),
        LQ_ERR_CANCELLED);
    rt->hooks = (struct lq_hooks){0};
    check_answer(rt, &(struct lq_question){.image = PICTURE, .text = "What shape is the pink object?"}, "triangle");
}

static void count_line(void *data, enum lq_log_level level, const char *message)
{
    assert_int_equal(level, LQ_LOG_DEBUG);
    assert_null(strchr(message, '\n'));
    ++*(size_t *)data;
}

/* llama.cpp's lines reach the hook, and neither stream. */
static void test_nothing_is_printed(void **state)
{
    (void)state;
    size_t lines = 0;
    struct lq_error err = {0};
    struct lq_runtime *other = NULL;
    struct answer answer = {.n = 0};
    struct stat st;
    char path[] = "/tmp/llava-quantize-test-XXXXXX";
    const struct lq_hooks hooks = {.data = &lines, .log = count_line};
    const struct lq_runtime_options options = {
        .language = pair.path[LQ_LANGUAGE], .mmproj = pair.path[LQ_VISION], .threads = 1, .hooks = &hooks};
    fflush(NULL);
    int to = mkstemp(path), out = dup(1), error = dup(2);
    dup2(to, 1);
    dup2(to, 2);
    enum lq_status status = lq_runtime_open(&other, &options, &err);
    if (status == LQ_OK)
        status =
            lq_runtime_ask(other, &(struct lq_question){.image = PICTURE, .text = "?"}, answer_append, &answer, &err);
    lq_runtime_free(other);
    fflush(NULL);
    dup2(out, 1);
    dup2(error, 2);
    assert_int_equal(fstat(to, &st), 0);
    close(to);
    close(out);
    close(error);
    unlink(path);
    assert_int_equal(status, LQ_OK);
    assert_int_equal(st.st_size, 0);
    assert_true(lines > 10);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_answers),
    cmocka_unit_test(test_other_pictures_and_threads_do_not_matter),
    cmocka_unit_test(test_length_is_limited),
    cmocka_unit_test(test_seed_decides_at_a_temperature),
    cmocka_unit_test(test_scores_are_probabilities),
    cmocka_unit_test(test_bad_questions),
    cmocka_unit_test(test_long_questions),
    cmocka_unit_test(test_damaged_pictures),
    cmocka_unit_test(test_cancelling),
    cmocka_unit_test(test_nothing_is_printed),
};

int main(void)
{
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
