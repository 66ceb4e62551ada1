/* Output in shards: how it is cut, that nothing but the cutting changes, and that it can be joined again. */
#include "test_quantize_fixture.h"

static char *in_folder(void *state, const char *name)
{
    return fixture_path(state, name);
}

/* Tensors of a whole model, by name: type, shape and data. */
static void assert_same_tensors(const char *a, const char *b)
{
    struct lq_model *x = NULL, *y = NULL;
    struct lq_error err = {0};
    if (lq_model_open(&x, a, NULL, &err) != LQ_OK || lq_model_open(&y, b, NULL, &err) != LQ_OK)
        fail_msg("%s", err.message);
    for (int h = 0; h < LQ_HALVES; h++) {
        assert_int_equal(x->half[h]->n_tensors, y->half[h]->n_tensors);
        for (size_t i = 0; i < x->half[h]->n_tensors; i++) {
            const struct lq_tensor *s = &x->half[h]->tensors[i], *t = &y->half[h]->tensors[i];
            char *p = malloc(s->bytes), *q = malloc(t->bytes);
            assert_string_equal(s->name, t->name);
            assert_int_equal(s->type, t->type);
            assert_memory_equal(s->ne, t->ne, sizeof s->ne);
            assert_int_equal(lq_model_read(x, s, 0, s->rows, p, &err), LQ_OK);
            assert_int_equal(lq_model_read(y, t, 0, t->rows, q, &err), LQ_OK);
            assert_memory_equal(p, q, s->bytes);
            free(p);
            free(q);
        }
    }
    lq_model_free(x);
    lq_model_free(y);
}

static uint64_t number(const struct lq_source *s, const char *key)
{
    uint64_t n = UINT64_MAX;
    assert_true(lq_kvs_get_u64(&s->kvs, key, &n));
    return n;
}

/* What llama.cpp demands of a shard, and what ours say beyond that. */
static void check_shard(const struct lq_quantize_file *file, size_t n_tensors, const char *pair_id)
{
    struct lq_source *s = NULL;
    struct lq_error err = {0};
    const char *id;
    size_t length;
    char tail[32];
    snprintf(tail, sizeof tail, "-%05u-of-%05u.gguf", file->number, file->count);
    assert_string_equal(file->path + strlen(file->path) - strlen(tail), tail);
    if (lq_source_open(&s, file->path, &err) != LQ_OK) fail_msg("%s", err.message);
    assert_int_equal(number(s, "split.no"), file->number - 1);
    assert_int_equal(number(s, "split.count"), file->count);
    assert_int_equal(number(s, "split.tensors.count"), n_tensors);
    assert_int_equal(lq_kvs_find(&s->kvs, "split.no")->type, LQ_KV_U16);
    assert_int_equal(lq_kvs_find(&s->kvs, "split.count")->type, LQ_KV_U16);
    assert_int_equal(lq_kvs_find(&s->kvs, "split.tensors.count")->type, LQ_KV_I32);
    assert_int_equal(lq_kvs_find(&s->kvs, "general.architecture") != NULL, file->number == 1);
    assert_true(lq_kvs_get_string(&s->kvs, "llava_quantize.pair_id", &id, &length));
    assert_int_equal(length, 32);
    assert_memory_equal(id, pair_id, length);
    if (file->number > 1) assert_int_equal(s->kvs.n, 4);
    assert_int_equal(s->n_tensors, file->n);
    assert_int_equal(s->file_bytes, file->bytes);
    lq_source_close(s);
}

/* Shards within the limit, and each as full as it may be. */
static void check_cut(const struct lq_quantize_result *result, uint64_t limit, const struct lq_model_half *half)
{
    for (size_t i = 1; i < result->n_files; i++) {
        const struct lq_quantize_file *file = &result->files[i];
        assert_int_equal(file->half, LQ_LANGUAGE);
        assert_int_equal(file->number, i);
        assert_int_equal(file->count, result->n_files - 1);
        assert_true(file->bytes <= limit || file->n == 1);
        if (i + 1 < result->n_files)
            assert_true(file->bytes + half->tensors[file->first + file->n - result->files[1].first].bytes > limit);
        check_shard(file, half->n_tensors, result->pair_id);
    }
}

static void splits_by_size(void **state)
{
    static const uint64_t limits[] = {5000000, 3000000, 1000000, 500000, 1};
    char *whole = in_folder(*state, "whole"), *split = in_folder(*state, "split");
    struct lq_quantize_result plain, result;
    struct lq_model *model = NULL;
    struct lq_error err = {0};
    size_t n = 1;
    quantize_or_fail(&(struct ask){.input = DEMO_MODEL, .output = whole, .spec = "copy"}, &plain);
    assert_int_equal(plain.n_files, 2);
    assert_int_equal(lq_model_open(&model, whole, NULL, &err), LQ_OK);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        quantize_or_fail(&(struct ask){.input = DEMO_MODEL, .output = split, .spec = "copy", .split_size = limits[i]},
                         &result);
        assert_true(result.n_files > n);
        n = result.n_files;
        check_cut(&result, limits[i], model->half[LQ_LANGUAGE]);
        assert_string_equal(result.pair_id, plain.pair_id);
        assert_string_equal(result.path[LQ_LANGUAGE], result.files[1].path);
        assert_same_file(result.path[LQ_VISION], plain.path[LQ_VISION]);
        assert_same_tensors(whole, split);
        lq_quantize_result_release(&result);
        fixture_empty(split);
    }
    assert_int_equal(n, 1 + model->half[LQ_LANGUAGE]->n_tensors);
    lq_model_free(model);
    lq_quantize_result_release(&plain);
    free(whole);
    free(split);
}

