#include "runtime/prompt.h"

#include "runtime/template.h"
#include "runtime/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT ((size_t)1 << 20)

void lq_tokens_release(struct lq_tokens *tokens)
{
    free(tokens->items);
    *tokens = (struct lq_tokens){0};
}

static enum lq_status grow(struct lq_tokens *tokens, size_t n, struct lq_error *err)
{
    llama_token *items = realloc(tokens->items, (tokens->n + n) * sizeof *items);
    if (items == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu tokens", tokens->n + n);
    tokens->items = items;
    return LQ_OK;
}

enum lq_status lq_tokens_push(struct lq_tokens *tokens, llama_token token, struct lq_error *err)
{
    enum lq_status status = grow(tokens, 1, err);
    if (status == LQ_OK) tokens->items[tokens->n++] = token;
    return status;
}

enum lq_status lq_tokens_add(struct lq_tokens *tokens, const struct llama_vocab *vocab, const char *text, size_t length,
                             bool special, struct lq_error *err)
{
    if (length == 0) return LQ_OK;
    if (length > MAX_TEXT)
        return lq_error_set(err, LQ_ERR_USAGE, "a text of %zu bytes is too long; at most %zu are taken", length,
                            MAX_TEXT);
    int32_t n = -llama_tokenize(vocab, text, (int32_t)length, NULL, 0, false, special);
    if (n <= 0) return LQ_OK;
    enum lq_status status = grow(tokens, (size_t)n, err);
    if (status != LQ_OK) return status;
    llama_tokenize(vocab, text, (int32_t)length, tokens->items + tokens->n, n, false, special);
    tokens->n += (size_t)n;
    return LQ_OK;
}

/* True when the text gives the same tokens whether special ones are looked for or not. */
static enum lq_status is_plain(bool *out, const struct llama_vocab *vocab, const char *text, size_t n,
                               struct lq_error *err)
{
    struct lq_tokens a = {0}, b = {0};
    enum lq_status status = lq_tokens_add(&a, vocab, text, n, true, err);
    if (status == LQ_OK) status = lq_tokens_add(&b, vocab, text, n, false, err);
    if (status == LQ_OK) *out = a.n == b.n && (a.n == 0 || memcmp(a.items, b.items, a.n * sizeof *a.items) == 0);
    lq_tokens_release(&a);
    lq_tokens_release(&b);
    return status;
}

enum lq_status lq_tokens_add_guarded(struct lq_tokens *tokens, const struct llama_vocab *vocab, const char *text,
                                     size_t at, size_t n_user, struct lq_error *err)
{
    bool plain = true;
    const char *user = text + at, *after = user + n_user;
    enum lq_status status = is_plain(&plain, vocab, user, n_user, err);
    if (status != LQ_OK) return status;
    if (plain) return lq_tokens_add(tokens, vocab, text, strlen(text), true, err);
    status = lq_tokens_add(tokens, vocab, text, at, true, err);
    if (status == LQ_OK) status = lq_tokens_add(tokens, vocab, user, n_user, false, err);
    if (status == LQ_OK) status = lq_tokens_add(tokens, vocab, after, strlen(after), true, err);
    return status;
}

/* Head and tail around the first mark in `text`; the user's words stand behind it, if not word for word (some templates
 * trim them) then as far as they are no white space. */
static enum lq_status split(struct lq_tokens *head, struct lq_tokens *tail, const struct llama_vocab *vocab,
                            const char *text, const char *user, struct lq_error *err)
{
    const char *mark = strstr(text, LQ_MARK);
    if (mark == NULL) return lq_error_set(err, LQ_ERR_USAGE, "the prompt holds no " LQ_MARK);
    enum lq_status status = lq_tokens_add(head, vocab, text, (size_t)(mark - text), true, err);
    if (status != LQ_OK) return status;
    size_t n_user = 0;
    const char *behind = mark + strlen(LQ_MARK), *words = lq_utf8_trim(user, &n_user);
    const char *at = memmem(behind, strlen(behind), words, n_user);
    if (at == NULL) return lq_tokens_add(tail, vocab, behind, strlen(behind), false, err);
    return lq_tokens_add_guarded(tail, vocab, behind, (size_t)(at - behind), n_user, err);
}

/* LLaVA's own form, in which nothing is special. */
static enum lq_status add_default(struct lq_tokens *head, struct lq_tokens *tail, const struct llama_vocab *vocab,
                                  const char *text, struct lq_error *err)
{
    char *behind = NULL;
    if (asprintf(&behind, "\n%s ASSISTANT:", text) < 0)
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the prompt");
    enum lq_status status = lq_tokens_add(head, vocab, "USER:", 5, false, err);
    if (status == LQ_OK) status = lq_tokens_add(tail, vocab, behind, strlen(behind), false, err);
    free(behind);
    return status;
}

static enum lq_status add_bos(struct lq_tokens *head, const struct llama_vocab *vocab, struct lq_error *err)
{
    llama_token bos = llama_vocab_bos(vocab);
    if (!llama_vocab_get_add_bos(vocab) || bos == LLAMA_TOKEN_NULL || (head->n > 0 && head->items[0] == bos))
        return LQ_OK;
    enum lq_status status = lq_tokens_push(head, bos, err);
    if (status != LQ_OK) return status;
    memmove(head->items + 1, head->items, (head->n - 1) * sizeof *head->items);
    head->items[0] = bos;
    return LQ_OK;
}

enum lq_status lq_prompt_check(const char *text, const char *what, struct lq_error *err)
{
    if (text == NULL || text[0] == 0) return lq_error_set(err, LQ_ERR_USAGE, "the %s is empty", what);
    if (!lq_utf8_valid(text)) return lq_error_set(err, LQ_ERR_USAGE, "the %s is not valid UTF-8", what);
    return LQ_OK;
}

/* A prompt that the caller wrote whole. */
static enum lq_status build_given(struct lq_tokens *head, struct lq_tokens *tail, const struct lq_runtime *rt,
                                  const char *prompt, struct lq_error *err)
{
    enum lq_status status = lq_prompt_check(prompt, "prompt", err);
    if (status != LQ_OK) return status;
    const char *mark = strstr(prompt, LQ_MARK);
    if (mark == NULL || strstr(mark + 1, LQ_MARK) != NULL)
        return lq_error_set(err, LQ_ERR_USAGE, "the prompt must hold " LQ_MARK " exactly once");
    return split(head, tail, rt->vocab, prompt, "", err);
}

static enum lq_status build_asked(struct lq_tokens *head, struct lq_tokens *tail, const struct lq_runtime *rt,
                                  const char *text, struct lq_error *err)
{
    char *rendered = NULL;
    const struct lq_dialogue_turn turn = {.question = text};
    enum lq_status status = lq_prompt_check(text, "question", err);
    if (status != LQ_OK) return status;
    if (!lq_template_known(rt)) return add_default(head, tail, rt->vocab, text, err);
    status = lq_template_render(&rendered, rt, &turn, 1, true, err);
    if (status == LQ_OK) status = split(head, tail, rt->vocab, rendered, text, err);
    free(rendered);
    return status;
}

enum lq_status lq_prompt_build(struct lq_tokens *head, struct lq_tokens *tail, const struct lq_runtime *rt,
                               const struct lq_question *question, struct lq_error *err)
{
    struct lq_tokens before = {0}, behind = {0};
    enum lq_status status = question->prompt != NULL ? build_given(&before, &behind, rt, question->prompt, err)
                                                     : build_asked(&before, &behind, rt, question->text, err);
    if (status == LQ_OK) status = add_bos(&before, rt->vocab, err);
    if (status == LQ_OK && behind.n == 0)
        status = lq_error_set(err, LQ_ERR_USAGE, "no text follows " LQ_MARK " in the prompt");
    if (status == LQ_OK) {
        *head = before;
        *tail = behind;
        return LQ_OK;
    }
    lq_tokens_release(&before);
    lq_tokens_release(&behind);
    return status;
}
