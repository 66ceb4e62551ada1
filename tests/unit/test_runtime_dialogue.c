/* Conversations as tokens: answers stand where the spans say, in LLaVA's own form and in chat templates. */
#include "llava_quantize.h"
#include "runtime/answer.h"
#include "runtime/prompt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "demo_pair.h"

#define END 2 /* </s> */

static struct lq_error err;

static void expect(enum lq_status status)
{
    if (status != LQ_OK) fail_msg("%s", err.message);
}

struct demo {
    struct demo_pair pair;
    struct lq_runtime *rt;
};

static void open_demo(struct demo *demo, const char *template)
{
    demo_pair_make(&demo->pair, "f16", template);
    const struct lq_runtime_options options = {
        .language = demo->pair.path[LQ_LANGUAGE], .mmproj = demo->pair.path[LQ_VISION], .threads = 1};
    demo->rt = NULL;
    expect(lq_runtime_open(&demo->rt, &options, &err));
}

static void close_demo(struct demo *demo)
{
    lq_runtime_free(demo->rt);
    demo_pair_remove(&demo->pair);
}

static const struct lq_dialogue_turn turns[] = {
    {"What is at the top left?", "large blue triangle"}, {"How many?", "two"}, {"Which ones?", ""}};

/* Special tokens spelled out. */
static void check_tokens(const struct lq_runtime *rt, const int32_t *tokens, size_t n, const char *expected)
{
    char text[1024];
    int32_t length = llama_detokenize(rt->vocab, tokens, (int32_t)n, text, sizeof text - 1, false, true);
    assert_true(length >= 0);
    text[length] = 0;
    assert_string_equal(text, expected);
}

static void check_answers(const struct lq_runtime *rt, const struct lq_dialogue *d)
{
    char *text = NULL;
    for (size_t k = 0; k < d->n_turns; k++) {
        const int32_t *answer = d->text + d->answers[k].first;
        assert_true(d->answers[k].first > 0 && d->answers[k].first + d->answers[k].n <= d->n_text);
        assert_int_equal(answer[d->answers[k].n - 1], END);
        expect(lq_runtime_text(&text, rt, answer, d->answers[k].n - 1, &err));
        assert_string_equal(text, turns[k].answer);
        free(text);
    }
    assert_int_equal(d->answers[d->n_turns - 1].first + d->answers[d->n_turns - 1].n, d->n_text);
}

static void check(const struct lq_runtime *rt, size_t n_turns, const char *head, const char *text)
{
    struct lq_dialogue d;
    expect(lq_dialogue_build(&d, rt, turns, n_turns, &err));
    assert_int_equal(d.n_turns, n_turns);
    check_tokens(rt, d.head, d.n_head, head);
    check_tokens(rt, d.text, d.n_text, text);
    check_answers(rt, &d);
    lq_dialogue_release(&d);
}

/* Further turns have no line break and follow the end token at once, as the demo was trained. */
static void test_llavas_own_form(void **state)
{
    (void)state;
    struct demo demo;
    open_demo(&demo, NULL);
    check(demo.rt, 3, "<s> USER:",
          "\nWhat is at the top left? ASSISTANT: large blue triangle</s> USER: How many? ASSISTANT: two</s> "
          "USER: Which ones? ASSISTANT:</s>");
    close_demo(&demo);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_llavas_own_form),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
