/* What planning keeps in a statistics file: found again on the same terms alone, and nothing else in the file
 * changes. */
#include "test_quantize_fixture.h"

#include "calibrate/measurements.h"
#include "llava_quantize/inspect.h"
#include "test_moments_fixture.h"

#include <math.h>
#include <sys/stat.h>

#define QUERY "blk.0.attn_q.weight"
#define OUT "blk.0.attn_output.weight"

static const char *const terms[] = {"pair: a\nrows: 256\n", "pair: a\nrecords taken: 8\n"};
static const char *const other_terms[] = {"pair: a\nrows: 256\n", "pair: a\nrecords taken: 64\n"};
static const struct lq_measured known[] = {
    {"q4_k " QUERY, 0.25, 0, 0}, {"q3_k " OUT, 1e-9, 0, 0}, {"q4_k " OUT, 0, 0, 0}, {"f16 " QUERY, 3, 0, 0}};
static const struct lq_measured group = {"q3_k " QUERY " " OUT, 0.125, 0.0625, 0.75};

static char *make_file(void **state)
{
    static const struct made_input inputs[] = {
        {.members = {QUERY}, .n = 64, .experts = 1, .tokens = {100}, .moments = true},
        {.members = {OUT}, .n = 64, .experts = 1, .tokens = {100}},
    };
    char *file = fixture_path(*state, "stats.gguf");
    lq_stats_free(make_moments(file, inputs, 2));
    return file;
}

static struct lq_measurements *open_or_fail(const char *file, const char *const on[], const char *stale)
{
    struct lq_measurements *m = NULL;
    struct lq_error err = {0}, found = {0};
    if (lq_measurements_open(&m, file, on, &found, &err) != LQ_OK) fail_msg("%s", err.message);
    if (stale == NULL) assert_string_equal(found.message, "");
    else if (strstr(found.message, stale) == NULL) fail_msg("'%s', expected '%s'", found.message, stale);
    return m;
}

static void add(struct lq_measurements *m, enum lq_measured_kind kind, const struct lq_measured *measured)
{
    struct lq_error err = {0};
    if (lq_measurements_add(m, kind, measured, &err) != LQ_OK) fail_msg("%s", err.message);
}

static void save_and_free(struct lq_measurements *m)
{
    struct lq_error err = {0};
    if (lq_measurements_save(m, &err) != LQ_OK) fail_msg("%s", err.message);
    lq_measurements_free(m);
}

static void assert_found(const struct lq_measurements *m, enum lq_measured_kind kind, const struct lq_measured *wanted)
{
    const struct lq_measured *found = lq_measurements_find(m, kind, wanted->name);
    if (found == NULL) fail_msg("'%s' is not there", wanted->name);
    assert_string_equal(found->name, wanted->name);
    assert_true(found->value == wanted->value && found->spread == wanted->spread);
    assert_true(found->agreement == wanted->agreement);
}

static void fill(const char *file)
{
    struct lq_measurements *m = open_or_fail(file, terms, NULL);
    assert_null(lq_measurements_find(m, LQ_MEASURED_ERRORS, known[0].name));
    add(m, LQ_MEASURED_ERRORS, &(struct lq_measured){known[0].name, 7, 0, 0});
    for (size_t i = 0; i < 4; i++) add(m, LQ_MEASURED_ERRORS, &known[i]);
    add(m, LQ_MEASURED_DIVERGENCES, &group);
    save_and_free(m);
}

/* The header apart, whose length has changed: all keys but the new ones, and all tensors' data. */
static void assert_same_beside(const char *before, const char *after)
{
    struct lq_source *a = NULL, *b = NULL;
    struct lq_error err = {0};
    assert_int_equal(lq_source_open(&a, before, &err), LQ_OK);
    assert_int_equal(lq_source_open(&b, after, &err), LQ_OK);
    assert_int_equal(a->alignment, b->alignment);
    assert_int_equal(a->kvs.n + 6, b->kvs.n);
    for (size_t i = 0; i < a->kvs.n; i++) {
        const struct lq_kv *x = &a->kvs.items[i], *y = &b->kvs.items[i];
        assert_string_equal(x->key, y->key);
        assert_true(x->type == y->type && x->raw_size == y->raw_size && memcmp(x->raw, y->raw, x->raw_size) == 0);
    }
    assert_int_equal(a->n_tensors, b->n_tensors);
    for (size_t i = 0; i < a->n_tensors; i++) {
        const struct lq_source_tensor *x = &a->tensors[i], *y = &b->tensors[i];
        char *p = malloc(x->bytes), *q = malloc(x->bytes);
        assert_string_equal(x->name, y->name);
        assert_true(x->type == y->type && x->n_dims == y->n_dims && x->bytes == y->bytes);
        assert_int_equal(lq_source_read(a, x, 0, x->bytes, p, &err), LQ_OK);
        assert_int_equal(lq_source_read(b, y, 0, y->bytes, q, &err), LQ_OK);
        assert_memory_equal(p, q, x->bytes);
        free(p);
        free(q);
    }
    lq_source_close(a);
    lq_source_close(b);
}

