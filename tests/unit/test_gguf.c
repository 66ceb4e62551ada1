/* The GGUF reader: a file written by the format's own package, and every lie a header can tell. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bytes.h"
#include "source/source.h"

static void open_golden(struct lq_source **s)
{
    struct lq_error err = {0};
    if (lq_source_open(s, LQ_TESTS "/golden/mixed.gguf", &err) != LQ_OK) fail_msg("%s", err.message);
}

static void check_u64(const struct lq_source *s, const char *key, uint64_t expected)
{
    uint64_t v = ~expected;
    assert_true(lq_kvs_get_u64(&s->kvs, key, &v));
    assert_int_equal(v, expected);
}

static void test_golden_keys(void **state)
{
    (void)state;
    struct lq_source *s = NULL;
    const char *text = NULL;
    size_t n = 0;
    double d = 0;
    bool b = false;
    open_golden(&s);
    assert_true(s->kind == LQ_SOURCE_GGUF && s->alignment == 64 && s->kvs.n == 18);
    check_u64(s, "golden.uint8", 200);
    check_u64(s, "golden.uint16", 60000);
    check_u64(s, "golden.uint32", 4000000000);
    check_u64(s, "golden.uint64", (UINT64_C(1) << 63) + 1);
    assert_int_equal((int8_t)lq_kvs_find(&s->kvs, "golden.int8")->raw[0], -100);
    assert_memory_equal(lq_kvs_find(&s->kvs, "golden.int64")->raw, "\0\0\0\0\0\0\0\xc0", 8);
    assert_true(lq_kvs_get_f64(&s->kvs, "golden.float32", &d) && d == 0.1f);
    assert_true(lq_kvs_get_f64(&s->kvs, "golden.float64", &d) && d == 0.1);
    assert_true(lq_kvs_get_bool(&s->kvs, "golden.bool", &b) && b);
    assert_true(lq_kvs_get_string(&s->kvs, "golden.string", &text, &n) && n == 7);
    assert_memory_equal(text, "grüße", 7);
    const struct lq_kv *kv = lq_kvs_find(&s->kvs, "golden.strings");
    assert_true(kv->type == LQ_KV_ARRAY && kv->element == LQ_KV_STRING && kv->count == 4 && kv->raw_size == 337);
    assert_memory_equal(kv->raw + 8, "\1\0\0\0\0\0\0\0a\4\0\0\0\0\0\0\0ßé", 21);
    kv = lq_kvs_find(&s->kvs, "golden.bools");
    assert_true(kv->element == LQ_KV_BOOL && kv->count == 3);
    assert_memory_equal(kv->raw, "\1\0\1", 3);
    lq_source_close(s);
}

static void check_tensor(const struct lq_source *s, const char *name, enum lq_type type, const uint64_t ne[4],
                         void *data, uint64_t bytes)
{
    struct lq_error err = {0};
    const struct lq_source_tensor *t = lq_source_find(s, name);
    assert_non_null(t);
    assert_int_equal(t->type, type);
    assert_memory_equal(t->ne, ne, sizeof t->ne);
    assert_int_equal(t->bytes, bytes);
    assert_int_equal(lq_source_read(s, t, 0, bytes, data, &err), LQ_OK);
}

static void test_golden_tensors(void **state)
{
    (void)state;
    struct lq_source *s = NULL;
    float f[6];
    uint16_t h[8];
    int8_t blocks[2][34];
    int32_t ids[2];
    open_golden(&s);
    assert_int_equal(s->n_tensors, 4);
    assert_string_equal(s->tensors[2].name, "blk.0.ffn_up.weight");
    check_tensor(s, "first.weight", LQ_TYPE_F32, (uint64_t[]){3, 2, 1, 1}, f, sizeof f);
    for (int i = 0; i < 6; i++) assert_true(f[i] == (float)i);
    check_tensor(s, "second.weight", LQ_TYPE_F16, (uint64_t[]){2, 2, 2, 1}, h, sizeof h);
    assert_true(h[1] == 0x3c00 && h[7] == 0x4700);
    check_tensor(s, "blk.0.ffn_up.weight", LQ_TYPE_Q8_0, (uint64_t[]){32, 2, 1, 1}, blocks, sizeof blocks);
    for (int i = 1; i < 32; i++) assert_true(blocks[0][2 + i] == i - 15 && blocks[1][2 + i] == 15 - i);
    check_tensor(s, "ids", LQ_TYPE_I32, (uint64_t[]){2, 1, 1, 1}, ids, sizeof ids);
    assert_true(ids[0] == 7 && ids[1] == -7);
    assert_null(lq_source_find(s, "first"));
    assert_null(lq_source_find(s, "zzz"));
    lq_source_close(s);
}

static void test_read_stays_inside_the_tensor(void **state)
{
    (void)state;
    struct lq_source *s = NULL;
    struct lq_error err = {0};
    float f[6];
    open_golden(&s);
    const struct lq_source_tensor *t = &s->tensors[0];
    assert_int_equal(lq_source_read(s, t, 4, 20, f, &err), LQ_OK);
    assert_true(f[0] == 1 && f[4] == 5);
    assert_int_equal(lq_source_read(s, t, 24, 0, f, &err), LQ_OK);
    assert_int_equal(lq_source_read(s, t, 4, 21, f, &err), LQ_ERR_USAGE);
    assert_non_null(strstr(err.message, "tensor 'first.weight': bytes 4 and 21 more asked of 24"));
    assert_int_equal(lq_source_read(s, t, UINT64_MAX, 2, f, &err), LQ_ERR_USAGE);
    assert_int_equal(lq_source_read(s, t, 2, UINT64_MAX, f, &err), LQ_ERR_USAGE);
    lq_source_close(s);
}

static enum lq_status open_bytes(const struct bytes *b, struct lq_source **s, struct lq_error *err)
{
    int fd = bytes_fd(b);
    enum lq_status status = lq_source_open_fd(s, fd, "m.gguf", err);
    close(fd);
    return status;
}

static void refuse(const struct bytes *b, enum lq_status status, const char *message)
{
    struct lq_source *s = NULL;
    struct lq_error err = {0};
    assert_int_equal(open_bytes(b, &s, &err), status);
    assert_string_equal(err.message, message);
    assert_int_equal(err.status, status);
    assert_null(s);
}

/* A file that has everything, 2 keys and 2 tensors, in version 2. */
static void put_small_file(struct bytes *b)
{
    put_gguf_head(b, 2, 2, 2);
    put_gguf_text(b, "general.architecture", "clip");
    put_text(b, "words");
    put_u32(b, 9);
    put_u32(b, 8);
    put_u64(b, 2);
    put_text(b, "one");
    put_text(b, "");
    put_gguf_tensor(b, "a", 32, 3, LQ_TYPE_Q4_0, 0);
    put_gguf_tensor(b, "b", 5, 0, LQ_TYPE_F32, 64);
    put_padding(b, 32);
    put_zeros(b, 64 + 20);
}

