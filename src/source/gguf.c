#include "source/parse.h"

#include "base/checked.h"
#include "base/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SMALLEST_KV = 8 + 1 + 4 + 1,         /* key length, one character, type, one byte of value */
    SMALLEST_TENSOR = 8 + 1 + 4 + 4 + 8, /* name length, one character, number of dims, type, offset */
    LONGEST_KEY = 65535,
    LONGEST_NAME = 63,
    MOST_DIMS = 4,
    DEFAULT_ALIGNMENT = 32,
};
/* Far above any real file, so that a hostile one cannot make us spend memory without end. */
static const uint64_t most_kvs = UINT64_C(1) << 16;
static const uint64_t most_tensors = UINT64_C(1) << 20;
static const uint64_t most_elements = UINT64_C(1) << 30; /* of one array */
static const uint64_t header_limit = UINT64_C(1) << 30;  /* bytes before the data, all strings and arrays among them */

/* The header, front to back. Only take() moves, so only ready() has to know where the file ends. */
struct reader {
    const struct lq_source *source;
    uint64_t at;
    uint64_t buffer_at, buffer_size; /* the part of the file that stands in `buffer` */
    uint8_t buffer[16384];
    char where[120]; /* what is being read, for messages */
};

/* Whether `n` more bytes are there: asked before every allocation and every read. */
static enum lq_status ready(const struct reader *r, uint64_t n, struct lq_error *err)
{
    const struct lq_source *s = r->source;
    if (n > s->file_bytes - r->at)
        return lq_error_set(err, LQ_ERR_FORMAT,
                            "%s: ends inside %s: %" PRIu64 " bytes needed at byte %" PRIu64 ", the file has %" PRIu64,
                            s->path, r->where, n, r->at, s->file_bytes);
    if (n > header_limit - r->at)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: %s: header of more than %" PRIu64 " bytes", s->path, r->where,
                            header_limit);
    return LQ_OK;
}

static enum lq_status refill(struct reader *r, struct lq_error *err)
{
    uint64_t left = r->source->file_bytes - r->at;
    r->buffer_at = r->at;
    r->buffer_size = left < sizeof r->buffer ? left : sizeof r->buffer;
    return lq_file_read(r->source->fd, r->source->path, r->at, r->buffer, r->buffer_size, err);
}

static enum lq_status take(struct reader *r, void *dst, uint64_t n, struct lq_error *err)
{
    enum lq_status status = ready(r, n, err);
    if (status != LQ_OK) return status;
    if (n > sizeof r->buffer) {
        status = lq_file_read(r->source->fd, r->source->path, r->at, dst, n, err);
    } else {
        if (r->at + n > r->buffer_at + r->buffer_size) status = refill(r, err);
        if (status == LQ_OK) memcpy(dst, r->buffer + (r->at - r->buffer_at), n);
    }
    if (status == LQ_OK) r->at += n;
    return status;
}

static enum lq_status take_integer(struct reader *r, unsigned bytes, uint64_t *out, struct lq_error *err)
{
    uint8_t raw[8];
    uint64_t v = 0;
    enum lq_status status = take(r, raw, bytes, err);
    if (status != LQ_OK) return status;
    for (unsigned i = 0; i < bytes; i++) v |= (uint64_t)raw[i] << (8 * i);
    *out = v;
    return LQ_OK;
}

static enum lq_status take_u32(struct reader *r, uint32_t *out, struct lq_error *err)
{
    uint64_t v = 0;
    enum lq_status status = take_integer(r, 4, &v, err);
    if (status == LQ_OK) *out = (uint32_t)v;
    return status;
}

static enum lq_status take_u64(struct reader *r, uint64_t *out, struct lq_error *err)
{
    return take_integer(r, 8, out, err);
}

/* A key or a tensor's name: 1 to `longest` plain characters, terminated, owned by the caller. */
static enum lq_status take_name(struct reader *r, uint64_t longest, char **out, struct lq_error *err)
{
    const char *path = r->source->path;
    uint64_t length = 0;
    enum lq_status status = take_u64(r, &length, err);
    if (status != LQ_OK) return status;
    if (length == 0) return lq_error_set(err, LQ_ERR_FORMAT, "%s: %s has an empty name", path, r->where);
    if (length > longest)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: %s has a name of %" PRIu64 " bytes, expected at most %" PRIu64,
                            path, r->where, length, longest);
    char *name = malloc(length + 1);
    if (name == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory", path);
    status = take(r, name, length, err);
    name[status == LQ_OK ? length : 0] = 0;
    if (status == LQ_OK && !lq_name_is_plain(name, length))
        status = lq_error_set(err, LQ_ERR_FORMAT, "%s: %s has a name that is no plain UTF-8 text", path, r->where);
    if (status == LQ_OK) *out = name;
    else free(name);
    return status;
}

