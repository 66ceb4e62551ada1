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

#include "llava_quantize/runtime.h"

#include <llama.h>

struct lq_tokens {
    llama_token *items;
    size_t n;
};

void lq_tokens_release(struct lq_tokens *tokens);
/* Appends the tokens of text[0 .. length). */
enum lq_status lq_tokens_add(struct lq_tokens *tokens, const struct llama_vocab *vocab, const char *text, size_t length,
                             bool special, struct lq_error *err);
enum lq_status lq_tokens_push(struct lq_tokens *tokens, llama_token token, struct lq_error *err);

/* `hooks` gets a line when the template is not one that llama.cpp's C API knows and the plain prompt is used instead.
 */
enum lq_status lq_prompt_build(struct lq_tokens *head, struct lq_tokens *tail, const struct llama_model *model,
                               const struct lq_question *question, const struct lq_hooks *hooks, struct lq_error *err);

#endif
