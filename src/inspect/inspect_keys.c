/* Metadata for callers outside the library: keys and values as the file holds them, decoded one at a time. */
#include "llava_quantize/inspect.h"

#include <string.h>

#include "source/kv.h"

static const char *const type_names[LQ_KV_TYPES] = {
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64",
};

size_t lq_key_count(const struct lq_model_half *half)
{
    return half->kvs->n;
}

static struct lq_key key_of(const struct lq_kv *kv)
{
    return (struct lq_key){
        .name = kv->key,
        .type = type_names[kv->element],
        .array = kv->type == LQ_KV_ARRAY,
        .count = kv->count,
        .origin = kv,
    };
}

struct lq_key lq_key_at(const struct lq_model_half *half, size_t i)
{
    return key_of(&half->kvs->items[i]);
}

bool lq_key_find(const struct lq_model_half *half, const char *name, struct lq_key *out)
{
    const struct lq_kv *kv = lq_kvs_find(half->kvs, name);
    if (kv == NULL) return false;
    *out = key_of(kv);
    return true;
}

static uint64_t load(const uint8_t *raw, uint64_t size)
{
    uint64_t v = 0;
    for (uint64_t i = 0; i < size; i++) v |= (uint64_t)raw[i] << (8 * i);
    return v;
}

static int64_t extend_sign(uint64_t v, uint64_t size)
{
    uint64_t sign = UINT64_C(1) << (8 * size - 1); /* NOLINT: no type has size 0 */
    return (int64_t)((v ^ sign) - sign);
}

static double load_real(const uint8_t *raw, uint64_t size)
{
    uint64_t bits = load(raw, size);
    if (size == sizeof(double)) {
        double d;
        memcpy(&d, &bits, sizeof d);
        return d;
    }
    uint32_t low = (uint32_t)bits;
    float f;
    memcpy(&f, &low, sizeof f);
    return f;
}

static struct lq_value decode(enum lq_kv_type type, const uint8_t *raw, uint64_t size)
{
    switch (type) {
    case LQ_KV_U8:
    case LQ_KV_U16:
    case LQ_KV_U32:
    case LQ_KV_U64: return (struct lq_value){.kind = LQ_VALUE_NATURAL, .natural = load(raw, size)};
    case LQ_KV_F32:
    case LQ_KV_F64: return (struct lq_value){.kind = LQ_VALUE_REAL, .real = load_real(raw, size)};
    case LQ_KV_BOOL: return (struct lq_value){.kind = LQ_VALUE_TRUTH, .truth = raw[0] != 0};
    default: return (struct lq_value){.kind = LQ_VALUE_INTEGER, .integer = extend_sign(load(raw, size), size)};
    }
}

/* The reader has checked that every string of the value lies inside its bytes. */
bool lq_key_next(const struct lq_key *key, uint64_t *at, struct lq_value *out)
{
    const struct lq_kv *kv = key->origin;
    if (*at >= kv->raw_size) return false;
    const uint8_t *raw = kv->raw + *at;
    uint64_t size = lq_kv_element_size(kv->element);
    if (kv->element == LQ_KV_STRING) {
        uint64_t length = load(raw, 8);
        *out = (struct lq_value){.kind = LQ_VALUE_TEXT, .text = (const char *)raw + 8, .length = (size_t)length};
        size = 8 + length;
    } else {
        *out = decode(kv->element, raw, size);
    }
    *at += size;
    return true;
}
