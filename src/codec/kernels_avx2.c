/* The kernels for CPUs with AVX2 and F16C; compiled with those flags, called only where both are there. */
#if defined(__x86_64__)
#include "codec/lanes_avx2.h"

#define LQ_ISA avx2
#include "codec/kernels_body.h"
#else
typedef int lq_kernels_avx2_are_for_x86_64; /* a translation unit may not be empty */
#endif
