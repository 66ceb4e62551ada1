/* Observing the demo pair: every matrix's inputs, once and whole, without a change to what is computed; and weights put
 * in the place of others. */
#include "llava_quantize.h"
#include "runtime/dialogue.h"
#include "runtime/lane.h"
#include "runtime/observe.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "demo_pair.h"
#include "expect.h"

#define PICTURE LQ_DEMO "/exam/00001.png"
enum { VOCABULARY = 512, WIDTH = 256, MOST = 256, PATCHES = 64 };

/* What an observer was told, matrix by matrix, and the inputs and outputs of one of them. */
struct record {
    struct entry {
        char name[64], first[64]; /* first: "" until told that the input is another's */
        size_t n_columns, n_rows;
    } entries[MOST];
    size_t n;
    const char *only;    /* wanted; NULL: all */
    const char *capture; /* its first rows are kept */
    float *inputs, *outputs;
    size_t n_inputs, n_outputs;
    double add; /* to every output of `only` */
};

static struct demo_pair pair;
static struct lq_model *model;
static struct lq_dialogue dialogue;
static struct entry *entry_of(struct record *record, const char *name)
{
    for (size_t i = 0; i < record->n; i++)
        if (strcmp(record->entries[i].name, name) == 0) return &record->entries[i];
    assert_true(record->n < MOST);
    strcpy(record->entries[record->n].name, name);
    return &record->entries[record->n++];
}

static bool wants(void *data, const char *weight)
{
    const struct record *record = data;
    return record->only == NULL || strcmp(weight, record->only) == 0;
}

static void append(float **to, size_t *n, const float *from, size_t more)
{
    *to = realloc(*to, (*n + more) * sizeof **to);
    assert_non_null(*to);
    memcpy(*to + *n, from, more * sizeof **to);
    *n += more;
}

static void sees(void *data, const struct lq_observation *seen)
{
    struct record *record = data;
    struct entry *entry = entry_of(record, seen->weight);
    assert_string_equal(entry->first, "");
    assert_null(seen->experts);
    assert_null(seen->tokens);
    assert_int_equal(seen->n_experts, 1);
    assert_true(entry->n_rows == 0 || entry->n_columns == seen->n_columns);
    entry->n_columns = seen->n_columns;
    entry->n_rows += seen->n_rows;
    if (record->capture == NULL || strcmp(record->capture, seen->weight) != 0) return;
    for (size_t i = 0; i < seen->n_rows; i++)
        append(&record->inputs, &record->n_inputs, seen->rows + i * seen->stride, seen->n_columns);
}

static void shares(void *data, const char *weight, const char *first)
{
    struct entry *entry = entry_of(data, weight);
    assert_string_equal(entry->first, ""); /* told once */
    strcpy(entry->first, first);
}

static void changes(void *data, const char *weight, float *rows, size_t n_columns, size_t n_rows)
{
    struct record *record = data;
    if (record->capture != NULL && strcmp(record->capture, weight) == 0)
        append(&record->outputs, &record->n_outputs, rows, n_columns * n_rows);
    for (size_t i = 0; i < n_columns * n_rows; i++) rows[i] += (float)record->add;
}

static int set_up(void **state)
{
    (void)state;
    demo_pair_make(&pair, "f16", NULL);
    expect(lq_model_open(&model, pair.path[LQ_LANGUAGE], NULL, &err));
    const struct lq_runtime_options options = {
        .language = pair.path[LQ_LANGUAGE], .mmproj = pair.path[LQ_VISION], .threads = 1};
    struct lq_runtime *rt = NULL;
    expect(lq_runtime_open(&rt, &options, &err));
    expect(lq_dialogue_build(&dialogue, rt, &(struct lq_dialogue_turn){"Describe the image.", "a red heart"}, 1, &err));
    lq_runtime_free(rt);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lq_dialogue_release(&dialogue);
    lq_model_free(model);
    demo_pair_remove(&pair);
    return 0;
}

static struct lq_runtime *open_runtime(const struct lq_observer *observer)
{
    struct lq_runtime *rt = NULL;
    const struct lq_runtime_options options = {
        .language = pair.path[LQ_LANGUAGE], .mmproj = pair.path[LQ_VISION], .threads = 1};
    expect(lq_runtime_open_observed(&rt, &options, observer, &err));
    return rt;
}

