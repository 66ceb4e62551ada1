/* The safetensors reader: a file written by the format's own package, and headers that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bytes.h"
#include "source/source.h"

static void check_tensor(const struct lq_source *s, const char *name, enum lq_type type, uint32_t n_dims,
                         const uint64_t ne[4], void *data, uint64_t bytes)
{
    struct lq_error err = {0};
    const struct lq_source_tensor *t = lq_source_find(s, name);
    assert_non_null(t);
    assert_int_equal(t->type, type);
    assert_int_equal(t->n_dims, n_dims);
    assert_memory_equal(t->ne, ne, sizeof t->ne);
    assert_int_equal(t->bytes, bytes);
    assert_int_equal(lq_source_read(s, t, 0, bytes, data, &err), LQ_OK);
}

/* Shapes are reversed into ggml's order; a dtype that ggml lacks is listed, but has no type. */
static void test_golden(void **state)
{
    (void)state;
    struct lq_source *s = NULL;
    struct lq_error err = {0};
    float f[6];
    uint16_t h[24], b[2];
    int64_t ids[3];
    double scalar = 0;
    uint8_t mask[3];
    assert_int_equal(lq_source_open(&s, LQ_TESTS "/golden/mixed.safetensors", &err), LQ_OK);
    assert_true(s->kind == LQ_SOURCE_SAFETENSORS && s->n_tensors == 6 && s->kvs.n == 0);
    check_tensor(s, "vision.weight", LQ_TYPE_F32, 2, (uint64_t[]){3, 2, 1, 1}, f, sizeof f);
    for (int i = 0; i < 6; i++) assert_true(f[i] == (float)i);
    check_tensor(s, "half.weight", LQ_TYPE_F16, 3, (uint64_t[]){4, 3, 2, 1}, h, sizeof h);
    assert_true(h[0] == 0 && h[1] == 0x3c00 && h[23] == 0x4dc0);
    check_tensor(s, "brain.weight", LQ_TYPE_BF16, 1, (uint64_t[]){2, 1, 1, 1}, b, sizeof b);
    assert_true(b[0] == 0x3fc0 && b[1] == 0xc000);
    check_tensor(s, "position_ids", LQ_TYPE_I64, 2, (uint64_t[]){3, 1, 1, 1}, ids, sizeof ids);
    assert_true(ids[2] == 2);
    check_tensor(s, "scalar", LQ_TYPE_F64, 0, (uint64_t[]){1, 1, 1, 1}, &scalar, sizeof scalar);
    assert_true(scalar == 0.25);
    check_tensor(s, "mask", LQ_TYPE_NONE, 1, (uint64_t[]){3, 1, 1, 1}, mask, sizeof mask);
    assert_memory_equal(mask, "\1\0\1", 3);
    assert_string_equal(lq_source_find(s, "mask")->dtype, "BOOL");
    assert_null(lq_source_find(s, "__metadata__"));
    for (size_t i = 1; i < s->n_tensors; i++) assert_true(s->tensors[i - 1].offset < s->tensors[i].offset);
    lq_source_close(s);
}

static void test_demo_model(void **state)
{
    (void)state;
    struct lq_source *s = NULL;
    struct lq_error err = {0};
    assert_int_equal(lq_source_open(&s, LQ_DEMO "/model/model.safetensors", &err), LQ_OK);
    const struct lq_source_tensor *t = lq_source_find(s, "language_model.model.layers.0.mlp.down_proj.weight");
    assert_non_null(t);
    assert_true(t->ne[0] == 768 && t->ne[1] == 256 && t->type == LQ_TYPE_F16);
    lq_source_close(s);
}

static enum lq_status open_bytes(const struct bytes *b, struct lq_source **s, struct lq_error *err)
{
    int fd = bytes_fd(b);
    enum lq_status status = lq_source_open_fd(s, fd, "m.safetensors", err);
    close(fd);
    return status;
}

