/* What recoded tensors cost the demo model's answers: the figures of evaluating the quantised pair, for any part of it,
 * in any order. */
#include "llava_quantize.h"
#include "strategy/trial.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "demo_pair.h"

enum { N_RECORDS = 16, MOST = 128 };

static struct demo_pair original, small;
static struct lq_model *model, *coded;
static void *blocks[LQ_HALVES][MOST];
static struct lq_dataset *exam; /* two questions about each picture, mostly */
static struct lq_error err;

static void expect(enum lq_status status)
{
    if (status != LQ_OK) fail_msg("%s", err.message);
}

static void near(double found, double expected, double most)
{
    if (!(fabs(found - expected) <= most)) fail_msg("%.9g instead of %.9g, more than %.3g away", found, expected, most);
}

static struct lq_dataset *made_of(const char *text)
{
    struct lq_dataset *made = NULL;
    char path[128];
    const struct lq_dataset_options options = {.images = LQ_DEMO};
    demo_pair_text(original.folder, "data.jsonl", text);
    snprintf(path, sizeof path, "%s/data.jsonl", original.folder);
    expect(lq_dataset_load(&made, path, &options, &err));
    unlink(path);
    return made;
}

/* The first lines of the demo's exam. */
static struct lq_dataset *load_exam(void)
{
    char text[16384] = "", line[1024];
    FILE *f = fopen(LQ_DEMO "/exam.jsonl", "r");
    assert_non_null(f);
    for (int i = 0; i < N_RECORDS; i++) {
        assert_non_null(fgets(line, sizeof line, f));
        assert_true(strlen(text) + strlen(line) < sizeof text);
        strcat(text, line);
    }
    fclose(f);
    return made_of(text);
}

static int set_up(void **state)
{
    (void)state;
    demo_pair_make(&original, "f16", NULL);
    demo_pair_make(&small, "q3_k", NULL);
    expect(lq_model_open(&model, original.path[LQ_LANGUAGE], NULL, &err));
    expect(lq_model_open(&coded, small.path[LQ_LANGUAGE], NULL, &err));
    for (int half = 0; half < LQ_HALVES; half++) {
        for (size_t i = 0; i < coded->half[half]->n_tensors; i++) {
            const struct lq_tensor *t = &coded->half[half]->tensors[i];
            if (!t->quantisable) continue;
            assert_true(i < MOST);
            blocks[half][i] = malloc(t->bytes);
            assert_non_null(blocks[half][i]);
            expect(lq_model_read(coded, t, 0, t->rows, blocks[half][i], &err));
        }
    }
    exam = load_exam();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int half = 0; half < LQ_HALVES; half++)
        for (size_t i = 0; i < MOST; i++) free(blocks[half][i]);
    lq_dataset_free(exam);
    lq_model_free(model);
    lq_model_free(coded);
    demo_pair_remove(&original);
    demo_pair_remove(&small);
    return 0;
}

static struct lq_runtime_options one_thread(const struct lq_hooks *hooks)
{
    return (struct lq_runtime_options){
        .language = original.path[LQ_LANGUAGE], .mmproj = original.path[LQ_VISION], .threads = 1, .hooks = hooks};
}

static struct lq_trial *open_trial(const struct lq_trial_options *options)
{
    struct lq_trial *trial = NULL;
    expect(lq_trial_open(&trial, options, &err));
    return trial;
}

static struct lq_trial_divergence measure(struct lq_trial *trial)
{
    struct lq_trial_divergence d;
    expect(lq_trial_measure(trial, &d, NULL, &err));
    return d;
}

/* The half as the quantised pair has it, or as the original. */
static void recode(struct lq_trial *trial, enum lq_half half, bool back)
{
    for (size_t i = 0; i < coded->half[half]->n_tensors; i++) {
        const struct lq_tensor *t = &coded->half[half]->tensors[i];
        if (blocks[half][i] == NULL) continue;
        expect(lq_trial_recode(trial, t->name, t->type, back ? NULL : blocks[half][i], &err));
    }
}

static void assert_same(struct lq_trial_divergence a, struct lq_trial_divergence b)
{
    assert_memory_equal(&a, &b, sizeof a);
}

/* ---- beside an evaluation ---- */

enum { N_SHOWN = 3, N_ASKED = 10, N_ALL = N_SHOWN * N_ASKED }; /* pictures, questions about each */

/* The same questions about each of the exam's pictures from `first` on: so many that the cells which records share in a
 * trial have no room for another picture beside them. */
