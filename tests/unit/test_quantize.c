/* The pipeline on good input: the same bytes by every way, what the metadata say, what the numbers mean. */
#include "test_quantize_fixture.h"

#include "codec/encode.h"

#include <fcntl.h>
#include <math.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static float noise(uint32_t i)
{
    i = (i ^ 61) * 9;
    i = (i ^ i >> 4) * 0x27d4eb2d;
    return (float)(int32_t)(i ^ i >> 15) * 0x1p-34f;
}

static void same_bytes_for_any_threads(void **state)
{
    static const unsigned threads[] = {1, 2, 3, 64};
    static const char *const specs[] = {"layered", "4"};
    char *reference = fixture_path(*state, "reference.gguf"), *mmproj = fixture_path(*state, "mmproj-reference.gguf");
    char *other = fixture_path(*state, "other.gguf"), *other_mmproj = fixture_path(*state, "mmproj-other.gguf");
    for (size_t s = 0; s < 2; s++) {
        struct lq_quantize_result expected, result;
        quantize_or_fail(
            &(struct ask){.input = DEMO_MODEL, .output = reference, .spec = specs[s], .threads = threads[0]},
            &expected);
        for (size_t i = 1; i < 4; i++) {
            quantize_or_fail(
                &(struct ask){.input = DEMO_MODEL, .output = other, .spec = specs[s], .threads = threads[i]}, &result);
            assert_same_file(reference, other);
            assert_same_file(mmproj, other_mmproj);
            assert_string_equal(result.pair_id, expected.pair_id);
            assert_int_equal(result.n_entries, expected.n_entries);
            assert_memory_equal(result.error_sq, expected.error_sq, expected.n_entries * sizeof(double));
            assert_memory_equal(result.weight_sq, expected.weight_sq, expected.n_entries * sizeof(double));
            lq_quantize_result_release(&result);
        }
        lq_quantize_result_release(&expected);
    }
    free(reference);
    free(mmproj);
    free(other);
    free(other_mmproj);
}

/* A Hugging Face folder quantised at once, and converted to f32 first. */
static void both_ways_give_the_same_bytes(void **state)
{
    static const char *const specs[] = {"layered", "3", "Q4_K_M", "f16"};
    char *wide = fixture_path(*state, "wide.gguf"), *direct = fixture_path(*state, "direct.gguf");
    char *later = fixture_path(*state, "later.gguf"), *direct_mmproj = fixture_path(*state, "mmproj-direct.gguf");
    char *later_mmproj = fixture_path(*state, "mmproj-later.gguf");
    quantize_files(&(struct ask){.input = DEMO_MODEL, .output = wide, .spec = "f32"});
    for (size_t s = 0; s < sizeof specs / sizeof specs[0]; s++) {
        quantize_files(&(struct ask){.input = DEMO_MODEL, .output = direct, .spec = specs[s]});
        quantize_files(&(struct ask){.input = wide, .output = later, .spec = specs[s]});
        assert_same_file(direct, later);
        assert_same_file(direct_mmproj, later_mmproj);
    }
    free(wide);
    free(direct);
    free(later);
    free(direct_mmproj);
    free(later_mmproj);
}

static void assert_text(const struct lq_kvs *kvs, const char *key, const char *expected)
{
    const char *text;
    size_t n;
    if (!lq_kvs_get_string(kvs, key, &text, &n)) fail_msg("%s is missing", key);
    if (n != strlen(expected) || memcmp(text, expected, n) != 0) fail_msg("%s is '%.*s'", key, (int)n, text);
}

/* Bytes that this run's record takes in the file. */
static uint64_t record_bytes(const struct lq_kvs *kvs)
{
    static const char *const prefixes[] = {"llava_quantize.", "quantize.", "general.quant", "general.file_type"};
    uint64_t total = 0;
    for (size_t i = 0; i < kvs->n; i++)
        for (size_t p = 0; p < 4; p++)
            if (strncmp(kvs->items[i].key, prefixes[p], strlen(prefixes[p])) == 0)
                total += 8 + strlen(kvs->items[i].key) + 4 + kvs->items[i].raw_size;
    return total;
}