static void test_version_2_and_no_tensors(void **state)
{
    (void)state;
    struct bytes b = {0}, empty = {0};
    struct lq_source *s = NULL;
    struct lq_error err = {0};
    put_small_file(&b);
    assert_int_equal(open_bytes(&b, &s, &err), LQ_OK);
    assert_true(s->n_tensors == 2 && s->tensors[1].offset == b.n - 20 && s->tensors[1].n_dims == 1);
    lq_source_close(s);
    put_gguf_head(&empty, 3, 0, 0);
    assert_int_equal(open_bytes(&empty, &s, &err), LQ_OK);
    assert_true(s->n_tensors == 0 && s->alignment == 32);
    assert_null(lq_source_find(s, "a"));
    lq_source_close(s);
}

/* Cut off anywhere, the file is refused with a message that names it and gives its size. */
static void test_truncated_anywhere(void **state)
{
    (void)state;
    struct bytes b = {0};
    put_small_file(&b);
    for (size_t n = 0; n < b.n; n++) {
        struct bytes part = {.n = n};
        struct lq_source *s = NULL;
        struct lq_error err = {0};
        memcpy(part.data, b.data, n);
        assert_int_equal(open_bytes(&part, &s, &err), LQ_ERR_FORMAT);
        assert_null(s);
        assert_memory_equal(err.message, "m.gguf: ", 8);
        char size[48];
        snprintf(size, sizeof size, "he file has %zu", n);
        if (n >= 24 && strstr(err.message, size) == NULL && strstr(err.message, "do not fit into a file of ") == NULL)
            fail_msg("%zu bytes: %s", n, err.message);
    }
}

