/* AVX-512's intrinsics for processors without them, in the place of the compiler's header: SIMDe's, and the conversions
 * that its older versions lack. Only src/codec/lanes_avx512.h is compiled against this.
 *
 * Conversions of halves are those of src/codec/half.h in any case: SIMDe's lose what a NaN carries. */
#ifndef TESTS_CODEC_EMULATED_IMMINTRIN_H
#define TESTS_CODEC_EMULATED_IMMINTRIN_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include "codec/half.h"

#include <stdint.h>
#include <string.h>

/* Names that older versions leave out. */
#ifndef _mm512_shuffle_f32x4
#define _mm512_shuffle_f32x4(a, b, order) simde_mm512_shuffle_f32x4(a, b, order)
#endif
typedef simde__mmask16 emulated_mask16;
#undef __mmask16
#define __mmask16 emulated_mask16

enum { EMULATED_LANES = 16 };

/* name(Operand) gives a Result: lane i from lane i of the operand, `from`. */
#define EMULATED(Result, name, Operand, From, To, value) \
    static inline Result name(Operand operand) \
    { \
        From lanes[EMULATED_LANES]; \
        To converted[EMULATED_LANES]; \
        Result result; \
        memcpy(lanes, &operand, sizeof lanes); \
        for (int i = 0; i < EMULATED_LANES; i++) { \
            From from = lanes[i]; \
            converted[i] = value; \
        } \
        memcpy(&result, converted, sizeof converted); \
        return result; \
    }

/* Out of range, and what is not a number, give the lowest integer. */
EMULATED(__m512i, emulated_cvttps_epi32, __m512, float, int32_t,
         from >= -0x1p31f && from < 0x1p31f ? (int32_t)from : INT32_MIN)
EMULATED(__m512, emulated_cvtepi32_ps, __m512i, int32_t, float, (float)from)
EMULATED(__m128i, emulated_cvtepi32_epi8, __m512i, uint32_t, uint8_t, (uint8_t)from)
EMULATED(__m512i, emulated_cvtepu8_epi32, __m128i, uint8_t, uint32_t, from)
EMULATED(__m512, emulated_cvtph_ps, __m256i, uint16_t, float, lq_half_to_float(from))
EMULATED(__m256i, emulated_cvtps_ph, __m512, float, uint16_t, lq_float_to_half(from))

#undef _mm512_cvttps_epi32
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtepi32_epi8
#undef _mm512_cvtepu8_epi32
#undef _mm512_cvtph_ps
#undef _mm512_cvtps_ph
#undef _cvtsh_ss
#undef _cvtss_sh
#define _mm512_cvttps_epi32(a) emulated_cvttps_epi32(a)
#define _mm512_cvtepi32_ps(a) emulated_cvtepi32_ps(a)
#define _mm512_cvtepi32_epi8(a) emulated_cvtepi32_epi8(a)
#define _mm512_cvtepu8_epi32(a) emulated_cvtepu8_epi32(a)
#define _mm512_cvtph_ps(a) emulated_cvtph_ps(a)
#define _mm512_cvtps_ph(a, rounding) emulated_cvtps_ph(a)
#define _cvtsh_ss(half) lq_half_to_float(half)
#define _cvtss_sh(f, rounding) lq_float_to_half(f)

#endif
