/* Lanes of floats, four of them (NEON); what each operation computes stands in lanes_scalar.h. */
#ifndef LQ_CODEC_LANES_NEON_H
#define LQ_CODEC_LANES_NEON_H

#include <arm_neon.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HALF_TO_FLOAT(h) vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h))), 0)
#define FLOAT_TO_HALF(f) vget_lane_u16(vreinterpret_u16_f16(vcvt_f16_f32(vdupq_n_f32(f))), 0)

enum { LANES = 4 };
typedef float32x4_t vf;
typedef uint32x4_t vm;

static inline vf v_load(const float *p)
{
    return vld1q_f32(p);
}

static inline void v_store(float *p, vf a)
{
    vst1q_f32(p, a);
}

static inline vf v_set(float f)
{
    return vdupq_n_f32(f);
}

/* Not vminq and vmaxq: those return what is not a number, and order the zeros. */
static inline vf v_min(vf a, vf b)
{
    return vbslq_f32(vcltq_f32(a, b), a, b);
}

static inline vf v_max(vf a, vf b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}

static inline vf v_abs(vf a)
{
    return vabsq_f32(a);
}

static inline vf v_sqrt(vf a)
{
    return vsqrtq_f32(a);
}

static inline vm v_less(vf a, vf b)
{
    return vcltq_f32(a, b);
}

static inline vf v_select(vm which, vf yes, vf no)
{
    return vbslq_f32(which, yes, no);
}

static inline vm v_both(vm a, vm b)
{
    return vandq_u32(a, b);
}

static inline bool v_any(vm which)
{
    return vmaxvq_u32(which) != 0;
}

/* The table as 32 bytes; bytes 4 i .. 4 i + 3 of them are entry i. */
static inline vf v_lookup(const float table[8], vf index)
{
    const uint8x16x2_t bytes = {{vreinterpretq_u8_f32(vld1q_f32(table)), vreinterpretq_u8_f32(vld1q_f32(table + 4))}};
    uint32x4_t first = vmulq_n_u32(vcvtq_u32_f32(index), 0x04040404);
    uint8x16_t places = vreinterpretq_u8_u32(vaddq_u32(first, vdupq_n_u32(0x03020100)));
    return vreinterpretq_f32_u8(vqtbl2q_u8(bytes, places));
}

static inline vf v_load_halves(const uint16_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}

static inline void v_store_halves(uint16_t *p, vf a)
{
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a)));
}

static inline vf v_load_bytes(const uint8_t *p)
{
    uint32_t four;
    memcpy(&four, p, sizeof four);
    uint16x8_t wide = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)));
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide)));
}

static inline void v_store_bytes(uint8_t *p, vf a)
{
    uint16x4_t words = vmovn_u32(vcvtq_u32_f32(a));
    uint32_t four = vget_lane_u32(vreinterpret_u32_u8(vmovn_u16(vcombine_u16(words, words))), 0);
    memcpy(p, &four, sizeof four);
}

static inline void v_transpose(vf rows[LANES])
{
    float32x4_t lower[2] = {vzip1q_f32(rows[0], rows[2]), vzip1q_f32(rows[1], rows[3])};
    float32x4_t upper[2] = {vzip2q_f32(rows[0], rows[2]), vzip2q_f32(rows[1], rows[3])};
    rows[0] = vzip1q_f32(lower[0], lower[1]);
    rows[1] = vzip2q_f32(lower[0], lower[1]);
    rows[2] = vzip1q_f32(upper[0], upper[1]);
    rows[3] = vzip2q_f32(upper[0], upper[1]);
}

#endif
