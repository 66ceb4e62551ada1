/* Split models: any shard stands for all of them, and whatever does not belong is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "bytes.h"
#include "llava_quantize/model.h"
#include "source/kv.h"
#include "test_folder.h"

enum { ABSENT = -1 };

static struct lq_error err;

/* A file to write; numbers that are ABSENT and texts that are NULL are left out. Each tensor holds eight floats, all of
 * them the number of its letter. */
struct shard {
    const char *file, *architecture, *pair_id, *tensors; /* "ab": "a.weight" and "b.weight" */
    int no, count, total;
};

static void path_of(const char *file, char out[256])
{
    snprintf(out, 256, "%s/%s", folder, file);
}

static void write_file(const char *file, const struct bytes *b)
{
    char path[256];
    path_of(file, path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b->data, 1, b->n, f), b->n);
    fclose(f);
}

static void put_u16_key(struct bytes *b, const char *key, int v)
{
    put_text(b, key);
    put_u32(b, LQ_KV_U16);
    put_integer(b, (uint64_t)v, 2);
}

static void make(const struct shard *s)
{
    static struct bytes b;
    const struct {
        const char *key;
        int value;
    } numbers[] = {{"split.no", s->no}, {"split.count", s->count}, {"split.tensors.count", s->total}};
    const char *const texts[][2] = {{"general.architecture", s->architecture}, {"llava_quantize.pair_id", s->pair_id}};
    size_t n = strlen(s->tensors);
    uint64_t n_kvs = 0;
    char name[] = "?.weight";
    for (int i = 0; i < 3; i++) n_kvs += numbers[i].value != ABSENT;
    for (int i = 0; i < 2; i++) n_kvs += texts[i][1] != NULL;
    b.n = 0;
    put_gguf_head(&b, 3, n, n_kvs);
    for (int i = 0; i < 2; i++)
        if (texts[i][1] != NULL) put_gguf_text(&b, texts[i][0], texts[i][1]);
    for (int i = 0; i < 3; i++)
        if (numbers[i].value != ABSENT) put_u16_key(&b, numbers[i].key, numbers[i].value);
    for (size_t i = 0; i < n; i++) {
        name[0] = s->tensors[i];
        put_gguf_tensor(&b, name, 8, 0, LQ_TYPE_F32, 32 * i);
    }
    put_padding(&b, 32);
    for (size_t i = 0; i < 8 * n; i++) put_f32(&b, (float)s->tensors[i / 8]);
    write_file(s->file, &b);
}

static const struct shard three[] = {
    {"m-F16-00001-of-00003.gguf", "llama", "id", "ab", 0, 3, 5},
    {"m-F16-00002-of-00003.gguf", NULL, "id", "c", 1, 3, 5},
    {"m-F16-00003-of-00003.gguf", NULL, NULL, "de", 2, 3, 5},
};

static void make_three(void)
{
    for (int i = 0; i < 3; i++) make(&three[i]);
}

static enum lq_status open_model(struct lq_model **m, const char *file)
{
    char path[256];
    path_of(file, path);
    err = (struct lq_error){0};
    return lq_model_open(m, path, NULL, &err);
}

static struct lq_model *opened(const char *file)
{
    struct lq_model *m = NULL;
    if (open_model(&m, file) != LQ_OK) fail_msg("%s", err.message);
    return m;
}

/* Fails with `status` and a message that says FOLDER for the folder. */
static void refused(const char *file, enum lq_status status, const char *message)
{
    char expected[1024];
    struct lq_model *m = NULL;
    size_t used = 0;
    for (const char *at = message; *at != '\0'; at++) {
        bool place = strncmp(at, "FOLDER", 6) == 0;
        used += (size_t)snprintf(expected + used, sizeof expected - used, "%.*s", place ? 63 : 1, place ? folder : at);
        if (place) at += 5;
    }
    assert_int_equal(open_model(&m, file), status);
    assert_string_equal(err.message, expected);
    assert_null(m);
}

