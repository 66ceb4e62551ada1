/* Lanes: many sequences at once give what each gives alone, and every bound is kept before llama.cpp sees it. */
#include "llava_quantize.h"
#include "runtime/dialogue.h"
#include "runtime/lane.h"
#include "runtime/state.h"
#include "runtime/view.h"
#include "source/source.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "answer.h"
#include "demo_pair.h"
#include "expect.h"

#define PICTURE LQ_DEMO "/exam/00001.png"
#define OTHER_PICTURE LQ_DEMO "/exam/00002.png"
#define VOCABULARY 512

/* Company and the number of tokens at once change the order in which products are summed: logits of an F16 model by
 * some thousandths. Another token, picture or position changes them by more than 1. */
static const double rounding = 0.05;

static struct demo_pair pair;
static struct lq_runtime *rt;
static int set_up(void **state)
{
    (void)state;
    demo_pair_make(&pair, "f16", NULL);
    const struct lq_runtime_options options = {
        .language = pair.path[LQ_LANGUAGE], .mmproj = pair.path[LQ_VISION], .threads = 1};
    expect(lq_runtime_open(&rt, &options, &err));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lq_runtime_free(rt);
    demo_pair_remove(&pair);
    return 0;
}

static struct lq_lane *open_lane(uint32_t cells, uint32_t sequences)
{
    struct lq_lane *lane = NULL;
    expect(lq_lane_open(&lane, rt, &(struct lq_lane_options){.cells = cells, .sequences = sequences}, &err));
    return lane;
}

static struct lq_view *open_view(const char *path)
{
    struct lq_view *view = NULL;
    expect(lq_view_open(&view, rt, path, &err));
    return view;
}

static struct lq_dialogue build(const char *question, const char *answer)
{
    struct lq_dialogue dialogue;
    expect(lq_dialogue_build(&dialogue, rt, &(struct lq_dialogue_turn){question, answer}, 1, &err));
    return dialogue;
}

/* Feeds n tokens to a sequence, all of them wanted. */
static void feed(struct lq_lane *lane, uint32_t sequence, const int32_t *tokens, size_t n)
{
    struct lq_lane_item items[256];
    assert_true(n <= 256);
    for (size_t i = 0; i < n; i++)
        items[i] = (struct lq_lane_item){.token = tokens[i], .sequence = sequence, .wanted = true};
    expect(lq_lane_feed(lane, items, n, &err));
}

/* Head and picture, as every question begins. */
static void begin(struct lq_lane *lane, uint32_t sequence, const struct lq_dialogue *d, const struct lq_view *view)
{
    feed(lane, sequence, d->head, d->n_head);
    expect(lq_lane_show(lane, sequence, view, &err));
    assert_int_equal(lq_lane_length(lane, sequence), d->n_head + lq_view_tokens(view));
}

static double difference(const float *a, const float *b)
{
    double largest = 0;
    for (int i = 0; i < VOCABULARY; i++) largest = fmax(largest, fabs((double)a[i] - b[i]));
    return largest;
}

/* The logits of all of a dialogue's text after the picture, fed alone: n_text rows. */
static float *alone(struct lq_lane *lane, const struct lq_dialogue *d, const struct lq_view *view)
{
    float *rows = malloc(d->n_text * VOCABULARY * sizeof *rows);
    assert_non_null(rows);
    lq_lane_clear(lane);
    begin(lane, 0, d, view);
    feed(lane, 0, d->text, d->n_text);
    for (size_t i = 0; i < d->n_text; i++)
        memcpy(rows + i * VOCABULARY, lq_lane_logits(lane, i), VOCABULARY * sizeof *rows);
    return rows;
}

