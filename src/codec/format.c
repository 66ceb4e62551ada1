#include "llava_quantize/codec.h"

#include <strings.h>

#define F LQ_FORMAT_FLOAT
#define Q LQ_FORMAT_QUANTISED
#define T LQ_FORMAT_TARGET
#define I LQ_FORMAT_NEEDS_IMPORTANCE

/* Indexed by type id; an empty name marks an id that llama.cpp has retired. */
static const struct lq_format formats[LQ_TYPE_COUNT] = {
    [LQ_TYPE_F32] = {LQ_TYPE_F32, "f32", 1, 4, F | T},
    [LQ_TYPE_F16] = {LQ_TYPE_F16, "f16", 1, 2, F | T},
    [LQ_TYPE_Q4_0] = {LQ_TYPE_Q4_0, "q4_0", 32, 18, Q | T},
    [LQ_TYPE_Q4_1] = {LQ_TYPE_Q4_1, "q4_1", 32, 20, Q | T},
    [LQ_TYPE_Q5_0] = {LQ_TYPE_Q5_0, "q5_0", 32, 22, Q | T},
    [LQ_TYPE_Q5_1] = {LQ_TYPE_Q5_1, "q5_1", 32, 24, Q | T},
    [LQ_TYPE_Q8_0] = {LQ_TYPE_Q8_0, "q8_0", 32, 34, Q | T},
    [LQ_TYPE_Q8_1] = {LQ_TYPE_Q8_1, "q8_1", 32, 36, Q},
    [LQ_TYPE_Q2_K] = {LQ_TYPE_Q2_K, "q2_k", 256, 84, Q | T},
    [LQ_TYPE_Q3_K] = {LQ_TYPE_Q3_K, "q3_k", 256, 110, Q | T},
    [LQ_TYPE_Q4_K] = {LQ_TYPE_Q4_K, "q4_k", 256, 144, Q | T},
    [LQ_TYPE_Q5_K] = {LQ_TYPE_Q5_K, "q5_k", 256, 176, Q | T},
    [LQ_TYPE_Q6_K] = {LQ_TYPE_Q6_K, "q6_k", 256, 210, Q | T},
    [LQ_TYPE_Q8_K] = {LQ_TYPE_Q8_K, "q8_k", 256, 292, Q},
    [LQ_TYPE_IQ2_XXS] = {LQ_TYPE_IQ2_XXS, "iq2_xxs", 256, 66, Q | T | I},
    [LQ_TYPE_IQ2_XS] = {LQ_TYPE_IQ2_XS, "iq2_xs", 256, 74, Q | T | I},
    [LQ_TYPE_IQ3_XXS] = {LQ_TYPE_IQ3_XXS, "iq3_xxs", 256, 98, Q | T},
    [LQ_TYPE_IQ1_S] = {LQ_TYPE_IQ1_S, "iq1_s", 256, 50, Q | T | I},
    [LQ_TYPE_IQ4_NL] = {LQ_TYPE_IQ4_NL, "iq4_nl", 32, 18, Q | T},
    [LQ_TYPE_IQ3_S] = {LQ_TYPE_IQ3_S, "iq3_s", 256, 110, Q | T},
    [LQ_TYPE_IQ2_S] = {LQ_TYPE_IQ2_S, "iq2_s", 256, 82, Q | T},
    [LQ_TYPE_IQ4_XS] = {LQ_TYPE_IQ4_XS, "iq4_xs", 256, 136, Q | T},
    [LQ_TYPE_I8] = {LQ_TYPE_I8, "i8", 1, 1, 0},
    [LQ_TYPE_I16] = {LQ_TYPE_I16, "i16", 1, 2, 0},
    [LQ_TYPE_I32] = {LQ_TYPE_I32, "i32", 1, 4, 0},
    [LQ_TYPE_I64] = {LQ_TYPE_I64, "i64", 1, 8, 0},
    [LQ_TYPE_F64] = {LQ_TYPE_F64, "f64", 1, 8, 0},
    [LQ_TYPE_IQ1_M] = {LQ_TYPE_IQ1_M, "iq1_m", 256, 56, Q | T},
    [LQ_TYPE_BF16] = {LQ_TYPE_BF16, "bf16", 1, 2, F | T},
    [LQ_TYPE_TQ1_0] = {LQ_TYPE_TQ1_0, "tq1_0", 256, 54, Q | T},
    [LQ_TYPE_TQ2_0] = {LQ_TYPE_TQ2_0, "tq2_0", 256, 66, Q | T},
    [LQ_TYPE_MXFP4] = {LQ_TYPE_MXFP4, "mxfp4", 32, 17, Q | T},
    [LQ_TYPE_NVFP4] = {LQ_TYPE_NVFP4, "nvfp4", 64, 36, Q | T},
    [LQ_TYPE_Q1_0] = {LQ_TYPE_Q1_0, "q1_0", 128, 18, Q | T},
    [LQ_TYPE_Q2_0] = {LQ_TYPE_Q2_0, "q2_0", 64, 18, Q | T},
};

const struct lq_format *lq_format_get(int64_t type)
{
    if (type < 0 || type >= LQ_TYPE_COUNT || formats[type].name == NULL) return NULL;
    return &formats[type];
}

const struct lq_format *lq_format_find(const char *name)
{
    for (int i = 0; i < LQ_TYPE_COUNT; i++)
        if (formats[i].name != NULL && strcasecmp(formats[i].name, name) == 0) return &formats[i];
    return NULL;
}

const char *lq_format_name(int64_t type)
{
    const struct lq_format *f = lq_format_get(type);
    return f == NULL ? "?" : f->name;
}

uint64_t lq_format_row_bytes(int64_t type, uint64_t columns)
{
    const struct lq_format *f = lq_format_get(type);
    if (f == NULL || columns == 0 || columns % f->block != 0) return 0;
    uint64_t blocks = columns / f->block;
    return blocks > UINT64_MAX / f->bytes ? 0 : blocks * f->bytes;
}

const char *lq_effort_name(enum lq_effort effort)
{
    static const char *const names[] = {
        [LQ_EFFORT_NORMAL] = "normal", [LQ_EFFORT_FAST] = "fast", [LQ_EFFORT_BEST] = "best"};
    return names[effort];
}
