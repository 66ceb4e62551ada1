/* Decoders of the block formats.
 *
 * Part of the kernels' text: included once per instruction set, behind lanes_<isa>.h.
 * Each unpacks its levels into bytes, one per weight, and scales those. The order of the float operations is that of
 * ggml's decoders, so that the weights are the same, bit for bit, whatever the bytes; only a scale that is not finite
 * may give another NaN. The layouts stand in docs/formats.md. */

static inline float half_at(const uint8_t *p)
{
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return HALF_TO_FLOAT(half);
}

/* n times scale * level - minimum. */
static inline void scale_from_minimum(const uint8_t *level, size_t n, float scale, float minimum, float *dst)
{
    for (size_t i = 0; i < n; i += LANES) v_store(dst + i, v_set(scale) * v_load_bytes(level + i) - v_set(minimum));
}

/* n times scale * (level - centre). */
static inline void scale_from_centre(const uint8_t *level, size_t n, float scale, float centre, float *dst)
{
    for (size_t i = 0; i < n; i += LANES) v_store(dst + i, v_set(scale) * (v_load_bytes(level + i) - v_set(centre)));
}

/* n times scale * table[level]. */
static inline void scale_from_table(const uint8_t *level, size_t n, float scale, const float table[16], float *dst)
{
    for (size_t i = 0; i < n; i += LANES) {
        vf index = v_load_bytes(level + i), rest = index - v_set(8);
        vm lower = v_less(rest, v_set(0));
        rest = v_select(lower, index, rest);
        v_store(dst + i, v_set(scale) * v_select(lower, v_lookup(table, rest), v_lookup(table + 8, rest)));
    }
}

/* Copies from n bytes the bits that `mask` keeps of each once it is moved down by `down`, moved up by `up`, into levels
 * that have zeros there. Eight bytes at a time; n is a multiple of that. */
static inline void add_bits(const uint8_t *src, size_t n, unsigned down, uint64_t mask, unsigned up, uint8_t *level)
{
    const uint64_t masks = mask * 0x0101010101010101;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t bits, eight;
        memcpy(&bits, src + i, sizeof bits);
        memcpy(&eight, level + i, sizeof eight);
        eight |= (bits >> down & masks) << up;
        memcpy(level + i, &eight, sizeof eight);
    }
}

/* n bytes hold n levels in their lower halves, the next n in their upper. */
static inline void unpack_nibbles(const uint8_t *src, size_t n, uint8_t *level)
{
    const uint64_t masks = 0x0f0f0f0f0f0f0f0f;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t bits, lower, upper;
        memcpy(&bits, src + i, sizeof bits);
        lower = bits & masks;
        upper = bits >> 4 & masks;
        memcpy(level + i, &lower, sizeof lower);
        memcpy(level + n + i, &upper, sizeof upper);
    }
}

/* Two times 32 bytes hold two bits of 256 levels: those of level i in byte i / 128 * 32 + i % 32, behind those of
 * levels i - 32, i - 64 and so on. */
static inline void add_pairs(const uint8_t src[64], unsigned up, uint8_t level[256])
{
    for (unsigned k = 0; k < 8; k++) add_bits(src + k / 4 * 32, 32, k % 4 * 2, 3, up, level + 32 * k);
}

/* 32 bytes: bit k of byte i belongs to level 32 k + i. */
static inline void add_singles(const uint8_t src[32], unsigned up, uint8_t level[256])
{
    for (unsigned k = 0; k < 8; k++) add_bits(src, 32, k, 1, up, level + 32 * k);
}

/* Bit i of the 32 is the fifth of level i. Eight at a time: a byte is copied into eight, each keeps one bit of it, and
 * what is not zero carries into bit 7. */
static inline void add_fifth_bits(const uint8_t bits[4], uint8_t level[32])
{
    const uint64_t ones = 0x0101010101010101, diagonal = 0x8040201008040201;
    for (size_t k = 0; k < 4; k++) {
        uint64_t eight;
        memcpy(&eight, level + 8 * k, sizeof eight);
        eight |= ((bits[k] * ones & diagonal) + 0x7f * ones) >> 3 & 0x10 * ones;
        memcpy(level + 8 * k, &eight, sizeof eight);
    }
}

static void q4_0_decode(const uint8_t *src, float *dst, size_t n_blocks)
{
    for (size_t b = 0; b < n_blocks; b++, src += 18, dst += 32) {
        uint8_t level[32];
        unpack_nibbles(src + 2, 16, level);
        scale_from_centre(level, 32, half_at(src), 8, dst);
    }
}

