/* What lanes compute, operation by operation: src/codec/lanes_<isa>.h as tables of functions, so that those of one
 * instruction set can be compared with another's. */
#ifndef TESTS_CODEC_LANE_OPS_H
#define TESTS_CODEC_LANE_OPS_H

#include <stdbool.h>
#include <stdint.h>

enum { OP_WIDTH = 16 }; /* numbers in each row; every number of lanes divides it */

/* Operands, as many as an operation wants. Whole numbers from 0 to 255 are in `bytes`, below 8 in `index`. */
struct op_input {
    float a[OP_WIDTH], b[OP_WIDTH], c[OP_WIDTH], index[OP_WIDTH], table[8];
    uint16_t halves[OP_WIDTH];
    uint8_t bytes[OP_WIDTH];
};

struct lane_op {
    const char *name;
    void (*run)(const struct op_input *in, float out[OP_WIDTH]);
    bool any_nan; /* arithmetic: which NaN comes out is the processor's choice */
};

/* NULL behind the last name. */
extern const struct lane_op lane_ops_scalar[], lane_ops_avx2[], lane_ops_avx512[], lane_ops_neon[];
extern const struct lane_op lane_ops_avx512_emulated[];

#endif
