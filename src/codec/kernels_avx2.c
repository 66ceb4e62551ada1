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

#include "codec/kernels_body.h"
#else
typedef int lq_kernels_avx2_are_for_x86_64; /* a translation unit may not be empty */
#endif
