/* What a statistics file holds of each matrix, part by part: one table for those who write it and those who read it.
 * The meanings are in stats_file.h.
 */
#ifndef LQ_CALIBRATE_STATS_PARTS_H
#define LQ_CALIBRATE_STATS_PARTS_H

#include "calibrate/stats_file.h"
#include "llava_quantize/codec.h"

enum lq_stats_part {
    LQ_PART_SUMS,
    LQ_PART_COUNTS,
    LQ_PART_MOMENTS,
    LQ_PART_TOKENS,
    LQ_PART_WEIGHTED,
    LQ_PART_SPREAD,
    LQ_PART_HESSIAN,
    LQ_PARTS
};

struct lq_stats_part_form {
    const char *suffix;
    enum lq_type type;
    bool of_all;  /* each matrix has its own, not only the first with its input */
    bool hessian; /* only where second moments are gathered */
    /* Values for n columns: columns * n + constant, or the lower triangle of n by n; */
    bool triangle;
    uint32_t columns, constant;
    uint32_t more[2]; /* so many times; 0: one dimension alone, and that of the experts */
};

extern const struct lq_stats_part_form lq_stats_parts[LQ_PARTS];

/* The tensor of one part: sets *n_dims, and ne[], where dimensions behind them are 1. Returns the number of values; 0
 * where 64 bits cannot count them. */
uint64_t lq_stats_part_shape(enum lq_stats_part part, uint64_t n, uint64_t experts, uint64_t ne[4], uint32_t *n_dims);

#endif
