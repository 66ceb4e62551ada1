/* Evaluating through the library: its figures against the runtime's other ways to the same ones, and what it refuses.
 */
#include "evaluate/embeddings.h"
#include "evaluate/greedy.h"
#include "llava_quantize.h"
#include "runtime/dialogue.h"
#include "runtime/lane.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "answer.h"
#include "demo_pair.h"
#include "expect.h"

#define N_GOLDEN 60 /* questions whose log-probabilities Hugging Face's golden file holds */
#define N_VOCAB 512

static struct demo_pair f16, q4;
static struct lq_dataset *exam; /* its first N_GOLDEN questions */

/* Batches of another shape sum in another order, and activations are rounded to 8 bits afterwards. What that does to a
 * question's divergence at 4 bits. */
static const double rounding = 5e-4;

static void near(double found, double expected, double most)
{
    if (!(fabs(found - expected) <= most)) fail_msg("%.9g instead of %.9g, more than %.3g away", found, expected, most);
}

/* The first n lines of the demo's exam. */
static void load_exam(struct lq_dataset **out, int n)
{
    char line[4096], path[] = "/tmp/llava-quantize-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *in = fopen(LQ_DEMO "/exam.jsonl", "rb"), *few = fdopen(fd, "wb");
    assert_non_null(in);
    assert_non_null(few);
    for (int i = 0; i < n; i++) {
        assert_non_null(fgets(line, sizeof line, in));
        fputs(line, few);
    }
    fclose(in);
    assert_int_equal(fclose(few), 0);
    const struct lq_dataset_options options = {.images = LQ_DEMO};
    expect(lq_dataset_load(out, path, &options, &err));
    unlink(path);
}

static int set_up(void **state)
{
    (void)state;
    demo_pair_make(&f16, "f16", NULL);
    demo_pair_make(&q4, "Q4_K_M", NULL);
    load_exam(&exam, N_GOLDEN);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    demo_pair_remove(&f16);
    demo_pair_remove(&q4);
    lq_dataset_free(exam);
    return 0;
}

static struct lq_pair_paths paths_of(const struct demo_pair *pair)
{
    return (struct lq_pair_paths){pair->path[LQ_LANGUAGE], pair->path[LQ_VISION]};
}

static struct lq_evaluation *evaluate(const struct demo_pair *pair, const struct demo_pair *original)
{
    struct lq_evaluation *e = NULL;
    struct lq_evaluate_options options = {.pair = paths_of(pair), .data = exam, .threads = 1};
    if (original != NULL) options.original = paths_of(original);
    expect(lq_evaluate(&e, &options, &err));
    assert_int_equal(e->n_questions, N_GOLDEN);
    return e;
}

static struct lq_runtime *open_runtime(const struct demo_pair *pair)
{
    struct lq_runtime *rt = NULL;
    const struct lq_runtime_options options = {
        .language = pair->path[LQ_LANGUAGE], .mmproj = pair->path[LQ_VISION], .threads = 1};
    expect(lq_runtime_open(&rt, &options, &err));
    return rt;
}

/* ---- figures ---- */

/* One question at a time through both runtimes: the divergence, and the negative log-probability of the right tokens. */
static double score_alone(struct lq_runtime *original, struct lq_runtime *pair, size_t i, double *loss, size_t *n)
{
    const struct lq_record *r = &exam->records[i];
    const struct lq_question question = {.image = r->image, .text = r->turns[0].question};
    struct lq_scores p = {0}, q = {0};
    double kl = 0;
    expect(lq_runtime_score(original, &question, r->turns[0].answers[0], &p, &err));
    expect(lq_runtime_score(pair, &question, r->turns[0].answers[0], &q, &err));
    for (size_t k = 0; k < p.n_positions * p.n_vocab; k++)
        kl += exp(p.logprobs[k]) * ((double)p.logprobs[k] - q.logprobs[k]);
    for (size_t k = 0; k < q.n_positions; k++) *loss -= q.logprobs[k * q.n_vocab + (size_t)q.tokens[k]];
    *n += q.n_positions;
    lq_scores_release(&p);
    lq_scores_release(&q);
    return kl;
}