static struct lq_dataset *asked_about(int first, int n)
{
    static const char *const asked[N_ASKED][2] = {
        {"What is at the center?", "small black cross"},
        {"What shape is the pink object?", "triangle"},
        {"Where is the triangle?", "center"},
        {"How many white objects are there?", "one"},
        {"Is there a red ring?", "no"},
        {"What color is the star?", "brown"},
        {"What is at the bottom?", "small pink heart"},
        {"Is the star large or small?", "small"},
        {"Where is the cross?", "top left"},
        {"What number is written?", "none"},
    };
    char text[8192] = "";
    size_t length = 0;
    for (int i = 0; i < n * N_ASKED; i++)
        length += (size_t)snprintf(text + length, sizeof text - length,
                                   "{\"question_id\": %d, \"image\": \"exam/%05d.png\", \"text\": \"%s\", "
                                   "\"answer\": \"%s\"}\n",
                                   i, first + i / N_ASKED, asked[i % N_ASKED][0], asked[i % N_ASKED][1]);
    return made_of(text);
}

static struct lq_evaluation *evaluate(int picture)
{
    struct lq_evaluation *e = NULL;
    struct lq_dataset *data = asked_about(picture, 1);
    const struct lq_evaluate_options options = {
        .pair = {small.path[LQ_LANGUAGE], small.path[LQ_VISION]},
        .original = {original.path[LQ_LANGUAGE], original.path[LQ_VISION]},
        .data = data,
        .by_half = true,
        .threads = 1,
    };
    expect(lq_evaluate(&e, &options, &err));
    assert_int_equal(e->n_questions, N_ASKED);
    lq_dataset_free(data);
    return e;
}

/* What a trial finds, from what evaluations found of each picture in one arm: mean and agreement. */
static void check_means(const struct lq_trial_divergence *d, struct lq_evaluation *const *e, int arm)
{
    double tokens = 0, kl = 0, agreed = 0;
    for (int i = 0; i < N_SHOWN; i++) {
        const struct lq_divergence *answer = &e[i]->arm[arm].answer;
        tokens += (double)answer->tokens;
        kl += (double)answer->tokens * answer->kl.value;
        agreed += (double)answer->tokens * answer->agreement.value;
    }
    print_message("kl %.6f +- %.6f\n", d->mean, d->error);
    near(d->mean, kl / tokens, 1e-6 * kl / tokens);
    near(d->agreement, agreed / tokens, 1e-9);
    assert_true(d->error > 0 && d->error < d->mean);
}

/* Each question's sum, and the spread of pictures about their mean. */
static void check_questions(const struct lq_trial_divergence *d, const double *by_question,
                            struct lq_evaluation *const *e)
{
    double squares = 0, tokens = 0;
    for (int picture = 0; picture < N_SHOWN; picture++) {
        double off = 0;
        for (int i = 0; i < N_ASKED; i++) {
            const struct lq_question_result *q = &e[picture]->questions[i];
            double n = (double)q->tokens;
            near(by_question[picture * N_ASKED + i], q->kl * n, 1e-6 * q->kl * n);
            off += q->kl * n - d->mean * n;
            tokens += n;
        }
        squares += off * off;
    }
    near(d->error, sqrt(squares * N_SHOWN / (N_SHOWN - 1)) / tokens, 1e-6 * d->error);
}

/* Of the whole pair and of each half alone. Both sides compute alike, so that their figures are the same: an evaluation
 * of one picture has the batches that the trial has for it, and of q3_k llama.cpp has no repacked kernels. With other
 * batches sums are rounded otherwise, activations tip over to another of their 8 bits, and what hangs on one answer in
 * doubt differs by a tenth and more. */
static void test_like_evaluating(void **state)
{
    (void)state;
    struct lq_evaluation *e[N_SHOWN];
    struct lq_dataset *data = asked_about(0, N_SHOWN);
    for (int i = 0; i < N_SHOWN; i++) e[i] = evaluate(i);
    struct lq_trial *trial = open_trial(&(struct lq_trial_options){.pair = one_thread(NULL), .data = data});
    struct lq_trial_cost cost = lq_trial_cost(trial);
    assert_int_equal(cost.questions, N_ALL);
    assert_int_equal(cost.answer_tokens, N_SHOWN * e[0]->arm[LQ_ARM_BOTH].answer.tokens);
    assert_int_equal(cost.pictures, N_SHOWN);
    static const struct {
        int arm;
        bool language, vision;
    } arms[] = {{LQ_ARM_LANGUAGE, true, false}, {LQ_ARM_BOTH, true, true}, {LQ_ARM_VISION, false, true}};
    for (size_t i = 0; i < 3; i++) {
        double by_question[N_ALL];
        struct lq_trial_divergence d;
        recode(trial, LQ_LANGUAGE, !arms[i].language);
        recode(trial, LQ_VISION, !arms[i].vision);
        expect(lq_trial_measure(trial, &d, by_question, &err));
        check_means(&d, e, arms[i].arm);
        if (arms[i].arm == LQ_ARM_BOTH) check_questions(&d, by_question, e);
    }
    lq_trial_free(trial);
    for (int i = 0; i < N_SHOWN; i++) lq_evaluation_free(e[i]);
    lq_dataset_free(data);
}