static void test_one_sequence_is_what_score_gives(void **state)
{
    (void)state;
    const struct lq_question question = {.image = PICTURE, .text = "What shape is the pink object?"};
    struct lq_scores scores;
    expect(lq_runtime_score(rt, &question, "heart", &scores, &err));
    struct lq_dialogue d = build(question.text, "heart");
    assert_int_equal(d.answers[0].n, scores.n_positions);
    struct lq_view *view = open_view(PICTURE);
    struct lq_lane *lane = open_lane(1024, 1);
    float *rows = alone(lane, &d, view);
    for (size_t i = 0; i < scores.n_positions; i++) {
        const float *row = rows + (d.answers[0].first - 1 + i) * VOCABULARY;
        double largest = -INFINITY, sum = 0;
        for (int t = 0; t < VOCABULARY; t++) largest = fmax(largest, row[t]);
        for (int t = 0; t < VOCABULARY; t++) sum += exp(row[t] - largest);
        for (int t = 0; t < VOCABULARY; t++)
            assert_float_equal(scores.logprobs[i * VOCABULARY + t], row[t] - largest - log(sum), rounding);
        assert_int_equal(scores.tokens[i], d.text[d.answers[0].first + i]);
    }
    free(rows);
    lq_lane_free(lane);
    lq_view_free(view);
    lq_dialogue_release(&d);
    lq_scores_release(&scores);
}

static void test_repeats_exactly(void **state)
{
    (void)state;
    struct lq_dialogue d = build("Describe the image.", "a large blue triangle");
    struct lq_view *view = open_view(PICTURE), *again = open_view(PICTURE);
    struct lq_lane *lane = open_lane(1024, 4), *other = open_lane(1024, 4);
    float *first = alone(lane, &d, view);
    feed(lane, 3, d.text, d.n_text);
    lq_lane_drop(lane, 3);
    float *second = alone(lane, &d, again), *third = alone(other, &d, view);
    assert_memory_equal(first, second, d.n_text * VOCABULARY * sizeof *first);
    assert_memory_equal(first, third, d.n_text * VOCABULARY * sizeof *first);
    free(first);
    free(second);
    free(third);
    lq_lane_free(lane);
    lq_lane_free(other);
    lq_view_free(view);
    lq_view_free(again);
    lq_dialogue_release(&d);
}

/* Two questions about one picture and one about another, in one feed, their tokens interleaved. */
static void test_company_changes_little(void **state)
{
    (void)state;
    static const char *const texts[3] = {"What is at the top left?", "How many objects are there?",
                                         "Describe the image."};
    static const char *const answers[3] = {"large blue triangle", "two", "a small red heart at the center."};
    struct lq_dialogue d[3];
    struct lq_view *views[2] = {open_view(PICTURE), open_view(OTHER_PICTURE)};
    const struct lq_view *const of[3] = {views[0], views[0], views[1]};
    struct lq_lane *lane = open_lane(1024, 3);
    struct lq_lane_item items[256];
    float *rows[3];
    size_t at[256], n = 0;
    double largest = 0;
    for (int s = 0; s < 3; s++) d[s] = build(texts[s], answers[s]);
    for (int s = 0; s < 3; s++) rows[s] = alone(lane, &d[s], of[s]);
    assert_true(difference(rows[0] + 10 * VOCABULARY, rows[1] + 10 * VOCABULARY) > 1);
    assert_true(difference(rows[0] + 10 * VOCABULARY, rows[2] + 10 * VOCABULARY) > 1);
    lq_lane_clear(lane);
    begin(lane, 0, &d[0], views[0]);
    expect(lq_lane_fork(lane, 0, 1, lq_lane_length(lane, 0), &err));
    begin(lane, 2, &d[2], views[1]);
    for (size_t i = 0; i < 64; i++)
        for (uint32_t s = 0; s < 3; s++)
            if (i < d[s].n_text) {
                at[n] = i;
                items[n++] = (struct lq_lane_item){.token = d[s].text[i], .sequence = s, .wanted = true};
            }
    assert_true(n <= lq_lane_most(lane) && n <= lq_lane_most_wanted(lane));
    expect(lq_lane_feed(lane, items, n, &err));
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, difference(lq_lane_logits(lane, i), rows[items[i].sequence] + at[i] * VOCABULARY));
    print_message("in company: logits differ by %.1e\n", largest);
    assert_true(largest <= rounding);
    for (int s = 0; s < 3; s++) {
        free(rows[s]);
        lq_dialogue_release(&d[s]);
    }
    lq_lane_free(lane);
    lq_view_free(views[0]);
    lq_view_free(views[1]);
}

