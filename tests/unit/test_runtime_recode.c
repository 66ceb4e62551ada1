/* Computing with another encoding of weights: what an F16 pair gives with all its tensors recoded is what the quantised
 * pair gives, for every way in which graphs use a weight; and without them it is what it was. */
#include "llava_quantize.h"
#include "runtime/dialogue.h"
#include "runtime/recode.h"
#include "runtime/state.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "demo_pair.h"

#define PICTURE LQ_DEMO "/exam/00001.png"
enum { MOST = 64 };

static struct lq_error err;

static void expect(enum lq_status status)
{
    if (status != LQ_OK) fail_msg("%s", err.message);
}

static void refuse(enum lq_status status, enum lq_status expected, const char *message)
{
    assert_int_equal(status, expected);
    if (strstr(err.message, message) == NULL) fail_msg("'%s' instead of '%s'", err.message, message);
}

/* ---- a pair and the same quantised ---- */

/* A tensor that the quantised pair has in another type, with its bytes there. */
struct recoding {
    const char *name;
    enum lq_type type;
    void *data;
};

struct two {
    struct demo_pair original, small;
    struct lq_model *model, *coded;
    struct recoding recodings[MOST];
    size_t n;
};

static void quantise(struct two *t, const struct lq_plan_request *request)
{
    struct lq_plan *plan = NULL;
    struct lq_quantize_result result;
    strcpy(t->small.folder, "/tmp/llava-quantize-test-XXXXXX");
    assert_non_null(mkdtemp(t->small.folder));
    const struct lq_quantize_options options = {.output = t->small.folder, .force = true};
    expect(lq_plan_build(&plan, t->model, request, &err));
    expect(lq_quantize(t->model, plan, &options, &result, &err));
    for (int half = 0; half < LQ_HALVES; half++) t->small.path[half] = strdup(result.path[half]);
    lq_quantize_result_release(&result);
    lq_plan_free(plan);
}

static void list_recodings(struct two *t, const struct lq_model_half *half)
{
    for (size_t i = 0; i < half->n_tensors; i++) {
        const struct lq_tensor *from = &half->tensors[i], *to = &t->coded->half[half->half]->tensors[i];
        assert_string_equal(from->name, to->name);
        assert_memory_equal(from->ne, to->ne, sizeof from->ne);
        if (from->type == to->type) continue;
        assert_true(t->n < MOST);
        struct recoding *r = &t->recodings[t->n++];
        *r = (struct recoding){.name = to->name, .type = to->type, .data = malloc(to->bytes)};
        assert_non_null(r->data);
        expect(lq_model_read(t->coded, to, 0, to->rows, r->data, &err));
    }
}

/* `original` has its paths. */
static void two_open(struct two *t, const struct lq_plan_request *request)
{
    const struct lq_model_options from = {.mmproj = t->original.path[LQ_VISION], .only = -1};
    expect(lq_model_open(&t->model, t->original.path[LQ_LANGUAGE], &from, &err));
    quantise(t, request);
    const struct lq_model_options to = {.mmproj = t->small.path[LQ_VISION], .only = -1};
    expect(lq_model_open(&t->coded, t->small.path[LQ_LANGUAGE], &to, &err));
    for (int half = 0; half < LQ_HALVES; half++) list_recodings(t, t->model->half[half]);
}

static void two_close(struct two *t)
{
    for (size_t i = 0; i < t->n; i++) free(t->recodings[i].data);
    lq_model_free(t->model);
    lq_model_free(t->coded);
    demo_pair_remove(&t->small);
}

/* ---- what a pair computes ---- */

struct outcome {
    float *embeddings, *logits;
    size_t n_embeddings, n_logits;
};

static void outcome_release(struct outcome *o)
{
    free(o->embeddings);
    free(o->logits);
}

static float *copy(const float *from, size_t n)
{
    float *to = malloc(n * sizeof *to);
    assert_non_null(to);
    return memcpy(to, from, n * sizeof *to);
}

