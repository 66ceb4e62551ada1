/* The steps that asking and scoring share.
 *
 * Enters: a question. Leaves: a lane of one sequence that holds the question's prompt, ready to be continued.
 * Invariants: the lane is made for the first question; the picture's embeddings are kept from one question to the next
 * and reused while the file's content is the same.
 */
#ifndef LQ_RUNTIME_SESSION_H
#define LQ_RUNTIME_SESSION_H

#include "runtime/prompt.h"
#include "runtime/state.h"

/* Makes rt->view hold the file `path`. */
enum lq_status lq_session_see(struct lq_runtime *rt, const char *path, struct lq_error *err);

/* Called with the n_vocab logits of each position asked for, in order. */
typedef void lq_logits_fn(void *data, const float *logits);

/* Forgets the last question and decodes head, picture and `tail`; every tail position from `first` on gives logits.
 * LQ_ERR_USAGE when all of it does not fit the context. */
enum lq_status lq_session_begin(struct lq_runtime *rt, const struct lq_tokens *head, const struct lq_tokens *tail,
                                size_t first, lq_logits_fn *logits, void *data, struct lq_error *err);
/* Decodes one more token. */
enum lq_status lq_session_continue(struct lq_runtime *rt, llama_token token, lq_logits_fn *logits, void *data,
                                   struct lq_error *err);
/* Tokens that still fit. */
size_t lq_session_room(const struct lq_runtime *rt);

#endif
