/* IEEE half precision in integer arithmetic: the specification of every F16 conversion. */
#ifndef LQ_CODEC_HALF_H
#define LQ_CODEC_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t lq_float_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static inline float lq_bits_float(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline float lq_half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 0x1f, mantissa = half & 0x3ff;
    if (exponent == 0x1f) return lq_bits_float(sign | 0x7f800000 | mantissa << 13 | (mantissa != 0 ? 0x400000 : 0));
    if (exponent != 0) return lq_bits_float(sign | (exponent + 112) << 23 | mantissa << 13);
    return lq_bits_float(sign | lq_float_bits((float)mantissa * 0x1p-24f));
}

/* Round to nearest even; 65520 and more become infinity. */
static inline uint16_t lq_float_to_half(float f)
{
    uint32_t bits = lq_float_bits(f), sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (bits >> 13 & 0x3ff));
    if (bits >= 0x47800000) return (uint16_t)(sign | 0x7c00);
    if (bits >= 0x38800000) {
        bits -= 0x38000000;
        return (uint16_t)(sign | (bits + 0xfff + (bits >> 13 & 1)) >> 13);
    }
    if (bits <= 0x33000000) return (uint16_t)sign;
    uint32_t mantissa = (bits & 0x7fffff) | 0x800000, shift = 126 - (bits >> 23);
    uint32_t kept = mantissa >> shift, lost = mantissa & ((1u << shift) - 1), middle = 1u << (shift - 1);
    return (uint16_t)(sign | (kept + (lost > middle || (lost == middle && (kept & 1) != 0))));
}

#endif
