/* The kernels for CPUs with AVX-512 (F, BW, VL, DQ) beside AVX2 and F16C; compiled with those flags, called only where
 * all of them are there. */
#if defined(__x86_64__)
#include "codec/lanes_avx512.h"

#define LQ_ISA avx512
#include "codec/kernels_body.h"
#else
typedef int lq_kernels_avx512_are_for_x86_64; /* a translation unit may not be empty */
#endif