static void test_truncation_messages(void **state)
{
    (void)state;
    struct bytes b = {0};
    refuse(&b, LQ_ERR_FORMAT, "m.gguf: the file is empty");
    put(&b, "GGUF\3\0", 6);
    refuse(&b, LQ_ERR_FORMAT, "m.gguf: ends inside the header: 4 bytes needed at byte 4, the file has 6");
    b.n = 0;
    put_small_file(&b);
    b.n = 70;
    refuse(&b, LQ_ERR_FORMAT, "m.gguf: 2 tensors do not fit into a file of 70 bytes");
    b.n = 85;
    refuse(&b, LQ_ERR_FORMAT, "m.gguf: ends inside key 'words': 4 bytes needed at byte 85, the file has 85");
}

static void test_not_gguf(void **state)
{
    (void)state;
    struct bytes text = {0}, old = {0}, newer = {0}, big = {0};
    put(&text, "PK\3\4 and so on", 14);
    refuse(&text, LQ_ERR_FORMAT,
           "m.gguf: neither a GGUF nor a safetensors file: begins with 50 4b 03 04, expected 'GGUF'");
    put_gguf_head(&old, 1, 0, 0);
    refuse(&old, LQ_ERR_UNSUPPORTED, "m.gguf: GGUF version 1, expected 2 or 3");
    put_gguf_head(&newer, 4, 0, 0);
    refuse(&newer, LQ_ERR_UNSUPPORTED, "m.gguf: GGUF version 4, expected 2 or 3");
    put_gguf_head(&big, 0x03000000, 0, 0);
    refuse(&big, LQ_ERR_UNSUPPORTED,
           "m.gguf: the file is big-endian (version reads as 0x03000000), expected little-endian");
}

static void test_counts(void **state)
{
    (void)state;
    struct bytes b = {0};
    put_gguf_head(&b, 3, UINT64_MAX, 0);
    refuse(&b, LQ_ERR_FORMAT, "m.gguf: 18446744073709551615 tensors do not fit into a file of 24 bytes");
    b.n = 0;
    put_gguf_head(&b, 3, 0, UINT64_C(1) << 60);
    refuse(&b, LQ_ERR_FORMAT, "m.gguf: 1152921504606846976 keys do not fit into a file of 24 bytes");
    b.n = 0;
    put_gguf_head(&b, 3, 0, 2);
    put_gguf_u32(&b, "a.key", 1);
    refuse(&b, LQ_ERR_FORMAT, "m.gguf: 2 keys do not fit into a file of 45 bytes");
}

/* A file with holes may be larger than any memory: what a header may cost has limits of its own. */
static void refuse_sparse(const struct bytes *b, const char *message)
{
    struct lq_source *s = NULL;
    struct lq_error err = {0};
    int fd = bytes_fd(b);
    assert_int_equal(ftruncate(fd, (off_t)1 << 33), 0);
    assert_int_equal(lq_source_open_fd(&s, fd, "m.gguf", &err), LQ_ERR_FORMAT);
    assert_string_equal(err.message, message);
    close(fd);
}

static void test_limits(void **state)
{
    (void)state;
    struct bytes b = {0};
    put_gguf_head(&b, 3, 0, 65537);
    refuse_sparse(&b, "m.gguf: 65537 keys, expected at most 65536");
    b.n = 0;
    put_gguf_head(&b, 3, 1048577, 0);
    refuse_sparse(&b, "m.gguf: 1048577 tensors, expected at most 1048576");
    b.n = 0;
    put_gguf_head(&b, 3, 0, 1);
    put_text(&b, "k");
    put_u32(&b, 8);
    put_u64(&b, UINT64_C(1) << 32);
    refuse_sparse(&b, "m.gguf: key 'k': header of more than 1073741824 bytes");
}

/* One file with one key whose bytes are `value` (from its type word on). */
static void refuse_key(const char *key, size_t key_length, const struct bytes *value, const char *message)
{
    struct bytes b = {0};
    put_gguf_head(&b, 3, 0, 1);
    put_text_n(&b, key, key_length);
    put(&b, value->data, value->n);
    put_zeros(&b, 64);
    refuse(&b, LQ_ERR_FORMAT, message);
}