/* A picture and a text through a lane: all of it in one go, then token by token, which takes other kernels. */
static void compute(struct outcome *o, struct lq_runtime *rt, struct lq_lane *lane)
{
    struct lq_view *view = NULL;
    int32_t *tokens = NULL;
    struct lq_lane_item items[MOST];
    size_t n = 0, rows = 0, width = 0, vocabulary = lq_runtime_vocabulary(rt);
    expect(lq_runtime_tokenise(&tokens, &n, rt, "a red heart and a blue star", 27, &err));
    assert_true(n > 2 && n <= MOST);
    expect(lq_view_open(&view, rt, PICTURE, &err));
    const float *embeddings = lq_view_embeddings(view, &rows, &width);
    o->embeddings = copy(embeddings, o->n_embeddings = rows * width);
    o->n_logits = 2 * n * vocabulary;
    o->logits = malloc(o->n_logits * sizeof *o->logits);
    assert_non_null(o->logits);
    lq_lane_clear(lane);
    expect(lq_lane_show(lane, 0, view, &err));
    for (size_t i = 0; i < n; i++) items[i] = (struct lq_lane_item){.token = tokens[i], .wanted = true};
    expect(lq_lane_feed(lane, items, n, &err));
    for (size_t i = 0; i < n; i++)
        memcpy(o->logits + i * vocabulary, lq_lane_logits(lane, i), vocabulary * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        expect(lq_lane_feed(lane, &items[i], 1, &err));
        memcpy(o->logits + (n + i) * vocabulary, lq_lane_logits(lane, 0), vocabulary * sizeof(float));
    }
    free(tokens);
    lq_view_free(view);
}

static struct lq_runtime *open_runtime(const struct demo_pair *pair, const struct lq_observer *observer)
{
    struct lq_runtime *rt = NULL;
    const struct lq_runtime_options options = {
        .language = pair->path[LQ_LANGUAGE], .mmproj = pair->path[LQ_VISION], .threads = 1};
    expect(lq_runtime_open_observed(&rt, &options, observer, &err));
    return rt;
}

static struct lq_lane *open_lane(struct lq_runtime *rt)
{
    struct lq_lane *lane = NULL;
    expect(lq_lane_open(&lane, rt, &(struct lq_lane_options){.cells = 256, .sequences = 1}, &err));
    return lane;
}

static void compute_alone(struct outcome *o, struct lq_runtime *rt)
{
    struct lq_lane *lane = open_lane(rt);
    compute(o, rt, lane);
    lq_lane_free(lane);
}

static void assert_same(const struct outcome *a, const struct outcome *b)
{
    assert_int_equal(a->n_embeddings, b->n_embeddings);
    assert_int_equal(a->n_logits, b->n_logits);
    assert_memory_equal(a->embeddings, b->embeddings, a->n_embeddings * sizeof(float));
    assert_memory_equal(a->logits, b->logits, a->n_logits * sizeof(float));
}

/* Largest difference relative to the largest value. */
static double distance(const float *a, const float *b, size_t n)
{
    double largest = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)a[i] - b[i]));
        size = fmax(size, fabs((double)a[i]));
    }
    return largest / size;
}

static void recode_all(struct lq_runtime *rt, const struct two *t)
{
    for (size_t i = 0; i < t->n; i++)
        expect(lq_runtime_recode(rt, t->recodings[i].name, t->recodings[i].type, t->recodings[i].data, &err));
}

/* The lane stays: llama.cpp uses its graphs again. ggml's kernels for repacked weights, which the quantised pair gets
 * when it is opened without an observer, add in another order; with an observer, in the same. */
static void check_like_quantised(const struct two *t)
{
    struct outcome before, coded, quantised, repacked, after;
    const struct lq_observer mapped = {.mapped = true};
    struct lq_runtime *rt = open_runtime(&t->original, &mapped), *small = open_runtime(&t->small, NULL), *plain = NULL;
    const struct lq_runtime_options options = {
        .language = t->small.path[LQ_LANGUAGE], .mmproj = t->small.path[LQ_VISION], .threads = 1};
    expect(lq_runtime_open(&plain, &options, &err));
    struct lq_lane *lane = open_lane(rt);
    compute(&before, rt, lane);
    recode_all(rt, t);
    compute(&coded, rt, lane);
    compute_alone(&quantised, small);
    compute_alone(&repacked, plain);
    lq_runtime_recode_none(rt);
    compute(&after, rt, lane);
    assert_same(&coded, &quantised);
    assert_same(&before, &after);
    assert_true(distance(before.logits, coded.logits, before.n_logits) > 1e-3);
    assert_true(distance(before.embeddings, coded.embeddings, before.n_embeddings) > 1e-3);
    double off = distance(repacked.logits, coded.logits, coded.n_logits);
    if (off > 1e-5) fail_msg("%zu tensors; repacked kernels differ by %.1e", t->n, off);
    struct outcome *all[] = {&before, &coded, &quantised, &repacked, &after};
    for (size_t i = 0; i < 5; i++) outcome_release(all[i]);
    lq_lane_free(lane);
    lq_runtime_free(rt);
    lq_runtime_free(small);
    lq_runtime_free(plain);
}

static struct two demo;

