/* Rows of made-up weights and importance: the same on every machine, because only exact arithmetic makes them. */
#ifndef TESTS_CODEC_WEIGHTS_H
#define TESTS_CODEC_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

enum kind {
    ORDINARY,    /* nearly normal */
    HEAVY,       /* long tails */
    ONE_OUTLIER, /* one weight in 256 a thousand times as large */
    ZEROS,       /* of both signs */
    CONSTANT,
    DENORMAL,
    NEARLY_DENORMAL, /* some of them beside ordinary ones */
    ALTERNATING,
    SPARSE, /* mostly zeros */
    TIES,   /* multiples of one half beside the grid's end: where rounding turns */
    ONE_SIDED,
    SPREAD,      /* over 2^60 */
    HUGE_VALUES, /* up to 2^28, the largest that an encoder takes; beyond what most formats' scales reach */
    MIXED,       /* any of these, by blocks of 32 */
    ANY_BITS,    /* infinities and what is not a number among them; no encoder takes these */
    N_KINDS
};

uint32_t random_bits(void);
/* The same seed gives the same numbers. */
void random_seed(uint64_t seed);

const char *kind_name(enum kind kind);
void fill_weights(float *dst, size_t n, enum kind kind);
void fill_halves(uint16_t *dst, size_t n, enum kind kind);
void fill_bytes(uint8_t *dst, size_t n);
/* Odd importance, as lq_importance_repair leaves it: from 2^-40 to 2, which is what an encoder takes. */
void fill_importance(float *dst, size_t n);

#endif
