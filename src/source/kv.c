#include "source/kv.h"

#include <stdlib.h>
#include <string.h>

enum { LONGEST_KEY = 65535 };

static const uint8_t element_sizes[LQ_KV_TYPES] = {
    [LQ_KV_U8] = 1,  [LQ_KV_I8] = 1,   [LQ_KV_U16] = 2, [LQ_KV_I16] = 2, [LQ_KV_U32] = 4, [LQ_KV_I32] = 4,
    [LQ_KV_F32] = 4, [LQ_KV_BOOL] = 1, [LQ_KV_U64] = 8, [LQ_KV_I64] = 8, [LQ_KV_F64] = 8,
};

uint64_t lq_kv_element_size(enum lq_kv_type type)
{
    return (unsigned)type < LQ_KV_TYPES ? element_sizes[type] : 0;
}

static void release_item(struct lq_kv *kv)
{
    free(kv->key);
    free(kv->raw);
}

void lq_kvs_release(struct lq_kvs *kvs)
{
    for (size_t i = 0; i < kvs->n; i++) release_item(&kvs->items[i]);
    free(kvs->items);
    *kvs = (struct lq_kvs){0};
}

static enum lq_status no_memory(const char *key, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "key '%.64s': no memory", key);
}

static bool reserve_one(struct lq_kvs *kvs)
{
    if (kvs->n < kvs->capacity) return true;
    size_t capacity = kvs->capacity == 0 ? 32 : kvs->capacity * 2;
    struct lq_kv *items = realloc(kvs->items, capacity * sizeof *items);
    if (items == NULL) return false;
    kvs->items = items;
    kvs->capacity = capacity;
    return true;
}

enum lq_status lq_kvs_append(struct lq_kvs *kvs, struct lq_kv *kv, struct lq_error *err)
{
    if (!reserve_one(kvs)) return no_memory(kv->key, err);
    kvs->items[kvs->n++] = *kv;
    *kv = (struct lq_kv){0};
    return LQ_OK;
}

/* A deep copy of `kv` into `out`. */
static enum lq_status copy_item(struct lq_kv *out, const struct lq_kv *kv, struct lq_error *err)
{
    struct lq_kv copy = *kv;
    copy.key = strdup(kv->key);
    copy.raw = malloc(kv->raw_size > 0 ? kv->raw_size : 1);
    if (copy.key == NULL || copy.raw == NULL) {
        release_item(&copy);
        return no_memory(kv->key, err);
    }
    if (kv->raw_size > 0) memcpy(copy.raw, kv->raw, kv->raw_size);
    *out = copy;
    return LQ_OK;
}

enum lq_status lq_kvs_copy(struct lq_kvs *dst, const struct lq_kvs *src, struct lq_error *err)
{
    struct lq_kvs copy = {0};
    struct lq_kv kv = {0};
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < src->n; i++) {
        status = copy_item(&kv, &src->items[i], err);
        if (status == LQ_OK) status = lq_kvs_append(&copy, &kv, err);
        if (status != LQ_OK) goto done;
    }
    *dst = copy;
    copy = (struct lq_kvs){0};
done:
    release_item(&kv);
    lq_kvs_release(&copy);
    return status;
}

static struct lq_kv *find(const struct lq_kvs *kvs, const char *key)
{
    for (size_t i = 0; i < kvs->n; i++)
        if (strcmp(kvs->items[i].key, key) == 0) return &kvs->items[i];
    return NULL;
}

const struct lq_kv *lq_kvs_find(const struct lq_kvs *kvs, const char *key)
{
    return find(kvs, key);
}

/* Little-endian bytes to a number; the sign is extended when `is_signed`. */
static uint64_t load_integer(const uint8_t *raw, uint64_t size, bool is_signed)
{
    uint64_t v = 0;
    for (uint64_t i = 0; i < size; i++) v |= (uint64_t)raw[i] << (8 * i);
    if (is_signed && size < 8 && (raw[size - 1] & 0x80) != 0) v |= UINT64_MAX << (8 * size);
    return v;
}

static void store_integer(uint8_t *raw, uint64_t size, uint64_t v)
{
    for (uint64_t i = 0; i < size; i++) raw[i] = (uint8_t)(v >> (8 * i));
}

bool lq_kvs_get_u64(const struct lq_kvs *kvs, const char *key, uint64_t *out)
{
    const struct lq_kv *kv = lq_kvs_find(kvs, key);
    if (kv == NULL) return false;
    switch (kv->type) {
    case LQ_KV_U8:
    case LQ_KV_U16:
    case LQ_KV_U32:
    case LQ_KV_U64: *out = load_integer(kv->raw, kv->raw_size, false); return true;
    case LQ_KV_I8:
    case LQ_KV_I16:
    case LQ_KV_I32:
    case LQ_KV_I64: {
        uint64_t v = load_integer(kv->raw, kv->raw_size, true);
        if (v > INT64_MAX) return false;
        *out = v;
        return true;
    }
    default: return false;
    }
}

bool lq_kvs_get_f64(const struct lq_kvs *kvs, const char *key, double *out)
{
    const struct lq_kv *kv = lq_kvs_find(kvs, key);
    if (kv == NULL || (kv->type != LQ_KV_F32 && kv->type != LQ_KV_F64)) return false;
    uint64_t bits = load_integer(kv->raw, kv->raw_size, false);
    uint32_t low = (uint32_t)bits;
    float narrow;
    if (kv->type == LQ_KV_F32) {
        memcpy(&narrow, &low, sizeof narrow);
        *out = narrow;
    } else {
        memcpy(out, &bits, sizeof *out);
    }
    return true;
}

