/* Metadata read through the public door: every kind of value, arrays, empty ones; and opening halves that contradict.
 */
#include "llava_quantize/inspect.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "source/kv.h"
#include "write/write.h"

static void put(struct lq_kvs *kvs, const char *key, enum lq_kv_type type, const void *raw, uint64_t size)
{
    struct lq_error err = {0};
    assert_int_equal(lq_kvs_set_raw(kvs, key, type, type, 1, raw, size, &err), LQ_OK);
}

static struct lq_value only_value(const struct lq_model_half *half, const char *name, const char *type)
{
    struct lq_key key;
    struct lq_value v, more;
    uint64_t at = 0;
    assert_true(lq_key_find(half, name, &key));
    assert_string_equal(key.name, name);
    assert_string_equal(key.type, type);
    assert_false(key.array);
    assert_true(lq_key_next(&key, &at, &v));
    assert_false(lq_key_next(&key, &at, &more));
    return v;
}

static void check_integer(const struct lq_model_half *half, const char *name, int64_t expected)
{
    struct lq_value v = only_value(half, name, name);
    assert_int_equal(v.kind, LQ_VALUE_INTEGER);
    assert_true(v.integer == expected);
}

static void check_natural(const struct lq_model_half *half, const char *name, uint64_t expected)
{
    struct lq_value v = only_value(half, name, name);
    assert_int_equal(v.kind, LQ_VALUE_NATURAL);
    assert_true(v.natural == expected);
}

static void test_integers(void **state)
{
    (void)state;
    struct lq_kvs kvs = {0};
    struct lq_model_half half = {.kvs = &kvs};
    int8_t i8 = -1;
    int16_t i16 = INT16_MIN;
    int32_t i32 = INT32_MAX;
    int64_t i64 = INT64_MIN;
    uint8_t u8 = 255;
    uint16_t u16 = 65535;
    uint32_t u32 = UINT32_MAX;
    uint64_t u64 = UINT64_MAX;
    put(&kvs, "i8", LQ_KV_I8, &i8, sizeof i8);
    put(&kvs, "i16", LQ_KV_I16, &i16, sizeof i16);
    put(&kvs, "i32", LQ_KV_I32, &i32, sizeof i32);
    put(&kvs, "i64", LQ_KV_I64, &i64, sizeof i64);
    put(&kvs, "u8", LQ_KV_U8, &u8, sizeof u8);
    put(&kvs, "u16", LQ_KV_U16, &u16, sizeof u16);
    put(&kvs, "u32", LQ_KV_U32, &u32, sizeof u32);
    put(&kvs, "u64", LQ_KV_U64, &u64, sizeof u64);
    assert_int_equal(lq_key_count(&half), 8);
    assert_string_equal(lq_key_at(&half, 7).name, "u64");
    check_integer(&half, "i8", -1);
    check_integer(&half, "i16", INT16_MIN);
    check_integer(&half, "i32", INT32_MAX);
    check_integer(&half, "i64", INT64_MIN);
    check_natural(&half, "u8", 255);
    check_natural(&half, "u16", 65535);
    check_natural(&half, "u32", UINT32_MAX);
    check_natural(&half, "u64", UINT64_MAX);
    lq_kvs_release(&kvs);
}

static void test_other_values(void **state)
{
    (void)state;
    struct lq_kvs kvs = {0};
    struct lq_model_half half = {.kvs = &kvs};
    struct lq_error err = {0};
    double f64 = -1e300;
    put(&kvs, "f64", LQ_KV_F64, &f64, sizeof f64);
    assert_int_equal(lq_kvs_set_f32(&kvs, "f32", 0.5f, &err), LQ_OK);
    assert_int_equal(lq_kvs_set_bool(&kvs, "bool", true, &err), LQ_OK);
    assert_int_equal(lq_kvs_set_string(&kvs, "string", "caf\xc3\xa9", &err), LQ_OK);
    assert_true(only_value(&half, "f64", "f64").real == f64);
    assert_true(only_value(&half, "f32", "f32").real == 0.5);
    struct lq_value v = only_value(&half, "bool", "bool");
    assert_int_equal(v.kind, LQ_VALUE_TRUTH);
    assert_true(v.truth);
    v = only_value(&half, "string", "string");
    assert_int_equal(v.kind, LQ_VALUE_TEXT);
    assert_int_equal(v.length, 5);
    assert_memory_equal(v.text, "caf\xc3\xa9", 5);
    lq_kvs_release(&kvs);
}

