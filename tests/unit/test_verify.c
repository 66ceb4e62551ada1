/* Verification through the public door: hooks, faults, threads; and the pieces that it stands on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "demo_pair.h"
#include "inspect/sums_file.h"
#include "test_quantize_fixture.h"

static void open_pair(struct lq_model **model, const char *path)
{
    struct lq_error err = {0};
    if (lq_model_open(model, path, NULL, &err) != LQ_OK) fail_msg("%s", err.message);
}

struct watch {
    unsigned calls, stop_at;
    uint64_t done, total;
};

static bool stop(void *data)
{
    struct watch *w = data;
    return ++w->calls >= w->stop_at;
}

static void watch_progress(void *data, const struct lq_progress *p)
{
    struct watch *w = data;
    assert_true(p->done >= w->done && p->done <= p->total);
    w->done = p->done;
    w->total = p->total;
}

static void progress_ends_at_the_total(void **state)
{
    (void)state;
    struct lq_model *model = NULL, *original = NULL;
    struct lq_verification *seen = NULL;
    struct watch w = {.stop_at = UINT32_MAX};
    struct lq_hooks hooks = {.data = &w, .progress = watch_progress, .cancelled = stop};
    open_pair(&model, DEMO_MODEL);
    struct lq_verify_options options = {.original = model, .threads = 1, .hooks = &hooks};
    struct lq_error err = {0};
    assert_int_equal(lq_verify_model(&seen, model, &options, &err), LQ_ERR_USAGE);
    assert_null(seen);
    struct demo_pair pair;
    demo_pair_make(&pair, "8", NULL);
    open_pair(&original, pair.path[LQ_LANGUAGE]);
    options.original = model;
    assert_int_equal(lq_verify_model(&seen, original, &options, &err), LQ_OK);
    assert_int_equal(seen->n_findings, 0);
    assert_true(w.total > 0 && w.done == w.total);
    lq_verification_free(seen);
    lq_model_free(model);
    lq_model_free(original);
    demo_pair_remove(&pair);
}

/* Stopped at the first question, at a later one, and while sums are computed. */
static void cancelling_leaves_nothing(void **state)
{
    (void)state;
    struct demo_pair pair;
    struct lq_model *model = NULL;
    char sums[128];
    demo_pair_make(&pair, "8", NULL);
    snprintf(sums, sizeof sums, "%s/sums", pair.folder);
    open_pair(&model, pair.path[LQ_LANGUAGE]);
    struct watch w = {.stop_at = UINT32_MAX};
    struct lq_hooks hooks = {.data = &w, .cancelled = stop};
    struct lq_verify_options options = {.threads = 1, .hooks = &hooks};
    struct lq_verification *seen = NULL;
    struct lq_error err = {0};
    assert_int_equal(lq_verify_model(&seen, model, &options, &err), LQ_OK);
    lq_verification_free(seen);
    const unsigned stops[] = {1, w.calls / 2, w.calls, w.calls + 1};
    options.sums = sums;
    for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++) {
        seen = NULL;
        w = (struct watch){.stop_at = stops[i]};
        assert_int_equal(lq_verify_model(&seen, model, &options, &err), LQ_ERR_CANCELLED);
        assert_null(seen);
        assert_int_not_equal(access(sums, F_OK), 0);
    }
    lq_model_free(model);
    demo_pair_remove(&pair);
}

/* The files were whole when they were opened. */
static void a_file_that_shrinks_is_an_error(void **state)
{
    (void)state;
    struct demo_pair pair;
    struct lq_model *model = NULL;
    struct lq_verification *seen = NULL;
    struct lq_error err = {0};
    demo_pair_make(&pair, "8", NULL);
    open_pair(&model, pair.path[LQ_LANGUAGE]);
    assert_int_equal(truncate(pair.path[LQ_LANGUAGE], 300000), 0);
    assert_int_equal(lq_verify_model(&seen, model, NULL, &err), LQ_ERR_IO);
    assert_null(seen);
    assert_non_null(strstr(err.message, pair.path[LQ_LANGUAGE]));
    assert_non_null(strstr(err.message, "ends at byte 300000"));
    lq_model_free(model);
    demo_pair_remove(&pair);
}

static struct lq_verification *verify_with(const struct lq_model *model, const struct lq_model *original,
                                           unsigned threads)
{
    struct lq_verify_options options = {.original = original, .threads = threads};
    struct lq_verification *seen = NULL;
    struct lq_error err = {0};
    if (lq_verify_model(&seen, model, &options, &err) != LQ_OK) fail_msg("%s", err.message);
    return seen;
}

