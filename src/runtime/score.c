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

/* The answer's tokens and the end token, which stand after the prompt's. */
static enum lq_status add_answer(struct lq_tokens *tokens, const struct lq_runtime *rt, const char *answer,
                                 struct lq_error *err)
{
    llama_token end = llama_vocab_eos(rt->vocab);
    if (end == LLAMA_TOKEN_NULL) end = llama_vocab_eot(rt->vocab);
    if (end == LLAMA_TOKEN_NULL)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: the tokenizer has no end token", rt->language);
    enum lq_status status = lq_tokens_add(tokens, rt->vocab, answer, strlen(answer), false, err);
    return status == LQ_OK ? lq_tokens_push(tokens, end, err) : status;
}

/* Decodes all but the end token: position i predicts token i + 1. */
static enum lq_status run(struct lq_runtime *rt, const struct lq_tokens *head, const struct lq_tokens *text,
                          size_t n_prompt, struct lq_scores *out, struct lq_error *err)
{
    size_t n_vocab = (size_t)llama_vocab_n_tokens(rt->vocab), n = text->n - n_prompt;
    const struct lq_tokens given = {.items = text->items, .n = text->n - 1};
    struct lq_scores scores = {.n_positions = n, .n_vocab = n_vocab};
    scores.logprobs = calloc(n, n_vocab * sizeof *scores.logprobs);
    scores.tokens = calloc(n, sizeof *scores.tokens);
    struct rows rows = {.next = scores.logprobs, .n_vocab = n_vocab};
    enum lq_status status = LQ_OK;
    if (scores.logprobs == NULL || scores.tokens == NULL)
        status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu x %zu log-probabilities", n, n_vocab);
    else status = lq_session_begin(rt, head, &given, n_prompt - 1, add_row, &rows, err);
    if (status != LQ_OK) {
        lq_scores_release(&scores);
        return status;
    }
    memcpy(scores.tokens, text->items + n_prompt, n * sizeof *scores.tokens);
    *out = scores;
    return LQ_OK;
}

enum lq_status lq_runtime_score(struct lq_runtime *rt, const struct lq_question *question, const char *answer,
                                struct lq_scores *out, struct lq_error *err)
{
    struct lq_tokens head = {0}, text = {0};
    lq_log_begin(&rt->log, &rt->hooks);
    enum lq_status status = lq_prompt_build(&head, &text, rt->model, question, &rt->hooks, err);
    size_t n_prompt = text.n;
    if (status == LQ_OK) status = add_answer(&text, rt, answer, err);
    if (status == LQ_OK) status = lq_session_see(rt, question->image, err);
    if (status == LQ_OK) status = run(rt, &head, &text, n_prompt, out, err);
    lq_log_end(&rt->log);
    lq_tokens_release(&head);
    lq_tokens_release(&text);
    return status;
}

void lq_scores_release(struct lq_scores *scores)
{
    free(scores->logprobs);
    free(scores->tokens);
    *scores = (struct lq_scores){0};
}
