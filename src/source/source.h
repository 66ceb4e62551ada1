/* A source: one tensor container on disk (GGUF or safetensors), opened, bounds-checked, listed without reading weights.
 *
 * Enters: a path. Leaves: tensors with types, shapes and checked positions; positioned reads.
 * Invariants: after lq_source_open every tensor's bytes lie inside the file, products do not overflow 63 bits, names
 * are unique, not empty, UTF-8 without control characters; the file's size was taken once and every count was bounded
 * by it before anything was allocated.
 *
 *     struct lq_source *s = NULL;
 *     if (lq_source_open(&s, "model.gguf", &err) == LQ_OK)
 *         for (size_t i = 0; i < s->n_tensors; i++) puts(s->tensors[i].name);
 *     lq_source_close(s);
 */
#ifndef LQ_SOURCE_SOURCE_H
#define LQ_SOURCE_SOURCE_H

#include "llava_quantize/base.h"
#include "llava_quantize/codec.h"
#include "source/kv.h"

enum lq_source_kind { LQ_SOURCE_GGUF, LQ_SOURCE_SAFETENSORS };

struct lq_source_tensor {
    const char *name;
    enum lq_type type; /* LQ_TYPE_NONE: a safetensors dtype that ggml has no type for; only its bytes can be read */
    const char *dtype; /* safetensors' name of the type ("BF16"), for messages; NULL for GGUF */
    uint32_t n_dims;
    uint64_t ne[4];  /* ggml's order, row length first (safetensors shapes are reversed); unused ones are 1 */
    uint64_t offset; /* from the start of the file */
    uint64_t bytes;
};

struct lq_source {
    enum lq_source_kind kind;
    char *path;
    uint64_t file_bytes;
    struct lq_kvs kvs;  /* GGUF metadata; empty for safetensors */
    uint32_t alignment; /* GGUF */
    uint64_t data_offset;
    size_t n_tensors;
    struct lq_source_tensor *tensors; /* in file order */
    int fd;
    void *private_data;
};

/* Opens a GGUF (v2, v3 little-endian) or safetensors file, told apart by content. Errors: LQ_ERR_IO, LQ_ERR_FORMAT,
 * LQ_ERR_UNSUPPORTED (big-endian, unknown tensor type), LQ_ERR_MEMORY. */
enum lq_status lq_source_open(struct lq_source **out, const char *path, struct lq_error *err);
/* The same over an open descriptor, which is duplicated; `name` stands in messages. */
enum lq_status lq_source_open_fd(struct lq_source **out, int fd, const char *name, struct lq_error *err);
void lq_source_close(struct lq_source *source);
/* NULL when absent. O(log n). */
const struct lq_source_tensor *lq_source_find(const struct lq_source *source, const char *name);
/* Reads bytes [offset, offset + n) of the tensor's data. Thread-safe. */
enum lq_status lq_source_read(const struct lq_source *source, const struct lq_source_tensor *tensor, uint64_t offset,
                              uint64_t n, void *dst, struct lq_error *err);
/* Whether the kernel holds all of these bytes in memory. False, too, where that cannot be told. */
bool lq_source_is_cached(const struct lq_source *source, const struct lq_source_tensor *tensor, uint64_t offset,
                         uint64_t n);
/* Tells the kernel that bytes will be read soon (POSIX_FADV_WILLNEED) or not again (POSIX_FADV_DONTNEED). */
void lq_source_advise(const struct lq_source *source, const struct lq_source_tensor *tensor, uint64_t offset,
                      uint64_t n, int advice);
/* True when the first bytes of the file are "GGUF". */
bool lq_source_is_gguf(const char *path);
/* Names go into messages and onto terminals: valid UTF-8 without control characters, not empty. */
bool lq_name_is_plain(const char *name, size_t length);

#endif