static void metadata_say_what_was_done(void **state)
{
    char *path[LQ_HALVES] = {fixture_path(*state, "mmproj-m.gguf"), fixture_path(*state, "m.gguf")};
    struct lq_quantize_result result;
    struct lq_error err = {0};
    quantize_or_fail(&(struct ask){.input = DEMO_MODEL, .output = path[LQ_LANGUAGE], .spec = "Q8_0"}, &result);
    assert_int_equal(strlen(result.pair_id), 32);
    for (int h = 0; h < LQ_HALVES; h++) {
        struct lq_source *s = NULL;
        uint64_t n = 0;
        assert_string_equal(result.path[h], path[h]);
        assert_int_equal(lq_source_open(&s, path[h], &err), LQ_OK);
        assert_int_equal(s->file_bytes, result.file_bytes[h]);
        assert_text(&s->kvs, "llava_quantize.pair_id", result.pair_id);
        assert_text(&s->kvs, "llava_quantize.source", "model");
        assert_text(&s->kvs, "llava_quantize.recipe", "Q8_0");
        assert_text(&s->kvs, "general.quantized_by", "llava-quantize " LQ_VERSION);
        assert_non_null(lq_kvs_find(&s->kvs, "llava_quantize.plan"));
        assert_null(lq_kvs_find(&s->kvs, "quantize.imatrix.file"));
        assert_true(lq_kvs_get_u64(&s->kvs, "general.file_type", &n) && n == 7);
        assert_true(lq_kvs_get_u64(&s->kvs, "general.quantization_version", &n) && n == 2);
        assert_true(record_bytes(&s->kvs) < 2048);
        lq_source_close(s);
        free(path[h]);
    }
    lq_quantize_result_release(&result);
}

/* The longest record: a file name, an origin and a plan longer than what is kept of them; non-ASCII letters stay whole.
 */
static void metadata_stay_small(void **state)
{
    enum { COLUMNS = 32, LETTERS = 104 };
    char letters[2 * LETTERS + 1] = "", name[2 * LETTERS + 16];
    for (int i = 0; i < LETTERS; i++) strcat(letters, "\xc3\xa9");
    snprintf(name, sizeof name, "%s-F16.gguf", letters);
    float weights[COLUMNS * 2], ones[COLUMNS];
    for (int i = 0; i < COLUMNS * 2; i++) weights[i] = noise((uint32_t)i);
    for (int i = 0; i < COLUMNS; i++) ones[i] = 1;
    char *in = fixture_path(*state, name), *out = fixture_path(*state, "out.gguf");
    snprintf(name, sizeof name, "%s.dat", letters);
    char *file = fixture_path(*state, name);
    make_gguf(in, LQ_LANGUAGE, &(struct made_tensor){"blk.0.ffn_up.weight", LQ_TYPE_F32, 2, {COLUMNS, 2}, weights}, 1);
    struct lq_stats *stats = make_imatrix(file, "blk.0.ffn_up.weight", ones, COLUMNS);
    quantize_files(&(struct ask){.input = in, .output = out, .spec = "q4_0", .stats = stats});
    struct lq_source *s = NULL;
    struct lq_error err = {0};
    uint64_t n = 0;
    assert_int_equal(lq_source_open(&s, out, &err), LQ_OK);
    assert_null(lq_kvs_find(&s->kvs, "split.no"));
    assert_true(lq_kvs_get_u64(&s->kvs, "quantize.imatrix.entries_count", &n) && n == 1);
    assert_true(record_bytes(&s->kvs) < 2048);
    letters[128] = '\0';
    assert_text(&s->kvs, "quantize.imatrix.file", letters);
    lq_source_close(s);
    lq_stats_free(stats);
    free(in);
    free(out);
    free(file);
}

