/* A SentencePiece tokenizer.model (protobuf), read without any library.
 *
 * Enters: the file's bytes. Leaves: its pieces with score and type, the special ones' numbers, the flags that matter.
 * Invariants: every length is bounded by the bytes that remain; unknown fields are skipped; texts may hold any byte.
 *
 *     struct lq_tokenizer t = {0};
 *     if (lq_tokenizer_parse(&t, bytes, size, "tokenizer.model", &err) == LQ_OK) printf("%zu pieces\n", t.n);
 *     lq_tokenizer_release(&t);
 */
#ifndef LQ_MODEL_TOKENIZER_H
#define LQ_MODEL_TOKENIZER_H

#include "llava_quantize/base.h"

/* SentencePiece's piece types, which are GGUF's token types too. */
enum lq_piece_type {
    LQ_PIECE_NORMAL = 1,
    LQ_PIECE_UNKNOWN,
    LQ_PIECE_CONTROL,
    LQ_PIECE_USER_DEFINED,
    LQ_PIECE_UNUSED,
    LQ_PIECE_BYTE
};

enum lq_piece_model { LQ_PIECE_MODEL_UNIGRAM = 1, LQ_PIECE_MODEL_BPE };

struct lq_piece {
    char *text; /* owned, with an extra 0 behind its `length` bytes */
    size_t length;
    float score;
    int32_t type;
};

struct lq_tokenizer {
    struct lq_piece *pieces;
    size_t n, capacity;
    int32_t model;              /* enum lq_piece_model, or another number that the file says */
    int32_t unk, bos, eos, pad; /* -1: none */
    bool add_dummy_prefix;      /* a space goes before the first word */
};

/* `name` stands in messages. Errors: LQ_ERR_FORMAT, LQ_ERR_MEMORY. */
enum lq_status lq_tokenizer_parse(struct lq_tokenizer *out, const void *data, size_t size, const char *name,
                                  struct lq_error *err);
/* Appends a piece; the text is copied. */
enum lq_status lq_tokenizer_add(struct lq_tokenizer *t, const char *text, size_t length, float score, int32_t type,
                                struct lq_error *err);
/* Replaces the piece at `id`. */
enum lq_status lq_tokenizer_replace(struct lq_tokenizer *t, size_t id, const char *text, float score, int32_t type,
                                    struct lq_error *err);
/* The number of the piece with this text, or -1. */
int64_t lq_tokenizer_find(const struct lq_tokenizer *t, const char *text);
void lq_tokenizer_release(struct lq_tokenizer *t);

#endif