static void test_divergence_is_that_of_one_question_at_a_time(void **state)
{
    (void)state;
    struct lq_evaluation *e = evaluate(&q4, &f16);
    struct lq_runtime *original = open_runtime(&f16), *pair = open_runtime(&q4);
    double sum = 0, loss = 0;
    size_t n = 0;
    for (size_t i = 0; i < N_GOLDEN; i++) {
        double kl = score_alone(original, pair, i, &loss, &n);
        sum += kl;
        near(e->questions[i].kl * (double)e->questions[i].tokens, kl, rounding + 0.25 * kl);
    }
    const struct lq_divergence *d = &e->arm[LQ_ARM_BOTH].answer;
    assert_int_equal(d->tokens, n);
    near(d->kl.value, sum / (double)n, 1e-5 + 0.05 * sum / (double)n);
    near(log(d->perplexity.value), loss / (double)n, 1e-3);
    lq_runtime_free(original);
    lq_runtime_free(pair);
    lq_evaluation_free(e);
}

/* Perplexity of the right answers in Hugging Face's recorded log-probabilities. */
static void test_f16_is_as_sure_as_hugging_face(void **state)
{
    (void)state;
    struct lq_evaluation *e = evaluate(&f16, NULL);
    struct lq_runtime *rt = open_runtime(&f16);
    FILE *golden = fopen(LQ_DEMO "/golden_logprobs.f32", "rb");
    assert_non_null(golden);
    double loss = 0;
    size_t n = 0;
    for (size_t i = 0; i < N_GOLDEN; i++) {
        const struct lq_turn *turn = &exam->records[i].turns[0];
        struct lq_dialogue d = {0};
        expect(lq_dialogue_build(&d, rt, &(struct lq_dialogue_turn){turn->question, turn->answers[0]}, 1, &err));
        for (size_t k = 0; k < d.answers[0].n; k++, n++) {
            float row[N_VOCAB];
            assert_int_equal(fread(row, sizeof *row, N_VOCAB, golden), N_VOCAB);
            loss -= row[d.text[d.answers[0].first + k]];
        }
        lq_dialogue_release(&d);
    }
    assert_int_equal(fgetc(golden), EOF);
    fclose(golden);
    assert_int_equal(e->arm[LQ_ARM_BOTH].answer.tokens, n);
    near(log(e->arm[LQ_ARM_BOTH].answer.perplexity.value), loss / (double)n, 5e-3);
    assert_true(isnan(e->arm[LQ_ARM_BOTH].answer.kl.value));
    lq_runtime_free(rt);
    lq_evaluation_free(e);
}

/* The same answers as asking gives, but for near draws that rounding decides. */
static void test_greedy_answers_are_those_of_ask(void **state)
{
    (void)state;
    struct lq_evaluation *e = evaluate(&q4, NULL);
    struct lq_runtime *rt = open_runtime(&q4);
    size_t same = 0;
    for (size_t i = 0; i < N_GOLDEN; i++) {
        struct answer answer = {.n = 0};
        const struct lq_question question = {.image = exam->records[i].image,
                                             .text = exam->records[i].turns[0].question};
        expect(lq_runtime_ask(rt, &question, answer_append, &answer, &err));
        same += strcmp(answer.text, e->questions[i].answer) == 0;
    }
    assert_in_range(same, N_GOLDEN - 1, N_GOLDEN);
    lq_runtime_free(rt);
    lq_evaluation_free(e);
}