/* Head, picture, text through the pair. Returns the logits of the text's tokens (free()). */
static float *run(struct lq_runtime *rt, bool all)
{
    struct lq_view *view = NULL;
    struct lq_lane *lane = NULL;
    struct lq_lane_item items[256];
    float *rows = malloc(dialogue.n_text * VOCABULARY * sizeof *rows);
    assert_non_null(rows);
    expect(lq_view_open(&view, rt, PICTURE, &err));
    assert_int_equal(lq_view_tokens(view), PATCHES);
    expect(lq_lane_open(&lane, rt, &(struct lq_lane_options){.cells = 512, .sequences = 1, .all = all}, &err));
    for (size_t i = 0; i < dialogue.n_head; i++) items[i] = (struct lq_lane_item){.token = dialogue.head[i]};
    expect(lq_lane_feed(lane, items, dialogue.n_head, &err));
    expect(lq_lane_show(lane, 0, view, &err));
    for (size_t i = 0; i < dialogue.n_text; i++)
        items[i] = (struct lq_lane_item){.token = dialogue.text[i], .wanted = true};
    expect(lq_lane_feed(lane, items, dialogue.n_text, &err));
    for (size_t i = 0; i < dialogue.n_text; i++)
        memcpy(rows + i * VOCABULARY, lq_lane_logits(lane, i), VOCABULARY * sizeof *rows);
    lq_lane_free(lane);
    lq_view_free(view);
    return rows;
}

static void assert_same_logits(const float *a, const float *b)
{
    assert_memory_equal(a, b, dialogue.n_text * VOCABULARY * sizeof *a);
}

static float *weights_of(const char *name)
{
    const struct lq_tensor *t = demo_pair_tensor(model, name);
    float *weights = malloc(t->rows * t->ne[0] * sizeof *weights);
    assert_non_null(weights);
    expect(lq_model_weights(model, t, 0, t->rows, weights, &err));
    return weights;
}

static size_t tokens_of(const struct lq_tensor *t)
{
    size_t text = dialogue.n_head + dialogue.n_text;
    if (t->role == LQ_ROLE_PROJECTOR) return PATCHES;
    return t->half == LQ_VISION ? PATCHES + 1 : text + PATCHES;
}

/* Every matrix but the embedding is seen, or shares what is seen; every token counts, in the last block too. */
static void test_sees_every_matrix_and_token(void **state)
{
    (void)state;
    struct record record = {.n = 0};
    struct lq_runtime *rt =
        open_runtime(&(struct lq_observer){.data = &record, .wants = wants, .sees = sees, .shares = shares});
    free(run(rt, true));
    lq_runtime_free(rt);
    size_t n = 0;
    for (int half = 0; half < LQ_HALVES; half++) {
        for (size_t i = 0; i < model->half[half]->n_tensors; i++) {
            const struct lq_tensor *t = &model->half[half]->tensors[i];
            if (!t->quantisable || t->role == LQ_ROLE_LANGUAGE_EMBEDDING) continue;
            struct entry *entry = entry_of(&record, t->name);
            if (entry->first[0] != 0) entry = entry_of(&record, entry->first);
            if (entry->n_columns != t->ne[0] || entry->n_rows != tokens_of(t))
                fail_msg("%s: %zu tokens of %zu columns", t->name, entry->n_rows, entry->n_columns);
            n++;
        }
    }
    assert_int_equal(record.n, n);
    assert_int_equal(n, 4 * 7 + 1 + 4 * 6 + 2);
}

static void test_shares(void **state)
{
    (void)state;
    static const char *const groups[][3] = {{"blk.1.attn_q.weight", "blk.1.attn_k.weight", "blk.1.attn_v.weight"},
                                            {"v.blk.0.attn_q.weight", "v.blk.0.attn_k.weight", "v.blk.0.attn_v.weight"},
                                            {"blk.3.ffn_gate.weight", "blk.3.ffn_up.weight", "blk.3.ffn_gate.weight"}};
    struct record record = {.only = "nothing"};
    struct lq_runtime *rt =
        open_runtime(&(struct lq_observer){.data = &record, .wants = wants, .sees = sees, .shares = shares});
    free(run(rt, false));
    free(run(rt, true));
    lq_runtime_free(rt);
    for (size_t g = 0; g < 3; g++) {
        const char *first = NULL;
        for (size_t i = 0; i < 3; i++) {
            const char *of = entry_of(&record, groups[g][i])->first;
            if (of[0] == 0) of = groups[g][i];
            if (first == NULL) first = of;
            assert_string_equal(of, first);
        }
    }
    assert_string_equal(entry_of(&record, "blk.1.attn_output.weight")->first, "");
    assert_string_equal(entry_of(&record, "blk.0.ffn_down.weight")->first, "");
}

