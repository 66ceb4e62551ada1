#include "codec/levels.h"

#include "codec/half.h"

#include <string.h>

static const int8_t iq4_values[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
/* Twice the values of MXFP4; code 8 is a second zero. */
static const int8_t e2m1_values[] = {-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12};
static const uint8_t e2m1_codes[] = {15, 14, 13, 12, 11, 10, 9, 0, 1, 2, 3, 4, 5, 6, 7};
/* Q8_0 stores signed bytes. */
enum { Q8_FLIP = 0x80 };

static const struct lq_grid grids[] = {
    {LQ_TYPE_Q4_0, 32, 32, -8, 7, NULL, NULL, {{2, 4, 16, 0}}, {0, -1}},
    {LQ_TYPE_Q4_1, 32, 32, 0, 15, NULL, NULL, {{4, 4, 16, 0}}, {0, 2}},
    {LQ_TYPE_Q5_0, 32, 32, -16, 15, NULL, NULL, {{6, 4, 16, 0}, {2, 1, 1, 4}}, {0, -1}},
    {LQ_TYPE_Q5_1, 32, 32, 0, 31, NULL, NULL, {{8, 4, 16, 0}, {4, 1, 1, 4}}, {0, 2}},
    {LQ_TYPE_Q8_0, 32, 32, -128, 127, NULL, NULL, {{2, 8, 32, 0}}, {0, -1}},
    {LQ_TYPE_Q2_K, 256, 16, 0, 3, NULL, NULL, {{16, 2, 32, 0}}, {80, 82}},
    {LQ_TYPE_Q3_K, 256, 16, -4, 3, NULL, NULL, {{32, 2, 32, 0}, {0, 1, 32, 2}}, {108, -1}},
    {LQ_TYPE_Q4_K, 256, 32, 0, 15, NULL, NULL, {{16, 4, 32, 0}}, {0, 2}},
    {LQ_TYPE_Q5_K, 256, 32, 0, 31, NULL, NULL, {{48, 4, 32, 0}, {16, 1, 32, 4}}, {0, 2}},
    {LQ_TYPE_Q6_K, 256, 16, -32, 31, NULL, NULL, {{0, 4, 64, 0}, {128, 2, 32, 4}}, {208, -1}},
    {LQ_TYPE_IQ4_NL, 32, 32, 0, 15, iq4_values, NULL, {{2, 4, 16, 0}}, {0, -1}},
    {LQ_TYPE_IQ4_XS, 256, 32, 0, 15, iq4_values, NULL, {{8, 4, 16, 0}}, {0, -1}},
    {LQ_TYPE_MXFP4, 32, 32, -7, 7, e2m1_values, e2m1_codes, {{1, 4, 16, 0}}, {-1, -1}},
};

const struct lq_grid *lq_grid_find(enum lq_type type)
{
    for (size_t i = 0; i < sizeof grids / sizeof grids[0]; i++)
        if (grids[i].type == type) return &grids[i];
    return NULL;
}

/* Adds a plane's bits of n numbers to those. */
static void gather_bits(const struct lq_plane *plane, const uint8_t *block, size_t n, uint8_t *numbers)
{
    unsigned per_byte = 8 / plane->bits, mask = (1u << plane->bits) - 1;
    const uint8_t *bytes = block + plane->at;
    for (size_t i = 0; i < n; i += plane->run) {
        size_t turn = i / plane->run, down = turn % per_byte * plane->bits;
        const uint8_t *from = bytes + turn / per_byte * plane->run;
        for (unsigned k = 0; k < plane->run; k++) numbers[i + k] |= (uint8_t)((from[k] >> down & mask) << plane->up);
    }
}

enum { WORDS = LQ_ABREAST / 8 };

/* Codes of one weight's levels, block by block. */
static void code_levels(const struct lq_grid *grid, const uint8_t *level, uint64_t *words)
{
    const uint64_t flip = grid->type == LQ_TYPE_Q8_0 ? UINT64_MAX / 255 * Q8_FLIP : 0;
    uint8_t code[LQ_ABREAST] = {0};
    for (unsigned r = 0; r < LQ_ABREAST && grid->codes != NULL; r++) code[r] = grid->codes[level[r]];
    memcpy(words, grid->codes != NULL ? code : level, sizeof code);
    for (unsigned w = 0; w < WORDS; w++) words[w] ^= flip;
}

/* Byte `at` of a plane, in every block: all of its bits belong to the plane. Eight blocks at a time, because bytes of a
 * word that are masked keep to themselves when it is shifted. */
static void gather_byte(const struct lq_grid *grid, const struct lq_plane *plane, unsigned at,
                        const uint8_t *const *level, uint8_t *bytes)
{
    const uint64_t ones = UINT64_MAX / 255;
    unsigned per_byte = 8 / plane->bits, first = at / plane->run * per_byte * plane->run + at % plane->run;
    uint64_t mask = ones * ((1u << plane->bits) - 1), words[WORDS] = {0};
    for (unsigned turn = 0; turn < per_byte; turn++) {
        uint64_t code[WORDS];
        code_levels(grid, level[first + turn * plane->run], code);
        for (unsigned w = 0; w < WORDS; w++) words[w] |= (code[w] >> plane->up & mask) << turn * plane->bits;
    }
    memcpy(bytes, words, sizeof words);
}

void lq_grid_write(const struct lq_grid *grid, const uint8_t *const *level, uint8_t *blocks, size_t bytes)
{
    for (unsigned p = 0; p < 2 && grid->plane[p].bits != 0; p++)
        for (unsigned at = 0; at < (unsigned)grid->weights * grid->plane[p].bits / 8; at++) {
            uint8_t column[LQ_ABREAST];
            gather_byte(grid, &grid->plane[p], at, level, column);
            for (size_t r = 0; r < LQ_ABREAST; r++) blocks[r * bytes + grid->plane[p].at + at] = column[r];
        }
}

static float half_at(const uint8_t *p)
{
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return lq_half_to_float(half);
}

float lq_grid_super(const struct lq_grid *grid, const uint8_t *block, int way)
{
    return grid->super[way] < 0 ? 0 : half_at(block + grid->super[way]);
}

float lq_grid_set_super(const struct lq_grid *grid, uint8_t *block, int way, float value)
{
    uint16_t half = lq_float_to_half(value);
    if (grid->super[way] >= 0 && (half & 0x7c00) != 0x7c00) memcpy(block + grid->super[way], &half, sizeof half);
    return lq_grid_super(grid, block, way);
}

static void q2_k_scales(const uint8_t *block, float *scale, float *offset)
{
    float d = half_at(block + 80), m = half_at(block + 82);
    for (unsigned k = 0; k < 16; k++) {
        scale[k] = d * (float)(block[k] & 15);
        offset[k] = -(m * (float)(block[k] >> 4));
    }
}

/* Six bits each: the lower four of number k in a half of byte k % 8, the upper two in byte 8 + k % 4. */
static void q3_k_scales(const uint8_t *block, float *scale)
{
    static const struct lq_plane planes[] = {{96, 4, 8, 0}, {104, 2, 4, 4}};
    uint8_t number[16] = {0};
    for (unsigned p = 0; p < 2; p++) gather_bits(&planes[p], block, 16, number);
    for (unsigned k = 0; k < 16; k++) scale[k] = half_at(block + 108) * ((float)number[k] - 32);
}

/* Eight scales and eight minima of six bits: the first four of each in bytes of their own, whose upper two bits belong
 * to the last four, as do the halves of the bytes behind. */
static void q4_k_scales(const uint8_t *block, float *scale, float *offset)
{
    const uint8_t *first = block + 4, *half = block + 12;
    float d = half_at(block), m = half_at(block + 2);
    for (unsigned k = 0; k < 4; k++) {
        scale[k] = d * (float)(first[k] & 63);
        scale[4 + k] = d * (float)((half[k] & 15) | (first[k] >> 6) << 4);
        offset[k] = -(m * (float)(first[4 + k] & 63));
        offset[4 + k] = -(m * (float)((half[k] >> 4) | (first[4 + k] >> 6) << 4));
    }
}

static void iq4_xs_scales(const uint8_t *block, float *scale)
{
    static const struct lq_plane planes[] = {{4, 4, 1, 0}, {2, 2, 1, 4}};
    uint8_t number[8] = {0};
    for (unsigned p = 0; p < 2; p++) gather_bits(&planes[p], block, 8, number);
    for (unsigned k = 0; k < 8; k++) scale[k] = half_at(block) * (float)(number[k] - 32);
}

/* Half of two to the power of e - 127; the first two are denormal. */
static float half_power(uint8_t e)
{
    return lq_bits_float(e < 2 ? 0x200000u << e : (uint32_t)(e - 1) << 23);
}

void lq_grid_scales(const struct lq_grid *grid, const uint8_t *block, float *scale, float *offset)
{
    for (unsigned k = 0; k < (unsigned)grid->weights / grid->part; k++) offset[k] = -0.0f;
    switch ((int)grid->type) {
    case LQ_TYPE_Q2_K: q2_k_scales(block, scale, offset); break;
    case LQ_TYPE_Q3_K: q3_k_scales(block, scale); break;
    case LQ_TYPE_Q4_K:
    case LQ_TYPE_Q5_K: q4_k_scales(block, scale, offset); break;
    case LQ_TYPE_Q6_K:
        for (unsigned k = 0; k < 16; k++) scale[k] = half_at(block + 208) * (float)(int8_t)block[192 + k];
        break;
    case LQ_TYPE_IQ4_XS: iq4_xs_scales(block, scale); break;
    case LQ_TYPE_MXFP4: scale[0] = half_power(block[0]); break;
    case LQ_TYPE_Q4_1:
    case LQ_TYPE_Q5_1: offset[0] = half_at(block + 2); /* fall through */
    default: scale[0] = half_at(block);
    }
}
