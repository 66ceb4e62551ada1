/* Importance matrices: both forms give the means that llama-quantize would use; nothing else gets in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bytes.h"
#include "llava_quantize/calibrate.h"

#include <math.h>

static struct lq_stats *load(const char *path)
{
    struct lq_stats *im = NULL;
    struct lq_error err = {0};
    if (lq_stats_load(&im, path, &err) != LQ_OK) fail_msg("%s", err.message);
    return im;
}

static struct lq_tensor tensor(const char *name, uint64_t ne0, uint64_t ne1, uint64_t ne2)
{
    return (struct lq_tensor){.name = name, .ne = {ne0, ne1, ne2, 1}, .role = LQ_ROLE_LANGUAGE_ATTENTION_Q};
}

static void check(const struct lq_stats *im, struct lq_tensor t, const float *expected)
{
    const float *found = lq_stats_importance(im, &t);
    if (expected == NULL) {
        assert_null(found);
        return;
    }
    assert_non_null(found);
    for (uint64_t i = 0; i < t.ne[0] * t.ne[2]; i++)
        if (found[i] != expected[i])
            fail_msg("%s: value %d is %.9g, expected %.9g", t.name, (int)i, found[i], expected[i]);
}

/* What a mean of a few tokens becomes: made up to 64 with tokens of the row's mean. */
static float made_up(double value, double row, double tokens)
{
    return (float)(((double)(float)value * tokens + (64 - tokens) * row) / 64);
}

/* Counts are rounded to whole numbers; an expert never asked has weight 1 everywhere; a column that met nothing but
 * zeros gets what one token more would have brought. */
static void test_golden_gguf(void **state)
{
    (void)state;
    struct lq_stats *im = load(LQ_TESTS "/golden/imatrix.gguf");
    float experts[12];
    for (int i = 0; i < 12; i++) {
        const double sums[] = {i + 1, 10 * (i % 4 + 1)}, rows[] = {10. / 4 / 3, 100. / 4 / 7};
        experts[i] = i < 8 ? made_up((float)sums[i / 4] / (i < 4 ? 3.f : 7.f), rows[i / 4], i < 4 ? 3 : 7) : 1;
    }
    const double row = 10. / 4 / 3;
    const float matrix[] = {made_up(1.f / 3, row, 3), made_up(row / 4, row, 3), made_up(2.f / 3, row, 3),
                            made_up(7.f / 3, row, 3)};
    assert_int_equal(lq_stats_count(im), 3);
    assert_int_equal(lq_stats_chunks(im), 12);
    assert_string_equal(lq_stats_dataset(im), "pictures.jsonl");
    assert_string_equal(lq_stats_path(im), LQ_TESTS "/golden/imatrix.gguf");
    check(im, tensor("blk.0.ffn_up_exps.weight", 4, 8, 3), experts);
    check(im, tensor("blk.0.attn_q.weight", 4, 9, 1), matrix);
    check(im, tensor("blk.1.attn_q.weight", 4, 9, 1), NULL);
    check(im, tensor("blk.2.attn_q.weight", 4, 9, 1), NULL);
    check(im, tensor("blk.0.attn_q.weight", 5, 9, 1), NULL);
    lq_stats_free(im);
    lq_stats_free(NULL);
}

static void test_golden_legacy(void **state)
{
    (void)state;
    struct lq_stats *im = load(LQ_TESTS "/golden/imatrix.dat");
    assert_int_equal(lq_stats_count(im), 3);
    assert_int_equal(lq_stats_chunks(im), 12);
    assert_string_equal(lq_stats_dataset(im), "wiki.train.raw");
    check(im, tensor("blk.0.attn_q.weight", 4, 9, 1),
          (float[]){1.f / 3, (float)(10. / 4 / 3 / (3 * 512 + 1)), 2.f / 3, 7.f / 3});
    check(im, tensor("blk.1.attn_q.weight", 4, 9, 1), NULL);
    check(im, tensor("blk.2.attn_q.weight", 4, 9, 1), (float[]){1, (float)(10. / 4 / 513), 2, 7});
    lq_stats_free(im);
}