bool lq_kvs_get_bool(const struct lq_kvs *kvs, const char *key, bool *out)
{
    const struct lq_kv *kv = lq_kvs_find(kvs, key);
    if (kv == NULL || kv->type != LQ_KV_BOOL) return false;
    *out = kv->raw[0] != 0;
    return true;
}

bool lq_kvs_get_string(const struct lq_kvs *kvs, const char *key, const char **out, size_t *length)
{
    const struct lq_kv *kv = lq_kvs_find(kvs, key);
    if (kv == NULL || kv->type != LQ_KV_STRING) return false;
    *out = (const char *)kv->raw + 8;
    *length = kv->raw_size - 8;
    return true;
}

bool lq_kv_next_string(const struct lq_kv *kv, uint64_t *at, const char **out, size_t *length)
{
    if (kv->type != LQ_KV_ARRAY || kv->element != LQ_KV_STRING || *at >= kv->raw_size) return false;
    *length = load_integer(kv->raw + *at, 8, false);
    *out = (const char *)kv->raw + *at + 8;
    *at += 8 + *length;
    return true;
}

enum lq_status lq_kvs_set_raw(struct lq_kvs *kvs, const char *key, enum lq_kv_type type, enum lq_kv_type element,
                              uint64_t count, const void *raw, uint64_t raw_size, struct lq_error *err)
{
    struct lq_kv kv = {0};
    struct lq_kv wanted = {.key = (char *)key,
                           .type = type,
                           .element = element,
                           .count = count,
                           .raw = (uint8_t *)raw,
                           .raw_size = raw_size};
    size_t length = strlen(key);
    if (length == 0 || length > LONGEST_KEY)
        return lq_error_set(err, LQ_ERR_USAGE, "key '%.64s': %zu bytes, expected 1 to %d", key, length, LONGEST_KEY);
    enum lq_status status = copy_item(&kv, &wanted, err);
    if (status != LQ_OK) return status;
    struct lq_kv *old = find(kvs, key);
    if (old == NULL) {
        status = lq_kvs_append(kvs, &kv, err);
        release_item(&kv);
        return status;
    }
    release_item(old);
    *old = kv;
    return LQ_OK;
}

static enum lq_status set_scalar(struct lq_kvs *kvs, const char *key, enum lq_kv_type type, uint64_t bits,
                                 struct lq_error *err)
{
    uint8_t raw[8];
    store_integer(raw, element_sizes[type], bits);
    return lq_kvs_set_raw(kvs, key, type, type, 1, raw, element_sizes[type], err);
}

enum lq_status lq_kvs_set_u32(struct lq_kvs *kvs, const char *key, uint32_t v, struct lq_error *err)
{
    return set_scalar(kvs, key, LQ_KV_U32, v, err);
}

enum lq_status lq_kvs_set_f32(struct lq_kvs *kvs, const char *key, float v, struct lq_error *err)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return set_scalar(kvs, key, LQ_KV_F32, bits, err);
}

enum lq_status lq_kvs_set_bool(struct lq_kvs *kvs, const char *key, bool v, struct lq_error *err)
{
    return set_scalar(kvs, key, LQ_KV_BOOL, v, err);
}

/* Strings one after another, each a u64 length and its bytes. NULL when memory or the size of the address space gives
 * out. */
static uint8_t *pack_strings(const char *const *v, const size_t *lengths, uint64_t count, uint64_t *size)
{
    uint64_t total = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (lengths[i] > PTRDIFF_MAX - 8 - total) return NULL;
        total += 8 + lengths[i];
    }
    uint8_t *raw = malloc(total > 0 ? total : 1), *at = raw;
    if (raw == NULL) return NULL;
    for (uint64_t i = 0; i < count; i++) {
        store_integer(at, 8, lengths[i]);
        if (lengths[i] > 0) memcpy(at + 8, v[i], lengths[i]);
        at += 8 + lengths[i];
    }
    *size = total;
    return raw;
}

static enum lq_status set_packed(struct lq_kvs *kvs, const char *key, enum lq_kv_type type, const char *const *v,
                                 const size_t *lengths, uint64_t count, struct lq_error *err)
{
    uint64_t size = 0;
    uint8_t *raw = pack_strings(v, lengths, count, &size);
    if (raw == NULL) return no_memory(key, err);
    enum lq_status status = lq_kvs_set_raw(kvs, key, type, LQ_KV_STRING, count, raw, size, err);
    free(raw);
    return status;
}

enum lq_status lq_kvs_set_string(struct lq_kvs *kvs, const char *key, const char *v, struct lq_error *err)
{
    size_t length = strlen(v);
    return set_packed(kvs, key, LQ_KV_STRING, &v, &length, 1, err);
}

enum lq_status lq_kvs_set_strings(struct lq_kvs *kvs, const char *key, const char *const *v, const size_t *lengths,
                                  uint64_t count, struct lq_error *err)
{
    return set_packed(kvs, key, LQ_KV_ARRAY, v, lengths, count, err);
}

enum lq_status lq_kvs_set_array(struct lq_kvs *kvs, const char *key, enum lq_kv_type element, uint64_t count,
                                const void *values, struct lq_error *err)
{
    uint64_t size = lq_kv_element_size(element);
    if (size == 0 || count > PTRDIFF_MAX / size)
        return lq_error_set(err, LQ_ERR_USAGE, "key '%.64s': cannot hold an array of type %d", key, (int)element);
    return lq_kvs_set_raw(kvs, key, LQ_KV_ARRAY, element, count, values, count * size, err);
}

void lq_kvs_remove(struct lq_kvs *kvs, const char *key)
{
    struct lq_kv *kv = find(kvs, key);
    if (kv == NULL) return;
    release_item(kv);
    size_t after = kvs->n - 1 - (size_t)(kv - kvs->items);
    memmove(kv, kv + 1, after * sizeof *kv);
    kvs->n--;
}
