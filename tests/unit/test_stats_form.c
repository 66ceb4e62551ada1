/* Our own form of statistics: what is shared and read on demand, what `inspect` makes of it, and every defect by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bytes.h"
#include "calibrate/stats_file.h"
#include "llava_quantize/inspect.h"
#include "source/kv.h"

#include <math.h>

enum { F32 = LQ_TYPE_F32, F64 = LQ_TYPE_F64, MOST_VALUES = 24, MOST_PARTS = 24 };

struct part {
    const char *name;
    uint32_t type;
    uint64_t n;
    double v[MOST_VALUES];
};

/* "a" and "b" share an input of three columns, "x" has two experts of two. */
static const struct part good[] = {
    {"a.in_sum2", F32, 3, {200, 100, 600}},
    {"a.counts", F32, 1, {100}},
    {"a.moments", F64, 18, {0}},
    {"a.tokens", F64, 3, {60, 30, 10}},
    {"a.weighted", F64, 4, {100, 50, 300, 50}},
    {"a.hessian", F32, 6, {100, 1, 50, 2, -3, 300}},
    {"a.spread", F64, 2, {7, 9}},
    {"b.in_sum2", F32, 3, {200, 100, 600}},
    {"b.counts", F32, 1, {100}},
    {"x.in_sum2", F32, 4, {64, 192, 256, 512}},
    {"x.counts", F32, 2, {64, 128}},
    {"x.tokens", F64, 6, {64, 0, 0, 100, 20, 8}},
    {"x.weighted", F64, 6, {64, 192, 64, 256, 512, 128}},
    {"x.hessian", F32, 6, {64, 5, 192, 256, 6, 512}},
    {"x.spread", F64, 4, {1, 2, 3, 4}},
};
enum { GOOD_PARTS = sizeof good / sizeof good[0] };

/* A file; members and firsts end with NULL. */
struct made {
    uint32_t version;
    const char *pair, *members[4], *firsts[4];
    bool no_firsts;
    uint64_t reached[2]; /* 0: none */
    size_t n;
    struct part parts[MOST_PARTS];
};

static struct made make(void)
{
    struct made m = {.version = 1, .pair = "0123abcd", .members = {"b"}, .firsts = {"a"}, .n = GOOD_PARTS};
    memcpy(m.parts, good, sizeof good);
    return m;
}

static void put_texts(struct bytes *b, const char *key, const char *const *texts)
{
    uint64_t n = 0;
    while (n < 4 && texts[n] != NULL) n++;
    put_text(b, key);
    put_u32(b, LQ_KV_ARRAY);
    put_u32(b, LQ_KV_STRING);
    put_u64(b, n);
    for (uint64_t i = 0; i < n; i++) put_text(b, texts[i]);
}

static void put_value(struct bytes *b, uint32_t type, double v)
{
    if (type == F64) put(b, &v, sizeof v);
    else put_f32(b, (float)v);
}

static int write_made(const struct made *m)
{
    struct bytes b = {0};
    uint64_t at = 0;
    put_gguf_head(&b, 3, m->n, 4 + !m->no_firsts + (m->reached[0] > 0));
    put_gguf_text(&b, "general.type", "imatrix");
    put_gguf_u32(&b, LQ_STATS_KEY_VERSION, m->version);
    put_gguf_text(&b, LQ_STATS_KEY_PAIR, m->pair);
    put_texts(&b, LQ_STATS_KEY_MEMBERS, m->members);
    if (!m->no_firsts) put_texts(&b, LQ_STATS_KEY_FIRSTS, m->firsts);
    if (m->reached[0] > 0) {
        put_text(&b, LQ_STATS_KEY_REACHED);
        put_u32(&b, LQ_KV_ARRAY);
        put_u32(&b, LQ_KV_U64);
        put_u64(&b, 2);
        for (int i = 0; i < 2; i++) put_u64(&b, m->reached[i]);
    }
    for (size_t i = 0; i < m->n; i++) {
        put_gguf_tensor(&b, m->parts[i].name, m->parts[i].n, 1, m->parts[i].type, at);
        at += (m->parts[i].n * (m->parts[i].type == F64 ? 8 : 4) + 31) / 32 * 32;
    }
    put_padding(&b, 32);
    for (size_t i = 0; i < m->n; i++) {
        for (uint64_t v = 0; v < m->parts[i].n; v++) put_value(&b, m->parts[i].type, m->parts[i].v[v]);
        put_padding(&b, 32);
    }
    return bytes_fd(&b);
}