static void refuse_bytes(const struct bytes *b, enum lq_status status, const char *message)
{
    struct lq_source *s = NULL;
    struct lq_error err = {0};
    assert_int_equal(open_bytes(b, &s, &err), status);
    assert_string_equal(err.message, message);
    assert_null(s);
}

/* A file with this header and `data` bytes behind it. */
static void put_file(struct bytes *b, const char *header, size_t data)
{
    put_u64(b, strlen(header));
    put(b, header, strlen(header));
    put_zeros(b, data);
}

static void refuse(const char *header, size_t data, enum lq_status status, const char *message)
{
    struct bytes b = {0};
    put_file(&b, header, data);
    refuse_bytes(&b, status, message);
}

#define ENTRY(name, dtype, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define M "m.safetensors: "

static void accept(const char *header, size_t data, size_t n_tensors)
{
    struct bytes b = {0};
    struct lq_source *s = NULL;
    struct lq_error err = {0};
    put_file(&b, header, data);
    if (open_bytes(&b, &s, &err) != LQ_OK) fail_msg("%s", err.message);
    assert_int_equal(s->n_tensors, n_tensors);
    lq_source_close(s);
}

/* Entries may come in any order, with unknown fields, padding behind the JSON, and types of any width. */
static void test_accepted(void **state)
{
    (void)state;
    accept("{}", 0, 0);
    accept("{\"__metadata__\":{\"format\":\"pt\"}}   ", 0, 0);
    accept("{" ENTRY("b", "F32", "[2]", "[2,10]") "," ENTRY("a", "I16", "[1,1]", "[0,2]") "}", 10, 2);
    accept("{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[2,2],\"data_offsets\":[0,4],\"more\":[]}}", 4, 1);
    accept("{" ENTRY("a", "F4", "[4]", "[0,2]") "}", 2, 1);
    accept("{" ENTRY("a", "F32", "[]", "[0,4]") "}", 4, 1);
}

static void test_header_sizes(void **state)
{
    (void)state;
    struct bytes b = {0};
    put(&b, "abc", 3);
    refuse_bytes(&b, LQ_ERR_FORMAT, M "ends inside the header: 8 bytes needed, the file has 3");
    b.n = 0;
    put_u64(&b, 100000001);
    put(&b, "{}", 2);
    refuse_bytes(&b, LQ_ERR_FORMAT, M "header of 100000001 bytes, expected at most 100000000");
    b.n = 0;
    put_u64(&b, UINT64_MAX);
    put(&b, "{}", 2);
    refuse_bytes(&b, LQ_ERR_FORMAT, M "header of 18446744073709551615 bytes, expected at most 100000000");
    b.n = 0;
    put_u64(&b, 3);
    put(&b, "{}", 2);
    refuse_bytes(&b, LQ_ERR_FORMAT, M "ends inside the header: 3 bytes needed at byte 8, the file has 10");
    b.n = 0;
    put_u64(&b, 0);
    refuse_bytes(&b, LQ_ERR_FORMAT, M "the header does not begin with '{'");
}

/* Cut off anywhere, the file is refused. */
static void test_truncated_anywhere(void **state)
{
    (void)state;
    struct bytes b = {0};
    put_file(&b, "{" ENTRY("b", "F32", "[2]", "[2,10]") "," ENTRY("a", "I16", "[1,1]", "[0,2]") "}", 10);
    for (size_t n = 0; n < b.n; n++) {
        struct bytes part = {.n = n};
        struct lq_source *s = NULL;
        struct lq_error err = {0};
        memcpy(part.data, b.data, n);
        assert_int_equal(open_bytes(&part, &s, &err), LQ_ERR_FORMAT);
        assert_null(s);
        assert_memory_equal(err.message, M, sizeof M - 1);
    }
}

