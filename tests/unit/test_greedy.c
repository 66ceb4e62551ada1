/* Greedy answers over a lane that is played here: its next token is a sum over the whole sequence, so that any token
 * lost, doubled or mixed up shows. No llama.cpp takes part. */
#include "evaluate/greedy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { VOCABULARY = 16, END = 15, LONGEST = 256, PICTURE = 99, CELLS = 400 };

struct lq_view {
    int token;
};

struct lq_lane {
    int tokens[LQ_LANE_SEQUENCES][LONGEST];
    size_t n[LQ_LANE_SEQUENCES];
    float logits[LQ_LANE_SEQUENCES][VOCABULARY];
    bool recurrent;
    size_t most, n_forks, used; /* `used`: the most cells that were taken at once */
};

static struct lq_lane lane;

static int next_token(const int *tokens, size_t n)
{
    unsigned sum = 7;
    for (size_t i = 0; i < n; i++) sum = sum * 31 + (unsigned)tokens[i] + 1;
    return (int)(sum / 8 % VOCABULARY);
}

/* ---- the lane's part ---- */

size_t lq_lane_most(const struct lq_lane *l)
{
    return l->most;
}

size_t lq_lane_most_wanted(const struct lq_lane *l)
{
    return l->most;
}

void lq_lane_clear(struct lq_lane *l)
{
    memset(l->n, 0, sizeof l->n);
}

void lq_lane_drop(struct lq_lane *l, uint32_t sequence)
{
    l->n[sequence] = 0;
}

enum lq_status lq_lane_feed(struct lq_lane *l, const struct lq_lane_item *items, size_t n, struct lq_error *err)
{
    (void)err;
    assert_in_range(n, 1, l->most);
    for (size_t i = 0; i < n; i++) {
        uint32_t s = items[i].sequence;
        assert_true(l->n[s] < LONGEST);
        l->tokens[s][l->n[s]++] = items[i].token;
        if (!items[i].wanted) continue;
        memset(l->logits[i], 0, sizeof l->logits[i]);
        l->logits[i][next_token(l->tokens[s], l->n[s])] = 1;
    }
    size_t used = 0;
    for (size_t s = 0; s < LQ_LANE_SEQUENCES; s++) used += l->n[s];
    if (used > l->used) l->used = used;
    return LQ_OK;
}

enum lq_status lq_lane_show(struct lq_lane *l, uint32_t sequence, const struct lq_view *view, struct lq_error *err)
{
    (void)err;
    l->tokens[sequence][l->n[sequence]++] = view->token;
    return LQ_OK;
}

const float *lq_lane_logits(const struct lq_lane *l, size_t i)
{
    return l->logits[i];
}

enum lq_status lq_lane_fork(struct lq_lane *l, uint32_t from, uint32_t to, size_t length, struct lq_error *err)
{
    assert_int_equal(l->n[to], 0);
    assert_true(length <= l->n[from]);
    if (l->recurrent && length < l->n[from]) return lq_error_set(err, LQ_ERR_UNSUPPORTED, "cannot go back");
    memcpy(l->tokens[to], l->tokens[from], length * sizeof **l->tokens);
    l->n[to] = length;
    l->n_forks++;
    return LQ_OK;
}

size_t lq_runtime_vocabulary(const struct lq_runtime *rt)
{
    (void)rt;
    return VOCABULARY;
}

bool lq_runtime_is_end(const struct lq_runtime *rt, int32_t token)
{
    (void)rt;
    return token == END;
}

/* ---- the tests ---- */

enum { N_JOBS = 20, N_HEAD = 3, N_TEXT = 9, MOST = 12 };

static int32_t head[N_HEAD] = {1, 2, 3}, text[N_JOBS][N_TEXT], room_for_tokens[N_JOBS][MOST];
static struct lq_dialogue dialogues[N_JOBS];
static const struct lq_view view = {PICTURE};