static enum lq_status load_made(const struct made *m, struct lq_stats **out, char path[64], struct lq_error *err)
{
    int fd = write_made(m);
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    enum lq_status status = lq_stats_load(out, path, err);
    close(fd);
    return status;
}

static struct lq_stats *load(const struct made *m)
{
    char path[64];
    struct lq_stats *stats = NULL;
    struct lq_error err = {0};
    if (load_made(m, &stats, path, &err) != LQ_OK) fail_msg("%s", err.message);
    return stats;
}

static const struct lq_tensor a = {.name = "a", .ne = {3, 9, 1, 1}}, b = {.name = "b", .ne = {3, 5, 1, 1}},
                              x = {.name = "x", .ne = {2, 7, 2, 1}};

static void test_shared_inputs(void **state)
{
    (void)state;
    const struct made m = make();
    struct lq_stats *stats = load(&m);
    const float *importance = lq_stats_importance(stats, &b);
    assert_true(importance[0] == 2 && importance[1] == 1 && importance[2] == 6);
    assert_string_equal(lq_stats_input(stats, &a), "a");
    assert_ptr_equal(lq_stats_input(stats, &a), lq_stats_input(stats, &b));
    assert_string_equal(lq_stats_input(stats, &x), "x");
    assert_null(lq_stats_input(stats, &(struct lq_tensor){.name = "a", .ne = {4, 9, 1, 1}}));
    assert_null(lq_stats_input(stats, &(struct lq_tensor){.name = "x", .ne = {4, 7, 1, 1}}));
    assert_null(lq_stats_input(stats, &(struct lq_tensor){.name = "c", .ne = {3, 9, 1, 1}}));
    lq_stats_free(stats);
}

static void test_second_moments(void **state)
{
    (void)state;
    const struct made m = make();
    struct lq_stats *stats = load(&m);
    struct lq_stats_moments moments = {0};
    struct lq_error err = {0};
    float h[6];
    assert_int_equal(lq_stats_hessian(stats, &b, 0, h, &moments, &err), LQ_OK);
    assert_memory_equal(h, ((float[]){100, 1, 50, 2, -3, 300}), sizeof h);
    assert_true(moments.tokens == 50 && moments.spread == 7);
    assert_int_equal(lq_stats_hessian(stats, &x, 1, h, &moments, &err), LQ_OK);
    assert_memory_equal(h, ((float[]){256, 6, 512}), 3 * sizeof *h);
    assert_true(moments.tokens == 128 && moments.spread == 3);
    assert_int_equal(lq_stats_hessian(stats, &x, 2, h, &moments, &err), LQ_ERR_USAGE);
    assert_int_equal(lq_stats_hessian(stats, &(struct lq_tensor){.name = "c"}, 0, h, &moments, &err), LQ_ERR_USAGE);
    lq_stats_free(stats);
}

/* An unfinished run whose second moments are of other tokens than its counts. */
static void test_unfinished(void **state)
{
    (void)state;
    struct made m = make();
    m.reached[0] = m.reached[1] = 5;
    struct lq_stats *stats = load(&m);
    assert_non_null(lq_stats_input(stats, &a));
    lq_stats_free(stats);
    m.reached[1] = 4;
    stats = load(&m);
    assert_null(lq_stats_input(stats, &a));
    assert_non_null(lq_stats_importance(stats, &a));
    lq_stats_free(stats);
}

/* ---- defects ---- */

static void refuse(const struct made *m, enum lq_status expected, const char *message)
{
    char path[64];
    struct lq_stats *stats = NULL;
    struct lq_error err = {0};
    assert_int_equal(load_made(m, &stats, path, &err), expected);
    assert_null(stats);
    assert_memory_equal(err.message, path, strlen(path));
    assert_string_equal(err.message + strlen(path), message);
}

static struct part *find(struct made *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->parts[i].name, name) == 0) return &m->parts[i];
    fail_msg("no part %s", name);
    return NULL;
}