static void test_bad_json(void **state)
{
    (void)state;
    char deep[5000] = "{\"a\":";
    memset(deep + 5, '[', sizeof deep - 6);
    refuse("[]", 0, LQ_ERR_FORMAT, M "the header does not begin with '{'");
    refuse(" {}", 0, LQ_ERR_FORMAT, M "the header does not begin with '{'");
    refuse("{\"a\":}", 0, LQ_ERR_FORMAT, M "bad JSON in the header at byte 14: unexpected token near '}'");
    refuse("{} x", 0, LQ_ERR_FORMAT, M "bad JSON in the header at byte 12: end of file expected near 'x'");
    refuse("{\"a\":\033}", 0, LQ_ERR_FORMAT, M "bad JSON in the header at byte 14: invalid token near '?'");
    refuse("{\"a\":99999999999999999999}", 0, LQ_ERR_FORMAT,
           M "bad JSON in the header at byte 33: too big integer near '99999999999999999999'");
    refuse(deep, 0, LQ_ERR_FORMAT, M "bad JSON in the header at byte 2061: maximum parsing depth reached near '['");
    refuse("{" ENTRY("a", "I8", "[1]", "[0,1]") "," ENTRY("a", "I8", "[1]", "[1,2]") "}", 2, LQ_ERR_FORMAT,
           M "bad JSON in the header at byte 64: duplicate object key near '\"a\"'");
}

/* A header of nothing but brackets would cost a parser fifty times its size. */
static void test_too_many_values(void **state)
{
    (void)state;
    enum { SIZE = 3 << 20 };
    char *header = malloc(8 + SIZE);
    struct lq_source *s = NULL;
    struct lq_error err = {0};
    struct bytes length = {0};
    put_u64(&length, SIZE);
    memcpy(header, length.data, 8);
    memcpy(header + 8, "{\"a\":[", 6);
    for (int i = 14; i < 8 + SIZE; i++) header[i] = "[],"[i % 3];
    int fd = memfd_create("many", MFD_CLOEXEC);
    assert_int_equal(write(fd, header, 8 + SIZE), 8 + SIZE);
    assert_int_equal(lq_source_open_fd(&s, fd, "m.safetensors", &err), LQ_ERR_FORMAT);
    assert_string_equal(err.message, M "header of more than 1048576 JSON values");
    close(fd);
    free(header);
}