/* Job i continues behind i % N_TEXT tokens of text i; sequence i holds all of them. */
static void set(struct lq_greedy_job *jobs, size_t n)
{
    memset(&lane, 0, sizeof lane);
    lane.most = 32;
    for (size_t i = 0; i < n; i++) {
        int *s = lane.tokens[i];
        for (size_t k = 0; k < N_TEXT; k++) text[i][k] = (int32_t)((i * 5 + k * 3) % END);
        for (size_t k = 0; k < N_HEAD; k++) s[k] = head[k];
        s[N_HEAD] = PICTURE;
        for (size_t k = 0; k < N_TEXT; k++) s[N_HEAD + 1 + k] = text[i][k];
        lane.n[i] = N_HEAD + 1 + N_TEXT;
        dialogues[i] = (struct lq_dialogue){.head = head, .n_head = N_HEAD, .text = text[i], .n_text = N_TEXT};
        room_for_tokens[i][0] = (int32_t)(i % END);
        size_t n_text = i % (N_TEXT + 1);
        jobs[i] = (struct lq_greedy_job){.from = (uint32_t)i,
                                         .length = N_HEAD + 1 + n_text,
                                         .tokens = room_for_tokens[i],
                                         .n = 1,
                                         .most = 2 + i % (MOST - 1),
                                         .dialogue = &dialogues[i],
                                         .view = &view,
                                         .n_text = n_text};
    }
}

/* One token after another, without any lane. */
static void check(const struct lq_greedy_job *job, size_t i)
{
    int all[LONGEST];
    size_t n = 0, k = 1;
    for (size_t h = 0; h < N_HEAD; h++) all[n++] = head[h];
    all[n++] = PICTURE;
    for (size_t t = 0; t < job->n_text; t++) all[n++] = text[i][t];
    all[n++] = (int)(i % END);
    for (; k < job->most && next_token(all, n) != END; k++, n++) {
        all[n] = next_token(all, n);
        assert_int_equal(job->tokens[k], all[n]);
    }
    assert_int_equal(job->n, k);
}

static void run(bool recurrent, uint32_t n_sequences, size_t cells)
{
    struct lq_greedy_job jobs[N_JOBS];
    struct lq_error err = {0};
    const struct lq_greedy_room room = {N_JOBS, n_sequences, cells};
    set(jobs, N_JOBS);
    lane.recurrent = recurrent;
    assert_int_equal(lq_greedy_run(&lane, NULL, jobs, N_JOBS, &room, &err), LQ_OK);
    for (size_t i = 0; i < N_JOBS; i++) check(&jobs[i], i);
}

static void test_answers_do_not_depend_on_how_many_run_at_once(void **state)
{
    (void)state;
    static const uint32_t sequences[] = {1, 2, 7, N_JOBS, 40};
    for (size_t i = 0; i < sizeof sequences / sizeof *sequences; i++) {
        run(false, sequences[i], CELLS);
        assert_int_equal(lane.n_forks, N_JOBS);
        for (size_t s = 0; s < N_JOBS; s++) assert_int_equal(lane.n[s], N_HEAD + 1 + N_TEXT);
        for (size_t s = N_JOBS; s < LQ_LANE_SEQUENCES; s++) assert_int_equal(lane.n[s], 0);
    }
}

/* A fork shares its beginning: what is played here counts it twice, a lane does not. */
static void test_few_cells_run_one_after_another(void **state)
{
    (void)state;
    run(false, N_JOBS, 3);
    assert_in_range(lane.used, 0, (N_JOBS + 1) * (N_HEAD + 1 + N_TEXT) + MOST);
}

static void test_a_lane_that_cannot_go_back_begins_anew(void **state)
{
    (void)state;
    run(true, 4, CELLS);
    assert_in_range(lane.n_forks, 0, N_JOBS / 2);
}

static void test_nothing_to_answer(void **state)
{
    (void)state;
    struct lq_error err = {0};
    assert_int_equal(lq_greedy_run(&lane, NULL, NULL, 0, &(struct lq_greedy_room){0, 1, 1}, &err), LQ_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_do_not_depend_on_how_many_run_at_once),
        cmocka_unit_test(test_few_cells_run_one_after_another),
        cmocka_unit_test(test_a_lane_that_cannot_go_back_begins_anew),
        cmocka_unit_test(test_nothing_to_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