/* --- metadata --- */

static enum lq_status no_memory_for(const struct reader *r, uint64_t n, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "%s: %s: no memory for %" PRIu64 " bytes", r->source->path, r->where, n);
}

/* `n` bytes more at the end of kv->raw, which holds *capacity. */
static enum lq_status append_raw(struct reader *r, struct lq_kv *kv, uint64_t *capacity, uint64_t n,
                                 struct lq_error *err)
{
    enum lq_status status = ready(r, n, err);
    if (status != LQ_OK) return status;
    if (n > *capacity - kv->raw_size) {
        uint64_t larger = *capacity * 2 > kv->raw_size + n ? *capacity * 2 : kv->raw_size + n;
        uint8_t *raw = realloc(kv->raw, larger);
        if (raw == NULL) return no_memory_for(r, larger, err);
        kv->raw = raw;
        *capacity = larger;
    }
    status = take(r, kv->raw + kv->raw_size, n, err);
    if (status == LQ_OK) kv->raw_size += n;
    return status;
}

static uint64_t length_at(const uint8_t *raw)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) v |= (uint64_t)raw[i] << (8 * i);
    return v;
}

/* kv->count strings, each a length and its bytes. */
static enum lq_status take_strings(struct reader *r, struct lq_kv *kv, struct lq_error *err)
{
    uint64_t capacity = 0;
    for (uint64_t i = 0; i < kv->count; i++) {
        enum lq_status status = append_raw(r, kv, &capacity, 8, err);
        if (status != LQ_OK) return status;
        status = append_raw(r, kv, &capacity, length_at(kv->raw + kv->raw_size - 8), err);
        if (status != LQ_OK) return status;
    }
    return LQ_OK;
}

static enum lq_status take_elements(struct reader *r, struct lq_kv *kv, struct lq_error *err)
{
    uint64_t size = lq_kv_element_size(kv->element), least = size == 0 ? 8 : size, capacity = 0;
    if (kv->count > most_elements)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: %s: array of %" PRIu64 " elements, expected at most %" PRIu64,
                            r->source->path, r->where, kv->count, most_elements);
    enum lq_status status = ready(r, kv->count * least, err);
    if (status != LQ_OK || kv->count == 0) return status;
    return size == 0 ? take_strings(r, kv, err) : append_raw(r, kv, &capacity, kv->count * size, err);
}

static enum lq_status take_type(struct reader *r, enum lq_kv_type *out, struct lq_error *err)
{
    uint32_t type = 0;
    enum lq_status status = take_u32(r, &type, err);
    if (status != LQ_OK) return status;
    if (type >= LQ_KV_TYPES)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: %s: unknown value type %" PRIu32, r->source->path, r->where, type);
    *out = (enum lq_kv_type)type;
    return LQ_OK;
}

static enum lq_status take_value(struct reader *r, struct lq_kv *kv, struct lq_error *err)
{
    kv->count = 1;
    enum lq_status status = take_type(r, &kv->type, err);
    if (status != LQ_OK) return status;
    kv->element = kv->type;
    if (kv->type == LQ_KV_ARRAY) {
        status = take_type(r, &kv->element, err);
        if (status == LQ_OK && kv->element == LQ_KV_ARRAY)
            status = lq_error_set(err, LQ_ERR_FORMAT, "%s: %s: an array inside an array", r->source->path, r->where);
        if (status == LQ_OK) status = take_u64(r, &kv->count, err);
    }
    return status == LQ_OK ? take_elements(r, kv, err) : status;
}

