#include "runtime/answer.h"
#include "runtime/prompt.h"
#include "runtime/template.h"
#include "runtime/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A dialogue while it is built. */
struct talk {
    const struct lq_runtime *rt;
    const struct lq_dialogue_turn *turns;
    size_t n_turns;
    bool templated;
    char *so_far; /* the template's text up to where the answer in hand begins */
    struct lq_tokens head, text;
    struct lq_span *answers;
};

void lq_dialogue_release(struct lq_dialogue *dialogue)
{
    free(dialogue->head);
    free(dialogue->text);
    free(dialogue->answers);
    *dialogue = (struct lq_dialogue){0};
}

static enum lq_status vocabulary_end(llama_token *out, const struct lq_runtime *rt, struct lq_error *err)
{
    llama_token end = llama_vocab_eos(rt->vocab);
    if (end == LLAMA_TOKEN_NULL) end = llama_vocab_eot(rt->vocab);
    if (end == LLAMA_TOKEN_NULL)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: the tokenizer has no end token", rt->language);
    *out = end;
    return LQ_OK;
}

/* What stands behind the answer in `text`, which must begin with the text so far; NULL when it does not. Templates may
 * put white space before an answer and take it away around one. */
static const char *behind_answer(const char *text, const char *so_far, const char *answer)
{
    size_t n = strlen(so_far), n_words = 0;
    const char *words = lq_utf8_trim(answer, &n_words), *white = words + n_words;
    if (strncmp(text, so_far, n) != 0) return NULL;
    text += n;
    text += strspn(text, LQ_UTF8_WHITE);
    if (strncmp(text, words, n_words) != 0) return NULL;
    text += n_words;
    return strncmp(text, white, strlen(white)) == 0 ? text + strlen(white) : text;
}

static enum lq_status no_conversation(const struct talk *t, struct lq_error *err)
{
    const char *template = llama_model_chat_template(t->rt->model, NULL);
    size_t shown = strcspn(template, "\n");
    if (shown > 60) shown = 60;
    while (shown > 0 && ((unsigned char)template[shown] & 0xC0) == 0x80) shown--; /* not in the midst of a character */
    return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                        "%s: its chat template (%.*s...) rewrites earlier turns, so that a conversation of %zu turns "
                        "has no one text; split it into questions of one turn",
                        t->rt->language, (int)shown, template, t->n_turns);
}

/* Where the words of the last of n turns stand in `text`, the template's writing of them: everything before them is the
 * same when another question is written in their place. */
static enum lq_status find_words(size_t *at, size_t *n_words, const struct talk *t, size_t n, const char *text,
                                 struct lq_error *err)
{
    char *other = NULL;
    struct lq_dialogue_turn *turns = calloc(n, sizeof *turns);
    if (turns == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the prompt");
    memcpy(turns, t->turns, n * sizeof *turns);
    turns[n - 1].question = "\x1f";
    enum lq_status status = lq_template_render(&other, t->rt, turns, n, true, err);
    free(turns);
    if (status != LQ_OK) return status;
    const char *words = lq_utf8_trim(t->turns[n - 1].question, n_words), *mark = strrchr(other, '\x1f');
    size_t offset = mark == NULL ? 0 : (size_t)(mark - other);
    if (mark == NULL || strncmp(text, other, offset) != 0) {
        status = no_conversation(t, err);
    } else {
        *at = offset + strspn(text + offset, LQ_UTF8_WHITE);
        if (strncmp(text + *at, words, *n_words) != 0) status = no_conversation(t, err);
    }
    free(other);
    return status;
}

/* What the template writes behind the last answer; nothing where it rewrites that one. */
static enum lq_status follow_last(struct lq_tokens *tokens, const struct talk *t, struct lq_error *err)
{
    char *text = NULL;
    enum lq_status status = lq_template_render(&text, t->rt, t->turns, t->n_turns, false, err);
    if (status != LQ_OK) return status;
    const char *rest = behind_answer(text, t->so_far, t->turns[t->n_turns - 1].answer);
    if (rest != NULL) status = lq_tokens_add(tokens, t->rt->vocab, rest, strlen(rest), true, err);
    free(text);
    return status;
}

/* What it writes between answer k and the next one. */
static enum lq_status follow_on(struct lq_tokens *tokens, struct talk *t, size_t k, struct lq_error *err)
{
    char *text = NULL;
    size_t at = 0, n_words = 0;
    enum lq_status status = lq_template_render(&text, t->rt, t->turns, k + 2, true, err);
    if (status != LQ_OK) return status;
    const char *rest = behind_answer(text, t->so_far, t->turns[k].answer);
    status = rest == NULL ? no_conversation(t, err) : find_words(&at, &n_words, t, k + 2, text, err);
    if (status == LQ_OK)
        status = lq_tokens_add_guarded(tokens, t->rt->vocab, rest, at - (size_t)(rest - text), n_words, err);
    free(t->so_far);
    t->so_far = text;
    return status;
}

/* LLaVA's own form. */
static enum lq_status follow_default(struct lq_tokens *tokens, const struct talk *t, size_t k, struct lq_error *err)
{
    char *text = NULL;
    if (k + 1 == t->n_turns) return LQ_OK;
    if (asprintf(&text, "USER: %s ASSISTANT:", t->turns[k + 1].question) < 0)
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the prompt");
    enum lq_status status = lq_tokens_add(tokens, t->rt->vocab, text, strlen(text), false, err);
    free(text);
    return status;
}

static enum lq_status add_all(struct lq_tokens *tokens, const struct lq_tokens *more, size_t from, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t i = from; i < more->n && status == LQ_OK; i++) status = lq_tokens_push(tokens, more->items[i], err);
    return status;
}

