/* The report's pieces: escaping, figures, axes; and pages made of evaluations by hand. What a browser makes of them is
 * tested in tests/cli/test_report.py. */
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "evaluate/evaluation.h"
#include "llava_quantize/report.h"
#include "report/figure.h"
#include "report/page.h"
#include "report/svg.h"
#include "runtime/utf8.h"
#include "test_folder.h"

/* ---- the page's text ---- */

static void check_put(const char *expected, struct lq_page *page)
{
    lq_page_raw(page, "", 1); /* terminates it */
    assert_false(page->failed);
    assert_string_equal(page->text, expected);
    free(page->text);
}

static void test_numbers_and_text(void **state)
{
    (void)state;
    struct lq_page page = {0};
    lq_page_put(&page, "%d %u %zu %lu %x|%.1f %.3g|%s|100 %%", -3, 4u, (size_t)5, 6ul, 255, 2.25, 1e-7, "plain");
    check_put("-3 4 5 6 ff|2.2 1e-07|plain|100 %", &page);
}

static void test_escaping(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"", ""},
        {"</script><b a=\"1\" c='2'>&amp;", "&lt;/script&gt;&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;amp;"},
        {"tab\tline\n", "tab\tline\n"},
        {"\x01\x1b[31m\x7f\r", "\uFFFD\uFFFD[31m\uFFFD\uFFFD"},
        {"a\u202Egnp.exe\u2066b\xc2\x85", "a\uFFFDgnp.exe\uFFFDb\uFFFD"},
        {"שלום \u200F日本語 😀", "שלום \u200F日本語 😀"},
        {"\xff\xc0\xaf\xed\xa0\x80 cut \xe2\x80", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD cut \uFFFD"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lq_page page = {0};
        lq_page_put(&page, "%s", cases[i].text);
        check_put(cases[i].expected, &page);
    }
}

/* A mark that must go is found wherever the pieces in which text is read happen to end. */
static void test_escaping_of_long_text(void **state)
{
    (void)state;
    for (size_t n = 500; n < 530; n++) {
        char text[600] = "", expected[600] = "";
        memset(text, 'x', n);
        memset(expected, 'x', n);
        strcpy(text + n, "\u202E<");
        strcpy(expected + n, "\uFFFD&lt;");
        struct lq_page page = {0};
        lq_page_put(&page, "%s", text);
        check_put(expected, &page);
    }
}

static void test_base64_and_sums(void **state)
{
    (void)state;
    static const char *const expected[] = {"", "AA==", "AP8=", "AP8Q", "AP8QgA=="};
    static const unsigned char bytes[] = {0, 255, 16, 128};
    for (size_t n = 0; n <= sizeof bytes; n++) {
        struct lq_page page = {0};
        lq_page_base64(&page, bytes, n);
        check_put(expected[n], &page);
    }
    struct lq_page page = {0};
    lq_page_sha256(&page, "abc", 3);
    check_put("ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=", &page);
}

/* ---- figures and axes ---- */

static void test_figures(void **state)
{
    (void)state;
    assert_string_equal(lq_figure_kl(0).s, "0");
    assert_string_equal(lq_figure_kl(0.0123456).s, "0.0123");
    assert_string_equal(lq_figure_kl(12.345).s, "12.3");
    assert_string_equal(lq_figure_kl(4321).s, "4321");
    assert_string_equal(lq_figure_kl(2.449e-7).s, "2.4×10⁻⁷");
    assert_string_equal(lq_figure_kl(3e12).s, "3.0×10¹²");
    assert_string_equal(lq_figure_kl(INFINITY).s, "∞");
    assert_string_equal(lq_figure_kl(NAN).s, "not measured");
    assert_string_equal(lq_figure_tick(0.002).s, "0.002");
    assert_string_equal(lq_figure_tick(1e-5).s, "10⁻⁵");
    assert_string_equal(lq_figure_tick(2e-12).s, "2×10⁻¹²");
    assert_string_equal(lq_figure_percent(0.98765, 1).s, "98.8 %");
    assert_string_equal(lq_figure_number(1e300, 2).s, "1.0×10³⁰⁰");
    assert_string_equal(lq_figure_size(0).s, "not measured");
    assert_string_equal(lq_figure_size(512).s, "512 B");
    assert_string_equal(lq_figure_size(13u << 20).s, "13.0 MiB");
    assert_string_equal(lq_figure_size(UINT64_MAX).s, "16.0 EiB");
    assert_string_equal(lq_figure_time(59.96).s, "60.0 s");
    assert_string_equal(lq_figure_time(200).s, "3 min 20 s");
    assert_string_equal(lq_figure_time(7500).s, "2 h 5 min");
    assert_string_equal(lq_figure_kl_interval(&(struct lq_estimate){1, 0.5, 1.5}).s, "0.50 – 1.5");
    assert_string_equal(lq_figure_kl_interval(&(struct lq_estimate){1, NAN, NAN}).s, "");
    assert_string_equal(lq_figure_share_interval(&(struct lq_estimate){0.9, 0.893, 0.933}).s, "89.3 – 93.3 %");
}

