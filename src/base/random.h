/* Random numbers that are the same on every machine: SplitMix64.
 *
 * Enters: a state, any seed. Leaves: numbers. Not for secrets.
 * Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
 *
 *     uint64_t state = seed;
 *     uint64_t die = 1 + lq_random_below(&state, 6);
 */
#ifndef LQ_BASE_RANDOM_H
#define LQ_BASE_RANDOM_H

#include <stdint.h>

static inline uint64_t lq_random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* 0 .. n-1, each as likely: numbers from the last, incomplete run of n are drawn again. n > 0. */
static inline uint64_t lq_random_below(uint64_t *state, uint64_t n)
{
    uint64_t surplus = (UINT64_MAX % n + 1) % n, drawn;
    do drawn = lq_random_next(state);
    while (drawn > UINT64_MAX - surplus);
    return drawn % n;
}

#endif
