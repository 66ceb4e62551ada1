/* GGUF metadata: an ordered list of keys, values kept in the file's own encoding.
 *
 * Enters: keys read from a GGUF, or set one by one. Leaves: typed look-ups, and bytes ready to be written again.
 * Invariants: keys are unique, not empty, valid for GGUF (at most 65535 bytes); raw bytes have been checked to be a
 * well-formed value of their type (strings and arrays lie inside `raw`); nothing is nested.
 *
 *     lq_kvs_set_u32(kvs, "general.file_type", 7, err);
 *     uint64_t n = 0;
 *     if (lq_kvs_get_u64(kvs, "clip.vision.block_count", &n)) ...
 */
#ifndef LQ_SOURCE_KV_H
#define LQ_SOURCE_KV_H

#include "llava_quantize/base.h"

/* GGUF's value types, as they stand in files. */
/* clang-format off */
enum lq_kv_type {
    LQ_KV_U8, LQ_KV_I8, LQ_KV_U16, LQ_KV_I16, LQ_KV_U32, LQ_KV_I32, LQ_KV_F32, LQ_KV_BOOL, LQ_KV_STRING, LQ_KV_ARRAY,
    LQ_KV_U64, LQ_KV_I64, LQ_KV_F64, LQ_KV_TYPES
};
/* clang-format on */

struct lq_kv {
    char *key;
    enum lq_kv_type type;
    enum lq_kv_type element; /* of an array; == type otherwise */
    uint64_t count;          /* elements of an array; 1 otherwise */
    uint8_t *raw; /* little-endian value as in the file, without type words or array count; a string is u64 + bytes */
    uint64_t raw_size;
};

struct lq_kvs {
    struct lq_kv *items;
    size_t n, capacity;
};

void lq_kvs_release(struct lq_kvs *kvs);
/* Deep copy into an empty list. */
enum lq_status lq_kvs_copy(struct lq_kvs *dst, const struct lq_kvs *src, struct lq_error *err);
const struct lq_kv *lq_kvs_find(const struct lq_kvs *kvs, const char *key);

/* Look-ups: true and *out when the key is there with a type that fits (any integer for u64, f32 or f64 for f64). */
bool lq_kvs_get_u64(const struct lq_kvs *kvs, const char *key, uint64_t *out);
bool lq_kvs_get_f64(const struct lq_kvs *kvs, const char *key, double *out);
bool lq_kvs_get_bool(const struct lq_kvs *kvs, const char *key, bool *out);
/* The string is borrowed and not terminated. */
bool lq_kvs_get_string(const struct lq_kvs *kvs, const char *key, const char **out, size_t *length);
/* Walks an array of strings: *at begins at 0 and moves. False behind the last, and for anything else. */
bool lq_kv_next_string(const struct lq_kv *kv, uint64_t *at, const char **out, size_t *length);

/* Setting replaces in place or appends. Only LQ_ERR_MEMORY (or LQ_ERR_USAGE for an impossible key) can fail. */
enum lq_status lq_kvs_set_raw(struct lq_kvs *kvs, const char *key, enum lq_kv_type type, enum lq_kv_type element,
                              uint64_t count, const void *raw, uint64_t raw_size, struct lq_error *err);
enum lq_status lq_kvs_set_u32(struct lq_kvs *kvs, const char *key, uint32_t v, struct lq_error *err);
enum lq_status lq_kvs_set_f32(struct lq_kvs *kvs, const char *key, float v, struct lq_error *err);
enum lq_status lq_kvs_set_bool(struct lq_kvs *kvs, const char *key, bool v, struct lq_error *err);
enum lq_status lq_kvs_set_string(struct lq_kvs *kvs, const char *key, const char *v, struct lq_error *err);
enum lq_status lq_kvs_set_array(struct lq_kvs *kvs, const char *key, enum lq_kv_type element, uint64_t count,
                                const void *values, struct lq_error *err); /* fixed-size elements */
enum lq_status lq_kvs_set_strings(struct lq_kvs *kvs, const char *key, const char *const *v, const size_t *lengths,
                                  uint64_t count, struct lq_error *err);
/* For readers: takes over `kv` (which is emptied) without looking for its key. LQ_ERR_MEMORY leaves `kv` alone. */
enum lq_status lq_kvs_append(struct lq_kvs *kvs, struct lq_kv *kv, struct lq_error *err);
/* Bytes of one element; 0 for strings, arrays and types that do not exist. */
uint64_t lq_kv_element_size(enum lq_kv_type type);
void lq_kvs_remove(struct lq_kvs *kvs, const char *key);

#endif