static void test_check_against_model(void **state)
{
    (void)state;
    struct lq_stats *im = load(LQ_TESTS "/golden/imatrix.gguf");
    struct lq_error err = {0};
    struct lq_tensor tensors[] = {tensor("other", 7, 7, 1), tensor("blk.0.attn_q.weight", 4, 9, 1),
                                  tensor("blk.1.attn_q.weight", 4, 9, 1)};
    struct lq_model_half half = {.n_tensors = 3, .tensors = tensors};
    struct lq_model model = {.path = "model", .half = {[LQ_LANGUAGE] = &half}};
    assert_int_equal(lq_stats_check(im, &model, &err), LQ_OK);
    tensors[1].ne[0] = 4096;
    assert_int_equal(lq_stats_check(im, &model, &err), LQ_ERR_FORMAT);
    assert_string_equal(err.message,
                        LQ_TESTS "/golden/imatrix.gguf: tensor 'blk.0.attn_q.weight': 4 values, expected 4096: "
                                 "importance data of another model");
    tensors[1].role = LQ_ROLE_LANGUAGE_EMBEDDING;
    assert_int_equal(lq_stats_check(im, &model, &err), LQ_OK);
    assert_null(lq_stats_importance(im, &tensors[1]));
    half.n_tensors = 1;
    assert_int_equal(lq_stats_check(im, &model, &err), LQ_ERR_FORMAT);
    assert_string_equal(err.message,
                        LQ_TESTS "/golden/imatrix.gguf: not one of its 3 tensors, of which 'blk.0.attn_q.weight' is "
                                 "one, is a tensor of model: importance data of another model, or of the other half");
    lq_stats_free(im);
}

static void refuse(const struct bytes *b, const char *message)
{
    struct lq_stats *im = NULL;
    struct lq_error err = {0};
    char path[64];
    int fd = bytes_fd(b);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    assert_int_equal(lq_stats_load(&im, path, &err), LQ_ERR_FORMAT);
    assert_null(im);
    assert_memory_equal(err.message, path, strlen(path));
    assert_string_equal(err.message + strlen(path), message);
    close(fd);
}

/* `n` values of which the last is `last`, and their count; either may be left out. */
static void put_imatrix(struct bytes *b, const char *type, uint32_t n, float last, const char *counts, float count)
{
    *b = (struct bytes){0};
    put_gguf_head(b, 3, (n > 0) + (counts != NULL), 1);
    put_gguf_text(b, "general.type", type);
    if (n > 0) put_gguf_tensor(b, "w.in_sum2", n, 1, 0, 0);
    if (counts != NULL) put_gguf_tensor(b, counts, 1, 1, 0, n > 0 ? 32 : 0);
    put_padding(b, 32);
    for (uint32_t i = 0; i < n; i++) put_f32(b, i + 1 < n ? 1 : last);
    put_padding(b, 32);
    put_f32(b, count);
    put_padding(b, 32);
}

static void test_bad_gguf(void **state)
{
    (void)state;
    struct bytes b = {0};
    put_imatrix(&b, "imatrix", 2, NAN, "w.counts", 1);
    refuse(&b, ": tensor 'w.in_sum2': value 1 is nan, expected finite and not negative");
    put_imatrix(&b, "imatrix", 2, INFINITY, "w.counts", 1);
    refuse(&b, ": tensor 'w.in_sum2': value 1 is inf, expected finite and not negative");
    put_imatrix(&b, "imatrix", 3, -1, "w.counts", 1);
    refuse(&b, ": tensor 'w.in_sum2': value 2 is -1, expected finite and not negative");
    put_imatrix(&b, "imatrix", 2, 1, "w.counts", -3);
    refuse(&b, ": tensor 'w.counts': value 0 is -3, expected finite and not negative");
    put_imatrix(&b, "imatrix", 2, 1, "x.counts", 1);
    refuse(&b, ": tensor 'w.in_sum2': 'w.counts' is missing");
    put_imatrix(&b, "imatrix", 0, 1, "x.counts", 1);
    refuse(&b, ": tensor 'x.counts': its '.in_sum2' is missing");
    put_imatrix(&b, "model", 2, 1, "w.counts", 1);
    refuse(&b, ": no importance matrix: general.type is 'model', expected 'imatrix'");
    put_imatrix(&b, "imatrix", 0, 1, "x.weight", 1);
    refuse(&b, ": no importance data in the file");
    b.n = 60;
    refuse(&b, ": ends inside key 'general.type': 7 bytes needed at byte 56, the file has 60");
}

/* Sums and counts of other shapes and types than they must have. */
static void test_bad_shapes(void **state)
{
    (void)state;
    struct bytes b = {0};
    put_gguf_head(&b, 3, 2, 1);
    put_gguf_text(&b, "general.type", "imatrix");
    put_gguf_tensor(&b, "w.in_sum2", 3, 1, 0, 0);
    put_gguf_tensor(&b, "w.counts", 1, 2, 0, 32);
    put_padding(&b, 32);
    put_zeros(&b, 64);
    refuse(&b, ": tensor 'w': 3 values do not divide into 2 counts");
    b.n = 0;
    put_gguf_head(&b, 3, 2, 1);
    put_gguf_text(&b, "general.type", "imatrix");
    put_gguf_tensor(&b, "w.in_sum2", 3, 1, 1, 0);
    put_gguf_tensor(&b, "w.counts", 1, 1, 0, 32);
    put_padding(&b, 32);
    put_zeros(&b, 64);
    refuse(&b, ": tensor 'w.in_sum2': type f16, expected f32");
}