static int32_t likeliest(const float *row)
{
    int32_t best = 0;
    for (int32_t i = 1; i < VOCABULARY; i++)
        if (row[i] > row[best]) best = i;
    return best;
}

/* The greedy answer in `sequence`, whose prompt's last logits are `row`. */
static char *generate(struct lq_lane *lane, uint32_t sequence, const float *row)
{
    int32_t tokens[256];
    size_t n = 0;
    char *text = NULL;
    for (int32_t token = likeliest(row); n < 200 && !lq_runtime_is_end(rt, token); n++) {
        tokens[n] = token;
        feed(lane, sequence, &token, 1);
        token = likeliest(lq_lane_logits(lane, 0));
    }
    expect(lq_runtime_text(&text, rt, tokens, n, &err));
    return text;
}

/* Teacher forcing in one sequence, the greedy answer in a fork of its beginning. */
static void test_fork_and_generate(void **state)
{
    (void)state;
    const struct lq_question question = {.image = PICTURE, .text = "Describe the image."};
    struct answer asked = {.n = 0};
    float row[VOCABULARY];
    expect(lq_runtime_ask(rt, &question, answer_append, &asked, &err));
    struct lq_dialogue d = build(question.text, "something else than that");
    struct lq_view *view = open_view(PICTURE);
    struct lq_lane *lane = open_lane(1024, 2);
    size_t prompt = d.answers[0].first;
    begin(lane, 0, &d, view);
    size_t length = lq_lane_length(lane, 0) + prompt;
    feed(lane, 0, d.text, d.n_text);
    memcpy(row, lq_lane_logits(lane, prompt - 1), sizeof row);
    expect(lq_lane_fork(lane, 0, 1, length, &err));
    assert_int_equal(lq_lane_length(lane, 1), length);
    char *text = generate(lane, 1, row);
    assert_string_equal(text, asked.text);
    assert_true(strlen(text) > 20);
    free(text);
    lq_lane_free(lane);
    lq_view_free(view);
    lq_dialogue_release(&d);
}

static void test_forks_are_bounded(void **state)
{
    (void)state;
    struct lq_dialogue d = build("Well?", "yes");
    struct lq_view *view = open_view(PICTURE);
    struct lq_lane *lane = open_lane(1024, 3);
    begin(lane, 0, &d, view);
    size_t seen = lq_lane_length(lane, 0);
    feed(lane, 0, d.text, d.n_text);
    refuse(lq_lane_fork(lane, 0, 3, seen, &err), LQ_ERR_USAGE, "sequence 3 in a lane of 3");
    refuse(lq_lane_fork(lane, 0, 1, seen - 1, &err), LQ_ERR_USAGE, "its picture at");
    refuse(lq_lane_fork(lane, 0, 1, seen + d.n_text + 1, &err), LQ_ERR_USAGE, "its tokens end at");
    refuse(lq_lane_fork(lane, 0, 0, seen, &err), LQ_ERR_USAGE, "sequence 0 is not empty");
    expect(lq_lane_fork(lane, 2, 1, 0, &err));
    assert_int_equal(lq_lane_length(lane, 1), 0);
    lq_lane_free(lane);
    lq_view_free(view);
    lq_dialogue_release(&d);
}