static void test_answers_end_where_asked(void **state)
{
    (void)state;
    struct lq_evaluation *e = NULL;
    const struct lq_evaluate_options options = {.pair = paths_of(&f16), .data = exam, .threads = 1, .max_tokens = 1};
    struct lq_runtime *rt = open_runtime(&f16);
    expect(lq_evaluate(&e, &options, &err));
    for (size_t i = 0; i < N_GOLDEN; i++) {
        struct lq_dialogue d = {0};
        const char *answer = e->questions[i].answer[0] == '\0' ? "x" : e->questions[i].answer;
        expect(lq_dialogue_build(&d, rt, &(struct lq_dialogue_turn){"?", answer}, 1, &err));
        assert_in_range(d.answers[0].n, 1, 2 + 1); /* a space that the text lost may come back as a token */
        lq_dialogue_release(&d);
    }
    lq_runtime_free(rt);
    lq_evaluation_free(e);
}

static void test_embeddings(void **state)
{
    (void)state;
    const float a[] = {3, 4, 0, 0}, b[] = {4, 3, 0, 0}, zero[4] = {0};
    struct lq_picture_result r;
    lq_embeddings_compare(&r, a, a, 2, 2);
    assert_true(r.cosine == 1 && r.cosine_min == 1 && r.relative_error == 0);
    lq_embeddings_compare(&r, a, b, 2, 2);
    near(r.cosine, 24.0 / 25, 1e-15);
    near(r.cosine_min, 24.0 / 25, 1e-15);
    near(r.relative_error, sqrt(2) / 5, 1e-15);
    lq_embeddings_compare(&r, a, zero, 2, 2);
    assert_true(r.cosine == 0 && r.cosine_min == 0 && r.relative_error == 1);
    lq_embeddings_compare(&r, zero, a, 1, 4);
    assert_true(r.cosine == 0 && isinf(r.relative_error));
}

/* ---- refusals ---- */

static void refuse_options(const struct lq_evaluate_options *options, enum lq_status expected, const char *message)
{
    struct lq_evaluation *untouched = NULL;
    refuse(lq_evaluate(&untouched, options, &err), expected, message);
    assert_null(untouched);
}

static bool always(void *data)
{
    (void)data;
    return true;
}

static void test_refusals(void **state)
{
    (void)state;
    const struct lq_hooks stopped = {.cancelled = always};
    struct lq_evaluate_options o = {.pair = paths_of(&q4)};
    refuse_options(&o, LQ_ERR_USAGE, "neither a data set nor a text");
    o.data = exam;
    o.by_half = true;
    refuse_options(&o, LQ_ERR_USAGE, "only against an original");
    o.by_half = false;
    o.original.language = f16.path[LQ_LANGUAGE];
    refuse_options(&o, LQ_ERR_USAGE, "the mmproj of the original is missing");
    o.original = (struct lq_pair_paths){NULL, NULL};
    o.pair.mmproj = NULL;
    refuse_options(&o, LQ_ERR_USAGE, "both halves");
    o.pair = paths_of(&q4);
    o.hooks = &stopped;
    refuse_options(&o, LQ_ERR_CANCELLED, "cancelled");
}

/* Calls of `cancelled` until it says yes. */
static int patience;

static bool after_a_while(void *data)
{
    (void)data;
    return patience-- <= 0;
}

/* Wherever it is stopped, nothing is left and nothing leaks (make asan). */
static void test_stops_anywhere(void **state)
{
    (void)state;
    const struct lq_hooks hooks = {.cancelled = after_a_while};
    const struct lq_evaluate_options options = {.pair = paths_of(&q4),
                                                .original = paths_of(&f16),
                                                .data = exam,
                                                .text = LQ_DEMO "/text.txt",
                                                .limit = 2,
                                                .by_half = true,
                                                .threads = 1,
                                                .hooks = &hooks};
    static const int places[] = {1, 10, 100, 300, 1000, 3000};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        patience = places[i];
        refuse_options(&options, LQ_ERR_CANCELLED, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_divergence_is_that_of_one_question_at_a_time),
        cmocka_unit_test(test_f16_is_as_sure_as_hugging_face),
        cmocka_unit_test(test_greedy_answers_are_those_of_ask),
        cmocka_unit_test(test_answers_end_where_asked),
        cmocka_unit_test(test_embeddings),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_stops_anywhere),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
