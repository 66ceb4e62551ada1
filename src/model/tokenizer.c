#include "model/tokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Protobuf: a message is a run of fields, each a key (number << 3 | wire type) and a value. */
enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

enum model_field { MODEL_PIECE = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3 };
enum piece_field { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum trainer_field { TRAINER_MODEL_TYPE = 3, TRAINER_UNK = 40, TRAINER_BOS = 41, TRAINER_EOS = 42, TRAINER_PAD = 43 };
enum normalizer_field { NORMALIZER_DUMMY_PREFIX = 3 };

struct span {
    const uint8_t *at, *end;
};

struct field {
    uint32_t number;
    enum wire wire;
    uint64_t value;    /* varint, 32 or 64 bits */
    struct span bytes; /* WIRE_BYTES */
};

static bool take_varint(struct span *in, uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (in->at == in->end) return false;
        uint8_t byte = *in->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

static bool take_fixed(struct span *in, unsigned n, uint64_t *out)
{
    if ((size_t)(in->end - in->at) < n) return false;
    *out = 0;
    for (unsigned i = 0; i < n; i++) *out |= (uint64_t)*in->at++ << (8 * i);
    return true;
}

static bool take_bytes(struct span *in, struct span *out)
{
    uint64_t n;
    if (!take_varint(in, &n) || n > (uint64_t)(in->end - in->at)) return false;
    *out = (struct span){in->at, in->at + n};
    in->at += n;
    return true;
}

static bool take_field(struct span *in, struct field *out)
{
    uint64_t key;
    if (!take_varint(in, &key) || key >> 3 == 0 || key >> 3 > UINT32_MAX) return false;
    out->number = (uint32_t)(key >> 3);
    out->wire = (enum wire)(key & 7);
    switch (out->wire) {
    case WIRE_VARINT: return take_varint(in, &out->value);
    case WIRE_64: return take_fixed(in, 8, &out->value);
    case WIRE_32: return take_fixed(in, 4, &out->value);
    case WIRE_BYTES: return take_bytes(in, &out->bytes);
    }
    return false;
}

static float as_float(uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float value;
    memcpy(&value, &low, sizeof value);
    return value;
}

static char *copy_text(const void *text, size_t length)
{
    char *copy = malloc(length + 1);
    if (copy == NULL) return NULL;
    if (length > 0) memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

enum lq_status lq_tokenizer_add(struct lq_tokenizer *t, const char *text, size_t length, float score, int32_t type,
                                struct lq_error *err)
{
    if (t->n == t->capacity) {
        size_t capacity = t->capacity == 0 ? 1024 : 2 * t->capacity;
        struct lq_piece *pieces = realloc(t->pieces, capacity * sizeof *pieces);
        if (pieces == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "not enough memory for the tokenizer");
        t->pieces = pieces;
        t->capacity = capacity;
    }
    char *copy = copy_text(text, length);
    if (copy == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "not enough memory for the tokenizer");
    t->pieces[t->n++] = (struct lq_piece){copy, length, score, type};
    return LQ_OK;
}

enum lq_status lq_tokenizer_replace(struct lq_tokenizer *t, size_t id, const char *text, float score, int32_t type,
                                    struct lq_error *err)
{
    char *copy = copy_text(text, strlen(text));
    if (copy == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "not enough memory for the tokenizer");
    free(t->pieces[id].text);
    t->pieces[id] = (struct lq_piece){copy, strlen(text), score, type};
    return LQ_OK;
}

int64_t lq_tokenizer_find(const struct lq_tokenizer *t, const char *text)
{
    size_t length = strlen(text);
    for (size_t i = 0; i < t->n; i++)
        if (t->pieces[i].length == length && memcmp(t->pieces[i].text, text, length) == 0) return (int64_t)i;
    return -1;
}

void lq_tokenizer_release(struct lq_tokenizer *t)
{
    for (size_t i = 0; i < t->n; i++) free(t->pieces[i].text);
    free(t->pieces);
    *t = (struct lq_tokenizer){0};
}

static enum lq_status malformed(const char *name, const char *what, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_FORMAT, "%s: not a SentencePiece model: %s", name, what);
}

static enum lq_status read_piece(struct lq_tokenizer *t, struct span in, const char *name, struct lq_error *err)
{
    struct field f;
    struct span text = {0};
    float score = 0;
    uint64_t type = LQ_PIECE_NORMAL;
    while (in.at < in.end) {
        if (!take_field(&in, &f)) return malformed(name, "a piece is cut off", err);
        if (f.number == PIECE_TEXT && f.wire == WIRE_BYTES) text = f.bytes;
        if (f.number == PIECE_SCORE && f.wire == WIRE_32) score = as_float(f.value);
        if (f.number == PIECE_TYPE && f.wire == WIRE_VARINT) type = f.value;
    }
    if (type < LQ_PIECE_NORMAL || type > LQ_PIECE_BYTE) return malformed(name, "a piece of unknown type", err);
    if (!isfinite(score)) return malformed(name, "a score that is not finite", err);
    return lq_tokenizer_add(t, (const char *)text.at, (size_t)(text.end - text.at), score, (int32_t)type, err);
}

/* Numbers outside the vocabulary (-1 above all) mean that there is no such token; the caller checks the upper end. */
static int32_t as_id(uint64_t value)
{
    return value > INT32_MAX ? -1 : (int32_t)value;
}

static enum lq_status read_trainer(struct lq_tokenizer *t, struct span in, const char *name, struct lq_error *err)
{
    struct field f;
    while (in.at < in.end) {
        if (!take_field(&in, &f)) return malformed(name, "its trainer part is cut off", err);
        if (f.wire != WIRE_VARINT) continue;
        if (f.number == TRAINER_MODEL_TYPE) t->model = as_id(f.value);
        if (f.number == TRAINER_UNK) t->unk = as_id(f.value);
        if (f.number == TRAINER_BOS) t->bos = as_id(f.value);
        if (f.number == TRAINER_EOS) t->eos = as_id(f.value);
        if (f.number == TRAINER_PAD) t->pad = as_id(f.value);
    }
    return LQ_OK;
}

static enum lq_status read_normalizer(struct lq_tokenizer *t, struct span in, const char *name, struct lq_error *err)
{
    struct field f;
    while (in.at < in.end) {
        if (!take_field(&in, &f)) return malformed(name, "its normaliser part is cut off", err);
        if (f.number == NORMALIZER_DUMMY_PREFIX && f.wire == WIRE_VARINT) t->add_dummy_prefix = f.value != 0;
    }
    return LQ_OK;
}

static enum lq_status read_model(struct lq_tokenizer *t, struct span in, const char *name, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    while (in.at < in.end && status == LQ_OK) {
        struct field f;
        if (!take_field(&in, &f)) return malformed(name, "it is cut off", err);
        if (f.wire != WIRE_BYTES) continue;
        if (f.number == MODEL_PIECE) status = read_piece(t, f.bytes, name, err);
        if (f.number == MODEL_TRAINER) status = read_trainer(t, f.bytes, name, err);
        if (f.number == MODEL_NORMALIZER) status = read_normalizer(t, f.bytes, name, err);
    }
    return status == LQ_OK && t->n == 0 ? malformed(name, "it holds no pieces", err) : status;
}

enum lq_status lq_tokenizer_parse(struct lq_tokenizer *out, const void *data, size_t size, const char *name,
                                  struct lq_error *err)
{
    struct lq_tokenizer t = {.model = LQ_PIECE_MODEL_UNIGRAM, .bos = 1, .eos = 2, .pad = -1, .add_dummy_prefix = true};
    enum lq_status status = read_model(&t, (struct span){data, (const uint8_t *)data + size}, name, err);
    if (status == LQ_OK) *out = t;
    else lq_tokenizer_release(&t);
    return status;
}
