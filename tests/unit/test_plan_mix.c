/* The mixes against what llama-quantize chose: tests/golden/mix_choices.json, written by
 * tests/cli/test_types_like_llama_quantize.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan/mix.h"
#include "source/kv.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One recorded file: names and shapes, no weights. */
struct file {
    struct lq_kvs kvs;
    struct lq_tensor *tensors;
    struct lq_model_half half;
};

static json_t *golden;

static void set_key(struct lq_kvs *kvs, const char *key, json_t *value)
{
    int32_t numbers[64] = {0};
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < json_array_size(value); i++)
        numbers[i] = (int32_t)json_integer_value(json_array_get(value, i));
    if (json_is_array(value)) status = lq_kvs_set_array(kvs, key, LQ_KV_I32, json_array_size(value), numbers, NULL);
    else if (json_is_integer(value)) status = lq_kvs_set_u32(kvs, key, (uint32_t)json_integer_value(value), NULL);
    assert_int_equal(status, LQ_OK);
}

static void add_tensor(struct file *f, const char *name, json_t *shape, int block)
{
    struct lq_tensor *t = &f->tensors[f->half.n_tensors++];
    *t = (struct lq_tensor){.name = strdup(name), .block = block, .quantisable = true, .ne = {1, 1, 1, 1}};
    t->n_dims = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < t->n_dims; i++) t->ne[i] = (uint64_t)json_integer_value(json_array_get(shape, i));
    t->type = t->keep = t->n_dims < 2 ? LQ_TYPE_F32 : LQ_TYPE_F16;
    t->rows = t->ne[1] * t->ne[2] * t->ne[3];
}

static void add_block(struct file *f, json_t *block, int number)
{
    const char *pattern;
    json_t *shape;
    json_object_foreach(block, pattern, shape)
    {
        char name[128];
        const char *mark = strchr(pattern, '#');
        snprintf(name, sizeof name, "%.*s%d%s", (int)(mark - pattern), pattern, number, mark + 1);
        add_tensor(f, name, shape, number);
    }
}

static void file_init(struct file *f, json_t *recorded)
{
    const char *key;
    json_t *value;
    json_t *rest = json_object_get(recorded, "rest"), *block = json_object_get(recorded, "block");
    int blocks = (int)json_integer_value(json_object_get(recorded, "blocks"));
    *f = (struct file){.half = {.path = "m.gguf"}};
    json_object_foreach(json_object_get(recorded, "keys"), key, value) set_key(&f->kvs, key, value);
    f->tensors = calloc(json_object_size(rest) + (size_t)blocks * json_object_size(block), sizeof *f->tensors);
    assert_non_null(f->tensors);
    json_object_foreach(rest, key, value) add_tensor(f, key, value, strncmp(key, "blk.", 4) == 0 ? atoi(key + 4) : -1);
    for (int i = 0; i < blocks; i++) add_block(f, block, i);
    f->half.architecture = json_string_value(json_object_get(recorded, "architecture"));
    f->half.kvs = &f->kvs;
    f->half.tensors = f->tensors;
}

static void file_release(struct file *f)
{
    for (size_t i = 0; i < f->half.n_tensors; i++) free((char *)f->tensors[i].name);
    free(f->tensors);
    lq_kvs_release(&f->kvs);
}

/* The order of tensors in a file must not matter: a fixed shuffle. */
static void shuffle(struct file *f, size_t *place)
{
    uint32_t state = 1;
    for (size_t i = 0; i < f->half.n_tensors; i++) place[i] = i;
    for (size_t i = f->half.n_tensors; i > 1; i--) {
        state = state * 1664525u + 1013904223u;
        size_t j = (state >> 8) % i;
        struct lq_tensor t = f->tensors[i - 1];
        f->tensors[i - 1] = f->tensors[j];
        f->tensors[j] = t;
        size_t p = place[i - 1];
        place[i - 1] = place[j];
        place[j] = p;
    }
}

static void check_choice(const struct file *f, const size_t *place, const char *mix, const char *recorded, bool imatrix)
{
    struct lq_mix_choice *choices = calloc(f->half.n_tensors, sizeof *choices);
    struct lq_error err = {0};
    enum lq_status status = lq_mix_choose(lq_mix_find(mix), &f->half, imatrix, false, choices, &err);
    if (recorded == NULL) { /* llama-quantize refuses */
        assert_int_equal(status, LQ_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.message, "columns do not divide into"));
    } else {
        assert_int_equal(status, LQ_OK);
        assert_int_equal(strlen(recorded), f->half.n_tensors);
        for (size_t i = 0; i < f->half.n_tensors; i++) {
            char letter[2] = {recorded[place[i]], '\0'};
            const char *expected = json_string_value(json_object_get(json_object_get(golden, "letters"), letter));
            if (strcmp(expected, lq_format_name(choices[i].type)) != 0)
                fail_msg("%s%s: %s is %s, not %s", mix, imatrix ? " with importance data" : "", f->tensors[i].name,
                         lq_format_name(choices[i].type), expected);
        }
    }
    free(choices);
}

