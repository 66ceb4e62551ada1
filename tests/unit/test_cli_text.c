/* The program's small pieces of text: sizes, shapes, shell words, suggestions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../cli/suggest.c"
#include "../../cli/text.c"

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {1048575, "1024.0 KiB"},
        {1 << 20, "1.00 MiB"},
        {UINT64_C(1) << 30, "1.00 GiB"},
        {UINT64_C(14195107840), "13.22 GiB"},
        {UINT64_MAX, "17179869184.00 GiB"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(cli_size(cases[i].bytes).s, cases[i].text);
}

static void test_shapes(void **state)
{
    (void)state;
    assert_string_equal(cli_shape(2, (const uint64_t[4]){256, 1024, 1, 1}).s, "256 x 1024");
    assert_string_equal(cli_shape(1, (const uint64_t[4]){256, 1, 1, 1}).s, "256");
    const uint64_t largest[4] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    assert_true(strlen(cli_shape(4, largest).s) < sizeof(struct cli_text));
}

static void test_percent(void **state)
{
    (void)state;
    assert_string_equal(cli_percent(0).s, "-");
    assert_string_equal(cli_percent(0.00527).s, "0.527 %");
}

static void check_shell_word(const char *word, const char *expected)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    cli_put_shell_word(out, word);
    fclose(out);
    assert_string_equal(text, expected);
    free(text);
}

static void test_shell_words(void **state)
{
    (void)state;
    check_shell_word("out/model-layered.gguf", "out/model-layered.gguf");
    check_shell_word("", "''");
    check_shell_word("a b", "'a b'");
    check_shell_word("it's", "'it'\\''s'");
    check_shell_word("$HOME;rm", "'$HOME;rm'");
    check_shell_word("\xC3\xA4", "'\xC3\xA4'");
}

static const char *nearest(const char *word)
{
    static const char *const words[] = {"threads", "type", "plan", "save-plan", "allow-requantize"};
    struct cli_suggestion s = cli_suggest(word);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) cli_suggest_offer(&s, words[i]);
    return s.best;
}

static void test_suggestions(void **state)
{
    (void)state;
    assert_string_equal(nearest("thread"), "threads");
    assert_string_equal(nearest("tyep"), "type");
    assert_string_equal(nearest("allow"), "allow-requantize");
    assert_string_equal(nearest("saveplan"), "save-plan");
    assert_null(nearest("zzz"));
    assert_null(nearest(""));
    assert_null(nearest("a-word-much-longer-than-any-name-that-there-will-ever-be-in-the-table"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),       cmocka_unit_test(test_shapes),      cmocka_unit_test(test_percent),
        cmocka_unit_test(test_shell_words), cmocka_unit_test(test_suggestions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