/* Parts of another shape or type than their matrix asks for, and values that no sum of squares can be. */
static void test_bad_parts(void **state)
{
    (void)state;
    static const struct {
        const char *part;
        uint32_t type;
        uint64_t n;
        int at; /* below 0: no value is changed */
        double value;
        const char *message;
    } defects[] = {
        {"a.in_sum2", F32, 3, 1, -1, ": tensor 'a.in_sum2': value 1 is -1, expected finite and not negative"},
        {"b.in_sum2", F32, 3, 2, NAN, ": tensor 'b.in_sum2': value 2 is nan, expected finite and not negative"},
        {"x.counts", F32, 2, 1, INFINITY, ": tensor 'x.counts': value 1 is inf, expected finite and not negative"},
        {"x.counts", F32, 3, -1, 0, ": tensor 'x': 4 values do not divide into 3 counts"},
        {"x.counts", F32, 1, -1, 0, ": tensor 'x.tokens': 6 values, expected 3 for 4 columns and 1 expert"},
        {"b.in_sum2", F32, 4, -1, 0, ": tensor 'b': 4 values, but 'a', whose input it shares, has 3"},
        {"a.moments", F64, 17, -1, 0, ": tensor 'a.moments': 17 values, expected 18 for 3 columns and 1 expert"},
        {"a.tokens", F64, 2, -1, 0, ": tensor 'a.tokens': 2 values, expected 3 for 3 columns and 1 expert"},
        {"a.weighted", F64, 3, -1, 0, ": tensor 'a.weighted': 3 values, expected 4 for 3 columns and 1 expert"},
        {"a.hessian", F32, 9, -1, 0, ": tensor 'a.hessian': 9 values, expected 6 for 3 columns and 1 expert"},
        {"a.spread", F64, 4, -1, 0, ": tensor 'a.spread': 4 values, expected 2 for 3 columns and 1 expert"},
        {"a.hessian", F64, 6, -1, 0, ": tensor 'a.hessian': type f64, expected f32"},
        {"a.weighted", F32, 4, -1, 0, ": tensor 'a.weighted': type f32, expected f64"},
    };
    for (size_t i = 0; i < sizeof defects / sizeof defects[0]; i++) {
        struct made m = make();
        struct part *part = find(&m, defects[i].part);
        part->type = defects[i].type;
        part->n = defects[i].n;
        if (defects[i].at >= 0) part->v[defects[i].at] = defects[i].value;
        refuse(&m, LQ_ERR_FORMAT, defects[i].message);
    }
}

static void test_missing_parts(void **state)
{
    (void)state;
    static const char *const defects[][2] = {
        {"b.counts", ": tensor 'b.in_sum2': 'b.counts' is missing"},
        {"b.in_sum2", ": tensor 'b.counts': its '.in_sum2' is missing"},
        {"a.weighted", ": tensor 'a.hessian': 'a.weighted' is missing"},
        {"x.spread", ": tensor 'x.hessian': 'x.spread' is missing"},
    };
    for (size_t i = 0; i < sizeof defects / sizeof defects[0]; i++) {
        struct made m = make();
        find(&m, defects[i][0])->name = "left.out";
        refuse(&m, LQ_ERR_FORMAT, defects[i][1]);
    }
}

static void test_bad_members(void **state)
{
    (void)state;
    static const struct {
        const char *members[4], *firsts[4], *message;
    } defects[] = {
        {{"c"}, {"a"}, ": key 'llava_quantize.statistics.members': no tensor 'c.in_sum2'"},
        {{"b"}, {"c"}, ": key 'llava_quantize.statistics.firsts': no tensor 'c.in_sum2'"},
        {{"b\n"}, {"a"}, ": key 'llava_quantize.statistics.members': no tensor '?.in_sum2'"},
        {{"b", "a"},
         {"a"},
         ": 'llava_quantize.statistics.members' has 2 entries, "
         "'llava_quantize.statistics.firsts' 1"},
        {{"b", "a"}, {"a", "b"}, ": tensor 'a' shares the input of 'b', which shares another's"},
        {{"x"}, {"a"}, ": tensor 'x': 4 values, but 'a', whose input it shares, has 3"},
    };
    for (size_t i = 0; i < sizeof defects / sizeof defects[0]; i++) {
        struct made m = make();
        memcpy(m.members, defects[i].members, sizeof m.members);
        memcpy(m.firsts, defects[i].firsts, sizeof m.firsts);
        refuse(&m, LQ_ERR_FORMAT, defects[i].message);
    }
    struct made m = make();
    m.no_firsts = true;
    refuse(&m, LQ_ERR_FORMAT,
           ": of 'llava_quantize.statistics.members' and 'llava_quantize.statistics.firsts' one is "
           "missing");
}