/* What does not fit changes nothing, and what was dropped makes room again. */
static void test_cells_run_out(void **state)
{
    (void)state;
    struct lq_dialogue d = build("Well?", "yes");
    struct lq_view *view = open_view(PICTURE);
    struct lq_lane *lane = open_lane(1, 4);
    int32_t tokens[256];
    char message[64];
    for (int i = 0; i < 256; i++) tokens[i] = d.text[0];
    assert_int_equal(lq_lane_cells(lane), 256);
    snprintf(message, sizeof message, "100 more tokens do not fit into the 256 cells");
    feed(lane, 0, tokens, 100);
    feed(lane, 1, tokens, 100);
    struct lq_lane_item items[100];
    for (int i = 0; i < 100; i++) items[i] = (struct lq_lane_item){.token = tokens[i], .sequence = 2};
    refuse(lq_lane_feed(lane, items, 100, &err), LQ_ERR_USAGE, message);
    assert_int_equal(lq_lane_length(lane, 2), 0);
    assert_int_equal(lq_lane_length(lane, 1), 100);
    refuse(lq_lane_show(lane, 2, view, &err), LQ_ERR_USAGE, "64 more tokens do not fit");
    feed(lane, 1, tokens, 56);
    refuse(lq_lane_feed(lane, items, 1, &err), LQ_ERR_USAGE, "1 more tokens do not fit");
    lq_lane_drop(lane, 0);
    expect(lq_lane_feed(lane, items, 100, &err));
    lq_lane_clear(lane);
    for (uint32_t s = 0; s < 4; s++) assert_int_equal(lq_lane_length(lane, s), 0);
    feed(lane, 3, tokens, 256);
    lq_lane_free(lane);
    lq_view_free(view);
    lq_dialogue_release(&d);
}

static void test_bad_feeds(void **state)
{
    (void)state;
    struct lq_lane *lane = open_lane(1024, 2);
    struct lq_lane_item items[257] = {{.token = 3}};
    refuse(lq_lane_feed(lane, items, 257, &err), LQ_ERR_USAGE, "257 tokens fed at once; at most 256");
    items[1].sequence = 2;
    refuse(lq_lane_feed(lane, items, 2, &err), LQ_ERR_USAGE, "sequence 2 in a lane of 2");
    items[1] = (struct lq_lane_item){.token = VOCABULARY};
    refuse(lq_lane_feed(lane, items, 2, &err), LQ_ERR_USAGE, "token 512 in a vocabulary of 512");
    items[1].token = -1;
    refuse(lq_lane_feed(lane, items, 2, &err), LQ_ERR_USAGE, "token -1");
    assert_int_equal(lq_lane_length(lane, 0), 0);
    expect(lq_lane_feed(lane, items, 0, &err));
    expect(lq_lane_feed(lane, items, 1, &err));
    assert_null(lq_lane_logits(lane, 0)); /* not wanted */
    assert_null(lq_lane_logits(lane, 1));
    lq_lane_free(lane);
}

static void test_bad_lanes(void **state)
{
    (void)state;
    static const struct lq_lane_options bad[] = {
        {.cells = 256}, {.sequences = 1}, {.cells = 256, .sequences = 65}, {.cells = UINT32_MAX, .sequences = 1}};
    struct lq_lane *lane = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(lq_lane_open(&lane, rt, &bad[i], &err), LQ_ERR_USAGE);
        assert_null(lane);
    }
    lane = open_lane(300, 64);
    assert_int_equal(lq_lane_cells(lane), 512);
    assert_true(lq_lane_most(lane) >= 64 && lq_lane_most_wanted(lane) >= 64);
    lq_lane_free(lane);
    lq_lane_free(NULL);
    lq_view_free(NULL);
}