static void test_arrays(void **state)
{
    (void)state;
    struct lq_kvs kvs = {0};
    struct lq_model_half half = {.kvs = &kvs};
    struct lq_error err = {0};
    const char *const words[] = {"", "two", "three"};
    const size_t lengths[] = {0, 3, 5};
    const int16_t numbers[] = {-2, 7};
    struct lq_key key = {.count = 99};
    struct lq_value v;
    uint64_t at = 0;
    assert_int_equal(lq_kvs_set_strings(&kvs, "words", words, lengths, 3, &err), LQ_OK);
    assert_int_equal(lq_kvs_set_array(&kvs, "numbers", LQ_KV_I16, 2, numbers, &err), LQ_OK);
    assert_int_equal(lq_kvs_set_array(&kvs, "none", LQ_KV_F32, 0, numbers, &err), LQ_OK);
    assert_true(lq_key_find(&half, "words", &key));
    assert_true(key.array);
    assert_int_equal(key.count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(lq_key_next(&key, &at, &v));
        assert_int_equal(v.length, lengths[i]);
        assert_memory_equal(v.text, words[i], lengths[i]);
    }
    assert_false(lq_key_next(&key, &at, &v));
    at = 0;
    assert_true(lq_key_find(&half, "numbers", &key));
    assert_true(lq_key_next(&key, &at, &v) && v.integer == -2);
    assert_true(lq_key_next(&key, &at, &v) && v.integer == 7);
    assert_false(lq_key_next(&key, &at, &v));
    at = 0;
    assert_true(lq_key_find(&half, "none", &key));
    assert_int_equal(key.count, 0);
    assert_false(lq_key_next(&key, &at, &v));
    key.count = 99;
    assert_false(lq_key_find(&half, "absent", &key));
    assert_int_equal(key.count, 99);
    lq_kvs_release(&kvs);
}

static void write_half(const char *path, enum lq_half half, const char *pair_id)
{
    struct lq_output_tensor tensor = {"a.weight", LQ_TYPE_F32, 1, {4, 1, 1, 1}};
    const float data[4] = {1, 2, 3, 4};
    struct lq_output *o = NULL;
    struct lq_kvs kvs = {0};
    struct lq_error err = {0};
    assert_int_equal(lq_kvs_set_string(&kvs, "general.architecture", half == LQ_VISION ? "clip" : "llama", &err),
                     LQ_OK);
    assert_int_equal(lq_kvs_set_string(&kvs, "llava_quantize.pair_id", pair_id, &err), LQ_OK);
    assert_int_equal(lq_output_open(&o, &path, 1, true, &err), LQ_OK);
    assert_int_equal(lq_output_begin(o, 0, &kvs, &tensor, 1, 32, &err), LQ_OK);
    assert_int_equal(lq_output_write(o, 0, 0, 0, data, sizeof data, &err), LQ_OK);
    if (lq_output_commit(o, pair_id, &err) != LQ_OK) fail_msg("%s", err.message);
    lq_output_close(o);
    lq_kvs_release(&kvs);
}

static void test_lenient_opens_what_is_refused_otherwise(void **state)
{
    (void)state;
    char folder[] = "/tmp/llava-quantize-test-XXXXXX", language[64], vision[64];
    assert_non_null(mkdtemp(folder));
    snprintf(language, sizeof language, "%s/a.gguf", folder);
    snprintf(vision, sizeof vision, "%s/mmproj-a.gguf", folder);
    write_half(language, LQ_LANGUAGE, "0123456789abcdef0123456789abcdef");
    write_half(vision, LQ_VISION, "fedcba9876543210fedcba9876543210");
    struct lq_model_options options = {.only = -1};
    struct lq_inspect_options look = {.backend = LQ_BACKEND_NONE};
    struct lq_inspection *seen = NULL;
    struct lq_model *model = NULL;
    struct lq_error err = {0};
    assert_int_equal(lq_model_open(&model, folder, &options, &err), LQ_ERR_USAGE);
    options.lenient = true;
    assert_int_equal(lq_model_open(&model, folder, &options, &err), LQ_OK);
    assert_int_equal(lq_inspect(&seen, model, &look, &err), LQ_OK);
    assert_int_equal(seen->n_findings, 1);
    assert_string_equal(seen->findings[0].id, "pair-ids-differ");
    assert_int_equal(seen->findings[0].half, LQ_HALVES);
    assert_int_equal(seen->total.tensors, 2);
    assert_null(seen->stats[LQ_VISION]);
    lq_inspection_free(seen);
    lq_model_free(model);
    lq_inspection_free(NULL);
    unlink(language);
    unlink(vision);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_other_values),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_lenient_opens_what_is_refused_otherwise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
