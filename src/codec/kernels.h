/* The inner loops of the codec room, one table of functions per instruction set.
 *
 * Enters: arrays of numbers. Leaves: arrays of numbers, or sums over them.
 * Invariants: the scalar table is the specification, every other one gives the same bits on the same input, NaN
 * payloads and denormals included; the table is chosen once, by what the CPU and the operating system both support
 * (`LQ_CPU=scalar|avx2|avx512|neon` in the environment forces one that is there).
 *
 *     lq_kernels()->f16_to_f32(raw, weights, n);
 */
#ifndef LQ_CODEC_KERNELS_H
#define LQ_CODEC_KERNELS_H

#include "codec/levels.h"
#include "llava_quantize/codec.h"

#include <stddef.h>
#include <stdint.h>

/* What a stretch of weights holds: bit patterns of the largest magnitude (0x7f800000 or more: not finite) and of the
 * smallest one that is not zero (UINT32_MAX when all are zero). Magnitudes order like their bit patterns. */
struct lq_survey {
    uint32_t largest, smallest;
};

enum { LQ_DIFFERENCE_BLOCK = 256 };

/* LQ_KERNELS(K): K(name, arguments) for every kernel; declaration, tables and tests read this one list. */
#define LQ_KERNELS(K) \
    K(f16_to_f32, (const uint16_t *src, float *dst, size_t n)) \
    K(f32_to_f16, (const float *src, uint16_t *dst, size_t n)) /* nearest even; a NaN keeps its payload, quieted */ \
    K(bf16_to_f32, (const uint16_t *src, float *dst, size_t n)) \
    K(f32_to_bf16, (const float *src, uint16_t *dst, size_t n)) \
    K(survey, (const float *src, size_t n, struct lq_survey *out)) \
    K(largest_16, (const uint8_t *src, size_t n, uint32_t *out)) /* bits of the largest magnitude, of f16 or bf16 */ \
    K(difference, (const float *w, const float *q, size_t n, double sums[2])) /* adds sum (w-q)^2 and sum w^2 */ \
    K(half_differences, (const uint16_t *w, const float *q, size_t n, double(*sums)[2])) /* sets the same sums, of */ \
    /* halves, for every LQ_DIFFERENCE_BLOCK weights, in f32: they may come out infinite or not a number */

/* One call of an encoder: minimises, over everything that the format stores, the sum of what an error in a weight counts
 * times its square. */
struct lq_encode {
    const float *src; /* rows * columns finite weights, none of a magnitude above 2^28 */
    const float
        *importance;      /* what an error counts, for each column, from 2^-40 to 2; NULL: the encoder's own choice */
    size_t rows, columns; /* the format's block divides columns */
    enum lq_effort effort;
    uint8_t *dst;
};

/* LQ_ABREAST rows side by side: number r of a vector belongs to row r, and no row knows of another. */

/* Columns of a grid's weights, each with its part's scales. */
struct lq_abreast {
    const struct lq_grid *grid;
    size_t n;            /* columns */
    const uint8_t *part; /* of each column */
    const float (*scale)[LQ_ABREAST], (*offset)[LQ_ABREAST];
    const float (*inverse)[LQ_ABREAST]; /* of scale; 0 where that is nearly nothing; for `descend` alone */
};

/* Columns that get their levels one by one, the last one first: each the best while all others stay. With errors
 * e = w - q, what is lost is e' M e / 2 - sums' e and something that does not change: column k's error should shrink by
 * s / M_kk, where s is sums_k and what the steps of later columns have added to it. */
struct lq_descent {
    struct lq_abreast columns; /* at most LQ_DESCENT */
    const float *matrix;       /* M: element (k, j), j >= k, at k * stride + j */
    size_t stride;
    const float (*w)[LQ_ABREAST];
    const float *sums; /* column k's from k * apart on */
    float *errors;     /* likewise; out: with the new levels */
    size_t apart;
    float (*moved)[LQ_ABREAST];   /* out: what the columns' steps have added to the errors */
    uint8_t (*level)[LQ_ABREAST]; /* out: less the least one */
    float (*lost)[LQ_ABREAST];    /* NULL, or out: M_kk times how far the level is from the best value */
    float (
        *change)[LQ_ABREAST]; /* NULL: errors are nothing before the steps. Or out: what has been added to `errors`, */
    /* because the scales have changed since and by the steps from the levels that are there */
};
enum { LQ_DESCENT = 32 };

/* LQ_ABREAST_KERNELS(K): as LQ_KERNELS, of rows side by side, the same number of each LQ_ABREAST apart unless it
 * says otherwise; n is a multiple of 32, rows to be put of 16. */
#define LQ_ABREAST_KERNELS(K) \
    K(put_abreast, \
      (const float *src, size_t stride, size_t rows, size_t wanted, const uint32_t *place, size_t n, \
       const float *from, float *dst, size_t apart)) /* weight i of each row, taken from number place[i] */ \
    /* of `from` where that is not NULL, to dst + place[i] * apart; rows beyond `rows`, up to `wanted`, are zeros */ \
    K(put_behind, (const float *a, const float *b, size_t rows, const uint32_t *place, size_t n, \
                   float *dst)) /* a + b back into rows of n weights one behind the other */ \
    K(dot_abreast, (const float *x, size_t x_apart, const float *y, size_t y_apart, size_t n, float *out)) \
    K(grid_abreast, (const struct lq_abreast *columns, const uint8_t(*level)[LQ_ABREAST], \
                     float(*out)[LQ_ABREAST])) /* scale * value + offset */ \
    K(descend, (const struct lq_descent *d))

/* LQ_BLOCK_FORMATS(T): T(TYPE, name) for every block format whose encoder and decoder are ours. */
#define LQ_BLOCK_FORMATS(T) \
    T(Q4_0, q4_0) \
    T(Q4_1, q4_1) \
    T(Q5_0, q5_0) \
    T(Q5_1, q5_1) \
    T(Q8_0, q8_0) \
    T(Q2_K, q2_k) \
    T(Q3_K, q3_k) \
    T(Q4_K, q4_k) \
    T(Q5_K, q5_k) \
    T(Q6_K, q6_k) \
    T(IQ4_NL, iq4_nl) \
    T(IQ4_XS, iq4_xs) \
    T(MXFP4, mxfp4)

struct lq_kernel_table {
    const char *name;
    void (*encode[LQ_TYPE_COUNT])(const struct lq_encode *job); /* NULL: not ours */
    void (*decode[LQ_TYPE_COUNT])(const uint8_t *src, float *dst, size_t n_blocks);
#define LQ_MEMBER(kernel, arguments) void(*kernel) arguments;
    LQ_KERNELS(LQ_MEMBER)
    LQ_ABREAST_KERNELS(LQ_MEMBER)
#undef LQ_MEMBER
};

const struct lq_kernel_table *lq_kernels(void);
/* The tables that this machine can run, scalar first; NULL behind the last. */
const struct lq_kernel_table *lq_kernels_at(size_t i);

extern const struct lq_kernel_table lq_kernels_scalar;
#if defined(__x86_64__)
extern const struct lq_kernel_table lq_kernels_avx2, lq_kernels_avx512;
#elif defined(__aarch64__)
extern const struct lq_kernel_table lq_kernels_neon;
#endif

#endif