/* Each expert's columns weigh as its own importance says; more rows than one item holds. */
static void experts_have_their_own_importance(void **state)
{
    enum { COLUMNS = 256, ROWS = 1500, EXPERTS = 3, WEIGHTS = COLUMNS * ROWS * EXPERTS };
    float *weights = malloc(WEIGHTS * sizeof *weights), importance[COLUMNS * EXPERTS];
    for (uint32_t i = 0; i < WEIGHTS; i++) weights[i] = noise(i);
    for (int i = 0; i < COLUMNS * EXPERTS; i++) importance[i] = 0.1f + (float)((i * 7) % (11 + i / COLUMNS));
    char *in = fixture_path(*state, "in.gguf"), *out = fixture_path(*state, "out.gguf"),
         *file = fixture_path(*state, "im.dat");
    make_gguf(in, LQ_LANGUAGE,
              &(struct made_tensor){"blk.0.ffn_up_exps.weight", LQ_TYPE_F32, 3, {COLUMNS, ROWS, EXPERTS}, weights}, 1);
    struct lq_stats *stats = make_imatrix(file, "blk.0.ffn_up_exps.weight", importance, COLUMNS * EXPERTS);
    quantize_files(&(struct ask){.input = in, .output = out, .spec = "q4_0", .threads = 2, .stats = stats});

    enum lq_type type;
    uint64_t bytes, expert_bytes = ROWS * lq_format_row_bytes(LQ_TYPE_Q4_0, COLUMNS);
    unsigned char *data = tensor_data(out, "blk.0.ffn_up_exps.weight", &type, &bytes), *expected = malloc(expert_bytes);
    struct lq_error err = {0};
    assert_int_equal(type, LQ_TYPE_Q4_0);
    assert_int_equal(bytes, EXPERTS * expert_bytes);
    for (int e = 0; e < EXPERTS; e++) {
        assert_int_equal(lq_codec_encode(LQ_TYPE_Q4_0, weights + e * COLUMNS * ROWS, ROWS, COLUMNS,
                                         importance + e * COLUMNS, LQ_EFFORT_NORMAL, expected, &err),
                         LQ_OK);
        assert_memory_equal(data + (uint64_t)e * expert_bytes, expected, expert_bytes);
    }
    free(data);
    free(expected);
    free(weights);
    lq_stats_free(stats);
    free(in);
    free(out);
    free(file);
}

static void a_row_longer_than_an_item(void **state)
{
    enum { COLUMNS = 3 << 18, ROWS = 3 };
    float *weights = malloc((size_t)COLUMNS * ROWS * sizeof *weights);
    for (uint32_t i = 0; i < (uint32_t)COLUMNS * ROWS; i++) weights[i] = noise(i);
    char *in = fixture_path(*state, "in.gguf"), *out = fixture_path(*state, "out.gguf");
    make_gguf(in, LQ_LANGUAGE, &(struct made_tensor){"blk.0.ffn_up.weight", LQ_TYPE_F32, 2, {COLUMNS, ROWS}, weights},
              1);
    quantize_files(&(struct ask){.input = in, .output = out, .spec = "q8_0", .threads = 2});
    enum lq_type type;
    uint64_t bytes;
    unsigned char *data = tensor_data(out, "blk.0.ffn_up.weight", &type, &bytes), *expected = malloc(bytes);
    struct lq_error err = {0};
    assert_int_equal(lq_codec_encode(LQ_TYPE_Q8_0, weights, ROWS, COLUMNS, NULL, LQ_EFFORT_NORMAL, expected, &err),
                     LQ_OK);
    assert_memory_equal(data, expected, bytes);
    free(data);
    free(expected);
    free(weights);
    free(in);
    free(out);
}