static void test_logarithmic_axis(void **state)
{
    (void)state;
    static const double values[] = {0, NAN, INFINITY, 1e-320, 0.004, 7, 1e305};
    struct lq_range range = {0};
    lq_range_add(&range, 0.004);
    lq_range_add(&range, NAN);
    lq_range_add(&range, 7);
    lq_range_add(&range, 0);
    struct lq_axis axis = lq_axis_log(&range, 250, 10);
    assert_true(axis.from <= 0.004 && axis.to >= 7 && axis.has_zero);
    assert_true(lq_axis_at(&axis, 0) > lq_axis_at(&axis, 0.004));
    assert_true(lq_axis_at(&axis, 0.004) > lq_axis_at(&axis, 7));
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        double at = lq_axis_at(&axis, values[i]);
        assert_true(at >= 10 && at <= 250);
    }
    double ticks[LQ_MAX_TICKS];
    size_t n = lq_axis_ticks(&axis, ticks);
    assert_true(n >= 3);
    for (size_t i = 1; i < n; i++) assert_true(ticks[i] > ticks[i - 1]);
}

static void test_axes_of_extremes(void **state)
{
    (void)state;
    static const double extremes[][2] = {{1e-310, 1e308}, {3, 3}, {1e-9, 1}, {0.99, 1.01}};
    for (size_t i = 0; i < sizeof extremes / sizeof *extremes; i++) {
        struct lq_range range = {0};
        lq_range_add(&range, extremes[i][0]);
        lq_range_add(&range, extremes[i][1]);
        struct lq_axis axis = lq_axis_log(&range, 0, 100);
        double ticks[LQ_MAX_TICKS], at = lq_axis_at(&axis, extremes[i][1]);
        size_t n = lq_axis_ticks(&axis, ticks);
        assert_true(n >= 1 && n <= LQ_MAX_TICKS);
        assert_true(at >= 0 && at <= 100);
    }
    struct lq_axis nothing = lq_axis_linear(0, 0, 100);
    assert_true(lq_axis_at(&nothing, 5) == 100 && lq_axis_at(&nothing, NAN) == 0);
}

/* ---- pages ---- */

static char *text_of(const char *text)
{
    return strdup(text);
}

static struct lq_question_result question(const char *image, const char *text, bool before, bool now)
{
    return (struct lq_question_result){.id = text_of("1"),
                                       .image = text_of(image),
                                       .kind = text_of(""),
                                       .question = text_of(text),
                                       .right = text_of("yes"),
                                       .answer_original = text_of(before ? "yes" : "no"),
                                       .answer = text_of(now ? "yes" : "no"),
                                       .exact_original = before,
                                       .exact = now,
                                       .kl = 0.25,
                                       .agreement = 1};
}