static void test_entries(void **state)
{
    (void)state;
    static const struct {
        const char *header, *message;
        enum lq_status status;
    } cases[] = {
        {"{\"__metadata__\":[]}", M "'__metadata__' is no JSON object", LQ_ERR_FORMAT},
        {"{\"a\":7}", M "tensor 'a': the entry is no JSON object", LQ_ERR_FORMAT},
        {"{\"a\":{}}", M "tensor 'a': no 'shape' list", LQ_ERR_FORMAT},
        {"{\"a\":{\"shape\":[1]}}", M "tensor 'a': no 'dtype' text", LQ_ERR_FORMAT},
        {"{\"a\":{\"shape\":[1],\"dtype\":7}}", M "tensor 'a': no 'dtype' text", LQ_ERR_FORMAT},
        {"{\"a\":{\"shape\":[1],\"dtype\":\"I8\"}}", M "tensor 'a': 'data_offsets' is no pair of whole numbers",
         LQ_ERR_FORMAT},
        {"{" ENTRY("", "I8", "[1]", "[0,1]") "}", M "a tensor's name is empty or holds control characters",
         LQ_ERR_FORMAT},
        {"{" ENTRY("\\u001b", "I8", "[1]", "[0,1]") "}", M "a tensor's name is empty or holds control characters",
         LQ_ERR_FORMAT},
        {"{" ENTRY("a", "F33", "[1]", "[0,1]") "}", M "unknown dtype 'F33' in tensor 'a'", LQ_ERR_UNSUPPORTED},
        {"{" ENTRY("a", "\\u001b[2J", "[1]", "[0,1]") "}", M "unknown dtype '?[2J' in tensor 'a'", LQ_ERR_UNSUPPORTED},
        {"{" ENTRY("a", "I8", "[1,1,1,1,1]", "[0,1]") "}", M "tensor 'a': 5 dimensions, expected at most 4",
         LQ_ERR_UNSUPPORTED},
        {"{" ENTRY("a", "I8", "[0]", "[0,0]") "}", M "tensor 'a': a dimension is 0", LQ_ERR_FORMAT},
        {"{" ENTRY("a", "I8", "[-1]", "[0,1]") "}", M "tensor 'a': a dimension is no whole number", LQ_ERR_FORMAT},
        {"{" ENTRY("a", "I8", "[1.0]", "[0,1]") "}", M "tensor 'a': a dimension is no whole number", LQ_ERR_FORMAT},
        {"{" ENTRY("a", "I8", "[\"1\"]", "[0,1]") "}", M "tensor 'a': a dimension is no whole number", LQ_ERR_FORMAT},
        {"{" ENTRY("a", "I8", "[4294967296,4294967296]", "[0,1]") "}", M "tensor 'a': the dimensions overflow",
         LQ_ERR_FORMAT},
        {"{" ENTRY("a", "F64", "[4611686018427387904]", "[0,1]") "}", M "tensor 'a': the size in bytes overflows",
         LQ_ERR_FORMAT},
        {"{" ENTRY("a", "F4", "[3]", "[0,1]") "}", M "tensor 'a': the size is no whole number of bytes", LQ_ERR_FORMAT},
        {"{" ENTRY("a", "I8", "[1]", "[0,1,2]") "}", M "tensor 'a': 'data_offsets' is no pair of whole numbers",
         LQ_ERR_FORMAT},
        {"{" ENTRY("a", "I8", "[1]", "[-1,0]") "}", M "tensor 'a': 'data_offsets' is no pair of whole numbers",
         LQ_ERR_FORMAT},
        {"{" ENTRY("a", "I8", "[1]", "[1,0]") "}",
         M "tensor 'a': data_offsets [1, 0], but shape and dtype need 1 bytes", LQ_ERR_FORMAT},
        {"{" ENTRY("a", "F32", "[2]", "[0,4]") "}",
         M "tensor 'a': data_offsets [0, 4], but shape and dtype need 8 bytes", LQ_ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refuse(cases[i].header, 1, cases[i].status, cases[i].message);
}

static void test_cover(void **state)
{
    (void)state;
    refuse("{" ENTRY("a", "I8", "[4]", "[0,4]") "," ENTRY("b", "I8", "[4]", "[2,6]") "}", 6, LQ_ERR_FORMAT,
           M "tensor 'b': data overlap the tensor before: begin at byte 115, expected 117");
    refuse("{" ENTRY("a", "I8", "[4]", "[0,4]") "," ENTRY("b", "I8", "[4]", "[0,4]") "}", 4, LQ_ERR_FORMAT,
           M "tensor 'b': data overlap the tensor before: begin at byte 113, expected 117");
    refuse("{" ENTRY("a", "I8", "[4]", "[0,4]") "," ENTRY("b", "I8", "[4]", "[5,9]") "}", 9, LQ_ERR_FORMAT,
           M "tensor 'b': data leave a hole before them: begin at byte 118, expected 117");
    refuse("{" ENTRY("a", "I8", "[4]", "[1,5]") "}", 5, LQ_ERR_FORMAT,
           M "tensor 'a': data leave a hole before them: begin at byte 62, expected 61");
    refuse("{" ENTRY("a", "I8", "[4]", "[0,4]") "}", 5, LQ_ERR_FORMAT,
           M "the tensors end at byte 65, the file has 66 bytes");
    refuse("{" ENTRY("a", "I8", "[4]", "[0,4]") "}", 3, LQ_ERR_FORMAT,
           M "tensor 'a': data beyond the end of the file: 65 bytes needed, the file has 64");
    refuse("{" ENTRY("a", "I8", "[4]", "[9223372036854775803,9223372036854775807]") "}", 4, LQ_ERR_FORMAT,
           M "tensor 'a': data beyond the end of the file: 9223372036854775904 bytes needed, the file has 101");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_demo_model),
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_header_sizes),
        cmocka_unit_test(test_truncated_anywhere),
        cmocka_unit_test(test_bad_json),
        cmocka_unit_test(test_too_many_values),
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_cover),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