static void test_watching_changes_nothing(void **state)
{
    (void)state;
    struct record record = {.n = 0};
    struct lq_runtime *plain = NULL;
    const struct lq_runtime_options options = {
        .language = pair.path[LQ_LANGUAGE], .mmproj = pair.path[LQ_VISION], .threads = 1};
    expect(lq_runtime_open(&plain, &options, &err));
    struct lq_runtime *rt = open_runtime(&(struct lq_observer){.data = &record, .wants = wants, .sees = sees});
    float *without = run(plain, false), *with = run(rt, false);
    assert_same_logits(without, with);
    free(without);
    free(with);
    lq_runtime_free(plain);
    lq_runtime_free(rt);
}

/* The first block's input by hand: the embedding's rows, normalised. */
static void test_the_first_input_by_hand(void **state)
{
    (void)state;
    struct record record = {.only = "blk.0.attn_q.weight", .capture = "blk.0.attn_q.weight"};
    struct lq_runtime *rt = open_runtime(&(struct lq_observer){.data = &record, .wants = wants, .sees = sees});
    free(run(rt, true));
    lq_runtime_free(rt);
    float *embedding = weights_of("token_embd.weight"), *norm = weights_of("blk.0.attn_norm.weight");
    assert_int_equal(record.n_inputs, (dialogue.n_head + PATCHES + dialogue.n_text) * WIDTH);
    for (size_t t = 0; t < dialogue.n_text; t++) {
        const float *row = embedding + (size_t)dialogue.text[t] * WIDTH;
        const float *seen = record.inputs + (dialogue.n_head + PATCHES + t) * WIDTH;
        double sum = 0;
        for (int i = 0; i < WIDTH; i++) sum += (double)row[i] * row[i];
        for (int i = 0; i < WIDTH; i++) assert_float_equal(seen[i], row[i] / sqrt(sum / WIDTH + 1e-5) * norm[i], 1e-4);
    }
    free(embedding);
    free(norm);
    free(record.inputs);
}

/* What is seen of a matrix's input, multiplied by the matrix, is the product that is computed. */
static void check_product(const char *name)
{
    struct record record = {.only = name, .capture = name};
    struct lq_runtime *rt =
        open_runtime(&(struct lq_observer){.data = &record, .wants = wants, .sees = sees, .changes = changes});
    free(run(rt, true));
    lq_runtime_free(rt);
    const struct lq_tensor *t = demo_pair_tensor(model, name);
    float *weights = weights_of(name);
    size_t n = record.n_inputs / t->ne[0];
    assert_true(n >= PATCHES);
    assert_int_equal(record.n_outputs, n * t->ne[1]);
    double error = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < t->ne[1]; k++) {
            double sum = 0, is = record.outputs[i * t->ne[1] + k];
            for (size_t c = 0; c < t->ne[0]; c++)
                sum += (double)weights[k * t->ne[0] + c] * record.inputs[i * t->ne[0] + c];
            error += (sum - is) * (sum - is);
            size += sum * sum;
        }
    }
    print_message("%s: relative error of the product %.1e\n", name, sqrt(error / size));
    assert_true(error <= 1e-6 * size);
    free(weights);
    free(record.inputs);
    free(record.outputs);
}

static void test_products(void **state)
{
    (void)state;
    check_product("blk.3.ffn_down.weight");
    check_product("v.blk.1.ffn_up.weight");
    check_product("mm.2.weight");
}

static double largest_difference(const float *a, const float *b)
{
    double largest = 0;
    for (size_t i = 0; i < dialogue.n_text * VOCABULARY; i++) largest = fmax(largest, fabs((double)a[i] - b[i]));
    return largest;
}

/* A changed output is what the rest is computed from, in either half. */
static void test_changed_products_count(void **state)
{
    (void)state;
    static const char *const names[] = {"blk.2.attn_v.weight", "v.blk.0.ffn_down.weight"};
    for (size_t i = 0; i < 2; i++) {
        struct record record = {.only = names[i]};
        struct lq_runtime *rt =
            open_runtime(&(struct lq_observer){.data = &record, .wants = wants, .changes = changes});
        float *before = run(rt, false);
        record.add = 0.5;
        float *after = run(rt, false);
        assert_true(largest_difference(before, after) > 0.01);
        record.add = 0;
        float *again = run(rt, false);
        assert_same_logits(before, again);
        free(before);
        free(after);
        free(again);
        lq_runtime_free(rt);
    }
}

