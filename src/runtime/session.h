/* What one open runtime holds, and the steps that asking and scoring share.
 *
 * Enters: a question. Leaves: a context whose memory holds the question's prompt, ready to be continued.
 * Invariants: the picture's embeddings are kept from one question to the next and reused while the file's content is
 * the same.
 */
#ifndef LQ_RUNTIME_SESSION_H
#define LQ_RUNTIME_SESSION_H

#include "llava_quantize/runtime.h"
#include "runtime/log.h"
#include "runtime/prompt.h"

#include <llama.h>
#include <mtmd.h>
#include <xxhash.h>

/* One picture as the model sees it: mtmd's chunks and, for those of picture tokens, their embeddings. */
struct lq_picture {
    XXH128_hash_t hash; /* of the file's content */
    mtmd_input_chunks *chunks;
    size_t n_chunks, n_tokens;
    llama_pos n_positions;
    float **embeddings; /* per chunk; NULL for text chunks (begin and end marks of some models) */
};

struct lq_runtime {
    char *language, *mmproj;
    struct lq_hooks hooks;
    struct lq_log log; /* of the call in hand */
    struct llama_model *model;
    const struct llama_vocab *vocab;
    struct ggml_threadpool *pool;
    struct llama_context *context;
    mtmd_context *vision;
    struct lq_picture picture; /* of the latest question */
    llama_pos n_past;          /* positions in the context's memory */
};

/* Makes rt->picture hold the file `path`. */
enum lq_status lq_session_see(struct lq_runtime *rt, const char *path, struct lq_error *err);
void lq_session_forget(struct lq_runtime *rt);

/* Called with the n_vocab logits of each position asked for, in order. */
typedef void lq_logits_fn(void *data, const float *logits);

/* Clears the memory and decodes head, picture and `tail`; every tail position from `first` on gives logits.
 * LQ_ERR_USAGE when all of it does not fit the context. */
enum lq_status lq_session_begin(struct lq_runtime *rt, const struct lq_tokens *head, const struct lq_tokens *tail,
                                size_t first, lq_logits_fn *logits, void *data, struct lq_error *err);
/* Decodes one more token. */
enum lq_status lq_session_continue(struct lq_runtime *rt, llama_token token, struct lq_error *err);
/* Positions still free. */
size_t lq_session_room(const struct lq_runtime *rt);

#endif
