/* A question as tokens: those before the picture and those behind it.
 *
 * Enters: a vocabulary, the model's chat template (or none), a question. Leaves: two token lists.
 * Invariants: text of the user never becomes a special token; the begin-of-sequence token stands first exactly once
 * where the model wants it.
 *
 *     "What is this?"  ->  head: <s> "USER:"   (picture)   tail: "\nWhat is this? ASSISTANT:"
 */
#ifndef LQ_RUNTIME_PROMPT_H
#define LQ_RUNTIME_PROMPT_H

#include "runtime/state.h"

struct lq_tokens {
    llama_token *items;
    size_t n;
};

void lq_tokens_release(struct lq_tokens *tokens);
/* Appends the tokens of text[0 .. length). */
enum lq_status lq_tokens_add(struct lq_tokens *tokens, const struct llama_vocab *vocab, const char *text, size_t length,
                             bool special, struct lq_error *err);
enum lq_status lq_tokens_push(struct lq_tokens *tokens, llama_token token, struct lq_error *err);

/* `text` with special tokens, but without those inside the user's words, text[at .. at + n_user): a text whose words
 * hold none is tokenised in one piece (so that merges across the seams happen as in training), another in three. */
enum lq_status lq_tokens_add_guarded(struct lq_tokens *tokens, const struct llama_vocab *vocab, const char *text,
                                     size_t at, size_t n_user, struct lq_error *err);

/* LQ_ERR_USAGE for a text that is empty or not valid UTF-8; `what` it is stands in the message. */
enum lq_status lq_prompt_check(const char *text, const char *what, struct lq_error *err);
enum lq_status lq_prompt_build(struct lq_tokens *head, struct lq_tokens *tail, const struct lq_runtime *rt,
                               const struct lq_question *question, struct lq_error *err);

#endif