/* An evaluation with three flips, two of them about the same picture of the demo, one about a picture that is not. */
static struct lq_evaluation *evaluation(const char *name)
{
    struct lq_evaluation *e = lq_evaluation_new();
    assert_non_null(e);
    struct lq_arm_result *arm = &e->arm[LQ_ARM_BOTH];
    e->name = text_of(name);
    e->original_name = text_of("original");
    arm->answer.tokens = 9;
    arm->answer.kl = (struct lq_estimate){0.125, 0.1, 0.15};
    arm->answer.kl_median = arm->answer.kl_p90 = arm->answer.kl_p99 = arm->answer.kl_p999 = arm->answer.kl_max = 0.125;
    arm->answers.questions = 3;
    arm->answers.exact_original = arm->answers.exact = (struct lq_estimate){0.5, 0.4, 0.6};
    arm->answers.lost = 2;
    arm->answers.gained = 1;
    e->pair[LQ_VISION].path = text_of("v.gguf");
    e->pair[LQ_VISION].bytes = e->pair[LQ_LANGUAGE].bytes = 1 << 20;
    e->questions = calloc(3, sizeof *e->questions);
    e->questions[0] = question(LQ_DEMO "/exam/00000.png", "Is it?", true, false);
    e->questions[1] = question("no/such.png", "Was it?", true, false);
    e->questions[2] = question(LQ_DEMO "/exam/00000.png", "Will it?", false, true);
    e->n_questions = 3;
    return e;
}

static char *saved_with(const struct lq_evaluation *const *evaluations, size_t n, const struct lq_curve *curve)
{
    char path[128], *text = NULL;
    size_t size = 0;
    struct lq_error err = {0};
    snprintf(path, sizeof path, "%s/page.html", folder);
    assert_int_equal(lq_report_save(path, evaluations, n, curve, &err), LQ_OK);
    assert_int_equal(lq_file_load(path, 1 << 26, &text, &size, &err), LQ_OK);
    assert_int_equal(strlen(text), size);
    assert_true(lq_utf8_valid(text));
    return text;
}

static char *saved(const struct lq_evaluation *const *evaluations, size_t n)
{
    return saved_with(evaluations, n, NULL);
}

static size_t count(const char *text, const char *word)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at += strlen(word)) n++;
    return n;
}

static void test_pictures_once(void **state)
{
    (void)state;
    struct lq_evaluation *e = evaluation("q4");
    char *page = saved((const struct lq_evaluation *const *)&e, 1);
    assert_int_equal(count(page, "data:image/png;base64,"), 1);
    assert_int_equal(count(page, "<use href=\"#p0\"/>"), 2);
    assert_int_equal(count(page, "no/such.png: cannot open: No such file or directory"), 1);
    assert_int_equal(count(page, "<h3>Lost: 2 of 3</h3>"), 1);
    assert_int_equal(count(page, "<h3>Gained: 1 of 3</h3>"), 1);
    free(page);
    lq_evaluation_free(e);
}

static void test_same_bytes(void **state)
{
    (void)state;
    struct lq_evaluation *e[] = {evaluation("q4"), evaluation("q4"), evaluation("q2")};
    char *first = saved((const struct lq_evaluation *const *)e, 3);
    const char *before = setlocale(LC_NUMERIC, "de_DE.UTF-8"); /* where there is one: a decimal comma */
    char *second = saved((const struct lq_evaluation *const *)e, 3);
    if (before != NULL) setlocale(LC_NUMERIC, "C");
    assert_string_equal(first, second);
    assert_true(strstr(first, "<h2>q4</h2>") != NULL && strstr(first, "<h2>q4 (2)</h2>") != NULL);
    free(first);
    free(second);
    for (size_t i = 0; i < 3; i++) lq_evaluation_free(e[i]);
}

static void test_hostile_texts(void **state)
{
    (void)state;
    static const char attack[] = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>\u202E\x01\xff";
    struct lq_evaluation *e = evaluation(attack);
    struct lq_provenance *p = &e->provenance;
    char **texts[] = {&e->original_name,
                      &p->command,
                      &p->data,
                      &p->cpu,
                      &p->text,
                      &e->questions[0].question,
                      &e->questions[1].answer,
                      &e->questions[2].answer_original,
                      &e->questions[1].image};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        free(*texts[i]);
        *texts[i] = text_of(attack);
    }
    e->kinds = calloc(1, sizeof *e->kinds);
    e->kinds[0].kind = text_of(attack);
    e->n_kinds = 1;
    e->tensors = calloc(1, sizeof *e->tensors);
    e->tensors[0] = (struct lq_tensor_result){text_of(attack), LQ_VISION, LQ_ROLE_PROJECTOR, -1,
                                              LQ_TYPE_Q4_K,    NAN,       text_of(attack)};
    e->n_tensors = 1;
    char *page = saved((const struct lq_evaluation *const *)&e, 1);
    assert_int_equal(count(page, "<script>"), 1); /* our own */
    assert_int_equal(count(page, "</script>"), 1);
    assert_null(strstr(page, "<img"));
    assert_null(strstr(page, "\u202E"));
    assert_null(strchr(page, 1));
    assert_true(count(page, "&quot;&#39;&gt;&lt;script&gt;alert(1)") >= 12);
    free(page);
    lq_evaluation_free(e);
}