static void a_half_that_fits_is_not_split(void **state)
{
    char *whole = in_folder(*state, "whole"), *split = in_folder(*state, "split");
    struct lq_quantize_result plain, result;
    quantize_or_fail(&(struct ask){.input = DEMO_MODEL, .output = whole, .spec = "Q8_0"}, &plain);
    quantize_or_fail(
        &(struct ask){
            .input = DEMO_MODEL, .output = split, .spec = "Q8_0", .split_size = plain.file_bytes[LQ_LANGUAGE]},
        &result);
    assert_int_equal(result.n_files, 2);
    for (int h = 0; h < LQ_HALVES; h++) assert_same_file(result.path[h], plain.path[h]);
    lq_quantize_result_release(&result);
    fixture_empty(split);
    quantize_or_fail(
        &(struct ask){
            .input = DEMO_MODEL, .output = split, .spec = "Q8_0", .split_size = plain.file_bytes[LQ_LANGUAGE] - 1},
        &result);
    assert_int_equal(result.n_files, 3);
    lq_quantize_result_release(&result);
    lq_quantize_result_release(&plain);
    free(whole);
    free(split);
}

/* Quantising shards gives what quantising the whole gives: joined, byte for byte; kept apart, at the same places. */
static void shards_in_joined_or_kept(void **state)
{
    char *whole = in_folder(*state, "model-F16.gguf"), *split = in_folder(*state, "model-F16-s.gguf");
    char *a = in_folder(*state, "a.gguf"), *b = in_folder(*state, "b.gguf"), *c = in_folder(*state, "c.gguf");
    struct lq_quantize_result shards, kept, direct, joined;
    quantize_files(&(struct ask){.input = DEMO_MODEL, .output = whole, .spec = "f16"});
    quantize_or_fail(&(struct ask){.input = DEMO_MODEL, .output = split, .spec = "f16", .split_size = 2000000},
                     &shards);
    assert_true(shards.n_files > 3);
    quantize_or_fail(&(struct ask){.input = whole, .output = a, .spec = "Q4_0"}, &direct);
    quantize_or_fail(&(struct ask){.input = shards.files[2].path, .output = b, .spec = "Q4_0"}, &joined);
    assert_int_equal(joined.n_files, 2);
    for (int h = 0; h < LQ_HALVES; h++) assert_same_file(joined.path[h], direct.path[h]);
    quantize_or_fail(&(struct ask){.input = shards.files[1].path, .output = c, .spec = "Q4_0", .keep_split = true},
                     &kept);
    assert_int_equal(kept.n_files, shards.n_files);
    for (size_t i = 0; i < kept.n_files; i++) {
        assert_int_equal(kept.files[i].first, shards.files[i].first);
        assert_int_equal(kept.files[i].n, shards.files[i].n);
        if (i > 0) check_shard(&kept.files[i], 39, direct.pair_id);
    }
    assert_same_tensors(direct.path[LQ_LANGUAGE], kept.path[LQ_LANGUAGE]);
    struct lq_quantize_result *const results[] = {&shards, &kept, &direct, &joined};
    for (size_t i = 0; i < 4; i++) lq_quantize_result_release(results[i]);
    free(whole);
    free(split);
    free(a);
    free(b);
    free(c);
}

/* An empty first shard, as gguf-split --no-tensor-first-split makes it, stays empty. */
static void keeps_an_empty_first_shard(void **state)
{
    enum { COLUMNS = 64 };
    float weights[COLUMNS];
    struct lq_error err = {0};
    struct lq_kvs kvs = {0};
    struct lq_output *o = NULL;
    struct lq_quantize_result result;
    const struct lq_output_tensor tensor = {"output.weight", LQ_TYPE_F32, 2, {COLUMNS, 1}};
    char *paths[2] = {in_folder(*state, "m-00001-of-00002.gguf"), in_folder(*state, "m-00002-of-00002.gguf")};
    char *out = in_folder(*state, "out.gguf");
    for (int i = 0; i < COLUMNS; i++) weights[i] = (float)i;
    assert_int_equal(lq_output_open(&o, (const char *const *)paths, 2, false, &err), LQ_OK);
    for (uint16_t no = 0; no < 2; no++) {
        lq_kvs_set_string(&kvs, "general.architecture", "llama", &err);
        lq_kvs_set_u32(&kvs, "split.no", no, &err);
        lq_kvs_set_u32(&kvs, "split.count", 2, &err);
        lq_kvs_set_u32(&kvs, "split.tensors.count", 1, &err);
        assert_int_equal(lq_output_begin(o, no, &kvs, &tensor, no, 32, &err), LQ_OK);
        lq_kvs_release(&kvs);
    }
    assert_int_equal(lq_output_write(o, 1, 0, 0, weights, sizeof weights, &err), LQ_OK);
    assert_int_equal(lq_output_commit(o, NULL, &err), LQ_OK);
    lq_output_close(o);
    quantize_or_fail(&(struct ask){.input = paths[0], .output = out, .spec = "f16", .keep_split = true}, &result);
    assert_int_equal(result.n_files, 2);
    assert_int_equal(result.files[0].n, 0);
    assert_int_equal(result.files[1].n, 1);
    for (size_t i = 0; i < 2; i++) check_shard(&result.files[i], 1, result.pair_id);
    lq_quantize_result_release(&result);
    free(paths[0]);
    free(paths[1]);
    free(out);
}