static int set_up(void **state)
{
    (void)state;
    static const struct lq_plan_rule rules[] = {
        {"language.ffn", "q4_k"},
        {"language.attention.q", "q6_k"},
        {"language.attention.v", "iq4_xs"},
        {"language.embedding", "q5_k"},
        {"language.output", "q6_k"},
        {"blk\\.2\\.ffn_up", "q2_k"},
        {"blk\\.1\\.attn_output", "bf16"},
        {"blk\\.3\\.ffn_down", "q3_k"},
        {"vision.ffn", "q4_0"},
        {"vision.attention.q", "iq4_nl"},
        {"projector", "q5_1"},
        {"v\\.blk\\.0\\.ffn_up", "mxfp4"},
        {"v\\.blk\\.1\\.ffn_up", "f32"},
        {"v\\.blk\\.1\\.attn_out", "q4_1"},
    };
    const struct lq_plan_request request = {
        .spec = "q8_0", .rules = rules, .n_rules = sizeof rules / sizeof *rules, .no_padding = true};
    demo_pair_make(&demo.original, "f16", NULL);
    two_open(&demo, &request);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    two_close(&demo);
    demo_pair_remove(&demo.original);
    return 0;
}

static void test_demo(void **state)
{
    (void)state;
    assert_int_equal(demo.n, 4 * 7 + 2 + 4 * 6 + 2);
    check_like_quantised(&demo);
}

static void check_family(const char *name)
{
    static struct two t;
    char language[4096], mmproj[4096];
    snprintf(language, sizeof language, "%s/%s.gguf", LQ_PAIRS, name);
    snprintf(mmproj, sizeof mmproj, "%s/mmproj-%s.gguf", LQ_PAIRS, name);
    t = (struct two){.original = {.path = {[LQ_LANGUAGE] = language, [LQ_VISION] = mmproj}}};
    two_open(&t, &(struct lq_plan_request){.spec = "q8_0", .no_padding = true});
    check_like_quantised(&t);
    two_close(&t);
}

static void test_grouped_heads(void **state)
{
    (void)state;
    check_family("grouped");
}

/* The same tensor gives rows and products. */
static void test_tied_output(void **state)
{
    (void)state;
    check_family("tied");
}

static void test_fused_matrices(void **state)
{
    (void)state;
    check_family("fused");
}

static void test_experts(void **state)
{
    (void)state;
    check_family("experts");
}

/* ---- one tensor at a time ---- */

static const struct recoding *recoding_of(const char *name)
{
    for (size_t i = 0; i < demo.n; i++)
        if (strcmp(demo.recodings[i].name, name) == 0) return &demo.recodings[i];
    fail_msg("no tensor '%s'", name);
    return NULL;
}

/* A tensor's own weights in f32, all times `factor`. */
static float *weights_times(const char *name, float factor)
{
    const struct lq_tensor *t = demo_pair_tensor(demo.model, name);
    float *weights = malloc(t->rows * t->ne[0] * sizeof *weights);
    assert_non_null(weights);
    expect(lq_model_weights(demo.model, t, 0, t->rows, weights, &err));
    for (uint64_t i = 0; i < t->rows * t->ne[0]; i++) weights[i] *= factor;
    return weights;
}

/* Data that are replaced, of the same type and of another, count from the next computation on; only the embeddings of
 * a tensor of the tower change. */
static void check_replacing(const char *name, bool vision)
{
    const struct recoding *r = recoding_of(name);
    struct outcome outcomes[5];
    struct lq_runtime *rt = open_runtime(&demo.original, NULL);
    struct lq_lane *lane = open_lane(rt);
    float *same = weights_times(name, 1), *more = weights_times(name, 1.5F);
    compute(&outcomes[0], rt, lane);
    expect(lq_runtime_recode(rt, name, r->type, r->data, &err));
    compute(&outcomes[1], rt, lane);
    expect(lq_runtime_recode(rt, name, LQ_TYPE_F32, more, &err));
    compute(&outcomes[2], rt, lane);
    expect(lq_runtime_recode(rt, name, LQ_TYPE_F32, same, &err));
    compute(&outcomes[3], rt, lane);
    expect(lq_runtime_recode(rt, name, LQ_TYPE_NONE, NULL, &err));
    compute(&outcomes[4], rt, lane);
    assert_same(&outcomes[0], &outcomes[4]);
    for (int i = 1; i < 4; i++) {
        double logits = distance(outcomes[0].logits, outcomes[i].logits, outcomes[0].n_logits);
        double embeddings = distance(outcomes[0].embeddings, outcomes[i].embeddings, outcomes[0].n_embeddings);
        assert_int_equal(embeddings > 1e-4, vision && i < 3);
        if (i == 3) assert_true(logits < 0.002); /* products with f32 do not round activations to f16 */
        else assert_true(logits > (i == 1 ? 1e-4 : 0.01));
    }
    for (int i = 0; i < 5; i++) outcome_release(&outcomes[i]);
    free(same);
    free(more);
    lq_lane_free(lane);
    lq_runtime_free(rt);
}

