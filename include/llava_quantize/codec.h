/* The format table: what a ggml type is called, how large its blocks are, who can encode it.
 *
 * Enters: a type name or id, in any case. Leaves: an entry of a constant table.
 * Invariants: ids and block sizes equal ggml's (a test compares them).
 *
 *     const struct lq_format *f = lq_format_find("Q4_K");
 *     printf("%s: %.4g bits per weight\n", f->name, f->bytes * 8.0 / f->block);   // q4_k: 4.5 bits per weight
 */
#ifndef LLAVA_QUANTIZE_CODEC_H
#define LLAVA_QUANTIZE_CODEC_H

#include "llava_quantize/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ggml's type ids, as they stand in GGUF files. */
/* clang-format off */
enum lq_type {
    LQ_TYPE_F32 = 0, LQ_TYPE_F16 = 1, LQ_TYPE_Q4_0 = 2, LQ_TYPE_Q4_1 = 3, LQ_TYPE_Q5_0 = 6, LQ_TYPE_Q5_1 = 7,
    LQ_TYPE_Q8_0 = 8, LQ_TYPE_Q8_1 = 9, LQ_TYPE_Q2_K = 10, LQ_TYPE_Q3_K = 11, LQ_TYPE_Q4_K = 12, LQ_TYPE_Q5_K = 13,
    LQ_TYPE_Q6_K = 14, LQ_TYPE_Q8_K = 15, LQ_TYPE_IQ2_XXS = 16, LQ_TYPE_IQ2_XS = 17, LQ_TYPE_IQ3_XXS = 18,
    LQ_TYPE_IQ1_S = 19, LQ_TYPE_IQ4_NL = 20, LQ_TYPE_IQ3_S = 21, LQ_TYPE_IQ2_S = 22, LQ_TYPE_IQ4_XS = 23,
    LQ_TYPE_I8 = 24, LQ_TYPE_I16 = 25, LQ_TYPE_I32 = 26, LQ_TYPE_I64 = 27, LQ_TYPE_F64 = 28, LQ_TYPE_IQ1_M = 29,
    LQ_TYPE_BF16 = 30, LQ_TYPE_TQ1_0 = 34, LQ_TYPE_TQ2_0 = 35, LQ_TYPE_MXFP4 = 39, LQ_TYPE_NVFP4 = 40,
    LQ_TYPE_Q1_0 = 41, LQ_TYPE_Q2_0 = 42, LQ_TYPE_COUNT = 43,
    LQ_TYPE_NONE = -1,
};
/* clang-format on */

enum {
    LQ_FORMAT_FLOAT = 1,            /* f32, f16, bf16 */
    LQ_FORMAT_QUANTISED = 2,        /* blocks with scales */
    LQ_FORMAT_TARGET = 4,           /* may be asked for as an output type */
    LQ_FORMAT_NEEDS_IMPORTANCE = 8, /* ggml's encoder demands importance data */
};

/* How long to look for the smallest error. */
enum lq_effort {
    LQ_EFFORT_NORMAL, /* errors at or below ggml's, many times as fast */
    LQ_EFFORT_FAST,   /* the first good guess */
    LQ_EFFORT_BEST    /* as low as is practical, at about ggml's speed */
};
/* "normal", "fast", "best". */
const char *lq_effort_name(enum lq_effort effort);

struct lq_format {
    enum lq_type type;
    const char *name;      /* ggml's name in lower case */
    uint32_t block, bytes; /* weights per block, bytes per block */
    unsigned flags;
};

/* NULL when no such type exists. Names ignore case. */
const struct lq_format *lq_format_find(const char *name);
const struct lq_format *lq_format_get(int64_t type);
/* "q4_k", or "?" for an id that does not exist. */
const char *lq_format_name(int64_t type);
/* Bytes of one row of `columns` weights; 0 when the type does not exist or the columns do not divide into blocks. */
uint64_t lq_format_row_bytes(int64_t type, uint64_t columns);

#ifdef __cplusplus
}
#endif
#endif