static void add_tensor(struct lq_evaluation *e, enum lq_role role, int block, enum lq_type type)
{
    char name[64];
    snprintf(name, sizeof name, "t%zu", e->n_tensors);
    e->tensors = realloc(e->tensors, (e->n_tensors + 1) * sizeof *e->tensors);
    e->tensors[e->n_tensors++] =
        (struct lq_tensor_result){text_of(name), LQ_LANGUAGE, role, block, type, 0.02, text_of("because")};
}

/* Blocks are columns however they are numbered; tensors of one block and role share a cell; norms are counted. */
static void test_map_of_tensors(void **state)
{
    (void)state;
    struct lq_evaluation *e = evaluation("q4");
    add_tensor(e, LQ_ROLE_LANGUAGE_FFN_UP, 2000000000, LQ_TYPE_Q4_K);
    add_tensor(e, LQ_ROLE_LANGUAGE_FFN_UP, 7, LQ_TYPE_Q4_K);
    add_tensor(e, LQ_ROLE_LANGUAGE_FFN_UP, 7, LQ_TYPE_Q6_K);
    add_tensor(e, LQ_ROLE_LANGUAGE_FFN_DOWN, 7, LQ_TYPE_Q8_0);
    add_tensor(e, LQ_ROLE_LANGUAGE_OUTPUT, -1, LQ_TYPE_Q8_0);
    add_tensor(e, LQ_ROLE_NORM, 7, LQ_TYPE_F32);
    char *page = saved((const struct lq_evaluation *const *)&e, 1);
    assert_int_equal(count(page, "class=\"item cell\""), 4);
    assert_int_equal(count(page, ">mixed</text>"), 1);
    assert_non_null(
        strstr(page, "data-x=\"0\" data-y=\"0\"><title>t1: q4_k, error 2.000 %; reason: because\nt2: q6_k"));
    assert_non_null(strstr(page, "data-x=\"1\" data-y=\"0\"><title>t0: q4_k"));
    assert_non_null(strstr(page, "data-x=\"0\" data-y=\"1\"><title>t3: q8_0"));
    assert_non_null(strstr(page, "data-x=\"0\" data-y=\"2\"><title>t4: q8_0"));
    assert_non_null(strstr(page, "Not drawn: 1 tensor"));
    free(page);
    lq_evaluation_free(e);
}

static void test_nothing_measured(void **state)
{
    (void)state;
    struct lq_evaluation *e = lq_evaluation_new();
    char *page = saved((const struct lq_evaluation *const *)&e, 1);
    assert_true(count(page, "not measured") > 15);
    assert_null(strstr(page, ">nan"));
    assert_null(strstr(page, "\"nan"));
    free(page);
    lq_evaluation_free(e);
}

/* ---- the curve ---- */

#define CURVE "\"format\": \"llava-quantize curve\", \"version\": 1"

static enum lq_status load_curve(struct lq_curve **out, const char *text, struct lq_error *err)
{
    char path[128];
    snprintf(path, sizeof path, "%s/curve.json", folder);
    assert_int_equal(lq_file_save(path, text, strlen(text), err), LQ_OK);
    return lq_curve_load(out, path, err);
}