static void test_replacing(void **state)
{
    (void)state;
    check_replacing("blk.1.ffn_up.weight", false);
    check_replacing("output.weight", false);
    check_replacing("token_embd.weight", false);
    check_replacing("v.blk.0.ffn_down.weight", true);
}

/* One lane computes with a recoding, another of the same runtime is made while it holds: both follow. */
static void test_lanes_follow(void **state)
{
    (void)state;
    struct outcome before, coded, other, after;
    struct lq_runtime *rt = open_runtime(&demo.original, NULL);
    struct lq_lane *lane = open_lane(rt);
    compute(&before, rt, lane);
    recode_all(rt, &demo);
    struct lq_lane *second = open_lane(rt);
    compute(&coded, rt, second);
    compute(&other, rt, lane);
    assert_same(&coded, &other);
    lq_lane_free(lane);
    lq_runtime_recode_none(rt);
    compute(&after, rt, second);
    assert_same(&before, &after);
    struct outcome *all[] = {&before, &coded, &other, &after};
    for (size_t i = 0; i < 4; i++) outcome_release(all[i]);
    lq_lane_free(second);
    lq_runtime_free(rt);
}

/* ---- observers ---- */

struct seen {
    size_t n_seen, n_changed, n_shared;
};

static bool wants(void *data, const char *weight)
{
    (void)data;
    (void)recoding_of(weight);
    return true;
}

static void sees(void *data, const struct lq_observation *observation)
{
    struct seen *seen = data;
    (void)recoding_of(observation->weight);
    seen->n_seen++;
}

static void shares(void *data, const char *weight, const char *first)
{
    struct seen *seen = data;
    assert_string_not_equal(weight, first);
    seen->n_shared++;
}

static void changes(void *data, const char *weight, float *rows, size_t n_columns, size_t n_rows)
{
    struct seen *seen = data;
    (void)recoding_of(weight);
    (void)rows;
    (void)n_columns;
    (void)n_rows;
    seen->n_changed++;
}

/* An observer sees what it would see without recoding: as many inputs and products, each matrix once. */
static void test_observers(void **state)
{
    (void)state;
    struct seen seen = {0}, coded;
    struct outcome watched, quantised;
    struct lq_runtime *small = open_runtime(&demo.small, NULL);
    struct lq_runtime *rt = open_runtime(
        &demo.original,
        &(struct lq_observer){.data = &seen, .wants = wants, .sees = sees, .shares = shares, .changes = changes});
    struct lq_lane *lane = open_lane(rt);
    compute(&watched, rt, lane);
    outcome_release(&watched);
    assert_true(seen.n_seen > 0 && seen.n_changed > seen.n_seen && seen.n_shared > 0);
    coded = seen;
    recode_all(rt, &demo);
    seen = (struct seen){0};
    compute(&watched, rt, lane);
    compute_alone(&quantised, small);
    assert_same(&watched, &quantised);
    assert_int_equal(seen.n_seen, coded.n_seen);
    assert_int_equal(seen.n_changed, coded.n_changed);
    assert_int_equal(seen.n_shared, 0);
    outcome_release(&watched);
    outcome_release(&quantised);
    lq_lane_free(lane);
    lq_runtime_free(rt);
    lq_runtime_free(small);
}

/* ---- interruptions, refusals ---- */

static size_t n_asked, asks;

static bool stops(void *data)
{
    (void)data;
    return ++n_asked >= asks;
}

/* Wherever a computation stops, the next one is whole. */
static void test_cancelled(void **state)
{
    (void)state;
    struct outcome before, after;
    struct lq_runtime *rt = open_runtime(&demo.original, NULL);
    struct lq_lane *lane = open_lane(rt);
    const struct lq_lane_item item = {.token = 3};
    compute(&before, rt, lane);
    for (asks = 1; asks < 70; asks += 17) {
        recode_all(rt, &demo);
        n_asked = 0;
        rt->hooks.cancelled = stops;
        assert_int_equal(lq_lane_feed(lane, &item, 1, &err), LQ_ERR_CANCELLED);
        rt->hooks.cancelled = NULL;
        lq_runtime_recode_none(rt);
        compute(&after, rt, lane);
        assert_same(&before, &after);
        outcome_release(&after);
    }
    outcome_release(&before);
    lq_lane_free(lane);
    lq_runtime_free(rt);
}