static void kept_ones_are_found_and_nothing_else_changes(void **state)
{
    char *file = make_file(state), *before = fixture_path(*state, "before.gguf"), *bytes = NULL;
    struct lq_error err = {0};
    struct lq_stats *stats = NULL;
    struct lq_stats_inspection *seen = NULL;
    size_t size = 0;
    assert_int_equal(lq_file_load(file, 1 << 24, &bytes, &size, &err), LQ_OK);
    assert_int_equal(lq_file_save(before, bytes, size, &err), LQ_OK);
    free(bytes);
    fill(file);
    assert_same_beside(before, file);
    struct lq_measurements *m = open_or_fail(file, terms, NULL);
    for (size_t i = 0; i < 4; i++) assert_found(m, LQ_MEASURED_ERRORS, &known[i]);
    assert_found(m, LQ_MEASURED_DIVERGENCES, &group);
    assert_null(lq_measurements_find(m, LQ_MEASURED_DIVERGENCES, known[0].name));
    assert_null(lq_measurements_find(m, LQ_MEASURED_ERRORS, "q4_k"));
    lq_measurements_free(m);
    assert_int_equal(lq_stats_load(&stats, file, &err), LQ_OK);
    assert_int_equal(lq_stats_inspect(&seen, stats, NULL, &err), LQ_OK);
    assert_int_equal(seen->measured[0], 4);
    assert_int_equal(seen->measured[1], 1);
    lq_stats_inspection_free(seen);
    lq_stats_free(stats);
    free(before);
    free(file);
}

static ino_t inode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_ino;
}

static void a_file_is_written_only_for_something_new(void **state)
{
    char *file = make_file(state);
    struct lq_error err = {0};
    fill(file);
    ino_t before = inode_of(file);
    struct lq_measurements *m = open_or_fail(file, terms, NULL);
    assert_int_equal(lq_measurements_save(m, &err), LQ_OK);
    assert_true(inode_of(file) == before);
    for (int i = 0; i < 2; i++) { /* the same program may save more than once */
        char name[32];
        snprintf(name, sizeof name, "plan %d", i);
        add(m, LQ_MEASURED_DIVERGENCES, &(struct lq_measured){name, 1, 0, 0});
        assert_int_equal(lq_measurements_save(m, &err), LQ_OK);
    }
    lq_measurements_free(m);
    m = open_or_fail(file, terms, NULL);
    assert_found(m, LQ_MEASURED_DIVERGENCES, &group);
    assert_found(m, LQ_MEASURED_DIVERGENCES, &(struct lq_measured){"plan 0", 1, 0, 0});
    assert_found(m, LQ_MEASURED_DIVERGENCES, &(struct lq_measured){"plan 1", 1, 0, 0});
    assert_found(m, LQ_MEASURED_ERRORS, &known[1]);
    lq_measurements_free(m);
    free(file);
}

/* Of one kind other terms; they stay until something is measured on the new ones. */
static void other_terms_do_not_count_and_are_named(void **state)
{
    static const char named[] = "stats.gguf: its divergences were measured with other settings (records taken: 8, now "
                                "64) and do not count";
    char *file = make_file(state);
    fill(file);
    struct lq_measurements *m = open_or_fail(file, other_terms, named);
    assert_null(lq_measurements_find(m, LQ_MEASURED_DIVERGENCES, group.name));
    assert_found(m, LQ_MEASURED_ERRORS, &known[2]);
    add(m, LQ_MEASURED_ERRORS, &known[2]);
    save_and_free(m);
    m = open_or_fail(file, terms, NULL);
    assert_found(m, LQ_MEASURED_DIVERGENCES, &group);
    lq_measurements_free(m);
    m = open_or_fail(file, other_terms, named);
    add(m, LQ_MEASURED_DIVERGENCES, &(struct lq_measured){"plan", 2, 0, 0});
    save_and_free(m);
    m = open_or_fail(file, terms, "records taken: 64, now 8");
    assert_null(lq_measurements_find(m, LQ_MEASURED_DIVERGENCES, "plan"));
    assert_found(m, LQ_MEASURED_ERRORS, &known[0]);
    lq_measurements_free(m);
    free(file);
}