static void q4_1_decode(const uint8_t *src, float *dst, size_t n_blocks)
{
    for (size_t b = 0; b < n_blocks; b++, src += 20, dst += 32) {
        uint8_t level[32];
        unpack_nibbles(src + 4, 16, level);
        scale_from_minimum(level, 32, half_at(src), -half_at(src + 2), dst);
    }
}

static void q5_0_decode(const uint8_t *src, float *dst, size_t n_blocks)
{
    for (size_t b = 0; b < n_blocks; b++, src += 22, dst += 32) {
        uint8_t level[32];
        unpack_nibbles(src + 6, 16, level);
        add_fifth_bits(src + 2, level);
        scale_from_centre(level, 32, half_at(src), 16, dst);
    }
}

static void q5_1_decode(const uint8_t *src, float *dst, size_t n_blocks)
{
    for (size_t b = 0; b < n_blocks; b++, src += 24, dst += 32) {
        uint8_t level[32];
        unpack_nibbles(src + 8, 16, level);
        add_fifth_bits(src + 4, level);
        scale_from_minimum(level, 32, half_at(src), -half_at(src + 2), dst);
    }
}

static void q8_0_decode(const uint8_t *src, float *dst, size_t n_blocks)
{
    for (size_t b = 0; b < n_blocks; b++, src += 34, dst += 32) {
        uint8_t level[32];
        for (size_t i = 0; i < 32; i++) level[i] = src[2 + i] ^ 0x80;
        scale_from_centre(level, 32, half_at(src), 128, dst);
    }
}

/* 16 bytes: a scale in the lower half, a minimum in the upper, for each part of 16 weights; 64 bytes of levels; then
 * the two scales of all those. */
static void q2_k_decode(const uint8_t *src, float *dst, size_t n_blocks)
{
    for (size_t b = 0; b < n_blocks; b++, src += 84, dst += 256) {
        float d = half_at(src + 80), m = half_at(src + 82);
        uint8_t level[256] = {0};
        add_pairs(src + 16, 0, level);
        for (size_t k = 0; k < 16; k++)
            scale_from_minimum(level + 16 * k, 16, d * (float)(src[k] & 15), m * (float)(src[k] >> 4), dst + 16 * k);
    }
}

/* 16 scales of 6 bits: the lower four of scale k in a half of byte k % 8, the upper two in byte 8 + k % 4. */
static inline void q3_k_scales(const uint8_t packed[12], uint8_t scale[16])
{
    for (size_t k = 0; k < 16; k++)
        scale[k] = (uint8_t)((packed[k % 8] >> k / 8 * 4 & 15) | (packed[8 + k % 4] >> k / 4 * 2 & 3) << 4);
}

/* 32 bytes with the third bits of levels; 64 with the lower two; 12 with scales; their scale. */
static void q3_k_decode(const uint8_t *src, float *dst, size_t n_blocks)
{
    for (size_t b = 0; b < n_blocks; b++, src += 110, dst += 256) {
        float d = half_at(src + 108);
        uint8_t level[256] = {0}, scale[16];
        q3_k_scales(src + 96, scale);
        add_pairs(src + 32, 0, level);
        add_singles(src, 2, level);
        for (size_t k = 0; k < 16; k++)
            scale_from_centre(level + 16 * k, 16, d * ((float)scale[k] - 32), 4, dst + 16 * k);
    }
}

/* Q4_K and Q5_K share these first 16 bytes of a block of 256: two halves, and for each of eight groups of 32 weights a
 * 6-bit scale and a 6-bit minimum. The first four of each fill the lower bits of bytes 0-3 and 4-7; the last four have
 * their lower 4 bits in the halves of bytes 8-11, their upper 2 in the spare bits of the others. Four at a time: no
 * shift here carries a wanted bit from one byte into the next. */
static inline void group_scales(const uint8_t *block, float scale[8], float minimum[8])
{
    const uint32_t six = 0x3f3f3f3f, lower = 0x0f0f0f0f, upper = 0x30303030;
    uint32_t packed[3];
    memcpy(packed, block + 4, sizeof packed);
    uint32_t four[4] = {packed[0] & six, (packed[2] & lower) | (packed[0] >> 2 & upper), packed[1] & six,
                        (packed[2] >> 4 & lower) | (packed[1] >> 2 & upper)};
    uint8_t bytes[16];
    memcpy(bytes, four, sizeof bytes);
    float d = half_at(block), m = half_at(block + 2);
    for (size_t k = 0; k < 8; k++) scale[k] = d * (float)bytes[k];
    for (size_t k = 0; k < 8; k++) minimum[k] = m * (float)bytes[8 + k];
}