/* Answer k, its end token and what stands before the next answer. */
static enum lq_status add_turn(struct talk *t, size_t k, struct lq_error *err)
{
    const struct llama_vocab *vocab = t->rt->vocab;
    struct lq_tokens rest = {0};
    llama_token end = LLAMA_TOKEN_NULL;
    size_t first = t->text.n;
    bool last = k + 1 == t->n_turns;
    const char *answer = t->turns[k].answer;
    enum lq_status status = lq_tokens_add(&t->text, vocab, answer, strlen(answer), false, err);
    if (status != LQ_OK) return status;
    if (!t->templated) status = follow_default(&rest, t, k, err);
    else status = last ? follow_last(&rest, t, err) : follow_on(&rest, t, k, err);
    bool given = t->templated && rest.n > 0 && llama_vocab_is_eog(vocab, rest.items[0]);
    if (given) end = rest.items[0];
    else if (status == LQ_OK) status = vocabulary_end(&end, t->rt, err);
    if (status == LQ_OK) status = lq_tokens_push(&t->text, end, err);
    t->answers[k] = (struct lq_span){.first = first, .n = t->text.n - first};
    if (status == LQ_OK && !last) status = add_all(&t->text, &rest, given, err);
    lq_tokens_release(&rest);
    return status;
}

static enum lq_status check_turns(const struct lq_dialogue_turn *turns, size_t n_turns, struct lq_error *err)
{
    if (n_turns == 0) return lq_error_set(err, LQ_ERR_USAGE, "a conversation without a question");
    for (size_t i = 0; i < n_turns; i++) {
        enum lq_status status = lq_prompt_check(turns[i].question, "question", err);
        if (status == LQ_OK && !lq_utf8_valid(turns[i].answer))
            status = lq_error_set(err, LQ_ERR_USAGE, "the answer is not valid UTF-8");
        if (status != LQ_OK) return status;
    }
    return LQ_OK;
}

/* Everything behind the first question, whose prompt stands in head and text already. */
static enum lq_status talk_on(struct talk *t, struct lq_error *err)
{
    t->answers = calloc(t->n_turns, sizeof *t->answers);
    if (t->answers == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu turns", t->n_turns);
    enum lq_status status = t->templated ? lq_template_render(&t->so_far, t->rt, t->turns, 1, true, err) : LQ_OK;
    for (size_t k = 0; k < t->n_turns && status == LQ_OK; k++) status = add_turn(t, k, err);
    return status;
}

static enum lq_status build(struct lq_dialogue *out, struct talk *t, const struct lq_question *question,
                            struct lq_error *err)
{
    enum lq_status status = lq_prompt_build(&t->head, &t->text, t->rt, question, err);
    if (status == LQ_OK) status = talk_on(t, err);
    struct lq_dialogue dialogue = {.head = t->head.items,
                                   .text = t->text.items,
                                   .n_head = t->head.n,
                                   .n_text = t->text.n,
                                   .answers = t->answers,
                                   .n_turns = t->n_turns};
    if (status == LQ_OK) *out = dialogue;
    else lq_dialogue_release(&dialogue);
    free(t->so_far);
    return status;
}

enum lq_status lq_dialogue_build(struct lq_dialogue *out, const struct lq_runtime *rt,
                                 const struct lq_dialogue_turn *turns, size_t n_turns, struct lq_error *err)
{
    enum lq_status status = check_turns(turns, n_turns, err);
    if (status != LQ_OK) return status;
    struct talk talk = {.rt = rt, .turns = turns, .n_turns = n_turns, .templated = lq_template_known(rt)};
    return build(out, &talk, &(struct lq_question){.text = turns[0].question}, err);
}

enum lq_status lq_answer_build(struct lq_dialogue *out, const struct lq_runtime *rt, const struct lq_question *question,
                               const char *answer, struct lq_error *err)
{
    const struct lq_dialogue_turn turn = {.question = question->text, .answer = answer};
    struct talk talk = {.rt = rt, .turns = &turn, .n_turns = 1};
    talk.templated = question->prompt == NULL && lq_template_known(rt);
    return build(out, &talk, question, err);
}