/* Without `all` the last block drops the tokens whose logits nobody wants: why lanes have it. */
static void test_last_block_drops_tokens(void **state)
{
    (void)state;
    struct record record = {.only = "blk.3.ffn_down.weight"};
    struct lq_runtime *rt = open_runtime(&(struct lq_observer){.data = &record, .wants = wants, .sees = sees});
    free(run(rt, false));
    lq_runtime_free(rt);
    assert_int_equal(entry_of(&record, record.only)->n_rows, dialogue.n_text);
}

static void check_replace(const char *name, uint64_t first, uint64_t n)
{
    struct lq_runtime *rt = open_runtime(NULL);
    const struct lq_tensor *t = demo_pair_tensor(model, name);
    float *weights = weights_of(name), *zero = calloc(n * t->ne[0], sizeof *zero);
    assert_non_null(zero);
    refuse(lq_runtime_replace(rt, name, first, n, zero, &err), LQ_ERR_USAGE, "no product with such a matrix");
    float *before = run(rt, false);
    expect(lq_runtime_replace(rt, name, first, n, zero, &err));
    float *changed = run(rt, false);
    expect(lq_runtime_replace(rt, name, first, n, weights + first * t->ne[0], &err));
    float *after = run(rt, false);
    assert_true(largest_difference(before, changed) > 0.01);
    assert_same_logits(before, after);
    refuse(lq_runtime_replace(rt, name, t->rows - n + 1, n, zero, &err), LQ_ERR_USAGE, "in a matrix of");
    free(before);
    free(changed);
    free(after);
    free(weights);
    free(zero);
    lq_runtime_free(rt);
}

static void test_replace(void **state)
{
    (void)state;
    check_replace("blk.1.ffn_up.weight", 100, 300);
    check_replace("v.blk.2.attn_v.weight", 0, 128);
}

/* Asking keeps the last picture's embeddings: not beyond a change of the tower. */
static bool ignore(void *data, const char *piece, size_t length)
{
    (void)data;
    (void)piece;
    (void)length;
    return true;
}

static void test_replace_forgets_the_picture(void **state)
{
    (void)state;
    struct lq_runtime *rt = open_runtime(NULL);
    const struct lq_question question = {.image = PICTURE, .text = "Well?", .max_tokens = 1};
    static const float zero[WIDTH];
    expect(lq_runtime_ask(rt, &question, ignore, NULL, &err));
    expect(lq_runtime_ask(rt, &question, ignore, NULL, &err));
    assert_int_equal(lq_runtime_used(rt).pictures, 1);
    expect(lq_runtime_replace(rt, "mm.2.weight", 0, 1, zero, &err));
    expect(lq_runtime_ask(rt, &question, ignore, NULL, &err));
    assert_int_equal(lq_runtime_used(rt).pictures, 2);
    lq_runtime_free(rt);
}

static void test_what_cannot_be_replaced(void **state)
{
    (void)state;
    static const float zero[WIDTH];
    const struct lq_observer mapped = {.mapped = true};
    struct lq_runtime *rt = open_runtime(&mapped);
    refuse(lq_runtime_replace(rt, "blk.0.attn_q.weight", 0, 1, zero, &err), LQ_ERR_USAGE, "opened without weights");
    lq_runtime_free(rt);
    struct demo_pair small;
    demo_pair_make(&small, "q8_0", NULL);
    const struct lq_runtime_options options = {
        .language = small.path[LQ_LANGUAGE], .mmproj = small.path[LQ_VISION], .threads = 1};
    expect(lq_runtime_open_observed(&rt, &options, NULL, &err));
    free(run(rt, false));
    refuse(lq_runtime_replace(rt, "blk.0.attn_q.weight", 0, 1, zero, &err), LQ_ERR_UNSUPPORTED, "rows of q8_0");
    lq_runtime_free(rt);
    demo_pair_remove(&small);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_sees_every_matrix_and_token),
    cmocka_unit_test(test_shares),
    cmocka_unit_test(test_watching_changes_nothing),
    cmocka_unit_test(test_the_first_input_by_hand),
    cmocka_unit_test(test_products),
    cmocka_unit_test(test_changed_products_count),
    cmocka_unit_test(test_last_block_drops_tokens),
    cmocka_unit_test(test_replace),
    cmocka_unit_test(test_replace_forgets_the_picture),
    cmocka_unit_test(test_what_cannot_be_replaced),
};

int main(void)
{
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