static enum lq_status take_kv(struct reader *r, uint64_t number, struct lq_kvs *kvs, struct lq_error *err)
{
    struct lq_kv kv = {0};
    snprintf(r->where, sizeof r->where, "key %" PRIu64, number);
    enum lq_status status = take_name(r, LONGEST_KEY, &kv.key, err);
    if (status != LQ_OK) return status;
    snprintf(r->where, sizeof r->where, "key '%.100s'", kv.key);
    status = take_value(r, &kv, err);
    if (status == LQ_OK) status = lq_kvs_append(kvs, &kv, err);
    free(kv.key);
    free(kv.raw);
    return status;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum lq_status refuse_duplicate_keys(const struct lq_source *s, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    if (s->kvs.n < 2) return LQ_OK;
    const char **keys = calloc(s->kvs.n, sizeof *keys);
    if (keys == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory to list %zu keys", s->path, s->kvs.n);
    for (size_t i = 0; i < s->kvs.n; i++) keys[i] = s->kvs.items[i].key;
    qsort(keys, s->kvs.n, sizeof *keys, compare_keys);
    for (size_t i = 1; i < s->kvs.n && status == LQ_OK; i++)
        if (strcmp(keys[i - 1], keys[i]) == 0)
            status = lq_error_set(err, LQ_ERR_FORMAT, "%s: key '%.100s' stands twice", s->path, keys[i]);
    free(keys);
    return status;
}

static enum lq_status find_alignment(struct lq_source *s, struct lq_error *err)
{
    uint64_t alignment = DEFAULT_ALIGNMENT;
    const struct lq_kv *kv = lq_kvs_find(&s->kvs, "general.alignment");
    if (kv != NULL && (kv->type != LQ_KV_U32 || !lq_kvs_get_u64(&s->kvs, kv->key, &alignment)))
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: key 'general.alignment': value type %d, expected %d (u32)",
                            s->path, (int)kv->type, (int)LQ_KV_U32);
    if (alignment == 0 || (alignment & (alignment - 1)) != 0)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: key 'general.alignment': %" PRIu64 " is not a power of two",
                            s->path, alignment);
    s->alignment = (uint32_t)alignment;
    return LQ_OK;
}

/* --- tensors --- */

static enum lq_status take_dims(struct reader *r, struct lq_source_tensor *t, struct lq_error *err)
{
    const char *path = r->source->path;
    uint64_t weights = 1;
    enum lq_status status = take_u32(r, &t->n_dims, err);
    if (status != LQ_OK) return status;
    if (t->n_dims > MOST_DIMS)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s': %" PRIu32 " dimensions, expected at most %d", path,
                            t->name, t->n_dims, MOST_DIMS);
    for (uint32_t i = 0; i < MOST_DIMS; i++) t->ne[i] = 1;
    for (uint32_t i = 0; i < t->n_dims; i++) {
        status = take_u64(r, &t->ne[i], err);
        if (status != LQ_OK) return status;
        if (t->ne[i] == 0)
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s': dimension %" PRIu32 " is 0", path, t->name, i);
        if (!lq_mul_u64(weights, t->ne[i], &weights) || weights > INT64_MAX)
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s': the dimensions overflow", path, t->name);
    }
    return LQ_OK;
}

static enum lq_status take_tensor_type(struct reader *r, struct lq_source_tensor *t, struct lq_error *err)
{
    const char *path = r->source->path;
    uint32_t id = 0;
    enum lq_status status = take_u32(r, &id, err);
    if (status != LQ_OK) return status;
    const struct lq_format *format = lq_format_get(id);
    if (format == NULL)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: unknown type %" PRIu32 " in tensor '%s'", path, id, t->name);
    if (t->ne[0] % format->block != 0)
        return lq_error_set(err, LQ_ERR_FORMAT,
                            "%s: tensor '%s': %" PRIu64 " columns do not divide into %s blocks of %" PRIu32, path,
                            t->name, t->ne[0], format->name, format->block);
    t->type = format->type;
    uint64_t row = lq_format_row_bytes(t->type, t->ne[0]), rows = t->ne[1] * t->ne[2] * t->ne[3];
    if (row == 0 || !lq_mul_u64(row, rows, &t->bytes) || t->bytes > INT64_MAX)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s': the size in bytes overflows", path, t->name);
    return LQ_OK;
}

/* Everything but where the data lie in the file: t->offset is still relative to the data section. */
static enum lq_status take_tensor(struct reader *r, uint64_t number, struct lq_source_tensor *t, struct lq_error *err)
{
    char *name = NULL;
    snprintf(r->where, sizeof r->where, "tensor %" PRIu64, number);
    enum lq_status status = take_name(r, LONGEST_NAME, &name, err);
    if (status != LQ_OK) return status;
    t->name = name;
    snprintf(r->where, sizeof r->where, "tensor '%s'", name);
    status = take_dims(r, t, err);
    if (status == LQ_OK) status = take_tensor_type(r, t, err);
    return status == LQ_OK ? take_u64(r, &t->offset, err) : status;
}

