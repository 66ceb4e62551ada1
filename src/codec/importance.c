#include "codec/importance.h"

#include <math.h>
#include <stddef.h>

/* Far below any real ratio of importances, far above where products of weights underflow. */
static const float trace = 0x1p-40f;

static float usable(float v)
{
    return v > 0 && isfinite(v) ? v : 0;
}

const float *lq_importance_repair(const float *importance, uint64_t columns, bool demanded, float *dst)
{
    float largest = 0;
    for (uint64_t i = 0; i < columns; i++) largest = fmaxf(largest, usable(importance[i]));
    if (largest == 0 && !demanded) return NULL;
    int exponent = largest == 0 ? 0 : ilogbf(largest);
    for (uint64_t i = 0; i < columns; i++)
        dst[i] = largest == 0 ? 1 : fmaxf(trace, scalbnf(usable(importance[i]), -exponent));
    return dst;
}
