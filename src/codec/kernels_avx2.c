/* The kernels for CPUs with AVX2 and F16C; compiled with those flags, called only where both are there. */
#if defined(__x86_64__)
#include "codec/half.h"
#include "codec/kernels.h"
#include "codec/lanes_avx2.h"

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

/* Adds the sixteen lanes of `a` and `b` as the scalar kernel does. */
static double fold_lanes(__m256 a, __m256 b)
{
    __m256 eight = _mm256_add_ps(a, b);
    __m256d four = _mm256_cvtps_pd(_mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1)));
    __m128d lower = _mm256_castpd256_pd128(four), upper = _mm256_extractf128_pd(four, 1);
    __m128d two = _mm_hadd_pd(lower, upper);
    return _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
}

enum { HALF_STEP = 8, HALF_LANES = 2 * HALF_STEP };

/* Sums of one half of the lanes. */
struct half_sums {
    __m256 error, weight;
};

static inline struct half_sums add_8(struct half_sums sums, const uint16_t *w, const float *q)
{
    __m256 a = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)w));
    __m256 d = _mm256_sub_ps(a, _mm256_loadu_ps(q));
    sums.error = _mm256_add_ps(sums.error, _mm256_mul_ps(d, d));
    sums.weight = _mm256_add_ps(sums.weight, _mm256_mul_ps(a, a));
    return sums;
}

static void half_difference(const uint16_t *w, const float *q, size_t n, double sums[2])
{
    struct half_sums lower = {_mm256_setzero_ps(), _mm256_setzero_ps()}, upper = lower;
    size_t whole = n - n % HALF_LANES;
    for (size_t i = 0; i < whole; i += HALF_LANES) {
        lower = add_8(lower, w + i, q + i);
        upper = add_8(upper, w + i + HALF_STEP, q + i + HALF_STEP);
    }
    if (whole < n) { /* zeros add nothing */
        uint16_t last_w[HALF_LANES] = {0};
        float last_q[HALF_LANES] = {0};
        memcpy(last_w, w + whole, (n - whole) * sizeof *w);
        memcpy(last_q, q + whole, (n - whole) * sizeof *q);
        lower = add_8(lower, last_w, last_q);
        upper = add_8(upper, last_w + HALF_STEP, last_q + HALF_STEP);
    }
    sums[0] = fold_lanes(lower.error, upper.error);
    sums[1] = fold_lanes(lower.weight, upper.weight);
}

#include "codec/kernels_body.h"
#else
typedef int lq_kernels_avx2_are_for_x86_64; /* a translation unit may not be empty */
#endif