static bool ignore(void *data, const char *piece, size_t length)
{
    (void)data;
    (void)piece;
    (void)length;
    return true;
}

/* Asking keeps the last picture's embeddings: not beyond a change of the tower. */
static void test_asking_sees_anew(void **state)
{
    (void)state;
    const struct recoding *r = recoding_of("mm.2.weight");
    const struct lq_question question = {.image = PICTURE, .text = "Well?", .max_tokens = 1};
    struct lq_runtime *rt = open_runtime(&demo.original, NULL);
    for (size_t n = 1; n <= 3; n++) {
        expect(lq_runtime_ask(rt, &question, ignore, NULL, &err));
        assert_int_equal(lq_runtime_used(rt).pictures, n);
        if (n == 1) expect(lq_runtime_recode(rt, r->name, r->type, r->data, &err));
        else lq_runtime_recode_none(rt);
    }
    lq_runtime_free(rt);
}

static void test_refusals(void **state)
{
    (void)state;
    static const char data[1];
    struct lq_runtime *rt = open_runtime(&demo.original, NULL), *plain = NULL;
    const struct lq_runtime_options options = {
        .language = demo.original.path[LQ_LANGUAGE], .mmproj = demo.original.path[LQ_VISION], .threads = 1};
    expect(lq_runtime_open(&plain, &options, &err));
    refuse(lq_runtime_recode(plain, "output.weight", LQ_TYPE_Q8_0, data, &err), LQ_ERR_USAGE, "without an observer");
    lq_runtime_recode_none(plain);
    refuse(lq_runtime_recode(rt, "blk.9.ffn_up.weight", LQ_TYPE_Q8_0, data, &err), LQ_ERR_USAGE,
           "has a tensor 'blk.9.ffn_up.weight'");
    refuse(lq_runtime_recode(rt, "blk.9.ffn_up.weight", LQ_TYPE_NONE, NULL, &err), LQ_ERR_USAGE,
           "has a tensor 'blk.9.ffn_up.weight'");
    refuse(lq_runtime_recode(rt, "output_norm.weight", LQ_TYPE_F16, data, &err), LQ_ERR_USAGE, "never quantised");
    refuse(lq_runtime_recode(rt, "output.weight", LQ_TYPE_I8, data, &err), LQ_ERR_UNSUPPORTED, "i8 is no type of");
    refuse(lq_runtime_recode(rt, "output.weight", LQ_TYPE_Q8_K, data, &err), LQ_ERR_UNSUPPORTED, "q8_k is no type of");
    refuse(lq_runtime_recode(rt, "output.weight", LQ_TYPE_NONE, data, &err), LQ_ERR_UNSUPPORTED, "? is no type of");
    struct outcome untouched, plainly;
    compute_alone(&untouched, rt);
    compute_alone(&plainly, plain);
    assert_same(&untouched, &plainly);
    outcome_release(&untouched);
    outcome_release(&plainly);
    lq_runtime_free(rt);
    lq_runtime_free(plain);
}

static void test_blocks_that_do_not_fit(void **state)
{
    (void)state;
    static const char data[1];
    char language[] = LQ_PAIRS "/grouped.gguf", mmproj[] = LQ_PAIRS "/mmproj-grouped.gguf";
    struct lq_runtime *rt =
        open_runtime(&(struct demo_pair){.path = {[LQ_LANGUAGE] = language, [LQ_VISION] = mmproj}}, NULL);
    refuse(lq_runtime_recode(rt, "v.blk.0.attn_q.weight", LQ_TYPE_Q4_K, data, &err), LQ_ERR_UNSUPPORTED,
           "mmproj-grouped.gguf: tensor 'v.blk.0.attn_q.weight': 96 columns do not divide into q4_k blocks of 256");
    lq_runtime_free(rt);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_demo),         cmocka_unit_test(test_grouped_heads),
    cmocka_unit_test(test_tied_output),  cmocka_unit_test(test_fused_matrices),
    cmocka_unit_test(test_experts),      cmocka_unit_test(test_replacing),
    cmocka_unit_test(test_lanes_follow), cmocka_unit_test(test_observers),
    cmocka_unit_test(test_cancelled),    cmocka_unit_test(test_asking_sees_anew),
    cmocka_unit_test(test_refusals),     cmocka_unit_test(test_blocks_that_do_not_fit),
};

int main(void)
{
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