static void threads_do_not_change_a_bit(void **state)
{
    (void)state;
    struct demo_pair pair;
    struct lq_model *model = NULL, *original = NULL;
    demo_pair_make(&pair, "4", NULL);
    open_pair(&model, pair.path[LQ_LANGUAGE]);
    open_pair(&original, DEMO_MODEL);
    struct lq_verification *one = verify_with(model, original, 1), *many = verify_with(model, original, 13);
    for (int h = 0; h < LQ_HALVES; h++) {
        size_t n = model->half[h]->n_tensors;
        for (size_t i = 0; i < n; i++) assert_non_null(one->tensors[h][i].original);
        assert_memory_equal(one->tensors[h], many->tensors[h], n * sizeof *one->tensors[h]);
    }
    lq_verification_free(one);
    lq_verification_free(many);
    lq_model_free(model);
    lq_model_free(original);
    demo_pair_remove(&pair);
}

static void checks_have_names_of_their_own(void **state)
{
    (void)state;
    for (int i = 0; i < LQ_CHECKS; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(lq_check_name((enum lq_check)i), lq_check_name((enum lq_check)j));
}

static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; /* FIPS 180-4 */

static void sha256_of_a_stretch(void **state)
{
    (void)state;
    struct lq_sha256 sum;
    struct lq_error err = {0};
    FILE *f = tmpfile();
    assert_non_null(f);
    assert_true(fputs("xxabcyy", f) >= 0 && fflush(f) == 0);
    assert_int_equal(lq_sha256_file(&sum, fileno(f), "file", 2, 5, NULL, &err), LQ_OK);
    assert_string_equal(sum.text, abc);
    assert_int_equal(lq_sha256_file(&sum, fileno(f), "file", 2, 9, NULL, &err), LQ_ERR_IO);
    fclose(f);
}

static enum lq_status load_text(struct lq_sums_file *sums, const char *text, struct lq_error *err)
{
    char path[] = "/tmp/llava-quantize-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    enum lq_status status = lq_sums_load(sums, path, err);
    unlink(path);
    return status;
}

/* Every form that sha256sum writes, and ours. */
static void sums_are_found_in_any_form(void **state)
{
    (void)state;
    char text[1024];
    struct lq_sums_file sums = {0};
    struct lq_sha256 sum;
    struct lq_error err = {0};
    snprintf(text, sizeof text,
             "# comment\n\n%s  a.gguf\r\n%s *folder/b c.gguf\n\\%s  d\\n.gguf\n#data %s  e.gguf\n%s  last", abc, abc,
             abc, abc, abc);
    if (load_text(&sums, text, &err) != LQ_OK) fail_msg("%s", err.message);
    static const char *const files[] = {"a.gguf", "b c.gguf", "last"};
    for (size_t i = 0; i < 3; i++) {
        assert_true(lq_sums_find(&sums, LQ_SUM_FILE, files[i], &sum));
        assert_string_equal(sum.text, abc);
        assert_false(lq_sums_find(&sums, LQ_SUM_DATA, files[i], &sum));
    }
    assert_true(lq_sums_find(&sums, LQ_SUM_DATA, "e.gguf", &sum));
    assert_false(lq_sums_find(&sums, LQ_SUM_FILE, "e.gguf", &sum));
    assert_false(lq_sums_find(&sums, LQ_SUM_FILE, ".gguf", &sum));
    lq_sums_release(&sums);
}

static void other_lines_are_refused(void **state)
{
    (void)state;
    static const char *const endings[] = {"", " ", "  ", " x", "\tx.gguf", "0  x.gguf"};
    char text[256];
    struct lq_sums_file sums = {0};
    struct lq_error err = {0};
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        snprintf(text, sizeof text, "\n%s%s\n", abc, endings[i]);
        assert_int_equal(load_text(&sums, text, &err), LQ_ERR_FORMAT);
        assert_non_null(strstr(err.message, "line 2"));
        assert_null(sums.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress_ends_at_the_total),      cmocka_unit_test(cancelling_leaves_nothing),
        cmocka_unit_test(a_file_that_shrinks_is_an_error), cmocka_unit_test(threads_do_not_change_a_bit),
        cmocka_unit_test(checks_have_names_of_their_own),  cmocka_unit_test(sha256_of_a_stretch),
        cmocka_unit_test(sums_are_found_in_any_form),      cmocka_unit_test(other_lines_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
