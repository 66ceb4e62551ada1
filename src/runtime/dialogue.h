/* A conversation about one picture as tokens, and where the answers stand in them.
 *
 * Enters: a runtime (its vocabulary and chat template) and turns. Leaves: the tokens before the picture, those behind
 * it, and for each turn the span of its answer.
 * Invariants: text of the user never becomes a special token; an answer ends with the end token that the template puts
 * there, else the vocabulary's; the first turn is tokenised exactly as lq_runtime_ask does it.
 *
 *     "What is this?" -> "A cat", "Where?" -> "Outside"
 *     head:  <s> "USER:"                                                         (picture)
 *     text:  "\nWhat is this? ASSISTANT:" "A cat" </s> "USER: Where? ASSISTANT:" "Outside" </s>
 */
#ifndef LQ_RUNTIME_DIALOGUE_H
#define LQ_RUNTIME_DIALOGUE_H

#include "llava_quantize/runtime.h"

struct lq_dialogue_turn {
    const char *question, *answer;
};

/* Tokens [first, first + n) of a dialogue's text, the end token included; token first - 1 predicts the first. */
struct lq_span {
    size_t first, n;
};

struct lq_dialogue {
    int32_t *head, *text;
    size_t n_head, n_text;
    struct lq_span *answers; /* one per turn */
    size_t n_turns;
};

/* Errors: LQ_ERR_USAGE (an empty question, text that is not UTF-8), LQ_ERR_UNSUPPORTED (no end token; several turns in
 * a template that rewrites earlier ones), LQ_ERR_MEMORY. On failure *out is untouched; else lq_dialogue_release it. */
enum lq_status lq_dialogue_build(struct lq_dialogue *out, const struct lq_runtime *rt,
                                 const struct lq_dialogue_turn *turns, size_t n_turns, struct lq_error *err);
void lq_dialogue_release(struct lq_dialogue *dialogue);

/* The tokens of a whole text, the begin token first where the model wants one, a line feed at the very end left out:
 * what llama-perplexity makes of a file. *out: free(). */
enum lq_status lq_runtime_tokenise(int32_t **out, size_t *n, const struct lq_runtime *rt, const char *text,
                                   size_t length, struct lq_error *err);
/* The text of an answer's tokens, as lq_runtime_ask prints it; *out: free(). */
enum lq_status lq_runtime_text(char **out, const struct lq_runtime *rt, const int32_t *tokens, size_t n,
                               struct lq_error *err);
/* LQ_ERR_USAGE, naming both files and the first difference, unless both have the same tokens under the same numbers. */
enum lq_status lq_runtime_same_vocabulary(const struct lq_runtime *a, const struct lq_runtime *b, struct lq_error *err);

#endif