/* ---- again, and in parts ---- */

/* Whatever was measured before: the original gives exactly nothing, and the same recodings the same figures. */
static void test_the_same_again(void **state)
{
    (void)state;
    double by_question[N_RECORDS], sum = 0;
    struct lq_trial *trial = open_trial(&(struct lq_trial_options){.pair = one_thread(NULL), .data = exam, .limit = 6});
    size_t n = lq_trial_cost(trial).questions;
    assert_int_equal(n, 6);
    struct lq_trial_divergence none = measure(trial), language, both;
    assert_true(none.mean == 0 && none.error == 0 && none.agreement == 1);
    recode(trial, LQ_LANGUAGE, false);
    language = measure(trial);
    recode(trial, LQ_VISION, false);
    both = measure(trial);
    assert_true(language.mean > 0 && both.mean > language.mean);
    recode(trial, LQ_VISION, true);
    assert_same(measure(trial), language);
    recode(trial, LQ_VISION, false);
    expect(lq_trial_measure(trial, &both, by_question, &err));
    for (size_t i = 0; i < n; i++) sum += by_question[i];
    assert_float_equal(sum / (double)lq_trial_cost(trial).answer_tokens, both.mean, 1e-15);
    recode(trial, LQ_LANGUAGE, true);
    recode(trial, LQ_VISION, true);
    assert_same(measure(trial), none);
    assert_int_equal(lq_trial_cost(trial).measurements, 6);
    lq_trial_free(trial);
}

/* Pictures are seen anew after a tensor of the vision half was recoded, and not again until the next one is. */
static void test_pictures_are_kept(void **state)
{
    (void)state;
    struct lq_trial *trial = open_trial(&(struct lq_trial_options){.pair = one_thread(NULL), .data = exam, .limit = 2});
    double seconds[6];
    for (int i = 0; i < 6; i++) {
        if (i == 1) recode(trial, LQ_LANGUAGE, false);
        if (i == 2) recode(trial, LQ_VISION, false);
        if (i == 3) recode(trial, LQ_LANGUAGE, true);
        if (i == 4) recode(trial, LQ_VISION, true);
        if (i == 5) recode(trial, LQ_VISION, false);
        (void)measure(trial);
        seconds[i] = lq_trial_cost(trial).picture_seconds;
    }
    assert_true(seconds[0] > 0 && seconds[1] == seconds[0]);
    assert_true(seconds[2] > seconds[1] && seconds[3] == seconds[2] && seconds[4] == seconds[3]);
    assert_true(seconds[5] > seconds[4]);
    lq_trial_free(trial);
}

static void test_threads(void **state)
{
    (void)state;
    struct lq_trial_divergence found[2];
    for (unsigned i = 0; i < 2; i++) {
        struct lq_trial_options options = {.pair = one_thread(NULL), .data = exam, .limit = 8};
        options.pair.threads = i + 1;
        struct lq_trial *trial = open_trial(&options);
        recode(trial, LQ_LANGUAGE, false);
        recode(trial, LQ_VISION, false);
        found[i] = measure(trial);
        lq_trial_free(trial);
    }
    assert_same(found[0], found[1]);
}

/* ---- records, memory, interruptions ---- */

/* What the hooks were told, and when they cancel. */
struct told {
    int left_out;
    int calls, cancel_at; /* 0: never */
};

static void note(void *data, enum lq_log_level level, const char *message)
{
    struct told *told = data;
    if (level != LQ_LOG_DEBUG && strstr(message, "left out") != NULL) told->left_out++;
}

static bool cancelled(void *data)
{
    struct told *told = data;
    return told->cancel_at != 0 && ++told->calls >= told->cancel_at;
}

#define ASK(id, image) "{\"question_id\": " id ", \"image\": \"" image "\", \"text\": \"?\", \"answer\": \"red\"}\n"

static void test_records_that_cannot_be_used(void **state)
{
    (void)state;
    struct told told = {.calls = 0};
    const struct lq_hooks hooks = {.data = &told, .log = note};
    struct lq_dataset *some = made_of(ASK("1", "none.png") ASK("2", "exam/00001.png") ASK("3", "none.png"));
    struct lq_dataset *none = made_of(ASK("1", "none.png"));
    struct lq_trial *trial = NULL;
    assert_int_equal(lq_trial_open(&trial, &(struct lq_trial_options){one_thread(&hooks), none, 0, 0}, &err),
                     LQ_ERR_USAGE);
    assert_null(trial);
    assert_non_null(strstr(err.message, "data.jsonl: no record is left"));
    assert_int_equal(told.left_out, 1);
    trial = open_trial(&(struct lq_trial_options){.pair = one_thread(&hooks), .data = some});
    assert_int_equal(told.left_out, 3);
    assert_int_equal(lq_trial_cost(trial).questions, 1);
    recode(trial, LQ_LANGUAGE, false);
    assert_true(isnan(measure(trial).error));
    lq_trial_free(trial);
    lq_dataset_free(some);
    lq_dataset_free(none);
}

