/* The kernels for CPUs with AVX2 and F16C; compiled with those flags, called only where both are there. */
#if defined(__x86_64__)
#include "codec/half.h"
#include "codec/kernels.h"

#include <immintrin.h>

#define LQ_ISA avx2
#define HALF_TO_FLOAT(h) _cvtsh_ss(h)
#define FLOAT_TO_HALF(f) ((uint16_t)_cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT))

static void f16_to_f32(const uint16_t *src, float *dst, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(src + i))));
    for (; i < n; i++) dst[i] = HALF_TO_FLOAT(src[i]);
}

static void f32_to_f16(const float *src, uint16_t *dst, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(dst + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < n; i++) dst[i] = FLOAT_TO_HALF(src[i]);
}

static __m256i widen_8_bytes(const uint8_t *bytes)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)bytes));
}

/* scale * value - minimum */
static void scale_8(__m256i values, __m256 scale, __m256 minimum, float *dst)
{
    _mm256_storeu_ps(dst, _mm256_sub_ps(_mm256_mul_ps(scale, _mm256_cvtepi32_ps(values)), minimum));
}

static void scale_bytes(const uint8_t bytes[32], float scale, float minimum, float *dst)
{
    for (size_t i = 0; i < 32; i += 8)
        scale_8(widen_8_bytes(bytes + i), _mm256_set1_ps(scale), _mm256_set1_ps(minimum), dst + i);
}

static void scale_nibbles(const uint8_t bytes[32], const float scale[2], const float minimum[2], float *dst)
{
    __m256 lower = _mm256_set1_ps(scale[0]), lower_less = _mm256_set1_ps(minimum[0]);
    __m256 upper = _mm256_set1_ps(scale[1]), upper_less = _mm256_set1_ps(minimum[1]);
    for (size_t i = 0; i < 32; i += 8) {
        __m256i wide = widen_8_bytes(bytes + i);
        scale_8(_mm256_and_si256(wide, _mm256_set1_epi32(15)), lower, lower_less, dst + i);
        scale_8(_mm256_srli_epi32(wide, 4), upper, upper_less, dst + 32 + i);
    }
}

static void half_difference(const uint16_t *w, const float *q, size_t n, double sums[2])
{
    enum { LANES_AT_ONCE = 8, HALF_LANES = 16 };
    __m256 error[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, weight[2] = {error[0], error[0]};
    float last_error[HALF_LANES], last_weight[HALF_LANES];
    size_t i = 0;
    for (; i + HALF_LANES <= n; i += HALF_LANES)
        for (size_t part = 0; part < 2; part++) {
            size_t at = i + part * LANES_AT_ONCE;
            __m256 a = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(w + at)));
            __m256 d = _mm256_sub_ps(a, _mm256_loadu_ps(q + at));
            error[part] = _mm256_add_ps(error[part], _mm256_mul_ps(d, d));
            weight[part] = _mm256_add_ps(weight[part], _mm256_mul_ps(a, a));
        }
    for (size_t part = 0; part < 2; part++) {
        _mm256_storeu_ps(last_error + part * LANES_AT_ONCE, error[part]);
        _mm256_storeu_ps(last_weight + part * LANES_AT_ONCE, weight[part]);
    }
    for (; i < n; i++) {
        float a = HALF_TO_FLOAT(w[i]), d = a - q[i];
        last_error[i % HALF_LANES] += d * d;
        last_weight[i % HALF_LANES] += a * a;
    }
    for (size_t lane = 0; lane < HALF_LANES; lane++) {
        sums[0] += (double)last_error[lane];
        sums[1] += (double)last_weight[lane];
    }
}

#include "codec/kernels_body.h"
#else
typedef int lq_kernels_avx2_are_for_x86_64; /* a translation unit may not be empty */
#endif
