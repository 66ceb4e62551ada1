/* GGUF key lists: typed look-ups, setting in place, deep copies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "source/kv.h"

#include <stdlib.h>
#include <string.h>

static void set_scalars(struct lq_kvs *kvs)
{
    assert_int_equal(lq_kvs_set_u32(kvs, "a.u32", 0x89abcdef, NULL), LQ_OK);
    assert_int_equal(lq_kvs_set_f32(kvs, "a.f32", -1.5f, NULL), LQ_OK);
    assert_int_equal(lq_kvs_set_bool(kvs, "a.bool", true, NULL), LQ_OK);
    assert_int_equal(lq_kvs_set_string(kvs, "a.string", "wörd", NULL), LQ_OK);
}

static void test_look_ups(void **state)
{
    (void)state;
    struct lq_kvs kvs = {0};
    uint64_t u = 1;
    double d = 1;
    bool b = false;
    const char *text = NULL;
    size_t length = 0;
    set_scalars(&kvs);
    assert_true(lq_kvs_get_u64(&kvs, "a.u32", &u) && u == 0x89abcdef);
    assert_true(lq_kvs_get_f64(&kvs, "a.f32", &d) && d == -1.5);
    assert_true(lq_kvs_get_bool(&kvs, "a.bool", &b) && b);
    assert_true(lq_kvs_get_string(&kvs, "a.string", &text, &length));
    assert_int_equal(length, 5);
    assert_memory_equal(text, "wörd", 5);
    assert_false(lq_kvs_get_u64(&kvs, "a.f32", &u) || lq_kvs_get_u64(&kvs, "a.bool", &u) ||
                 lq_kvs_get_u64(&kvs, "b", &u));
    assert_false(lq_kvs_get_f64(&kvs, "a.u32", &d) || lq_kvs_get_bool(&kvs, "a.u32", &b));
    assert_false(lq_kvs_get_string(&kvs, "a.u32", &text, &length));
    assert_true(u == 0x89abcdef && d == -1.5 && b && length == 5);
    lq_kvs_release(&kvs);
    assert_int_equal(kvs.n, 0);
}

/* Signed integers of every width, sign extended; negative ones are no u64. */
static void test_integers(void **state)
{
    (void)state;
    static const struct {
        enum lq_kv_type type;
        uint8_t raw[8];
        bool ok;
        uint64_t value;
    } cases[] = {
        {LQ_KV_U8, {0xff}, true, 255},
        {LQ_KV_I8, {0x7f}, true, 127},
        {LQ_KV_I8, {0xff}, false, 0},
        {LQ_KV_U16, {0x34, 0xf2}, true, 0xf234},
        {LQ_KV_I16, {0x34, 0xf2}, false, 0},
        {LQ_KV_I32, {1, 2, 3, 4}, true, 0x04030201},
        {LQ_KV_I32, {0, 0, 0, 0x80}, false, 0},
        {LQ_KV_U64, {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, true, UINT64_MAX - 1},
        {LQ_KV_I64, {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, false, 0},
        {LQ_KV_I64, {0, 1}, true, 256},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct lq_kvs kvs = {0};
        uint64_t v = 42, size = lq_kv_element_size(cases[i].type);
        assert_int_equal(lq_kvs_set_raw(&kvs, "k", cases[i].type, cases[i].type, 1, cases[i].raw, size, NULL), LQ_OK);
        assert_int_equal(lq_kvs_get_u64(&kvs, "k", &v), cases[i].ok);
        assert_int_equal(v, cases[i].ok ? cases[i].value : 42);
        lq_kvs_release(&kvs);
    }
}

static void test_f64(void **state)
{
    (void)state;
    struct lq_kvs kvs = {0};
    double d = 0;
    assert_int_equal(lq_kvs_set_raw(&kvs, "k", LQ_KV_F64, LQ_KV_F64, 1, &(double){1e-300}, 8, NULL), LQ_OK);
    assert_true(lq_kvs_get_f64(&kvs, "k", &d) && d == 1e-300);
    lq_kvs_release(&kvs);
}

/* Setting again replaces the value where it stands, whatever its type; removing keeps the order of the rest. */
static void test_order(void **state)
{
    (void)state;
    struct lq_kvs kvs = {0};
    const char *text = NULL;
    size_t length = 0;
    set_scalars(&kvs);
    assert_int_equal(lq_kvs_set_string(&kvs, "a.f32", "", NULL), LQ_OK);
    assert_int_equal(kvs.n, 4);
    assert_string_equal(kvs.items[1].key, "a.f32");
    assert_true(lq_kvs_get_string(&kvs, "a.f32", &text, &length) && length == 0);
    lq_kvs_remove(&kvs, "a.u32");
    lq_kvs_remove(&kvs, "not.there");
    assert_int_equal(kvs.n, 3);
    assert_string_equal(kvs.items[0].key, "a.f32");
    assert_string_equal(kvs.items[2].key, "a.string");
    lq_kvs_remove(&kvs, "a.string");
    assert_int_equal(kvs.n, 2);
    assert_null(lq_kvs_find(&kvs, "a.string"));
    lq_kvs_release(&kvs);
}

/* The value may come from the very key that it replaces. */
static void test_set_from_itself(void **state)
{
    (void)state;
    struct lq_kvs kvs = {0};
    set_scalars(&kvs);
    const struct lq_kv *kv = lq_kvs_find(&kvs, "a.string");
    assert_int_equal(lq_kvs_set_raw(&kvs, kv->key, kv->type, kv->element, kv->count, kv->raw, kv->raw_size, NULL),
                     LQ_OK);
    kv = lq_kvs_find(&kvs, "a.string");
    assert_int_equal(kv->raw_size, 13);
    assert_memory_equal(kv->raw, "\5\0\0\0\0\0\0\0wörd", 13);
    lq_kvs_release(&kvs);
}

static void test_arrays(void **state)
{
    (void)state;
    struct lq_kvs kvs = {0};
    struct lq_error err = {0};
    const char *words[] = {"one", "", "three"};
    const size_t lengths[] = {3, 0, 2};
    assert_int_equal(lq_kvs_set_strings(&kvs, "words", words, lengths, 3, NULL), LQ_OK);
    const struct lq_kv *kv = lq_kvs_find(&kvs, "words");
    assert_true(kv->type == LQ_KV_ARRAY && kv->element == LQ_KV_STRING && kv->count == 3 && kv->raw_size == 29);
    assert_memory_equal(kv->raw, "\3\0\0\0\0\0\0\0one\0\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0th", 29);
    assert_int_equal(lq_kvs_set_array(&kvs, "ids", LQ_KV_I32, 2, (int32_t[]){1, -1}, NULL), LQ_OK);
    kv = lq_kvs_find(&kvs, "ids");
    assert_true(kv->type == LQ_KV_ARRAY && kv->element == LQ_KV_I32 && kv->count == 2 && kv->raw_size == 8);
    assert_int_equal(lq_kvs_set_array(&kvs, "none", LQ_KV_I32, 0, NULL, NULL), LQ_OK);
    assert_int_equal(lq_kvs_set_strings(&kvs, "nobody", NULL, NULL, 0, NULL), LQ_OK);
    assert_int_equal(lq_kvs_find(&kvs, "nobody")->raw_size, 0);
    assert_int_equal(lq_kvs_set_array(&kvs, "bad", LQ_KV_STRING, 1, "", &err), LQ_ERR_USAGE);
    assert_int_equal(lq_kvs_set_array(&kvs, "huge", LQ_KV_U64, UINT64_MAX / 8, "", &err), LQ_ERR_USAGE);
    assert_null(lq_kvs_find(&kvs, "bad"));
    lq_kvs_release(&kvs);
}

static void test_impossible_keys(void **state)
{
    (void)state;
    struct lq_kvs kvs = {0};
    struct lq_error err = {0};
    char *key = malloc(65537);
    memset(key, 'k', 65536);
    key[65536] = 0;
    assert_int_equal(lq_kvs_set_u32(&kvs, key, 1, &err), LQ_ERR_USAGE);
    assert_non_null(strstr(err.message, "65536 bytes, expected 1 to 65535"));
    assert_int_equal(lq_kvs_set_u32(&kvs, "", 1, &err), LQ_ERR_USAGE);
    assert_int_equal(lq_kvs_set_u32(&kvs, key + 1, 1, &err), LQ_OK);
    assert_int_equal(kvs.n, 1);
    lq_kvs_release(&kvs);
    free(key);
}

static void test_copy_is_deep(void **state)
{
    (void)state;
    struct lq_kvs a = {0}, b = {0};
    set_scalars(&a);
    for (uint32_t i = 0; i < 100; i++) {
        char key[] = {'k', (char)('0' + i / 10), (char)('0' + i % 10), 0};
        assert_int_equal(lq_kvs_set_u32(&a, key, i, NULL), LQ_OK);
    }
    assert_int_equal(lq_kvs_copy(&b, &a, NULL), LQ_OK);
    assert_int_equal(b.n, 104);
    for (size_t i = 0; i < b.n; i++) {
        assert_string_equal(a.items[i].key, b.items[i].key);
        assert_ptr_not_equal(a.items[i].raw, b.items[i].raw);
        assert_int_equal(a.items[i].raw_size, b.items[i].raw_size);
        assert_memory_equal(a.items[i].raw, b.items[i].raw, a.items[i].raw_size);
    }
    lq_kvs_release(&a);
    uint64_t v = 0;
    assert_true(lq_kvs_get_u64(&b, "k99", &v) && v == 99);
    lq_kvs_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_look_ups),        cmocka_unit_test(test_integers),        cmocka_unit_test(test_f64),
        cmocka_unit_test(test_order),           cmocka_unit_test(test_set_from_itself), cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_impossible_keys), cmocka_unit_test(test_copy_is_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