static void test_bad_keys(void **state)
{
    (void)state;
    struct made m = make();
    m.version = 2;
    refuse(&m, LQ_ERR_UNSUPPORTED, ": statistics of version 2, expected 1: another version of this program wrote them");
    m = make();
    m.pair = "\x1b[2J";
    refuse(&m, LQ_ERR_FORMAT, ": key 'llava_quantize.statistics.pair' is no pair id");
}

/* What is read on demand is checked then. */
static void test_bad_second_moments(void **state)
{
    (void)state;
    static const struct {
        const char *part;
        int at;
        double value;
        const char *message;
    } defects[] = {
        {"a.hessian", 4, NAN, ": tensor 'a.hessian': row 2, column 1 is nan, expected finite"},
        {"a.hessian", 3, INFINITY, ": tensor 'a.hessian': row 2, column 0 is inf, expected finite"},
        {"a.hessian", 2, -1, ": tensor 'a.hessian': row 1, column 1 is -1, expected finite and not negative"},
        {"a.weighted", 3, -50, ": tensor 'a.weighted': value 3 is -50, expected finite and not negative"},
        {"a.spread", 0, NAN, ": tensor 'a.spread': value 0 is nan, expected finite and not negative"},
    };
    for (size_t i = 0; i < sizeof defects / sizeof defects[0]; i++) {
        struct made m = make();
        find(&m, defects[i].part)->v[defects[i].at] = defects[i].value;
        struct lq_stats *stats = load(&m);
        struct lq_stats_moments moments = {.tokens = -1};
        struct lq_error err = {0};
        float h[6];
        assert_int_equal(lq_stats_hessian(stats, &b, 0, h, &moments, &err), LQ_ERR_FORMAT);
        assert_true(moments.tokens == -1);
        assert_string_equal(err.message + strlen(lq_stats_path(stats)), defects[i].message);
        lq_stats_free(stats);
    }
}

static void test_of_another_pair(void **state)
{
    (void)state;
    struct made m = make();
    struct lq_error err = {0};
    struct lq_kvs kvs = {0}, none = {0};
    struct lq_model_half half = {.n_tensors = 1, .tensors = &a, .kvs = &kvs}, other = half;
    struct lq_model model = {.path = "model", .half = {&half, NULL}};
    struct lq_stats *stats = load(&m);
    assert_int_equal(lq_stats_check(stats, &model, &err), LQ_OK);
    assert_int_equal(lq_kvs_set_string(&kvs, "llava_quantize.pair_id", "another", &err), LQ_OK);
    assert_int_equal(lq_stats_check(stats, &model, &err), LQ_ERR_FORMAT);
    assert_string_equal(err.message + strlen(lq_stats_path(stats)),
                        ": statistics of pair 0123abcd, but model is pair another: calibrate the latter, or quantise "
                        "the former");
    other.kvs = &none;
    model.half[LQ_LANGUAGE] = &other; /* a half without an id says nothing for it */
    assert_int_equal(lq_stats_check(stats, &model, &err), LQ_ERR_FORMAT);
    assert_int_equal(lq_kvs_set_string(&kvs, "llava_quantize.pair_id", "0123abcd", &err), LQ_OK);
    assert_int_equal(lq_stats_check(stats, &model, &err), LQ_OK);
    lq_stats_free(stats);
    lq_kvs_release(&kvs);
    lq_kvs_release(&none);
}

/* ---- what inspect shows ---- */

static struct lq_stats_inspection *look(const struct lq_stats *stats, const struct lq_model *model)
{
    struct lq_stats_inspection *seen = NULL;
    struct lq_error err = {0};
    if (lq_stats_inspect(&seen, stats, model, &err) != LQ_OK) fail_msg("%s", err.message);
    return seen;
}