/* A sparse file claims more than anybody has memory for. */
static void test_too_large(void **state)
{
    (void)state;
    const uint64_t columns = UINT64_C(1) << 40;
    struct bytes b = {0};
    struct lq_stats *im = NULL;
    struct lq_error err = {0};
    char path[64];
    put_gguf_head(&b, 3, 2, 1);
    put_gguf_text(&b, "general.type", "imatrix");
    put_gguf_tensor(&b, "w.counts", 1, 1, 0, 0);
    put_gguf_tensor(&b, "w.in_sum2", columns, 1, 0, 32);
    int fd = bytes_fd(&b);
    assert_int_equal(ftruncate(fd, (off_t)(4 * columns + 4096)), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    assert_int_equal(lq_stats_load(&im, path, &err), LQ_ERR_FORMAT);
    assert_string_equal(err.message + strlen(path),
                        ": tensor 'w.in_sum2': 4398046511104 bytes, expected at most 1073741824");
    close(fd);
}

static void put_legacy(struct bytes *b, const char *name, uint32_t calls, uint32_t n, float value)
{
    put_u32(b, (uint32_t)strlen(name));
    put(b, name, strlen(name));
    put_u32(b, calls);
    put_u32(b, n);
    for (uint32_t i = 0; i < n && i < 9; i++) put_f32(b, value);
}

static void test_bad_legacy(void **state)
{
    (void)state;
    static const char bad[] = ": neither a GGUF nor an older importance matrix: entry 0 is cut off or malformed";
    struct bytes b = {0};
    refuse(&b, bad);
    put(&b, "just some text", 14);
    refuse(&b, bad);
    b.n = 0;
    put_u32(&b, 0);
    refuse(&b, bad);
    b.n = 0;
    put_u32(&b, 1);
    put_legacy(&b, "w", 1, UINT32_MAX, 1);
    refuse(&b, bad);
    b.n = 0;
    put_u32(&b, 1);
    put_legacy(&b, "w", 1, 1000000000, 1);
    refuse(&b, bad);
    b.n = 0;
    put_u32(&b, 1);
    put_legacy(&b, "w\n", 1, 4, 1);
    refuse(&b, bad);
    b.data[9] = 0; /* a name with a zero byte in it */
    refuse(&b, bad);
    b.n = 0;
    put_u32(&b, 1);
    put_legacy(&b, "w", 1, 4, -INFINITY);
    refuse(&b, ": tensor 'w': value 0 is -inf, expected finite and not negative");
    b.n = 0;
    put_u32(&b, 2);
    put_legacy(&b, "w", 1, 4, 1);
    put_legacy(&b, "w", 1, 4, 1);
    refuse(&b, ": tensor name 'w' stands twice");
    b.n -= 2;
    refuse(&b, ": neither a GGUF nor an older importance matrix: entry 1 is cut off or malformed");
}

/* What stands behind the entries is optional. */
static void test_legacy_tail(void **state)
{
    (void)state;
    struct bytes b = {0};
    char path[64];
    put_u32(&b, 1);
    put_legacy(&b, "w", 2, 4, 3);
    int fd = bytes_fd(&b);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct lq_stats *im = load(path);
    assert_int_equal(lq_stats_chunks(im), 0);
    assert_string_equal(lq_stats_dataset(im), "");
    check(im, tensor("w", 4, 1, 1), (float[]){1.5f, 1.5f, 1.5f, 1.5f});
    lq_stats_free(im);
    close(fd);
}

static void test_missing(void **state)
{
    (void)state;
    struct lq_stats *im = NULL;
    struct lq_error err = {0};
    assert_int_equal(lq_stats_load(&im, "/nowhere/imatrix.gguf", &err), LQ_ERR_IO);
    assert_string_equal(err.message, "/nowhere/imatrix.gguf: cannot open: No such file or directory");
    assert_null(im);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_gguf),
        cmocka_unit_test(test_golden_legacy),
        cmocka_unit_test(test_check_against_model),
        cmocka_unit_test(test_bad_gguf),
        cmocka_unit_test(test_bad_shapes),
        cmocka_unit_test(test_bad_legacy),
        cmocka_unit_test(test_legacy_tail),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