/* The vision half of one pair before the language half of another. */
static void test_views_of_another_runtime(void **state)
{
    (void)state;
    struct demo_pair small;
    struct lq_runtime *other = NULL;
    struct lq_view *view = NULL, *own = open_view(PICTURE);
    size_t rows = 0, width = 0, n = 0;
    demo_pair_make(&small, "q8_0", NULL);
    const struct lq_runtime_options options = {
        .language = small.path[LQ_LANGUAGE], .mmproj = small.path[LQ_VISION], .threads = 1};
    expect(lq_runtime_open(&other, &options, &err));
    expect(lq_view_open(&view, other, PICTURE, &err));
    const float *a = lq_view_embeddings(view, &rows, &width);
    const float *b = lq_view_embeddings(own, &n, &width);
    assert_int_equal(rows, 64);
    assert_int_equal(n, 64);
    assert_int_equal(width, 256);
    assert_memory_not_equal(a, b, rows * width * sizeof *a);
    expect(lq_runtime_same_vocabulary(rt, other, &err));
    struct lq_dialogue d = build("Well?", "yes");
    struct lq_lane *lane = open_lane(512, 2);
    float *with_own = alone(lane, &d, own), *with_other = alone(lane, &d, view);
    double apart = difference(with_own, with_other);
    assert_true(apart > 0 && apart < 1);
    lq_runtime_free(other);
    float *later = alone(lane, &d, view); /* a view does not need its runtime any more */
    assert_memory_equal(later, with_other, d.n_text * VOCABULARY * sizeof *later);
    free(with_own);
    free(with_other);
    free(later);
    lq_lane_free(lane);
    lq_view_free(view);
    lq_view_free(own);
    lq_dialogue_release(&d);
    demo_pair_remove(&small);
}

static void test_usage_grows(void **state)
{
    (void)state;
    struct lq_dialogue d = build("Well?", "yes");
    struct lq_runtime_usage before = lq_runtime_used(rt);
    struct lq_view *view = open_view(PICTURE);
    struct lq_runtime_usage seen = lq_runtime_used(rt);
    struct lq_lane *lane = open_lane(16384, 1);
    begin(lane, 0, &d, view);
    feed(lane, 0, d.text, d.n_text);
    struct lq_runtime_usage fed = lq_runtime_used(rt);
    assert_true(before.memory > 10000000); /* about the weights */
    assert_int_equal(seen.pictures, before.pictures + 1);
    assert_true(seen.picture_seconds > before.picture_seconds);
    assert_int_equal(seen.tokens, before.tokens);
    assert_int_equal(fed.tokens, seen.tokens + d.n_head + 64 + d.n_text);
    assert_true(fed.token_seconds > seen.token_seconds);
    assert_true(fed.memory >= seen.memory + 30000000); /* 16384 cells of 4 blocks, keys and values 256 wide in f16 */
    lq_lane_free(lane);
    lq_view_free(view);
    lq_dialogue_release(&d);
}

/* Opening costs no memory of tokens: that comes with the first question. */
static void test_opening_makes_no_lane(void **state)
{
    (void)state;
    struct lq_runtime *other = NULL;
    struct answer answer = {.n = 0};
    const struct lq_runtime_options options = {
        .language = pair.path[LQ_LANGUAGE], .mmproj = pair.path[LQ_VISION], .threads = 1, .context = 65536};
    expect(lq_runtime_open(&other, &options, &err));
    uint64_t opened = lq_runtime_used(other).memory;
    assert_true(opened < 100000000);
    expect(lq_runtime_ask(other, &(struct lq_question){.image = PICTURE, .text = "?"}, answer_append, &answer, &err));
    assert_true(lq_runtime_used(other).memory > opened + 200000000);
    lq_runtime_free(other);
}

static bool yes(void *data)
{
    (void)data;
    return true;
}

static void test_cancelling_empties_the_lane(void **state)
{
    (void)state;
    struct lq_dialogue d = build("Well?", "yes");
    struct lq_view *view = NULL;
    struct lq_lane *lane = open_lane(512, 2);
    const struct lq_lane_item item = {.token = 3, .wanted = true};
    feed(lane, 1, d.text, d.n_text);
    rt->hooks.cancelled = yes;
    assert_int_equal(lq_lane_feed(lane, &item, 1, &err), LQ_ERR_CANCELLED);
    assert_int_equal(lq_view_open(&view, rt, PICTURE, &err), LQ_ERR_CANCELLED);
    rt->hooks.cancelled = NULL;
    assert_null(view);
    assert_int_equal(lq_lane_length(lane, 1), 0);
    expect(lq_lane_feed(lane, &item, 1, &err));
    lq_lane_free(lane);
    lq_dialogue_release(&d);
}