static void put_array_head(struct bytes *b, uint32_t element, uint64_t count)
{
    b->n = 0;
    put_u32(b, 9);
    put_u32(b, element);
    put_u64(b, count);
}

static void test_values(void **state)
{
    (void)state;
    struct bytes v = {0};
    put_u32(&v, 13);
    refuse_key("k", 1, &v, "m.gguf: key 'k': unknown value type 13");
    put_array_head(&v, 9, 1);
    refuse_key("k", 1, &v, "m.gguf: key 'k': an array inside an array");
    put_array_head(&v, 77, 1);
    refuse_key("k", 1, &v, "m.gguf: key 'k': unknown value type 77");
    put_array_head(&v, 0, (1 << 30) + 1);
    refuse_key("k", 1, &v, "m.gguf: key 'k': array of 1073741825 elements, expected at most 1073741824");
    put_array_head(&v, 10, UINT64_MAX / 4);
    refuse_key("k", 1, &v, "m.gguf: key 'k': array of 4611686018427387903 elements, expected at most 1073741824");
    put_array_head(&v, 10, 9);
    refuse_key("k", 1, &v, "m.gguf: ends inside key 'k': 72 bytes needed at byte 49, the file has 113");
    put_array_head(&v, 8, 1 << 20);
    refuse_key("k", 1, &v, "m.gguf: ends inside key 'k': 8388608 bytes needed at byte 49, the file has 113");
    put_array_head(&v, 8, 2);
    put_u64(&v, UINT64_MAX);
    refuse_key("k", 1, &v,
               "m.gguf: ends inside key 'k': 18446744073709551615 bytes needed at byte 57, the file has 121");
    v.n = 0;
    put_u32(&v, 8);
    put_u64(&v, UINT64_C(1) << 40);
    refuse_key("k", 1, &v, "m.gguf: ends inside key 'k': 1099511627776 bytes needed at byte 45, the file has 109");
}

static void test_keys(void **state)
{
    (void)state;
    struct bytes v = {0}, b = {0};
    put_u32(&v, 4);
    refuse_key("", 0, &v, "m.gguf: key 0 has an empty name");
    refuse_key("a\0b", 3, &v, "m.gguf: key 0 has a name that is no plain UTF-8 text");
    refuse_key("a\033[2J", 5, &v, "m.gguf: key 0 has a name that is no plain UTF-8 text");
    put_gguf_head(&b, 3, 0, 1);
    put_u64(&b, 65536);
    put_zeros(&b, 60000);
    refuse(&b, LQ_ERR_FORMAT, "m.gguf: key 0 has a name of 65536 bytes, expected at most 65535");
    b.n = 0;
    put_gguf_head(&b, 3, 0, 3);
    put_gguf_u32(&b, "twice", 1);
    put_gguf_u32(&b, "once", 1);
    put_gguf_u32(&b, "twice", 1);
    refuse(&b, LQ_ERR_FORMAT, "m.gguf: key 'twice' stands twice");
}

static void test_alignment(void **state)
{
    (void)state;
    static const struct {
        uint32_t value;
        const char *message;
    } cases[] = {
        {0, "m.gguf: key 'general.alignment': 0 is not a power of two"},
        {48, "m.gguf: key 'general.alignment': 48 is not a power of two"},
    };
    struct bytes v = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        v.n = 0;
        put_u32(&v, 4);
        put_u32(&v, cases[i].value);
        refuse_key("general.alignment", 17, &v, cases[i].message);
    }
    v.n = 0;
    put_u32(&v, 10);
    put_u64(&v, 32);
    refuse_key("general.alignment", 17, &v, "m.gguf: key 'general.alignment': value type 10, expected 4 (u32)");
}

static void refuse_tensor(const struct bytes *entry, enum lq_status status, const char *message)
{
    struct bytes b = {0};
    put_gguf_head(&b, 3, 1, 0);
    put(&b, entry->data, entry->n);
    put_zeros(&b, 4096);
    refuse(&b, status, message);
}

