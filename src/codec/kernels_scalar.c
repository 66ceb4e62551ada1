#include "codec/half.h"
#include "codec/kernels.h"

#define LQ_ISA scalar
#define HALF_TO_FLOAT(h) lq_half_to_float(h)
#define FLOAT_TO_HALF(f) lq_float_to_half(f)

static void f16_to_f32(const uint16_t *src, float *dst, size_t n)
{
    for (size_t i = 0; i < n; i++) dst[i] = lq_half_to_float(src[i]);
}

static void f32_to_f16(const float *src, uint16_t *dst, size_t n)
{
    for (size_t i = 0; i < n; i++) dst[i] = lq_float_to_half(src[i]);
}

#include "codec/kernels_body.h"