/* The demo's pictures give 64 rows of 256 numbers, kept twice; its vocabulary has 512 tokens. */
static void test_memory(void **state)
{
    (void)state;
    const uint64_t picture = 2 * 64 * 256 * sizeof(float), row = 512 * sizeof(float);
    struct lq_trial_options options = {.pair = one_thread(NULL), .data = exam, .memory = 4 * (picture + 4 * row)};
    struct lq_trial *trial = open_trial(&options);
    struct lq_trial_cost cost = lq_trial_cost(trial);
    assert_in_range(cost.questions, 3, 4);
    assert_true(cost.questions * picture + cost.answer_tokens * row <= options.memory);
    lq_trial_free(trial);
    options.memory = 1;
    trial = open_trial(&options);
    assert_int_equal(lq_trial_cost(trial).questions, 1);
    lq_trial_free(trial);
}

#define TURN(who, text) "{\"from\": \"" who "\", \"value\": \"" text "\"}"
#define SCENE(turns) "{\"image\": \"exam/00001.png\", \"conversations\": [" turns "]}"
#define COLOUR TURN("human", "<image>\\nWhat color is it?") ", " TURN("gpt", "pink")
#define SHAPE TURN("human", "<image>\\nWhat shape is it?") ", " TURN("gpt", "triangle")
#define THEN_SHAPE TURN("human", "What shape is it?") ", " TURN("gpt", "triangle")

/* The questions of a conversation count as if each were a record of its own. */
static void test_conversations(void **state)
{
    (void)state;
    struct lq_dataset *apart = made_of("[" SCENE(COLOUR) ", " SCENE(SHAPE) "]");
    struct lq_dataset *together = made_of("[" SCENE(COLOUR ", " THEN_SHAPE) "]");
    struct lq_trial_divergence found[2];
    const struct lq_dataset *data[2] = {apart, together};
    for (int i = 0; i < 2; i++) {
        struct lq_trial *trial = open_trial(&(struct lq_trial_options){.pair = one_thread(NULL), .data = data[i]});
        assert_int_equal(lq_trial_cost(trial).questions, 2);
        assert_int_equal(lq_trial_cost(trial).pictures, 1);
        recode(trial, LQ_LANGUAGE, false);
        recode(trial, LQ_VISION, false);
        found[i] = measure(trial);
        assert_true(isnan(found[i].error));
        lq_trial_free(trial);
    }
    assert_true(found[0].mean > 0 && found[0].mean == found[1].mean);
    assert_true(found[0].agreement == found[1].agreement);
    lq_dataset_free(apart);
    lq_dataset_free(together);
}

/* Wherever a measurement stops, in the tower or in the language half, the next one is whole. */
static void test_cancelling(void **state)
{
    (void)state;
    struct told told = {.calls = 0};
    const struct lq_hooks hooks = {.data = &told, .log = note, .cancelled = cancelled};
    const struct lq_trial_options options = {.pair = one_thread(&hooks), .data = exam, .limit = 3};
    struct lq_trial *trial = NULL;
    struct lq_trial_divergence whole, d;
    told.cancel_at = 400;
    assert_int_equal(lq_trial_open(&trial, &options, &err), LQ_ERR_CANCELLED);
    assert_null(trial);
    told.cancel_at = 0;
    trial = open_trial(&options);
    recode(trial, LQ_LANGUAGE, false);
    recode(trial, LQ_VISION, false);
    whole = measure(trial);
    static const int stops[] = {1, 2, 100, 300};
    for (size_t i = 0; i < 4; i++) {
        recode(trial, LQ_VISION, true);
        recode(trial, LQ_VISION, false);
        told = (struct told){.cancel_at = stops[i]};
        assert_int_equal(lq_trial_measure(trial, &d, NULL, &err), LQ_ERR_CANCELLED);
        told.cancel_at = 0;
        assert_same(measure(trial), whole);
    }
    lq_trial_free(trial);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_like_evaluating),
    cmocka_unit_test(test_the_same_again),
    cmocka_unit_test(test_pictures_are_kept),
    cmocka_unit_test(test_threads),
    cmocka_unit_test(test_records_that_cannot_be_used),
    cmocka_unit_test(test_conversations),
    cmocka_unit_test(test_memory),
    cmocka_unit_test(test_cancelling),
};

int main(void)
{
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
