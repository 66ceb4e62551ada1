#include "codec/encode.h"

#include "codec/kernels.h"

#include <string.h>

/* Where the scales of a block stand: byte offsets of 16-bit floats. */
struct scales {
    enum lq_type type;
    uint16_t n, offset[2];
};

static const struct scales half_scales[] = {
    {LQ_TYPE_Q4_0, 1, {0}},    {LQ_TYPE_Q4_1, 2, {0, 2}}, {LQ_TYPE_Q5_0, 1, {0}},      {LQ_TYPE_Q5_1, 2, {0, 2}},
    {LQ_TYPE_Q8_0, 1, {0}},    {LQ_TYPE_Q8_1, 2, {0, 2}}, {LQ_TYPE_Q2_K, 2, {80, 82}}, {LQ_TYPE_Q3_K, 1, {108}},
    {LQ_TYPE_Q4_K, 2, {0, 2}}, {LQ_TYPE_Q5_K, 2, {0, 2}}, {LQ_TYPE_Q6_K, 1, {208}},    {LQ_TYPE_IQ2_XXS, 1, {0}},
    {LQ_TYPE_IQ2_XS, 1, {0}},  {LQ_TYPE_IQ3_XXS, 1, {0}}, {LQ_TYPE_IQ1_S, 1, {0}},     {LQ_TYPE_IQ4_NL, 1, {0}},
    {LQ_TYPE_IQ3_S, 1, {0}},   {LQ_TYPE_IQ2_S, 1, {0}},   {LQ_TYPE_IQ4_XS, 1, {0}},    {LQ_TYPE_TQ1_0, 1, {52}},
    {LQ_TYPE_TQ2_0, 1, {64}},  {LQ_TYPE_Q1_0, 1, {0}},    {LQ_TYPE_Q2_0, 1, {0}},
};

static uint16_t load16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static bool half_is_finite(uint16_t half)
{
    return (half & 0x7c00) != 0x7c00;
}

static bool validate_halves(const struct scales *s, const uint8_t *blocks, uint64_t n, uint32_t block_bytes)
{
    for (uint64_t b = 0; b < n; b++, blocks += block_bytes)
        for (unsigned i = 0; i < s->n; i++)
            if (!half_is_finite(load16(blocks + s->offset[i]))) return false;
    return true;
}

static bool f32_is_finite(const uint8_t *p)
{
    return (load16(p + 2) & 0x7f80) != 0x7f80;
}

/* Of which a file may hold thousands of millions; perhaps at an odd address. */
static bool f32_are_finite(const uint8_t *p, uint64_t n)
{
    enum { AT_ONCE = 1024 };
    float floats[AT_ONCE];
    struct lq_survey survey = {0};
    for (uint64_t i = 0; i < n && survey.largest < 0x7f800000; i += AT_ONCE) {
        uint64_t left = n - i < AT_ONCE ? n - i : AT_ONCE;
        memcpy(floats, p + i * sizeof *floats, left * sizeof *floats);
        lq_kernels()->survey(floats, left, &survey);
    }
    return survey.largest < 0x7f800000;
}

static bool f64_is_finite(const uint8_t *p)
{
    return (load16(p + 6) & 0x7ff0) != 0x7ff0;
}

static bool mxfp4_is_finite(const uint8_t *p)
{
    return p[0] != 0xff;
}

/* IQ1_M spreads its f16 scale over the upper four bits of four words. */
static bool iq1_m_is_finite(const uint8_t *p)
{
    const uint8_t *words = p + 48;
    return half_is_finite((uint16_t)(load16(words) >> 12 | (load16(words + 2) >> 8 & 0x00f0) |
                                     (load16(words + 4) >> 4 & 0x0f00) | (load16(words + 6) & 0xf000)));
}

static const struct {
    enum lq_type type;
    bool (*is_finite)(const uint8_t *block);
} others[] = {
    {LQ_TYPE_F64, f64_is_finite},
    {LQ_TYPE_Q8_K, f32_is_finite},
    {LQ_TYPE_MXFP4, mxfp4_is_finite},
    {LQ_TYPE_IQ1_M, iq1_m_is_finite},
};

/* 16-bit floats: the first magnitude that is not finite. */
static const struct {
    enum lq_type type;
    uint32_t limit;
} floats_16[] = {{LQ_TYPE_F16, 0x7c00}, {LQ_TYPE_BF16, 0x7f80}};

static bool floats_are_finite(const void *floats, uint64_t n, uint32_t limit)
{
    uint32_t largest = 0;
    lq_kernels()->largest_16(floats, n, &largest);
    return largest < limit;
}

/* Integers and NVFP4 have no bit pattern that is not finite. */
bool lq_codec_validate(enum lq_type type, const void *blocks, uint64_t bytes)
{
    const struct lq_format *f = lq_format_get(type);
    if (f == NULL || bytes % f->bytes != 0) return false;
    uint64_t n = bytes / f->bytes;
    if (type == LQ_TYPE_F32) return f32_are_finite(blocks, n);
    for (size_t i = 0; i < sizeof floats_16 / sizeof floats_16[0]; i++)
        if (floats_16[i].type == type) return floats_are_finite(blocks, n, floats_16[i].limit);
    for (size_t i = 0; i < sizeof half_scales / sizeof half_scales[0]; i++)
        if (half_scales[i].type == type) return validate_halves(&half_scales[i], blocks, n, f->bytes);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (others[i].type != type) continue;
        const uint8_t *block = blocks;
        for (uint64_t b = 0; b < n; b++, block += f->bytes)
            if (!others[i].is_finite(block)) return false;
    }
    return true;
}
