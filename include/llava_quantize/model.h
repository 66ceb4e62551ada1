/* One vision-language model: two halves with tensors, roles and metadata, wherever they come from.
 *
 * Enters: a Hugging Face LLaVA folder, a folder or file of a GGUF pair, or one GGUF half. A half may be split into
 * shards, STEM-0000I-of-0000N.gguf; any of them stands for all.
 * Leaves: a `struct lq_model` whose tensors carry GGUF names, shapes, roles, and can be read row by row.
 * Invariants: opening reads headers only; every size has been checked against the files; a Hugging Face folder looks
 * exactly like the GGUF pair that `convert` would write from it.
 *
 *     struct lq_model *m = NULL;
 *     if (lq_model_open(&m, "llava-1.5-7b-hf", NULL, &err) == LQ_OK)
 *         printf("%zu tensors\n", m->half[LQ_LANGUAGE]->n_tensors);
 *     lq_model_free(m);
 */
#ifndef LLAVA_QUANTIZE_MODEL_H
#define LLAVA_QUANTIZE_MODEL_H

#include "llava_quantize/base.h"
#include "llava_quantize/codec.h"

#ifdef __cplusplus
extern "C" {
#endif

enum lq_half { LQ_VISION, LQ_LANGUAGE, LQ_HALVES };

/* What a tensor does. Names ("language.attention.q", "vision.ffn.down", "projector", ...) come from lq_role_name. */
enum lq_role {
    LQ_ROLE_LANGUAGE_EMBEDDING,     /* "language.embedding" */
    LQ_ROLE_LANGUAGE_OUTPUT,        /* "language.output" */
    LQ_ROLE_LANGUAGE_ATTENTION_Q,   /* "language.attention.q" */
    LQ_ROLE_LANGUAGE_ATTENTION_K,   /* "language.attention.k" */
    LQ_ROLE_LANGUAGE_ATTENTION_V,   /* "language.attention.v" */
    LQ_ROLE_LANGUAGE_ATTENTION_QKV, /* "language.attention.qkv", fused */
    LQ_ROLE_LANGUAGE_ATTENTION_OUT, /* "language.attention.out" */
    LQ_ROLE_LANGUAGE_FFN_UP,        /* "language.ffn.up", experts included */
    LQ_ROLE_LANGUAGE_FFN_GATE,      /* "language.ffn.gate" */
    LQ_ROLE_LANGUAGE_FFN_DOWN,      /* "language.ffn.down" */
    LQ_ROLE_LANGUAGE_OTHER,         /* "language.other": a matrix of another architecture */
    LQ_ROLE_VISION_ATTENTION_Q,     /* "vision.attention.q" */
    LQ_ROLE_VISION_ATTENTION_K,     /* "vision.attention.k" */
    LQ_ROLE_VISION_ATTENTION_V,     /* "vision.attention.v" */
    LQ_ROLE_VISION_ATTENTION_QKV,   /* "vision.attention.qkv" */
    LQ_ROLE_VISION_ATTENTION_OUT,   /* "vision.attention.out" */
    LQ_ROLE_VISION_FFN_UP,          /* "vision.ffn.up" (fc1) */
    LQ_ROLE_VISION_FFN_GATE,        /* "vision.ffn.gate" */
    LQ_ROLE_VISION_FFN_DOWN,        /* "vision.ffn.down" (fc2) */
    LQ_ROLE_VISION_OTHER,           /* "vision.other" */
    LQ_ROLE_PROJECTOR,              /* "projector" */
    LQ_ROLE_PATCH_EMBEDDING,        /* "patch_embedding", never quantised, nor is any role below */
    LQ_ROLE_POSITION_EMBEDDING,     /* "position_embedding" */
    LQ_ROLE_CLASS_EMBEDDING,        /* "class_embedding" */
    LQ_ROLE_NORM,                   /* "norm" */
    LQ_ROLE_BIAS,                   /* "bias" */
    LQ_ROLE_FIXED,                  /* "fixed": anything else the runtime does not multiply (tables, frequencies) */
    LQ_ROLES
};

const char *lq_role_name(enum lq_role role);

/* A tensor as the GGUF of this half names and shapes it. Dimensions are in ggml's order: ne[0] is the row length. */
struct lq_tensor {
    const char *name;
    enum lq_half half;
    enum lq_role role;
    int block;         /* transformer block, -1 outside any */
    bool quantisable;  /* the runtime multiplies by it (facts: 2-D or 3-D, MUL_MAT, MUL_MAT_ID or GET_ROWS) */
    enum lq_type type; /* of the data as read: f32, f16, bf16 or, from GGUF, anything */
    enum lq_type keep; /* the type it is written in when nothing is asked of it: `type` from GGUF; from Hugging Face
                          f32 for everything not quantisable */
    uint32_t n_dims;
    uint64_t ne[4];     /* unused ones are 1 */
    uint64_t rows;      /* ne[1] * ne[2] * ne[3] */
    uint64_t bytes;     /* rows * row bytes in `type` */
    const void *origin; /* private to the model room */
};

struct lq_kvs; /* GGUF metadata; see src/source/kv.h */

/* One file of a GGUF half. */
struct lq_model_file {
    const char *path;
    size_t n_tensors; /* which follow those of the file before it */
};

struct lq_model_half {
    enum lq_half half;
    const char *path;         /* the file or folder it came from; of a split GGUF, its first shard */
    const char *architecture; /* general.architecture: "llama", "clip", ... */
    const struct lq_kvs *kvs; /* complete metadata of the GGUF this half is or would become */
    uint32_t alignment;       /* general.alignment */
    size_t n_tensors;
    const struct lq_tensor *tensors;
    size_t n_files; /* 1, or the shards of a split GGUF; 0 from Hugging Face */
    const struct lq_model_file *files;
};

struct lq_model {
    const char *path;   /* as given */
    const char *name;   /* base name for outputs: "llava-1.5-7b-hf", or a GGUF's name without type
                           tag and shard numbers */
    const char *source; /* what to record as origin: an earlier run's record, else `name` */
    bool hugging_face;
    const struct lq_model_half *half[LQ_HALVES]; /* NULL: this half is absent */
};

struct lq_model_options {
    const char *mmproj; /* vision half's GGUF by name, or NULL */
    int only;           /* -1: all there is; LQ_VISION or LQ_LANGUAGE: that half alone */
    bool lenient;       /* open halves that contradict each other (widths, pair ids) too, for looking at them */
};

/* Opens `path`. `options` may be NULL (no mmproj given, both halves). Errors: LQ_ERR_IO, LQ_ERR_FORMAT,
 * LQ_ERR_UNSUPPORTED, LQ_ERR_USAGE (several mmproj candidates: the message lists them). On failure *out is untouched.
 */
enum lq_status lq_model_open(struct lq_model **out, const char *path, const struct lq_model_options *options,
                             struct lq_error *err);
void lq_model_free(struct lq_model *model);
/* True when the half's metadata hold `key`, such as "tokenizer.chat_template". */
bool lq_model_has_key(const struct lq_model_half *half, const char *key);

/* Reads `n_rows` rows from `first_row` in the tensor's own `type` into `dst` (n_rows * row bytes).
 * Thread-safe: positioned reads only. Errors: LQ_ERR_IO (also a file that shrank). */
enum lq_status lq_model_read(const struct lq_model *model, const struct lq_tensor *tensor, uint64_t first_row,
                             uint64_t n_rows, void *dst, struct lq_error *err);
/* For rows that are not in memory: has the kernel fetch those that will be read soon, and drop those that will not be
 * read again. lq_model_is_cached is true for rows that lie in memory, and for those whose place in the file is not theirs
 * alone: better left as they are. Thread-safe; the rows must exist. */
bool lq_model_is_cached(const struct lq_tensor *tensor, uint64_t first_row, uint64_t n_rows);
void lq_model_prefetch(const struct lq_tensor *tensor, uint64_t first_row, uint64_t n_rows);
void lq_model_forget(const struct lq_tensor *tensor, uint64_t first_row, uint64_t n_rows);
/* The same rows as numbers, n_rows * ne[0] of them. Errors: also LQ_ERR_USAGE for a type without weights (i8, f64, ...)
 * and LQ_ERR_MEMORY. */
enum lq_status lq_model_weights(const struct lq_model *model, const struct lq_tensor *tensor, uint64_t first_row,
                                uint64_t n_rows, float *dst, struct lq_error *err);

#ifdef __cplusplus
}
#endif
#endif