/* The half's tensors in order, by their letters, each with its own data. */
static void holds(const struct lq_model *m, enum lq_half h, const char *letters, size_t n_files)
{
    const struct lq_model_half *half = m->half[h];
    size_t n = 0;
    assert_non_null(half);
    assert_int_equal(half->n_files, n_files);
    assert_string_equal(half->path, half->files[0].path);
    for (size_t i = 0; i < n_files; i++) n += half->files[i].n_tensors;
    assert_int_equal(n, strlen(letters));
    assert_int_equal(half->n_tensors, n);
    for (size_t i = 0; i < n; i++) {
        float data[8];
        assert_int_equal(half->tensors[i].name[0], letters[i]);
        assert_int_equal(lq_model_read(m, &half->tensors[i], 0, 1, data, &err), LQ_OK);
        assert_true(data[0] == letters[i] && data[7] == letters[i]);
    }
}

static void any_shard_opens_all(void **state)
{
    (void)state;
    make_three();
    const char *const given[] = {"", three[0].file, three[1].file, three[2].file};
    for (int i = 0; i < 4; i++) {
        char path[256];
        struct lq_model *m = opened(given[i]);
        holds(m, LQ_LANGUAGE, "abcde", 3);
        assert_null(m->half[LQ_VISION]);
        assert_string_equal(m->name, "m");
        assert_string_equal(m->half[LQ_LANGUAGE]->architecture, "llama");
        for (int f = 0; f < 3; f++) {
            path_of(three[f].file, path);
            assert_string_equal(m->half[LQ_LANGUAGE]->files[f].path, path);
        }
        lq_model_free(m);
    }
}

static void a_pair_may_be_split_in_either_half(void **state)
{
    (void)state;
    make_three();
    make(&(struct shard){"mmproj-m-F16-00001-of-00002.gguf", "clip", "id", "", 0, 2, 2});
    make(&(struct shard){"mmproj-m-F16-00002-of-00002.gguf", NULL, "id", "xy", 1, 2, 2});
    make(&(struct shard){"mmproj-other.gguf", "clip", "id", "z", ABSENT, ABSENT, ABSENT});
    const char *const given[] = {"", three[1].file};
    for (int i = 0; i < 2; i++) {
        struct lq_model *m = opened(given[i]);
        holds(m, LQ_LANGUAGE, "abcde", 3);
        holds(m, LQ_VISION, "xy", 2);
        lq_model_free(m);
    }
    struct lq_model *m = opened("mmproj-m-F16-00002-of-00002.gguf");
    holds(m, LQ_VISION, "xy", 2);
    assert_string_equal(m->name, "m");
    lq_model_free(m);
}

static void a_whole_mmproj_goes_with_shards(void **state)
{
    (void)state;
    make_three();
    make(&(struct shard){"mmproj-m-F16.gguf", "clip", "id", "z", ABSENT, ABSENT, ABSENT});
    make(&(struct shard){"mmproj-m-Q8_0.gguf", "clip", "id", "z", ABSENT, ABSENT, ABSENT});
    struct lq_model *m = opened(three[2].file);
    holds(m, LQ_VISION, "z", 1);
    assert_true(strstr(m->half[LQ_VISION]->path, "mmproj-m-F16.gguf") != NULL);
    lq_model_free(m);
}

/* What gguf-split leaves of a model that fits one shard, and of merged shards. */
static void one_shard_is_no_split(void **state)
{
    (void)state;
    make(&(struct shard){"m-00001-of-00001.gguf", "llama", NULL, "ab", 0, 1, 2});
    struct lq_model *m = opened("m-00001-of-00001.gguf");
    holds(m, LQ_LANGUAGE, "ab", 1);
    assert_string_equal(m->name, "m");
    lq_model_free(m);
    make(&(struct shard){"merged.gguf", "llama", NULL, "ab", 0, 0, 2});
    m = opened("merged.gguf");
    holds(m, LQ_LANGUAGE, "ab", 1);
    lq_model_free(m);
}

