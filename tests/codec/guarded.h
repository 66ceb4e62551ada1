/* Buffers between two pages that cannot be touched, filled with a pattern: what a kernel reads or writes beyond its
 * buffer is either a fault or a changed pattern.
 *
 *     struct guarded g = guarded_new(4096);
 *     float *p = guarded_place(&g, 37 * sizeof *p, AT_END, 0);
 *     kernel(p, 37);
 *     if (!guarded_intact(&g)) ...
 */
#ifndef TESTS_CODEC_GUARDED_H
#define TESTS_CODEC_GUARDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum place { AT_START, AT_END }; /* which guard page the buffer touches */

struct guarded {
    uint8_t *pages;
    size_t size;   /* of what lies between the guards */
    uint8_t *used; /* the buffer placed last */
    size_t bytes;
};

/* Room for `capacity` bytes and more; ends the program where there is no memory. Never freed. */
struct guarded guarded_new(size_t capacity);
/* A buffer whose start lies `skew` bytes behind the first guard, or whose end `skew` bytes before the last; its bytes
 * and everything around them hold the pattern. */
void *guarded_place(struct guarded *g, size_t bytes, enum place place, size_t skew);
/* Whether everything around the buffer placed last holds the pattern still. */
bool guarded_intact(const struct guarded *g);

#endif