/* Data follow one another in listing order, each tensor beginning at the next multiple of the alignment. */
static enum lq_status place_tensors(struct lq_source *s, struct lq_error *err)
{
    uint64_t expected = 0;
    for (size_t i = 0; i < s->n_tensors; i++) {
        struct lq_source_tensor *t = &s->tensors[i];
        uint64_t end = 0;
        if (t->offset != expected)
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s': data offset %" PRIu64 ", expected %" PRIu64,
                                s->path, t->name, t->offset, expected);
        if (!lq_add_u64(s->data_offset, t->offset, &t->offset) || !lq_add_u64(t->offset, t->bytes, &end) ||
            end > s->file_bytes)
            return lq_error_set(err, LQ_ERR_FORMAT,
                                "%s: tensor '%s': data beyond the end of the file: %" PRIu64
                                " bytes needed at byte %" PRIu64 ", the file has %" PRIu64,
                                s->path, t->name, t->bytes, t->offset, s->file_bytes);
        if (!lq_align_u64(expected + t->bytes, s->alignment, &expected))
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s': the padded size overflows", s->path, t->name);
    }
    return LQ_OK;
}

/* --- the whole --- */

static enum lq_status check_version(const struct lq_source *s, uint32_t version, struct lq_error *err)
{
    if (version == 2 || version == 3) return LQ_OK;
    if ((version & 0xffff) == 0 && version != 0)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                            "%s: the file is big-endian (version reads as 0x%08" PRIx32 "), expected little-endian",
                            s->path, version);
    return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: GGUF version %" PRIu32 ", expected 2 or 3", s->path, version);
}

/* A count stands before anything it counts: it must fit into the bytes that are left. */
static enum lq_status check_count(const struct reader *r, uint64_t n, uint64_t smallest, uint64_t most,
                                  const char *what, struct lq_error *err)
{
    const struct lq_source *s = r->source;
    if (n > (s->file_bytes - r->at) / smallest)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: %" PRIu64 " %s do not fit into a file of %" PRIu64 " bytes",
                            s->path, n, what, s->file_bytes);
    if (n > most)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: %" PRIu64 " %s, expected at most %" PRIu64, s->path, n, what,
                            most);
    return LQ_OK;
}

static enum lq_status take_counts(struct reader *r, uint64_t *n_tensors, uint64_t *n_kvs, struct lq_error *err)
{
    uint32_t magic = 0, version = 0;
    enum lq_status status = take_u32(r, &magic, err);
    if (status == LQ_OK) status = take_u32(r, &version, err);
    if (status == LQ_OK) status = check_version(r->source, version, err);
    if (status == LQ_OK) status = take_u64(r, n_tensors, err);
    if (status == LQ_OK) status = take_u64(r, n_kvs, err);
    if (status != LQ_OK) return status;
    status = check_count(r, *n_kvs, SMALLEST_KV, most_kvs, "keys", err);
    return status == LQ_OK ? check_count(r, *n_tensors, SMALLEST_TENSOR, most_tensors, "tensors", err) : status;
}

static enum lq_status take_tensors(struct reader *r, struct lq_source *s, uint64_t n, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    if (n == 0) return LQ_OK;
    s->tensors = calloc(n, sizeof *s->tensors);
    if (s->tensors == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory to list %" PRIu64 " tensors", s->path, n);
    for (uint64_t i = 0; i < n && status == LQ_OK; i++) status = take_tensor(r, i, &s->tensors[s->n_tensors++], err);
    return status;
}

enum lq_status lq_gguf_parse(struct lq_source *s, struct lq_error *err)
{
    struct reader r = {.source = s, .where = "the header"};
    uint64_t n_tensors = 0, n_kvs = 0;
    enum lq_status status = take_counts(&r, &n_tensors, &n_kvs, err);
    for (uint64_t i = 0; i < n_kvs && status == LQ_OK; i++) status = take_kv(&r, i, &s->kvs, err);
    if (status == LQ_OK) status = refuse_duplicate_keys(s, err);
    if (status == LQ_OK) status = find_alignment(s, err);
    if (status == LQ_OK) status = take_tensors(&r, s, n_tensors, err);
    if (status != LQ_OK) return status;
    if (!lq_align_u64(r.at, s->alignment, &s->data_offset))
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: the header's padded size overflows", s->path);
    return place_tensors(s, err);
}
