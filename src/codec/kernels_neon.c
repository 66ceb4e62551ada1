/* The kernels for 64-bit ARM, where NEON is always there. */
#if defined(__aarch64__)
#include "codec/lanes_neon.h"

#define LQ_ISA neon
#include "codec/kernels_body.h"
#else
typedef int lq_kernels_neon_are_for_aarch64; /* a translation unit may not be empty */
#endif
