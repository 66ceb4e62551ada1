/* Lanes of floats, one of them: the specification of what the other instruction sets' lanes compute.
 *
 * `vf` holds LANES floats, `vm` the outcome of LANES comparisons; + - * / work on `vf` as on floats, lane by lane, each
 * rounded to nearest even. Encoders are written in these terms alone (tile.h), so that a sum over the weights of a
 * sub-block runs in one lane, in order, whatever LANES is. */
#ifndef LQ_CODEC_LANES_SCALAR_H
#define LQ_CODEC_LANES_SCALAR_H

#include "codec/half.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One number; half.h says what these conversions do with ties, denormals and what is not a number. */
#define HALF_TO_FLOAT(h) lq_half_to_float(h)
#define FLOAT_TO_HALF(f) lq_float_to_half(f)

enum { LANES = 1 };
typedef float vf;
typedef bool vm;

static inline vf v_load(const float *p)
{
    return *p;
}

static inline void v_store(float *p, vf a)
{
    *p = a;
}

static inline vf v_set(float f)
{
    return f;
}

/* The second operand where they are equal or either is not a number. */
static inline vf v_min(vf a, vf b)
{
    return a < b ? a : b;
}

static inline vf v_max(vf a, vf b)
{
    return a > b ? a : b;
}

static inline vf v_abs(vf a)
{
    return fabsf(a);
}

static inline vf v_sqrt(vf a)
{
    return sqrtf(a);
}

static inline vm v_less(vf a, vf b)
{
    return a < b;
}

static inline vf v_select(vm which, vf yes, vf no)
{
    return which ? yes : no;
}

static inline vm v_both(vm a, vm b)
{
    return a && b;
}

static inline bool v_any(vm which)
{
    return which;
}

/* table[index], the index cut to a whole number; it is at least 0 and less than 8. */
static inline vf v_lookup(const float table[8], vf index)
{
    return table[(int)index];
}

/* f16, as HALF_TO_FLOAT and FLOAT_TO_HALF. */
static inline vf v_load_halves(const uint16_t *p)
{
    return HALF_TO_FLOAT(*p);
}

static inline void v_store_halves(uint16_t *p, vf a)
{
    *p = FLOAT_TO_HALF(a);
}

/* Whole numbers from 0 to 255, a byte each. */
static inline vf v_load_bytes(const uint8_t *p)
{
    return *p;
}

static inline void v_store_bytes(uint8_t *p, vf a)
{
    *p = (uint8_t)a;
}

/* Lane i of row j becomes lane j of row i. */
static inline void v_transpose(vf rows[LANES])
{
    (void)rows;
}

#endif