static void two_models_are_listed_once_each(void **state)
{
    (void)state;
    make_three();
    make(&(struct shard){"m-F16-00001-of-00002.gguf", "llama", NULL, "a", 0, 2, 2});
    make(&(struct shard){"m-F16-00002-of-00002.gguf", NULL, NULL, "b", 1, 2, 2});
    refused("", LQ_ERR_USAGE,
            "FOLDER/: several language models: m-F16-00001-of-00002.gguf, m-F16-00001-of-00003.gguf; name the file");
    lq_model_free(opened(three[2].file));
    lq_model_free(opened("m-F16-00002-of-00002.gguf"));
}

static void a_missing_shard_is_named(void **state)
{
    (void)state;
    for (int missing = 0; missing < 3; missing++) {
        char path[256], message[512];
        int given = missing == 0 ? 1 : 0;
        make_three();
        path_of(three[missing].file, path);
        assert_int_equal(unlink(path), 0);
        snprintf(message, sizeof message, "FOLDER/%s: this shard is missing: FOLDER/%s is one of 3",
                 three[missing].file, three[given].file);
        refused(three[given].file, LQ_ERR_IO, message);
        snprintf(message, sizeof message, "FOLDER/%s: this shard is missing: FOLDER/%s is one of 3",
                 three[missing].file, three[given].file);
        refused("", LQ_ERR_IO, message);
    }
}

