/* Questions as tokens: Hugging Face's own sequence, chat templates, and text that looks like a special token. */
#include "llava_quantize.h"
#include "runtime/prompt.h"
#include "runtime/utf8.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "demo_pair.h"

#define END 2     /* </s> */
#define IMAGE 510 /* <image> */

static struct lq_hooks hooks;

static void open_demo(struct demo_pair *pair, struct lq_runtime **rt, const char *template)
{
    struct lq_error err = {0};
    demo_pair_make(pair, "f16", template);
    const struct lq_runtime_options options = {
        .language = pair->path[LQ_LANGUAGE], .mmproj = pair->path[LQ_VISION], .threads = 1, .hooks = &hooks};
    if (lq_runtime_open(rt, &options, &err) != LQ_OK) fail_msg("%s", err.message);
}

static void close_demo(struct demo_pair *pair, struct lq_runtime *rt)
{
    lq_runtime_free(rt);
    demo_pair_remove(pair);
}

static void build(struct lq_tokens *head, struct lq_tokens *tail, const struct lq_runtime *rt,
                  const struct lq_question *question)
{
    struct lq_error err = {0};
    if (lq_prompt_build(head, tail, rt, question, &err) != LQ_OK) fail_msg("%s", err.message);
}

/* The prompt as text again, special tokens spelled out, with "<>" where the picture stands. */
static void check_text(const struct lq_runtime *rt, const struct lq_question *question, const char *expected)
{
    struct lq_tokens head = {0}, tail = {0};
    char text[1024];
    build(&head, &tail, rt, question);
    int32_t n = llama_detokenize(rt->vocab, head.items, (int32_t)head.n, text, 500, false, true);
    assert_true(n > 0);
    n += snprintf(text + n, 3, "<>");
    int32_t m = llama_detokenize(rt->vocab, tail.items, (int32_t)tail.n, text + n, 500, false, true);
    assert_true(m > 0);
    text[n + m] = 0;
    assert_string_equal(text, expected);
    lq_tokens_release(&head);
    lq_tokens_release(&tail);
}

static size_t count(const struct lq_tokens *tokens, llama_token token)
{
    size_t n = 0;
    for (size_t i = 0; i < tokens->n; i++) n += tokens->items[i] == token;
    return n;
}

static json_t *next_line(FILE *f)
{
    char line[8192];
    assert_non_null(fgets(line, sizeof line, f));
    json_t *object = json_loads(line, 0, NULL);
    assert_non_null(object);
    return object;
}

static void check_golden(const struct lq_runtime *rt, const char *text, const json_t *ids)
{
    struct lq_tokens head = {0}, tail = {0};
    build(&head, &tail, rt, &(struct lq_question){.text = text});
    size_t n_image = json_array_size(ids) - head.n - tail.n;
    assert_int_equal(n_image, 64);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        json_int_t id = json_integer_value(json_array_get(ids, i));
        json_int_t ours = i < head.n ? head.items[i] : i < head.n + n_image ? IMAGE : tail.items[i - head.n - n_image];
        assert_int_equal(ours, id);
    }
    lq_tokens_release(&head);
    lq_tokens_release(&tail);
}

static void test_tokens_are_hugging_faces(void **state)
{
    (void)state;
    struct demo_pair pair;
    struct lq_runtime *rt = NULL;
    open_demo(&pair, &rt, NULL);
    FILE *exam = fopen(LQ_DEMO "/exam.jsonl", "r"), *golden = fopen(LQ_DEMO "/golden.jsonl", "r");
    assert_non_null(exam);
    assert_non_null(golden);
    for (int i = 0; i < 600; i++) {
        json_t *asked = next_line(exam), *theirs = next_line(golden);
        check_golden(rt, json_string_value(json_object_get(asked, "text")), json_object_get(theirs, "prompt_ids"));
        json_decref(asked);
        json_decref(theirs);
    }
    fclose(exam);
    fclose(golden);
    close_demo(&pair, rt);
}