static void what_cannot_be_kept_is_refused(void **state)
{
    static const struct lq_measured bad[] = {{"a", NAN, 0, 0}, {"a", 0, -1, 0},   {"a", 0, 0, INFINITY},
                                             {"", 0, 0, 0},    {"a\nb", 0, 0, 0}, {"\xff", 0, 0, 0}};
    char *file = make_file(state), *legacy = fixture_path(*state, "old.dat");
    struct lq_error err = {0}, stale = {0};
    struct lq_measurements *m = open_or_fail(file, terms, NULL), *none = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(lq_measurements_add(m, LQ_MEASURED_ERRORS, &bad[i], &err), LQ_ERR_USAGE);
    assert_int_equal(lq_measurements_save(m, &err), LQ_OK);
    add(m, LQ_MEASURED_ERRORS, &known[0]);
    const struct made_input fresh = {.members = {QUERY}, .n = 32, .experts = 1, .tokens = {50}};
    lq_stats_free(make_moments(file, &fresh, 1)); /* calibrated anew meanwhile */
    ino_t before = inode_of(file);
    assert_int_equal(lq_measurements_save(m, &err), LQ_ERR_USAGE);
    assert_non_null(strstr(err.message, "stats.gguf: is no longer the file that was read"));
    assert_true(inode_of(file) == before);
    lq_measurements_free(m);
    lq_stats_free(make_imatrix(legacy, QUERY, (const float[]){1, 2}, 2));
    assert_int_equal(lq_measurements_open(&none, legacy, terms, &stale, &err), LQ_ERR_FORMAT);
    assert_int_equal(lq_measurements_open(&none, "/nowhere/stats.gguf", terms, &stale, &err), LQ_ERR_FORMAT);
    assert_null(none);
    free(legacy);
    free(file);
}

/* ---- hostile files ---- */

struct defect {
    const char *names[3];
    double values[9];
    size_t n_names, n_values;
    bool no_terms, no_names, integers;
    const char *expected;
};

static void write_defect(const char *file, const struct defect *d)
{
    const struct lq_output_tensor tensor = {"a.in_sum2", LQ_TYPE_F32, 2, {2, 1, 1, 1}},
                                  count = {"a.counts", LQ_TYPE_F32, 2, {1, 1, 1, 1}};
    struct lq_kvs kvs = {0};
    struct lq_error err = {0};
    struct lq_output *o = NULL;
    size_t lengths[3];
    const float ones[2] = {1, 1};
    for (size_t i = 0; i < d->n_names; i++) lengths[i] = strlen(d->names[i]);
    lq_kvs_set_string(&kvs, "general.type", "imatrix", &err);
    if (!d->no_terms) lq_kvs_set_string(&kvs, LQ_STATS_KEY_ERRORS ".terms", terms[0], &err);
    if (!d->no_names) lq_kvs_set_strings(&kvs, LQ_STATS_KEY_ERRORS ".names", d->names, lengths, d->n_names, &err);
    lq_kvs_set_array(&kvs, LQ_STATS_KEY_ERRORS ".values", d->integers ? LQ_KV_I64 : LQ_KV_F64, d->n_values, d->values,
                     &err);
    assert_int_equal(lq_output_open(&o, &file, 1, true, &err), LQ_OK);
    assert_int_equal(lq_output_begin(o, 0, &kvs, (const struct lq_output_tensor[]){tensor, count}, 2, 32, &err), LQ_OK);
    assert_int_equal(lq_output_write(o, 0, 0, 0, ones, 8, &err), LQ_OK);
    assert_int_equal(lq_output_write(o, 0, 1, 0, ones, 4, &err), LQ_OK);
    assert_int_equal(lq_output_commit(o, NULL, &err), LQ_OK);
    lq_output_close(o);
    lq_kvs_release(&kvs);
}

