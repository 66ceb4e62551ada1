#include "runtime/prompt.h"

#include "runtime/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK "<image>"
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
static enum lq_status is_plain(bool *out, const struct llama_vocab *vocab, const char *text, struct lq_error *err)
{
    struct lq_tokens a = {0}, b = {0};
    enum lq_status status = lq_tokens_add(&a, vocab, text, strlen(text), true, err);
    if (status == LQ_OK) status = lq_tokens_add(&b, vocab, text, strlen(text), false, err);
    if (status == LQ_OK) *out = a.n == b.n && (a.n == 0 || memcmp(a.items, b.items, a.n * sizeof *a.items) == 0);
    lq_tokens_release(&a);
    lq_tokens_release(&b);
    return status;
}

/* `text` with special tokens, but without those inside the user's own words: a text that holds none is tokenised in one
 * piece (so that merges across the seams happen as in training), another in three. */
static enum lq_status add_guarded(struct lq_tokens *tokens, const struct llama_vocab *vocab, const char *text,
                                  const char *user, struct lq_error *err)
{
    bool plain = true;
    enum lq_status status = is_plain(&plain, vocab, user, err);
    if (status != LQ_OK) return status;
    if (plain) return lq_tokens_add(tokens, vocab, text, strlen(text), true, err);
    const char *at = strstr(text, user);
    if (at == NULL) return lq_tokens_add(tokens, vocab, text, strlen(text), false, err);
    const char *after = at + strlen(user);
    status = lq_tokens_add(tokens, vocab, text, (size_t)(at - text), true, err);
    if (status == LQ_OK) status = lq_tokens_add(tokens, vocab, at, strlen(user), false, err);
    if (status == LQ_OK) status = lq_tokens_add(tokens, vocab, after, strlen(after), true, err);
    return status;
}

static enum lq_status no_memory(struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the prompt");
}

/* The chat template's text for one user message, MARK before the question; *out stays NULL where there is no template
 * that llama.cpp's C API knows. */
static enum lq_status apply_template(char **out, const struct llama_model *model, const char *text,
                                     const struct lq_hooks *hooks, struct lq_error *err)
{
    const char *template = llama_model_chat_template(model, NULL);
    if (template == NULL) return LQ_OK;
    char *content = NULL, *formatted = NULL;
    enum lq_status status = LQ_OK;
    if (asprintf(&content, MARK "\n%s", text) < 0) return no_memory(err);
    struct llama_chat_message message = {.role = "user", .content = content};
    int32_t n = llama_chat_apply_template(template, &message, 1, true, NULL, 0);
    if (n < 0) {
        if (hooks->log != NULL)
            hooks->log(hooks->data, LQ_LOG_INFO,
                       "the model's chat template is not one that llama.cpp's C API knows; "
                       "using USER:<image> QUESTION ASSISTANT:");
    } else if ((formatted = calloc((size_t)n + 1, 1)) == NULL) {
        status = no_memory(err);
    } else {
        llama_chat_apply_template(template, &message, 1, true, formatted, n);
        *out = formatted;
    }
    free(content);
    return status;
}

/* Head and tail around the first MARK in `text`; nothing of the user's stands before it. */
static enum lq_status split(struct lq_tokens *head, struct lq_tokens *tail, const struct llama_vocab *vocab,
                            const char *text, const char *user, struct lq_error *err)
{
    const char *mark = strstr(text, MARK);
    if (mark == NULL) return lq_error_set(err, LQ_ERR_USAGE, "the prompt holds no " MARK);
    enum lq_status status = lq_tokens_add(head, vocab, text, (size_t)(mark - text), true, err);
    return status != LQ_OK ? status : add_guarded(tail, vocab, mark + strlen(MARK), user, err);
}

/* LLaVA's own form, in which nothing is special. */
static enum lq_status add_default(struct lq_tokens *head, struct lq_tokens *tail, const struct llama_vocab *vocab,
                                  const char *text, struct lq_error *err)
{
    char *behind = NULL;
    if (asprintf(&behind, "\n%s ASSISTANT:", text) < 0) return no_memory(err);
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

static enum lq_status check(const struct lq_question *question, struct lq_error *err)
{
    const char *text = question->prompt != NULL ? question->prompt : question->text;
    const char *what = question->prompt != NULL ? "prompt" : "question";
    if (text == NULL || text[0] == 0) return lq_error_set(err, LQ_ERR_USAGE, "the %s is empty", what);
    if (!lq_utf8_valid(text)) return lq_error_set(err, LQ_ERR_USAGE, "the %s is not valid UTF-8", what);
    const char *mark = question->prompt == NULL ? NULL : strstr(question->prompt, MARK);
    if (question->prompt != NULL && (mark == NULL || strstr(mark + 1, MARK) != NULL))
        return lq_error_set(err, LQ_ERR_USAGE, "the prompt must hold " MARK " exactly once");
    return LQ_OK;
}

enum lq_status lq_prompt_build(struct lq_tokens *head, struct lq_tokens *tail, const struct llama_model *model,
                               const struct lq_question *question, const struct lq_hooks *hooks, struct lq_error *err)
{
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    struct lq_tokens before = {0}, behind = {0};
    char *formatted = NULL;
    enum lq_status status = check(question, err);
    if (status == LQ_OK && question->prompt == NULL)
        status = apply_template(&formatted, model, question->text, hooks, err);
    if (status != LQ_OK) goto done;
    if (question->prompt != NULL) status = split(&before, &behind, vocab, question->prompt, "", err);
    else if (formatted != NULL) status = split(&before, &behind, vocab, formatted, question->text, err);
    else status = add_default(&before, &behind, vocab, question->text, err);
    if (status == LQ_OK) status = add_bos(&before, vocab, err);
    if (status == LQ_OK && behind.n == 0)
        status = lq_error_set(err, LQ_ERR_USAGE, "no text follows " MARK " in the prompt");
    if (status != LQ_OK) goto done;
    *head = before;
    *tail = behind;
    before = behind = (struct lq_tokens){0};
done:
    free(formatted);
    lq_tokens_release(&before);
    lq_tokens_release(&behind);
    return status;
}
