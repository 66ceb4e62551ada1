/* Importance rows made safe for ggml's encoders. */
#ifndef LQ_CODEC_IMPORTANCE_H
#define LQ_CODEC_IMPORTANCE_H

#include <stdbool.h>
#include <stdint.h>

/* Writes `columns` repaired values to `dst` and returns it: NaN, infinite and negative ones count as zero, the row is
 * scaled by a power of two (which changes no encoder's choice) so that its largest lies in [1, 2), and each gets at
 * least a trace. A row of zeros gives NULL, or ones when `demanded`. */
const float *lq_importance_repair(const float *importance, uint64_t columns, bool demanded, float *dst);

#endif