/* Behind the scales, 32 bytes for each pair of groups: the first in their lower halves, the second in the upper. */
static void q4_k_decode(const uint8_t *src, float *dst, size_t n_blocks)
{
    for (size_t b = 0; b < n_blocks; b++, src += 144, dst += 256) {
        float scale[8], minimum[8];
        uint8_t level[256];
        group_scales(src, scale, minimum);
        for (size_t k = 0; k < 4; k++) unpack_nibbles(src + 16 + 32 * k, 32, level + 64 * k);
        for (size_t k = 0; k < 8; k++) scale_from_minimum(level + 32 * k, 32, scale[k], minimum[k], dst + 32 * k);
    }
}

/* As Q4_K, with 32 bytes between: the fifth bits of levels. */
static void q5_k_decode(const uint8_t *src, float *dst, size_t n_blocks)
{
    for (size_t b = 0; b < n_blocks; b++, src += 176, dst += 256) {
        float scale[8], minimum[8];
        uint8_t level[256];
        group_scales(src, scale, minimum);
        for (size_t k = 0; k < 4; k++) unpack_nibbles(src + 48 + 32 * k, 32, level + 64 * k);
        add_singles(src + 16, 4, level);
        for (size_t k = 0; k < 8; k++) scale_from_minimum(level + 32 * k, 32, scale[k], minimum[k], dst + 32 * k);
    }
}

/* 64 bytes with the lower four bits of 128 levels, and once more; 64 bytes with the upper two bits of all; a signed
 * scale for each part of 16 weights, and theirs. */
static void q6_k_decode(const uint8_t *src, float *dst, size_t n_blocks)
{
    for (size_t b = 0; b < n_blocks; b++, src += 210, dst += 256) {
        float d = half_at(src + 208);
        uint8_t level[256];
        for (size_t h = 0; h < 2; h++) unpack_nibbles(src + 64 * h, 64, level + 128 * h);
        add_pairs(src + 128, 4, level);
        for (size_t k = 0; k < 16; k++)
            scale_from_centre(level + 16 * k, 16, d * (float)(int8_t)src[192 + k], 32, dst + 16 * k);
    }
}

/* What the levels of IQ4_NL and IQ4_XS stand for. */
static const float iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static void iq4_nl_decode(const uint8_t *src, float *dst, size_t n_blocks)
{
    for (size_t b = 0; b < n_blocks; b++, src += 18, dst += 32) {
        uint8_t level[32];
        unpack_nibbles(src + 2, 16, level);
        scale_from_table(level, 32, half_at(src), iq4_values, dst);
    }
}

/* The scale of all; the upper two bits of eight group scales; their lower four; 16 bytes for each group. */
static void iq4_xs_decode(const uint8_t *src, float *dst, size_t n_blocks)
{
    for (size_t b = 0; b < n_blocks; b++, src += 136, dst += 256) {
        float d = half_at(src);
        for (size_t k = 0; k < 8; k++) {
            int scale = (src[4 + k / 2] >> k % 2 * 4 & 15) | (src[2 + k / 4] >> k % 4 * 2 & 3) << 4;
            uint8_t level[32];
            unpack_nibbles(src + 8 + 16 * k, 16, level);
            scale_from_table(level, 32, d * (float)(scale - 32), iq4_values, dst + 32 * k);
        }
    }
}

/* Twice what the levels of MXFP4 stand for: whole numbers. */
static const float e2m1_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* Half of two to the power of e - 127; the first two are denormal. */
static inline float half_power(uint8_t e)
{
    return lq_bits_float(e < 2 ? 0x200000u << e : (uint32_t)(e - 1) << 23);
}

static void mxfp4_decode(const uint8_t *src, float *dst, size_t n_blocks)
{
    for (size_t b = 0; b < n_blocks; b++, src += 17, dst += 32) {
        uint8_t level[32];
        unpack_nibbles(src + 1, 16, level);
        scale_from_table(level, 32, half_power(src[0]), e2m1_values, dst);
    }
}