/* Fewer and fewer workers, until not even one fits. */
static void less_memory_gives_the_same_bytes(void **state)
{
    enum { COLUMNS = 1 << 20, ROWS = 4 };
    float *weights = malloc((size_t)COLUMNS * ROWS * sizeof *weights);
    for (uint32_t i = 0; i < (uint32_t)COLUMNS * ROWS; i++) weights[i] = noise(i);
    char *in = fixture_path(*state, "in.gguf"), *out = fixture_path(*state, "out.gguf");
    char *reference = fixture_path(*state, "reference.gguf");
    make_gguf(in, LQ_LANGUAGE, &(struct made_tensor){"blk.0.ffn_up.weight", LQ_TYPE_F32, 2, {COLUMNS, ROWS}, weights},
              1);
    quantize_files(
        &(struct ask){.input = in, .output = reference, .spec = "q4_0", .threads = 1, .memory = UINT64_C(1) << 40});
    unsigned refused = 0, done = 0;
    for (uint64_t memory = 1000000; memory < UINT64_C(1) << 40; memory += memory / 4) {
        struct ask ask = {.input = in, .output = out, .spec = "q4_0", .threads = 64, .memory = memory};
        struct lq_quantize_result result;
        struct lq_error err = {0};
        enum lq_status status = quantize(&ask, &result, NULL, &err);
        if (status != LQ_OK) {
            assert_int_equal(status, LQ_ERR_MEMORY);
            assert_non_null(strstr(err.message, "in.gguf: one thread needs 18 MB besides"));
            assert_non_null(strstr(err.message, "allow at least "));
            assert_int_equal(access(out, F_OK), -1);
            refused++;
            continue;
        }
        assert_same_file(out, reference);
        lq_quantize_result_release(&result);
        if (++done == 4) break;
    }
    assert_true(refused > 0 && done == 4);
    free(weights);
    free(reference);
    free(in);
    free(out);
}

static size_t resident_pages(const char *path, size_t *all)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (size_t)st.st_size, found = 0;
    void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED);
    *all = (size + page - 1) / page;
    unsigned char *pages = malloc(*all);
    assert_int_equal(mincore(map, size, pages), 0);
    for (size_t i = 0; i < *all; i++) found += pages[i] & 1;
    free(pages);
    munmap(map, size);
    close(fd);
    return found;
}

/* What was not in memory before is not left there; what was, stays. */
static void the_page_cache_stays_as_it_was(void **state)
{
    enum { COLUMNS = 4096, ROWS = 2048 };
    float *weights = calloc((size_t)COLUMNS * ROWS, sizeof *weights);
    size_t all, found;
    char *in = fixture_path(*state, "in.gguf"), *out = fixture_path(*state, "out.gguf");
    make_gguf(in, LQ_LANGUAGE, &(struct made_tensor){"blk.0.ffn_up.weight", LQ_TYPE_F32, 2, {COLUMNS, ROWS}, weights},
              1);
    struct ask ask = {.input = in, .output = out, .spec = "q8_0", .threads = 2};
    quantize_files(&ask);
    assert_true(resident_pages(in, &all) > all - all / 8);
    int fd = open(in, O_RDONLY);
    assert_true(fd >= 0 && fsync(fd) == 0);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
    if (resident_pages(in, &all) < all / 8) { /* not on a file system that is memory */
        quantize_files(&ask);
        found = resident_pages(in, &all);
        if (found > all / 4) fail_msg("%zu of %zu pages stayed in memory", found, all);
    }
    free(weights);
    free(in);
    free(out);
}

