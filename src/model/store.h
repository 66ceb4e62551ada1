/* What stands behind a struct lq_model: the open sources, the tensors of both halves, and every text they point at.
 *
 * Enters: sources and tensors, added while a model is opened. Leaves: the public struct, complete.
 * Invariants: `pub` comes first, so that a public pointer is a pointer to its store; a half's tensor array never moves
 * once begun; everything is freed by lq_store_free, whatever had been added.
 */
#ifndef LQ_MODEL_STORE_H
#define LQ_MODEL_STORE_H

#include "llava_quantize/model.h"
#include "source/kv.h"
#include "source/source.h"

/* Where a tensor's data lie. */
struct lq_origin {
    const struct lq_source *source;
    const struct lq_source_tensor *tensor;
    uint64_t head_rows; /* rows of one attention head whose halves are to be interleaved; 0: rows as stored */
};

struct lq_half_store {
    struct lq_model_half pub;
    struct lq_kvs kvs; /* of an imported half; a GGUF half points at its source's */
    struct lq_tensor *tensors;
    struct lq_origin *origins; /* one per tensor */
    struct lq_model_file *files;
    size_t capacity;
};

struct lq_model_store {
    struct lq_model pub;
    struct lq_half_store halves[LQ_HALVES];
    struct lq_source **sources;
    size_t n_sources;
    char **texts;
    size_t n_texts;
};

enum lq_status lq_store_new(struct lq_model_store **out, struct lq_error *err);
void lq_store_free(struct lq_model_store *store);

/* Copies a text into the store. */
enum lq_status lq_store_text(struct lq_model_store *store, const char *text, const char **out, struct lq_error *err);
/* Takes the source over, on failure too. */
enum lq_status lq_store_source(struct lq_model_store *store, struct lq_source *source, struct lq_error *err);
/* Opens `path` and keeps the source in the store. */
enum lq_status lq_store_open(struct lq_model_store *store, const char *path, const struct lq_source **out,
                             struct lq_error *err);

/* Makes room for `capacity` tensors of a half and points the public half at it. */
enum lq_status lq_store_begin_half(struct lq_model_store *store, enum lq_half half, size_t capacity,
                                   struct lq_error *err);
/* Appends a tensor with the shape and type of `origin.tensor` under `name` (owned by the store or a source); role,
 * block and quantisability come from the rules of its half and architecture. `keep` starts as the type itself. */
struct lq_tensor *lq_store_add_tensor(struct lq_half_store *half, const char *name, struct lq_origin origin);

#endif