/* One file more or another one than should be there; all three shards are opened from the first. */
static void what_does_not_belong_is_named(void **state)
{
    static const struct {
        struct shard shard;
        const char *message;
    } cases[] = {
        {{"m-F16-00004-of-00003.gguf", NULL, NULL, "f", 3, 3, 5},
         "FOLDER/m-F16-00004-of-00003.gguf: a surplus shard: FOLDER/m-F16-00001-of-00003.gguf is one of 3; move it "
         "away"},
        {{"m-F16-00000-of-00003.gguf", NULL, NULL, "f", 3, 3, 5},
         "FOLDER/m-F16-00000-of-00003.gguf: a surplus shard: FOLDER/m-F16-00001-of-00003.gguf is one of 3; move it "
         "away"},
        {{"m-F16-00002-of-00003.gguf", NULL, NULL, "c", 1, 4, 5},
         "FOLDER/m-F16-00002-of-00003.gguf: foreign to FOLDER/m-F16-00001-of-00003.gguf: split.count is 4, expected 3"},
        {{"m-F16-00002-of-00003.gguf", NULL, NULL, "c", 1, ABSENT, 5},
         "FOLDER/m-F16-00002-of-00003.gguf: foreign to FOLDER/m-F16-00001-of-00003.gguf: key 'split.count' is missing"},
        {{"m-F16-00003-of-00003.gguf", NULL, NULL, "de", 1, 3, 5},
         "FOLDER/m-F16-00003-of-00003.gguf: foreign to FOLDER/m-F16-00001-of-00003.gguf: split.no is 1, expected 2"},
        {{"m-F16-00002-of-00003.gguf", NULL, NULL, "c", 1, 3, 6},
         "FOLDER/m-F16-00002-of-00003.gguf: foreign to FOLDER/m-F16-00001-of-00003.gguf: split.tensors.count differs"},
        {{"m-F16-00003-of-00003.gguf", "qwen2", NULL, "de", 2, 3, 5},
         "FOLDER/m-F16-00003-of-00003.gguf: foreign to FOLDER/m-F16-00001-of-00003.gguf: general.architecture differs"},
        {{"m-F16-00003-of-00003.gguf", NULL, "another", "de", 2, 3, 5},
         "FOLDER/m-F16-00003-of-00003.gguf: foreign to FOLDER/m-F16-00001-of-00003.gguf: llava_quantize.pair_id "
         "differs"},
        {{"m-F16-00003-of-00003.gguf", NULL, NULL, "da", 2, 3, 5},
         "FOLDER/m-F16-00003-of-00003.gguf: foreign to FOLDER/m-F16-00001-of-00003.gguf: both hold tensor 'a.weight'"},
        {{"m-F16-00003-of-00003.gguf", NULL, NULL, "d", 2, 3, 5},
         "FOLDER/m-F16-00001-of-00003.gguf: split.tensors.count is 5, but its 3 shards hold 4 tensors"},
        {{"m-F16-00001-of-00003.gguf", "llama", NULL, "ab", 0, 3, ABSENT},
         "FOLDER/m-F16-00001-of-00003.gguf: key 'split.tensors.count' is missing"},
        {{"m-F16-00001-of-00003.gguf", "llama", NULL, "ab", 0, 4, 5},
         "FOLDER/m-F16-00001-of-00003.gguf: shard 1 of 4 by its metadata, so its name must end in "
         "-00001-of-00004.gguf"},
        {{"m-F16-00001-of-00003.gguf", "llama", NULL, "ab", 1, 3, 5},
         "FOLDER/m-F16-00001-of-00003.gguf: shard 2 of 3 by its metadata, so its name must end in "
         "-00002-of-00003.gguf"},
        {{"m-F16-00001-of-00003.gguf", "llama", NULL, "ab", 3, 3, 5},
         "FOLDER/m-F16-00001-of-00003.gguf: split.no is 3, but split.count is 3"},
        {{"m-F16-00001-of-00003.gguf", "llama", NULL, "ab", ABSENT, 3, 5},
         "FOLDER/m-F16-00001-of-00003.gguf: one of 3 shards, but key 'split.no' is missing"},
        {{"m-F16-00001-of-00003.gguf", "llama", NULL, "ab", ABSENT, ABSENT, ABSENT},
         "FOLDER/m-F16-00001-of-00003.gguf: named as shard 1 of 3, but its metadata speak of no shards (split.count)"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[256];
        make_three();
        make(&cases[i].shard);
        refused(three[0].file, LQ_ERR_FORMAT, cases[i].message);
        path_of(cases[i].shard.file, path);
        assert_int_equal(unlink(path), 0);
    }
}

static void a_shard_of_another_kind_is_named(void **state)
{
    static struct bytes b;
    static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    (void)state;
    make_three();
    b.n = 0;
    put_u64(&b, strlen(header));
    put(&b, header, strlen(header));
    put_zeros(&b, 4);
    write_file(three[1].file, &b);
    refused(three[2].file, LQ_ERR_FORMAT,
            "FOLDER/m-F16-00002-of-00003.gguf: foreign to FOLDER/m-F16-00001-of-00003.gguf: not a GGUF file");
    refused(three[1].file, LQ_ERR_UNSUPPORTED,
            "FOLDER/m-F16-00002-of-00003.gguf: a safetensors file alone is no model: name its folder, with config.json "
            "and tokenizer.model");
}

/* The first shard is compared with the one that was given. */
static void a_foreign_first_shard_is_named(void **state)
{
    (void)state;
    make_three();
    make(&(struct shard){three[0].file, "llama", NULL, "ab", 1, 3, 5});
    refused(three[2].file, LQ_ERR_FORMAT,
            "FOLDER/m-F16-00001-of-00003.gguf: foreign to FOLDER/m-F16-00003-of-00003.gguf: split.no is 1, expected 0");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(any_shard_opens_all),
        TEST(a_pair_may_be_split_in_either_half),
        TEST(a_whole_mmproj_goes_with_shards),
        TEST(one_shard_is_no_split),
        TEST(two_models_are_listed_once_each),
        TEST(a_missing_shard_is_named),
        TEST(what_does_not_belong_is_named),
        TEST(a_shard_of_another_kind_is_named),
        TEST(a_foreign_first_shard_is_named),
    };
    return cmocka_run_group_tests_name("model, split", tests, NULL, NULL);
}
