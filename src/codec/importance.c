#include "codec/importance.h"

#include "codec/half.h"

#include <math.h>
#include <stddef.h>

/* Far below any real ratio of importances, far above where products of weights underflow. */
static const float trace = 0x1p-40f;

/* Positive floats order like their bits; what counts as nothing has more of them, or the sign's. */
static int32_t usable_bits(float v)
{
    int32_t bits = (int32_t)lq_float_bits(v);
    return bits > 0 && bits < 0x7f800000 ? bits : 0;
}

const float *lq_importance_repair(const float *importance, uint64_t columns, bool demanded, float *dst)
{
    int32_t largest = 0;
    for (uint64_t i = 0; i < columns; i++) {
        int32_t bits = usable_bits(importance[i]);
        largest = bits > largest ? bits : largest;
    }
    if (largest == 0 && !demanded) return NULL;
    double power = largest == 0 ? 0 : ldexp(1, -ilogbf(lq_bits_float((uint32_t)largest)));
    float least = largest == 0 ? 1 : trace;
    for (uint64_t i = 0; i < columns; i++) {
        float v = (float)(lq_bits_float((uint32_t)usable_bits(importance[i])) * power);
        dst[i] = v > least ? v : least;
    }
    return dst;
}