static void test_tensor_names(void **state)
{
    (void)state;
    char name[65];
    struct bytes t = {0}, b = {0};
    memset(name, 'n', 64);
    name[64] = 0;
    put_gguf_tensor(&t, name, 32, 0, 0, 0);
    refuse_tensor(&t, LQ_ERR_FORMAT, "m.gguf: tensor 0 has a name of 64 bytes, expected at most 63");
    t.n = 0;
    put_gguf_tensor(&t, "", 32, 0, 0, 0);
    refuse_tensor(&t, LQ_ERR_FORMAT, "m.gguf: tensor 0 has an empty name");
    t.n = 0;
    put_gguf_tensor(&t, "\xff", 32, 0, 0, 0);
    refuse_tensor(&t, LQ_ERR_FORMAT, "m.gguf: tensor 0 has a name that is no plain UTF-8 text");
    put_gguf_head(&b, 3, 2, 0);
    put_gguf_tensor(&b, "same", 8, 0, 0, 0);
    put_gguf_tensor(&b, "same", 8, 0, 0, 32);
    put_zeros(&b, 128);
    refuse(&b, LQ_ERR_FORMAT, "m.gguf: tensor name 'same' stands twice");
}

static void put_dims(struct bytes *t, uint32_t n, const uint64_t *ne, uint32_t type)
{
    t->n = 0;
    put_text(t, "x");
    put_u32(t, n);
    for (uint32_t i = 0; i < n && i < 8; i++) put_u64(t, ne[i]);
    put_u32(t, type);
    put_u64(t, 0);
}

