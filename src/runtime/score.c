#include "runtime/answer.h"
#include "runtime/session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct rows {
    float *next;
    size_t n_vocab;
};

/* One row of logits to log-probabilities, summed in double. */
static void add_row(void *data, const float *logits)
{
    struct rows *rows = data;
    double largest = -INFINITY, sum = 0;
    for (size_t i = 0; i < rows->n_vocab; i++) largest = fmax(largest, logits[i]);
    for (size_t i = 0; i < rows->n_vocab; i++) sum += exp(logits[i] - largest);
    double shift = largest + log(sum);
    for (size_t i = 0; i < rows->n_vocab; i++) rows->next[i] = (float)(logits[i] - shift);
    rows->next += rows->n_vocab;
}

/* Decodes all but the end token: position i predicts token i + 1. */
static enum lq_status run(struct lq_runtime *rt, const struct lq_dialogue *dialogue, struct lq_scores *out,
                          struct lq_error *err)
{
    const struct lq_span answer = dialogue->answers[0];
    const struct lq_tokens head = {.items = dialogue->head, .n = dialogue->n_head};
    const struct lq_tokens given = {.items = dialogue->text, .n = dialogue->n_text - 1};
    struct lq_scores scores = {.n_positions = answer.n, .n_vocab = lq_runtime_vocabulary(rt)};
    scores.logprobs = calloc(scores.n_positions, scores.n_vocab * sizeof *scores.logprobs);
    scores.tokens = calloc(scores.n_positions, sizeof *scores.tokens);
    struct rows rows = {.next = scores.logprobs, .n_vocab = scores.n_vocab};
    enum lq_status status = LQ_OK;
    if (scores.logprobs == NULL || scores.tokens == NULL)
        status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu x %zu log-probabilities", scores.n_positions,
                              scores.n_vocab);
    else status = lq_session_begin(rt, &head, &given, answer.first - 1, add_row, &rows, err);
    if (status != LQ_OK) {
        lq_scores_release(&scores);
        return status;
    }
    memcpy(scores.tokens, dialogue->text + answer.first, answer.n * sizeof *scores.tokens);
    *out = scores;
    return LQ_OK;
}

enum lq_status lq_runtime_score(struct lq_runtime *rt, const struct lq_question *question, const char *answer,
                                struct lq_scores *out, struct lq_error *err)
{
    struct lq_dialogue dialogue = {0};
    lq_log_begin(&rt->log, &rt->hooks);
    enum lq_status status = lq_answer_build(&dialogue, rt, question, answer, err);
    if (status == LQ_OK) status = lq_session_see(rt, question->image, err);
    if (status == LQ_OK) status = run(rt, &dialogue, out, err);
    lq_log_end(&rt->log);
    lq_dialogue_release(&dialogue);
    return status;
}

void lq_scores_release(struct lq_scores *scores)
{
    free(scores->logprobs);
    free(scores->tokens);
    *scores = (struct lq_scores){0};
}