static void damaged_ones_are_refused(void **state)
{
    static const struct defect defects[] = {
        {.names = {"a", "b"}, .n_names = 2, .n_values = 6, .expected = NULL},
        {.names = {"b", "a"}, .n_names = 2, .n_values = 6, .expected = "names' is not in order"},
        {.names = {"a", "a"}, .n_names = 2, .n_values = 6, .expected = "names' is not in order"},
        {.names = {"a", "b\n"}, .n_names = 2, .n_values = 6, .expected = "names' holds what is no name"},
        {.names = {"a", "b"}, .n_names = 2, .n_values = 5, .expected = "values' holds no numbers for them"},
        {.names = {"a"}, .n_names = 1, .n_values = 6, .expected = "values' holds no numbers for them"},
        {.names = {"a"}, .n_names = 1, .n_values = 3, .integers = true, .expected = "values' holds no numbers"},
        {.n_values = 3, .no_names = true, .expected = "names' holds no names"},
        {.names = {"a"}, .n_names = 1, .n_values = 3, .no_terms = true, .expected = "terms' is no text"},
        {.names = {"a"}, .values = {0, NAN}, .n_names = 1, .n_values = 3, .expected = "negative or not finite"},
        {.names = {"a"}, .values = {-1}, .n_names = 1, .n_values = 3, .expected = "negative or not finite"},
    };
    char *file = fixture_path(*state, "stats.gguf");
    for (size_t i = 0; i < sizeof defects / sizeof defects[0]; i++) {
        const struct defect *d = &defects[i];
        struct lq_measurements *m = NULL;
        struct lq_stats *stats = NULL;
        struct lq_stats_inspection *seen = NULL;
        struct lq_error err = {0}, stale = {0};
        enum lq_status expected = d->expected == NULL ? LQ_OK : LQ_ERR_FORMAT;
        write_defect(file, d);
        assert_int_equal(lq_measurements_open(&m, file, terms, &stale, &err), expected);
        if (d->expected != NULL && strstr(err.message, d->expected) == NULL) fail_msg("%zu: %s", i, err.message);
        assert_int_equal(lq_stats_load(&stats, file, &err), LQ_OK);
        assert_int_equal(lq_stats_inspect(&seen, stats, NULL, &err), expected);
        if (d->expected != NULL && strstr(err.message, d->expected) == NULL) fail_msg("%zu: %s", i, err.message);
        lq_stats_inspection_free(seen);
        lq_stats_free(stats);
        lq_measurements_free(m);
    }
    free(file);
}

/* ---- terms ---- */

static void assert_terms(const struct lq_measured_basis *basis, char *const before[], bool errors, bool divergences)
{
    char *now[LQ_MEASURED_KINDS];
    struct lq_error err = {0};
    if (lq_measured_terms(now, basis, &err) != LQ_OK) fail_msg("%s", err.message);
    assert_int_equal(strcmp(now[LQ_MEASURED_ERRORS], before[LQ_MEASURED_ERRORS]) != 0, errors);
    assert_int_equal(strcmp(now[LQ_MEASURED_DIVERGENCES], before[LQ_MEASURED_DIVERGENCES]) != 0, divergences);
    for (int k = 0; k < LQ_MEASURED_KINDS; k++) free(now[k]);
}

static void terms_tell_all_that_numbers_depend_on(void **state)
{
    (void)state;
    struct lq_model *model = NULL, *half = NULL;
    struct lq_dataset *data = NULL, *drawn = NULL;
    struct lq_error err = {0};
    char *first[LQ_MEASURED_KINDS];
    const struct lq_dataset_options few = {.limit = 8, .seed = 1}, others = {.limit = 8, .seed = 2};
    assert_int_equal(lq_model_open(&model, DEMO_MODEL, NULL, &err), LQ_OK);
    assert_int_equal(lq_model_open(&half, DEMO_MODEL, &(struct lq_model_options){.only = LQ_VISION}, &err), LQ_OK);
    assert_int_equal(lq_dataset_load(&data, LQ_DEMO "/calibration.json", &few, &err), LQ_OK);
    assert_int_equal(lq_dataset_load(&drawn, LQ_DEMO "/calibration.json", &others, &err), LQ_OK);
    const struct lq_measured_basis basis = {
        .model = model, .method = "feedback", .rows = 256, .data = data, .limit = 4};
    assert_int_equal(lq_measured_terms(first, &basis, &err), LQ_OK);
    struct lq_measured_basis other = basis;
    assert_terms(&other, first, false, false);
    other.rows = 128;
    assert_terms(&other, first, true, false);
    other = basis;
    other.data = drawn;
    assert_terms(&other, first, false, true);
    other.data = NULL;
    assert_terms(&other, first, false, true);
    other = basis;
    other.limit = 5;
    assert_terms(&other, first, false, true);
    other = basis;
    other.method = "imatrix";
    assert_terms(&other, first, true, true);
    other = basis;
    other.effort = LQ_EFFORT_BEST;
    assert_terms(&other, first, true, true);
    other = basis;
    other.model = half;
    assert_terms(&other, first, true, true);
    for (int k = 0; k < LQ_MEASURED_KINDS; k++) free(first[k]);
    lq_dataset_free(data);
    lq_dataset_free(drawn);
    lq_model_free(model);
    lq_model_free(half);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, fixture_make, fixture_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(kept_ones_are_found_and_nothing_else_changes),
        IN_FOLDER(a_file_is_written_only_for_something_new),
        IN_FOLDER(other_terms_do_not_count_and_are_named),
        IN_FOLDER(what_cannot_be_kept_is_refused),
        IN_FOLDER(damaged_ones_are_refused),
        cmocka_unit_test(terms_tell_all_that_numbers_depend_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
