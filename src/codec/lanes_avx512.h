/* Lanes of floats, sixteen of them (AVX-512); what each operation computes stands in lanes_scalar.h. */
#ifndef LQ_CODEC_LANES_AVX512_H
#define LQ_CODEC_LANES_AVX512_H

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HALF_TO_FLOAT(h) _cvtsh_ss(h)
#define FLOAT_TO_HALF(f) ((uint16_t)_cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT))

enum { LANES = 16 };
typedef __m512 vf;
typedef __mmask16 vm;

static inline vf v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline void v_store(float *p, vf a)
{
    _mm512_storeu_ps(p, a);
}

static inline vf v_set(float f)
{
    return _mm512_set1_ps(f);
}

static inline vf v_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}

static inline vf v_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}

static inline vf v_abs(vf a)
{
    return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a);
}

static inline vf v_sqrt(vf a)
{
    return _mm512_sqrt_ps(a);
}

static inline vm v_less(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

static inline vf v_select(vm which, vf yes, vf no)
{
    return _mm512_mask_blend_ps(which, no, yes);
}

static inline vm v_both(vm a, vm b)
{
    return a & b;
}

static inline bool v_any(vm which)
{
    return which != 0;
}

static inline vf v_lookup(const float table[8], vf index)
{
    __m512 entries = _mm512_castps256_ps512(_mm256_loadu_ps(table));
    return _mm512_permutexvar_ps(_mm512_cvttps_epi32(index), entries);
}

static inline vf v_load_halves(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

static inline void v_store_halves(uint16_t *p, vf a)
{
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

static inline vf v_load_bytes(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}

static inline void v_store_bytes(uint8_t *p, vf a)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(a)));
}

/* Pairs of rows, then fours: now every 128 bits hold one column of four rows, and the quarters trade places. */
static inline void v_transpose(vf rows[LANES])
{
    __m512 pairs[16], fours[16];
    for (size_t i = 0; i < 16; i += 2) {
        pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    for (size_t i = 0; i < 16; i += 4)
        for (size_t k = 0; k < 2; k++) {
            fours[i + 2 * k] = _mm512_shuffle_ps(pairs[i + k], pairs[i + k + 2], 0x44);
            fours[i + 2 * k + 1] = _mm512_shuffle_ps(pairs[i + k], pairs[i + k + 2], 0xee);
        }
    for (size_t i = 0; i < 4; i++) {
        __m512 even = _mm512_shuffle_f32x4(fours[i], fours[i + 4], 0x88);
        __m512 odd = _mm512_shuffle_f32x4(fours[i], fours[i + 4], 0xdd);
        __m512 even_last = _mm512_shuffle_f32x4(fours[i + 8], fours[i + 12], 0x88);
        __m512 odd_last = _mm512_shuffle_f32x4(fours[i + 8], fours[i + 12], 0xdd);
        rows[i] = _mm512_shuffle_f32x4(even, even_last, 0x88);
        rows[i + 4] = _mm512_shuffle_f32x4(odd, odd_last, 0x88);
        rows[i + 8] = _mm512_shuffle_f32x4(even, even_last, 0xdd);
        rows[i + 12] = _mm512_shuffle_f32x4(odd, odd_last, 0xdd);
    }
}

#endif