/* Makes the first weight of a tensor in F32 a NaN. */
static void spoil(const char *path, const char *tensor)
{
    struct lq_source *source = NULL;
    const float nan = NAN;
    expect(lq_source_open(&source, path, &err));
    const struct lq_source_tensor *t = lq_source_find(source, tensor);
    assert_non_null(t);
    assert_int_equal(t->type, LQ_TYPE_F32);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, (long)t->offset, SEEK_SET), 0);
    assert_int_equal(fwrite(&nan, sizeof nan, 1, f), 1);
    assert_int_equal(fclose(f), 0);
    lq_source_close(source);
}

/* The half whose weights are damaged is the one that is named. */
static void test_damaged_weights(void **state)
{
    (void)state;
    static const char *const tensors[LQ_HALVES] = {[LQ_LANGUAGE] = "output_norm.weight", [LQ_VISION] = "mm.2.bias"};
    static const char *const who[LQ_HALVES] = {[LQ_LANGUAGE] = "the model", [LQ_VISION] = "the vision half"};
    for (int half = 0; half < LQ_HALVES; half++) {
        struct demo_pair damaged;
        struct lq_runtime *other = NULL;
        struct answer answer = {.n = 0};
        char message[256];
        demo_pair_make(&damaged, "f16", NULL);
        spoil(damaged.path[half], tensors[half]);
        const struct lq_runtime_options options = {
            .language = damaged.path[LQ_LANGUAGE], .mmproj = damaged.path[LQ_VISION], .threads = 1};
        expect(lq_runtime_open(&other, &options, &err));
        snprintf(message, sizeof message, "%s: %s computes NaN or infinity: its weights are damaged",
                 damaged.path[half], who[half]);
        const struct lq_question question = {.image = PICTURE, .text = "?"};
        refuse(lq_runtime_ask(other, &question, answer_append, &answer, &err), LQ_ERR_RUNTIME, message);
        lq_runtime_free(other);
        demo_pair_remove(&damaged);
    }
}

static void test_views_that_do_not_fit(void **state)
{
    (void)state;
    struct lq_view *view = open_view(PICTURE);
    struct lq_lane *lane = open_lane(512, 2);
    const struct lq_lane_item item = {.token = 3};
    expect(lq_lane_feed(lane, &item, 1, &err));
    view->width /= 2;
    refuse(lq_lane_show(lane, 0, view, &err), LQ_ERR_USAGE, "is 128 wide, the model takes 256");
    assert_int_equal(lq_lane_length(lane, 0), 0);
    view->width *= 2;
    refuse(lq_lane_show(lane, 2, view, &err), LQ_ERR_USAGE, "sequence 2 in a lane of 2");
    expect(lq_lane_show(lane, 0, view, &err));
    lq_lane_free(lane);
    lq_view_free(view);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_one_sequence_is_what_score_gives),
    cmocka_unit_test(test_repeats_exactly),
    cmocka_unit_test(test_company_changes_little),
    cmocka_unit_test(test_fork_and_generate),
    cmocka_unit_test(test_forks_are_bounded),
    cmocka_unit_test(test_cells_run_out),
    cmocka_unit_test(test_bad_feeds),
    cmocka_unit_test(test_bad_lanes),
    cmocka_unit_test(test_views_of_another_runtime),
    cmocka_unit_test(test_views_that_do_not_fit),
    cmocka_unit_test(test_damaged_weights),
    cmocka_unit_test(test_usage_grows),
    cmocka_unit_test(test_opening_makes_no_lane),
    cmocka_unit_test(test_cancelling_empties_the_lane),
};

int main(void)
{
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