static void test_curve(void **state)
{
    (void)state;
    static const char text[] =
        "{" CURVE
        ", \"model\": \"<b>m\", \"data\": \"<i>d.json\", \"questions\": 48, \"effort\": \"normal\", \"new\": 1,"
        " \"points\": [{\"bytes\": 1048576, \"bpw\": 2.5, \"estimate\": 0.5, \"measured\": 0.4, \"error\": 0.01},"
        " {\"bytes\": 2097152, \"bpw\": 5, \"estimate\": 0.02, \"measured\": 0.01, \"error\": 1e300},"
        " {\"bytes\": 4194304, \"bpw\": 8.5, \"estimate\": 0.001, \"measured\": null, \"error\": null},"
        " {\"bytes\": 4194305, \"bpw\": 8.5, \"estimate\": null, \"measured\": null, \"error\": null}]}";
    struct lq_curve *curve = NULL;
    struct lq_error err = {0};
    struct lq_evaluation *e = evaluation("uniform");
    assert_int_equal(load_curve(&curve, text, &err), LQ_OK);
    assert_int_equal(curve->n, 4);
    assert_int_equal(curve->points[1].bytes, 2097152);
    assert_true(isnan(curve->points[2].measured));
    char *page = saved_with((const struct lq_evaluation *const *)&e, 1, curve);
    assert_int_equal(count(page, "<title>best plan at "), 3);
    assert_non_null(
        strstr(page, "best plan at 1.00 MiB (2.50 bits per weight): KL 0.400 (0.38 – 0.42), expected 0.500<"));
    assert_non_null(strstr(page, "best plan at 4.00 MiB (8.50 bits per weight): KL expected 0.00100<"));
    assert_non_null(strstr(page, "<title>uniform: 2.00 MiB, KL 0.125 (0.10 – 0.15)</title>"));
    assert_non_null(strstr(page, "measured on 48 questions of &lt;i&gt;d.json"));
    assert_null(strstr(page, "<b>m"));
    assert_null(strstr(page, "inf"));
    free(page);
    lq_curve_free(curve);
    lq_evaluation_free(e);
}

static void test_curve_of_which_nothing_is_known(void **state)
{
    (void)state;
    struct lq_curve *curve = NULL;
    struct lq_error err = {0};
    struct lq_evaluation *e = evaluation("uniform");
    assert_int_equal(load_curve(&curve, "{" CURVE ", \"points\": [{\"bytes\": 7}]}", &err), LQ_OK);
    char *page = saved_with((const struct lq_evaluation *const *)&e, 1, curve);
    assert_non_null(strstr(page, "not measured: no sensitivity was known"));
    assert_null(strstr(page, "curve-plot"));
    free(page);
    lq_curve_free(curve);
    lq_evaluation_free(e);
}

static void test_curves_that_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{", "line 1"},
        {"{}", "not a curve of sizes: the key 'format' does not say 'llava-quantize curve'"},
        {"{\"format\": \"llava-quantize curve\", \"version\": 2}",
         "version 2 of the format, expected 1: write it again with this program's plan --curve"},
        {"{" CURVE ", \"points\": 3}", "key 'points' is 3, expected null or an array"},
        {"{" CURVE ", \"points\": [{\"bytes\": -1}]}", "key 'points[0].bytes' is -1"},
        {"{" CURVE ", \"points\": [{}, {\"measured\": \"low\"}]}", "key 'points[1].measured' is \"low\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lq_curve *curve = NULL;
        struct lq_error err = {0};
        assert_true(load_curve(&curve, cases[i].text, &err) != LQ_OK);
        assert_null(curve);
        if (strstr(err.message, cases[i].message) == NULL) fail_msg("'%s'", err.message);
    }
}

static void test_nothing_to_show(void **state)
{
    (void)state;
    struct lq_error err = {0};
    assert_int_equal(lq_report_save("x.html", NULL, 0, NULL, &err), LQ_ERR_USAGE);
    assert_string_equal(err.message, "x.html: a report needs at least one evaluation");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_and_text),
        cmocka_unit_test(test_escaping),
        cmocka_unit_test(test_escaping_of_long_text),
        cmocka_unit_test(test_base64_and_sums),
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_logarithmic_axis),
        cmocka_unit_test(test_axes_of_extremes),
        cmocka_unit_test_setup_teardown(test_pictures_once, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_same_bytes, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_hostile_texts, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_map_of_tensors, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_nothing_measured, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_curve, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_curve_of_which_nothing_is_known, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_curves_that_are_refused, make_folder, remove_folder),
        cmocka_unit_test(test_nothing_to_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
