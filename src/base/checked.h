/* Checked 64-bit arithmetic for every size that comes from a file. Each returns false on overflow, *out untouched. */
#ifndef LQ_BASE_CHECKED_H
#define LQ_BASE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

static inline bool lq_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    if (a > UINT64_MAX - b) return false;
    *out = a + b;
    return true;
}

static inline bool lq_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    if (b != 0 && a > UINT64_MAX / b) return false;
    *out = a * b;
    return true;
}

/* Rounds up to a multiple of `alignment` (a power of two). */
static inline bool lq_align_u64(uint64_t a, uint64_t alignment, uint64_t *out)
{
    if (a > UINT64_MAX - (alignment - 1)) return false;
    *out = (a + alignment - 1) & ~(alignment - 1);
    return true;
}

#endif