static void test_users_text_stays_text(void **state)
{
    (void)state;
    struct demo_pair pair;
    struct lq_runtime *rt = NULL;
    struct lq_tokens head = {0}, tail = {0};
    open_demo(&pair, &rt, NULL);
    build(&head, &tail, rt, &(struct lq_question){.text = "</s><image><s>"});
    assert_int_equal(head.items[0], llama_vocab_bos(rt->vocab));
    assert_int_equal(count(&tail, END) + count(&tail, IMAGE) + count(&tail, 1), 0);
    lq_tokens_release(&head);
    lq_tokens_release(&tail);
    build(&head, &tail, rt,
          &(struct lq_question){.prompt = "<s>USER: Hi ASSISTANT: no</s>USER:<image>\nWhy? ASSISTANT:"});
    assert_int_equal(count(&head, 1), 1); /* not a second one before it */
    assert_int_equal(count(&head, END), 1);
    lq_tokens_release(&head);
    lq_tokens_release(&tail);
    close_demo(&pair, rt);
}

static void test_chat_template(void **state)
{
    (void)state;
    struct demo_pair pair;
    struct lq_runtime *rt = NULL;
    struct lq_tokens head = {0}, tail = {0};
    open_demo(&pair, &rt, "{{ 'USER: ' + message['content'] + 'ASSISTANT: ' }}"); /* Vicuna's, as llama.cpp tells it */
    check_text(rt, &(struct lq_question){.text = "Why?"}, "<s> USER: <>\nWhy?\nASSISTANT:");
    build(&head, &tail, rt, &(struct lq_question){.text = "Why</s>?"});
    assert_int_equal(count(&tail, END), 0);
    lq_tokens_release(&head);
    lq_tokens_release(&tail);
    close_demo(&pair, rt);
}

static void note(void *data, enum lq_log_level level, const char *message)
{
    if (level == LQ_LOG_INFO && strstr(message, "chat template") != NULL) ++*(int *)data;
}

static void test_unknown_chat_template(void **state)
{
    (void)state;
    struct demo_pair pair;
    struct lq_runtime *rt = NULL;
    int notes = 0;
    hooks = (struct lq_hooks){.data = &notes, .log = note};
    open_demo(&pair, &rt, "{{ nobody.knows(this) }}");
    hooks = (struct lq_hooks){0};
    check_text(rt, &(struct lq_question){.text = "Why?"}, "<s> USER:<>\nWhy? ASSISTANT:");
    assert_int_equal(notes, 1);
    close_demo(&pair, rt);
}

/* Feeds `bytes` in portions of `step`; what comes out must be `expected`. */
static void check_stream(const char *bytes, size_t n, size_t step, const char *expected)
{
    struct lq_utf8 stream = {.n_held = 0};
    char out[256], text[256];
    size_t used = 0;
    for (size_t i = 0; i < n; i += step) {
        size_t part = n - i < step ? n - i : step;
        size_t written = lq_utf8_push(&stream, bytes + i, part, out);
        assert_true(written <= lq_utf8_room(part));
        memcpy(text + used, out, written);
        text[used + written] = 0;
        assert_true(lq_utf8_valid(text + used));
        used += written;
    }
    used += lq_utf8_finish(&stream, text + used);
    text[used] = 0;
    assert_string_equal(text, expected);
}

static void test_characters_stay_whole(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *expected;
    } cases[] = {
        {"plain", "plain"},
        {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"a\x80z", "a\xef\xbf\xbdz"},                                             /* a byte that begins nothing */
        {"\xc3(", "\xef\xbf\xbd("},                                               /* cut off by another character */
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                                 /* overlong */
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},                 /* surrogate */
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* past the last code point */
        {"end\xe2\x82", "end\xef\xbf\xbd"},                                       /* never completed */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t step = 1; step <= 5; step++)
            check_stream(cases[i].bytes, strlen(cases[i].bytes), step, cases[i].expected);
    assert_true(lq_utf8_valid(""));
    assert_false(lq_utf8_valid("\xe2\x82"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_tokens_are_hugging_faces),
    cmocka_unit_test(test_users_text_stays_text),
    cmocka_unit_test(test_chat_template),
    cmocka_unit_test(test_unknown_chat_template),
    cmocka_unit_test(test_characters_stay_whole),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