static void effort_is_recorded_and_counts(void **state)
{
    char *normal = fixture_path(*state, "normal.gguf"), *best = fixture_path(*state, "best.gguf");
    struct lq_quantize_result one, other;
    quantize_or_fail(&(struct ask){.input = DEMO_MODEL, .output = normal, .spec = "q4_0"}, &one);
    quantize_or_fail(&(struct ask){.input = DEMO_MODEL, .output = best, .spec = "q4_0", .effort = LQ_EFFORT_BEST},
                     &other);
    double error[2] = {0};
    for (size_t i = 0; i < one.n_entries; i++) {
        error[0] += one.error_sq[i];
        error[1] += other.error_sq[i];
    }
    assert_true(error[1] < error[0]);
    struct lq_source *s = NULL;
    struct lq_error err = {0};
    assert_int_equal(lq_source_open(&s, best, &err), LQ_OK);
    assert_text(&s->kvs, "llava_quantize.effort", "best");
    lq_source_close(s);
    assert_int_equal(lq_source_open(&s, normal, &err), LQ_OK);
    assert_null(lq_kvs_find(&s->kvs, "llava_quantize.effort"));
    lq_source_close(s);
    lq_quantize_result_release(&one);
    lq_quantize_result_release(&other);
    free(normal);
    free(best);
}

/* Every type on real weights: the error is a number between nothing and everything, and more bits never cost much. */
static void every_type_on_the_demo(void **state)
{
    char *out = fixture_path(*state, "out.gguf");
    for (int t = 0; t < LQ_TYPE_COUNT; t++) {
        const struct lq_format *f = lq_format_get(t);
        if (f == NULL || (f->flags & LQ_FORMAT_TARGET) == 0 || (f->flags & LQ_FORMAT_NEEDS_IMPORTANCE) != 0) continue;
        struct lq_quantize_result r;
        quantize_or_fail(&(struct ask){.input = DEMO_MODEL,
                                       .output = out,
                                       .spec = "f16",
                                       .threads = 2,
                                       .pattern = "vision.ffn",
                                       .type = f->name,
                                       .vision_only = true},
                         &r);
        double error = 0, weight = 0;
        for (size_t i = 0; i < r.n_entries; i++) {
            assert_true(isfinite(r.error_sq[i]) && r.weight_sq[i] >= 0);
            error += r.error_sq[i];
            weight += r.weight_sq[i];
        }
        double relative = sqrt(error / weight), bits = f->bytes * 8.0 / f->block;
        if (!(relative < (bits < 4 ? 0.9 : bits <= 5 ? 0.15 : bits < 8 ? 0.05 : 0.01)))
            fail_msg("%s: %g", f->name, relative);
        lq_quantize_result_release(&r);
    }
    free(out);
}

struct seen {
    uint64_t done, total;
    unsigned calls;
    double seconds;
};

static void see(void *data, const struct lq_progress *p)
{
    struct seen *seen = data;
    assert_true(p->done >= seen->done && p->done <= p->total && p->seconds >= seen->seconds && *p->what != '\0');
    *seen = (struct seen){p->done, p->total, seen->calls + 1, p->seconds};
}

static void progress_ends_at_the_total(void **state)
{
    char *out = fixture_path(*state, "out.gguf");
    struct seen seen = {0};
    struct lq_hooks hooks = {.data = &seen, .progress = see};
    struct lq_quantize_result r;
    quantize_or_fail(&(struct ask){.input = DEMO_MODEL, .output = out, .spec = "q4_k", .threads = 3, .hooks = &hooks},
                     &r);
    assert_true(seen.calls >= 1 && seen.done == seen.total && seen.total > 10000000);
    assert_true(seen.calls <= 2 + 10 * r.seconds);
    lq_quantize_result_release(&r);
    free(out);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, fixture_make, fixture_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(same_bytes_for_any_threads),
        IN_FOLDER(less_memory_gives_the_same_bytes),
        IN_FOLDER(the_page_cache_stays_as_it_was),
        IN_FOLDER(effort_is_recorded_and_counts),
        IN_FOLDER(both_ways_give_the_same_bytes),
        IN_FOLDER(metadata_say_what_was_done),
        IN_FOLDER(metadata_stay_small),
        IN_FOLDER(experts_have_their_own_importance),
        IN_FOLDER(a_row_longer_than_an_item),
        IN_FOLDER(every_type_on_the_demo),
        IN_FOLDER(progress_ends_at_the_total),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