static void test_facts(void **state)
{
    (void)state;
    const struct made m = make();
    struct lq_stats *stats = load(&m);
    struct lq_stats_inspection *seen = look(stats, NULL);
    const struct lq_stats_matrix *found = seen->matrices;
    assert_int_equal(seen->n_matrices, 3);
    assert_string_equal(found[1].name, "b");
    assert_string_equal(found[1].input, "a");
    assert_int_equal(found[1].columns, 3);
    assert_true(found[1].tokens == 100 && found[1].fewest == 100 && found[1].ratio == 3);
    assert_true(found[1].kind[0] == 60 && found[1].kind[1] == 30 && found[1].kind[2] == 10);
    assert_int_equal(found[1].moment_bytes, 24);
    assert_int_equal(found[2].experts, 2);
    assert_true(found[2].tokens == 192 && found[2].fewest == 64 && found[2].few == 0);
    assert_true(found[2].kind[0] == 164 && found[2].kind[2] == 8);
    assert_int_equal(seen->moment_bytes, 48);
    assert_true(seen->ours && !seen->legacy);
    assert_string_equal(seen->pair, "0123abcd");
    lq_stats_inspection_free(seen);
    lq_stats_free(stats);
}

/* Two dead columns, two outliers among twenty, few tokens in one expert. */
static void test_odd_columns(void **state)
{
    (void)state;
    struct made m = make();
    struct part *sums = &m.parts[m.n++], *counts = &m.parts[m.n++];
    *sums = (struct part){"mm.w.in_sum2", F32, 20, {0}};
    *counts = (struct part){"mm.w.counts", F32, 1, {1000}};
    for (int i = 0; i < 20; i++) sums->v[i] = 1000 + 50 * (i % 5);
    sums->v[3] = 0;
    sums->v[4] = 1e-8;
    sums->v[7] = 44000;
    sums->v[13] = 88000;
    find(&m, "x.counts")->v[0] = 63;
    struct lq_stats *stats = load(&m);
    struct lq_stats_inspection *seen = look(stats, NULL);
    const struct lq_stats_matrix *w = &seen->matrices[2];
    assert_string_equal(w->name, "mm.w");
    assert_int_equal(w->half, LQ_VISION);
    assert_int_equal(w->dead, 2);
    assert_int_equal(w->outliers, 2);
    assert_int_equal(w->n_worst, 2);
    assert_int_equal(w->worst[0].column, 13);
    assert_int_equal(w->worst[1].column, 7);
    assert_true(w->ratio == w->worst[0].ratio && w->ratio > 70 && w->ratio < 90);
    assert_int_equal(seen->matrices[3].few, 1);
    assert_true(seen->matrices[3].fewest == 63);
    lq_stats_inspection_free(seen);
    lq_stats_free(stats);
}

static void test_coverage(void **state)
{
    (void)state;
    const struct made m = make();
    struct lq_stats *stats = load(&m);
    struct lq_tensor tensors[] = {
        a, x, {.name = "c", .role = LQ_ROLE_PROJECTOR, .quantisable = true}, {.name = "norm"}};
    for (int i = 0; i < 4; i++) tensors[i].half = LQ_VISION;
    struct lq_model_half half = {.n_tensors = 4, .tensors = tensors};
    struct lq_model model = {.path = "model", .half = {[LQ_VISION] = &half}};
    struct lq_stats_inspection *seen = look(stats, &model);
    assert_ptr_equal(seen->matrices[0].tensor, &tensors[0]);
    assert_int_equal(seen->matrices[0].half, LQ_VISION);
    assert_null(seen->matrices[1].tensor);
    assert_int_equal(seen->n_missing, 1);
    assert_string_equal(seen->missing[0]->name, "c");
    lq_stats_inspection_free(seen);
    lq_stats_free(stats);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_inputs),   cmocka_unit_test(test_second_moments),
        cmocka_unit_test(test_unfinished),      cmocka_unit_test(test_bad_parts),
        cmocka_unit_test(test_missing_parts),   cmocka_unit_test(test_bad_members),
        cmocka_unit_test(test_bad_keys),        cmocka_unit_test(test_bad_second_moments),
        cmocka_unit_test(test_of_another_pair), cmocka_unit_test(test_facts),
        cmocka_unit_test(test_odd_columns),     cmocka_unit_test(test_coverage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
