#include "codec/half.h"
#include "codec/kernels.h"
#include "codec/lanes_scalar.h"

enum { HALF_LANES = 16 };

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

static void scale_bytes(const uint8_t bytes[32], float scale, float minimum, float *dst)
{
    for (size_t i = 0; i < 32; i++) dst[i] = scale * (float)bytes[i] - minimum;
}

static void scale_nibbles(const uint8_t bytes[32], const float scale[2], const float minimum[2], float *dst)
{
    for (size_t i = 0; i < 32; i++) dst[i] = scale[0] * (float)(bytes[i] & 15) - minimum[0];
    for (size_t i = 0; i < 32; i++) dst[32 + i] = scale[1] * (float)(bytes[i] >> 4) - minimum[1];
}

/* Sums run in HALF_LANES lanes; their upper halves are added to the lower ones until four are left. */
static void half_difference(const uint16_t *w, const float *q, size_t n, double sums[2])
{
    float error[HALF_LANES] = {0}, weight[HALF_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        float a = lq_half_to_float(w[i]), d = a - q[i];
        error[i % HALF_LANES] += d * d;
        weight[i % HALF_LANES] += a * a;
    }
    for (size_t left = HALF_LANES / 2; left >= 4; left /= 2)
        for (size_t lane = 0; lane < left; lane++) {
            error[lane] += error[lane + left];
            weight[lane] += weight[lane + left];
        }
    sums[0] = ((double)error[0] + (double)error[1]) + ((double)error[2] + (double)error[3]);
    sums[1] = ((double)weight[0] + (double)weight[1]) + ((double)weight[2] + (double)weight[3]);
}

#include "codec/kernels_body.h"