static void same_bytes_for_any_thread_count(void **state)
{
    char *one = in_folder(*state, "one"), *many = in_folder(*state, "many");
    struct lq_quantize_result a, b;
    struct ask ask = {.input = DEMO_MODEL, .output = one, .spec = "Q4_K_M", .split_size = 1000000, .threads = 1};
    quantize_or_fail(&ask, &a);
    ask.output = many;
    ask.threads = 7;
    quantize_or_fail(&ask, &b);
    assert_int_equal(a.n_files, b.n_files);
    for (size_t i = 0; i < a.n_files; i++) assert_same_file(a.files[i].path, b.files[i].path);
    lq_quantize_result_release(&a);
    lq_quantize_result_release(&b);
    free(one);
    free(many);
}

/* A type that overflows grows, and what no longer fits goes into the next shard. */
static void widening_moves_the_boundaries(void **state)
{
    enum { COLUMNS = 256, ROWS = 64, TENSORS = 4 };
    static float fine[COLUMNS * ROWS], large[COLUMNS * ROWS];
    struct made_tensor made[TENSORS];
    static const char *const names[] = {"blk.0.ffn_up.weight", "blk.0.ffn_gate.weight", "blk.1.ffn_up.weight",
                                        "blk.1.ffn_gate.weight"};
    struct lq_quantize_result result;
    char *in = in_folder(*state, "in.gguf"), *out = in_folder(*state, "out.gguf");
    uint64_t limit = 4 * COLUMNS / 32 * 18 * ROWS / 2 + 2048; /* two tensors of q4_0 and their header */
    for (int i = 0; i < COLUMNS * ROWS; i++) {
        fine[i] = (float)(i % 17) - 8;
        large[i] = fine[i] * 1e30f;
    }
    for (int i = 0; i < TENSORS; i++)
        made[i] = (struct made_tensor){names[i], LQ_TYPE_F32, 2, {COLUMNS, ROWS}, i == 1 ? large : fine};
    make_gguf(in, LQ_LANGUAGE, made, TENSORS);
    quantize_or_fail(&(struct ask){.input = in, .output = out, .spec = "q4_0", .split_size = limit}, &result);
    for (size_t i = 0; i < result.n_files; i++) {
        assert_true(result.files[i].bytes <= limit || result.files[i].n == 1);
        check_shard(&result.files[i], TENSORS, result.pair_id);
    }
    assert_int_equal(result.n_files, 3);
    lq_quantize_result_release(&result);
    free(in);
    free(out);
}

struct said {
    int alone, whole, other;
};

static void listen(void *data, enum lq_log_level level, const char *message)
{
    struct said *said = data;
    if (level != LQ_LOG_WARN) return;
    if (strstr(message, " bytes with one tensor alone, 'blk.") != NULL) said->alone++;
    else if (strstr(message, "mmproj-model-F32.gguf: stays one file of ") != NULL) said->whole++;
    else said->other++;
}

/* The demo's feed-forwards alone take 786,432 bytes as f32, three in each of four blocks; the mmproj takes more. */
static void files_that_stay_large_are_named(void **state)
{
    struct said said = {0};
    struct lq_hooks hooks = {.data = &said, .log = listen};
    char *out = in_folder(*state, "out");
    quantize_files(
        &(struct ask){.input = DEMO_MODEL, .output = out, .spec = "f32", .split_size = 786432, .hooks = &hooks});
    assert_int_equal(said.alone, 12);
    assert_int_equal(said.whole, 1);
    assert_int_equal(said.other, 0);
    free(out);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, fixture_make, fixture_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(splits_by_size),
        IN_FOLDER(a_half_that_fits_is_not_split),
        IN_FOLDER(shards_in_joined_or_kept),
        IN_FOLDER(keeps_an_empty_first_shard),
        IN_FOLDER(same_bytes_for_any_thread_count),
        IN_FOLDER(widening_moves_the_boundaries),
        IN_FOLDER(files_that_stay_large_are_named),
    };
    return cmocka_run_group_tests_name("quantize, split", tests, NULL, NULL);
}