static void test_dims(void **state)
{
    (void)state;
    static const struct {
        uint32_t n;
        uint64_t ne[5];
        uint32_t type;
        const char *message;
    } cases[] = {
        {5, {1, 1, 1, 1, 1}, 0, "m.gguf: tensor 'x': 5 dimensions, expected at most 4"},
        {UINT32_MAX, {1}, 0, "m.gguf: tensor 'x': 4294967295 dimensions, expected at most 4"},
        {1, {0}, 0, "m.gguf: tensor 'x': dimension 0 is 0"},
        {3, {32, 4, 0}, 2, "m.gguf: tensor 'x': dimension 2 is 0"},
        {1, {UINT64_C(1) << 63}, 0, "m.gguf: tensor 'x': the dimensions overflow"},
        {4, {1 << 16, 1 << 16, 1 << 16, 1 << 16}, 0, "m.gguf: tensor 'x': the dimensions overflow"},
        {2, {UINT64_C(1) << 62, 2}, 0, "m.gguf: tensor 'x': the dimensions overflow"},
        {1, {UINT64_C(1) << 62}, 0, "m.gguf: tensor 'x': the size in bytes overflows"},
        {2, {UINT64_C(1) << 31, UINT64_C(1) << 31}, 28, "m.gguf: tensor 'x': the size in bytes overflows"},
        {2, {100, 4}, 2, "m.gguf: tensor 'x': 100 columns do not divide into q4_0 blocks of 32"},
        {2, {128, 4}, 12, "m.gguf: tensor 'x': 128 columns do not divide into q4_k blocks of 256"},
        {1,
         {1024},
         0,
         "m.gguf: tensor 'x': data beyond the end of the file: 4096 bytes needed at byte 64, the file has 4153"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes t = {0};
        put_dims(&t, cases[i].n, cases[i].ne, cases[i].type);
        if (cases[i].n > 4) put_zeros(&t, 64);
        refuse_tensor(&t, LQ_ERR_FORMAT, cases[i].message);
    }
}

static void test_unknown_types(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        const char *message;
    } cases[] = {
        {137, "m.gguf: unknown type 137 in tensor 'x'"},
        {4, "m.gguf: unknown type 4 in tensor 'x'"}, /* q4_2, retired */
        {LQ_TYPE_COUNT, "m.gguf: unknown type 43 in tensor 'x'"},
        {UINT32_MAX, "m.gguf: unknown type 4294967295 in tensor 'x'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes t = {0};
        put_dims(&t, 1, (uint64_t[]){32}, cases[i].type);
        refuse_tensor(&t, LQ_ERR_UNSUPPORTED, cases[i].message);
    }
}

static void test_offsets(void **state)
{
    (void)state;
    static const struct {
        uint64_t first, second;
        const char *message;
    } cases[] = {
        {32, 64, "m.gguf: tensor 'a': data offset 32, expected 0"},
        {0, 20, "m.gguf: tensor 'b': data offset 20, expected 32"},
        {0, 0, "m.gguf: tensor 'b': data offset 0, expected 32"},
        {0, 64, "m.gguf: tensor 'b': data offset 64, expected 32"},
        {UINT64_MAX - 31, 32, "m.gguf: tensor 'a': data offset 18446744073709551584, expected 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes b = {0};
        put_gguf_head(&b, 3, 2, 0);
        put_gguf_tensor(&b, "a", 5, 0, 0, cases[i].first);
        put_gguf_tensor(&b, "b", 5, 0, 0, cases[i].second);
        put_zeros(&b, 512);
        refuse(&b, LQ_ERR_FORMAT, cases[i].message);
    }
}

static void test_not_a_file(void **state)
{
    (void)state;
    struct lq_source *s = NULL;
    struct lq_error err = {0};
    assert_int_equal(lq_source_open(&s, "/nowhere/m.gguf", &err), LQ_ERR_IO);
    assert_string_equal(err.message, "/nowhere/m.gguf: cannot open: No such file or directory");
    assert_int_equal(lq_source_open(&s, "/dev", &err), LQ_ERR_IO);
    assert_string_equal(err.message, "/dev: not a regular file");
    assert_int_equal(lq_source_open_fd(&s, -1, "m.gguf", &err), LQ_ERR_IO);
    assert_string_equal(err.message, "m.gguf: cannot open: Bad file descriptor");
    assert_false(lq_source_is_gguf("/dev"));
    assert_false(lq_source_is_gguf(LQ_TESTS "/golden/mixed.safetensors"));
    assert_true(lq_source_is_gguf(LQ_TESTS "/golden/mixed.gguf"));
    assert_null(s);
    lq_source_close(NULL);
}

/* A file that shrinks after it was opened. */
static void test_shrunk_file(void **state)
{
    (void)state;
    struct bytes b = {0};
    struct lq_source *s = NULL;
    struct lq_error err = {0};
    float v[5];
    put_small_file(&b);
    int fd = bytes_fd(&b);
    assert_int_equal(lq_source_open_fd(&s, fd, "m.gguf", &err), LQ_OK);
    assert_int_equal(ftruncate(fd, (off_t)b.n - 8), 0);
    assert_int_equal(lq_source_read(s, &s->tensors[1], 0, 20, v, &err), LQ_ERR_IO);
    char message[64];
    snprintf(message, sizeof message, "m.gguf: ends at byte %zu of %zu", b.n - 8, b.n);
    assert_string_equal(err.message, message);
    lq_source_close(s);
    close(fd);
}

static void test_plain_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool plain;
    } cases[] = {
        {"v.blk.0.ln1.weight", true},
        {"gr\xc3\xbc\xc3\x9f\x65", true},
        {"\xe2\x82\xac", true},
        {"\xf0\x9f\x98\x80", true},
        {"", false},
        {"tab\t", false},
        {"\x7f", false},
        {"\xc2\x9b", false},
        {"\xc0\xaf", false},
        {"\xe0\x80\xaf", false},
        {"\xed\xa0\x80", false},
        {"\xf4\x90\x80\x80", false},
        {"\xf0\x80\x80\xaf", false},
        {"cut\xe2\x82", false},
        {"\x80", false},
        {"\xff", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(lq_name_is_plain(cases[i].name, strlen(cases[i].name)), cases[i].plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_keys),
        cmocka_unit_test(test_golden_tensors),
        cmocka_unit_test(test_read_stays_inside_the_tensor),
        cmocka_unit_test(test_version_2_and_no_tensors),
        cmocka_unit_test(test_truncated_anywhere),
        cmocka_unit_test(test_truncation_messages),
        cmocka_unit_test(test_not_gguf),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_tensor_names),
        cmocka_unit_test(test_dims),
        cmocka_unit_test(test_unknown_types),
        cmocka_unit_test(test_offsets),
        cmocka_unit_test(test_not_a_file),
        cmocka_unit_test(test_shrunk_file),
        cmocka_unit_test(test_plain_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