/* Without importance data, where llama-quantize says it would need them. */
static void check_demand(const struct file *f, const char *name, bool demanded)
{
    const struct lq_mix *mix = lq_mix_find(name);
    struct lq_mix_choice *choices = calloc(f->half.n_tensors, sizeof *choices);
    bool demands = false;
    assert_int_equal(lq_mix_choose(mix, &f->half, false, false, choices, NULL), LQ_OK);
    for (size_t i = 0; i < f->half.n_tensors; i++)
        demands |= choices[i].allowed && lq_mix_demands_importance(mix, &f->tensors[i], choices[i].type);
    assert_int_equal(demands, demanded);
    free(choices);
}

static void check_mix(const struct file *f, const size_t *place, const char *mix, json_t *recorded)
{
    const char *without = json_string_value(json_array_get(recorded, 0)),
               *with = json_string_value(json_array_get(recorded, 1));
    if (without != NULL && strcmp(without, "abort") == 0) return; /* llama-quantize dies: nothing to compare with */
    if (with != NULL && strcmp(with, "same") == 0) with = without;
    check_choice(f, place, mix, without, false);
    check_choice(f, place, mix, with, true);
    if (without != NULL) check_demand(f, mix, json_is_true(json_array_get(recorded, 2)));
}

static void test_choices_are_llama_quantizes(void **state)
{
    const char *name, *mix;
    json_t *recorded, *choices;
    size_t compared = 0;
    (void)state;
    json_object_foreach(json_object_get(golden, "cases"), name, recorded)
    {
        struct file f;
        file_init(&f, recorded);
        size_t *place = calloc(f.half.n_tensors, sizeof *place);
        assert_non_null(place);
        shuffle(&f, place);
        json_object_foreach(json_object_get(recorded, "choices"), mix, choices)
        {
            check_mix(&f, place, mix, choices);
            compared++;
        }
        free(place);
        file_release(&f);
    }
    assert_true(compared >= 600);
}

/* Where llama-quantize dies on a vision file, we go on as for heads that share nothing. */
static void test_vision_file_with_low_bits(void **state)
{
    (void)state;
    struct file f;
    file_init(&f, json_object_get(json_object_get(golden, "cases"), "clip"));
    struct lq_mix_choice *choices = calloc(f.half.n_tensors, sizeof *choices);
    assert_int_equal(lq_mix_choose(lq_mix_find("iq4_xs"), &f.half, false, false, choices, NULL), LQ_OK);
    for (size_t i = 0; i < f.half.n_tensors; i++)
        if (strstr(f.tensors[i].name, "attn_v.weight") != NULL) assert_int_equal(choices[i].type, LQ_TYPE_IQ4_XS);
    free(choices);
    file_release(&f);
}

/* A tensor that the runtime does not multiply stays even where llama-quantize would touch it. */
static void test_never_quantised_stays(void **state)
{
    (void)state;
    struct file f;
    file_init(&f, json_object_get(json_object_get(golden, "cases"), "clip"));
    struct lq_mix_choice *choices = calloc(f.half.n_tensors, sizeof *choices);
    size_t changed = SIZE_MAX;
    for (size_t i = 0; i < f.half.n_tensors; i++)
        if (strcmp(f.tensors[i].name, "mm.2.weight") == 0) changed = i;
    assert_true(changed != SIZE_MAX);
    f.tensors[changed].quantisable = false;
    assert_int_equal(lq_mix_choose(lq_mix_find("Q8_0"), &f.half, false, false, choices, NULL), LQ_OK);
    assert_false(choices[changed].allowed);
    assert_int_equal(choices[changed].type, LQ_TYPE_F16);
    free(choices);
    file_release(&f);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(lq_mix_find("q4_K_m")->info.name, "Q4_K_M");
    assert_null(lq_mix_find("q4_k"));
    assert_null(lq_mix_find(""));
    size_t n = 0;
    while (lq_mix_at(n) != NULL) n++;
    assert_int_equal(n, 32);
}

static int load(void **state)
{
    (void)state;
    golden = json_load_file(LQ_TESTS "/golden/mix_choices.json", 0, NULL);
    return golden == NULL ? -1 : 0;
}

static int unload(void **state)
{
    (void)state;
    json_decref(golden);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choices_are_llama_quantizes),
        cmocka_unit_test(test_vision_file_with_low_bits),
        cmocka_unit_test(test_never_quantised_stays),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
