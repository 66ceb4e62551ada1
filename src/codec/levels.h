/* A block as scales and levels: what error feedback changes and what it keeps.
 *
 * Enters: an encoded block of one of the thirteen types whose encoders are ours. Leaves: for each of its weights the
 * numbers that can be written there while the block's scales and mins stay; or the block with other levels.
 * Invariants: lq_codec_decode of a block gives, bit for bit, what its grid says of its levels.
 *
 *     struct lq_grid grid;
 *     lq_grid_read(LQ_TYPE_Q4_K, block, &grid);
 *     level[i] = lq_grid_nearest(&grid, i, w);                  // w is about lq_grid_value(&grid, i, level[i])
 *     lq_grid_write(LQ_TYPE_Q4_K, block, level);                // one for each weight of the block
 */
#ifndef LQ_CODEC_LEVELS_H
#define LQ_CODEC_LEVELS_H

#include "llava_quantize/codec.h"

enum { LQ_GRID_WEIGHTS = 256, LQ_GRID_PARTS = 16 };

struct lq_grid {
    uint32_t n_weights, part;                          /* of the block; of a part with scale and offset of its own */
    int least, most;                                   /* levels */
    const float *table;                                /* values of levels least .. most, or NULL: the level itself */
    float scale[LQ_GRID_PARTS], offset[LQ_GRID_PARTS]; /* a weight is scale * value + offset */
};

/* False for a type that has no such grid. */
bool lq_grid_has(enum lq_type type);
void lq_grid_read(enum lq_type type, const uint8_t *block, struct lq_grid *out);
void lq_grid_write(enum lq_type type, uint8_t *block, const int8_t *levels);
/* The levels that stand in a block. */
void lq_grid_levels(enum lq_type type, const uint8_t *block, int8_t *levels);
float lq_grid_value(const struct lq_grid *grid, uint32_t weight, int level);
int lq_grid_nearest(const struct lq_grid *grid, uint32_t weight, float w);

#endif
