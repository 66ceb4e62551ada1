/* A block as scales and levels: what error feedback changes and what it keeps.
 *
 * Enters: encoded blocks of one of the thirteen types whose encoders are ours. Leaves: the scale and offset of each
 * part of a block and the level of each weight; or the block with other levels.
 * Invariants: lq_codec_decode gives, bit for bit, scale * value(level) + offset in f32, where value(level) is
 * table[level - least], or the level itself where there is no table.
 *
 *     const struct lq_grid *grid = lq_grid_find(LQ_TYPE_Q4_K);  // 256 weights in parts of 32, levels 0 .. 15
 *     lq_grid_scales(grid, block, scale, offset);               // grid->weights / grid->part of each
 *     level[i][r] = nearest((w[i][r] - offset[i / grid->part]) / scale[i / grid->part]) - grid->least; // in block r
 *     lq_grid_write(grid, level, blocks, bytes);                // scales stay, levels are replaced
 */
#ifndef LQ_CODEC_LEVELS_H
#define LQ_CODEC_LEVELS_H

#include "llava_quantize/codec.h"

enum { LQ_GRID_WEIGHTS = 256, LQ_GRID_PARTS = 16 };
/* Rows that stand side by side where levels are chosen. */
enum { LQ_ABREAST = 128 };

/* One level for each weight: `bits` of it stand in byte `at` + i / (run * k) * run + i % run, k = 8 / bits, behind
 * those of weights i - run, i - 2 run and so on; in the level they go up by `up`. */
struct lq_plane {
    uint8_t at, bits, run, up;
};

struct lq_grid {
    enum lq_type type;
    uint16_t weights, part;   /* of a block; of a part with a scale and an offset of its own */
    int16_t least, most;      /* levels */
    const int8_t *table;      /* values of levels least .. most, ascending; NULL: the level itself */
    const uint8_t *codes;     /* how levels least .. most are stored; NULL: as level - least */
    struct lq_plane plane[2]; /* the second one may have no bits */
    int16_t super[2];         /* f16 numbers that all scales, and all offsets, are multiples of: bytes; -1: none */
};

/* NULL for a type that has none. */
const struct lq_grid *lq_grid_find(enum lq_type type);
/* Scale and offset of each part; an offset is -0 where the type has none. */
void lq_grid_scales(const struct lq_grid *grid, const uint8_t *block, float *scale, float *offset);
/* Puts levels into LQ_ABREAST blocks, block r from blocks + r * bytes on: level[i][r] is weight i's level there, less
 * the least one. */
void lq_grid_write(const struct lq_grid *grid, const uint8_t *const *level, uint8_t *blocks, size_t bytes);
/* The number that all scales (way 0) or offsets (way 1) of a block are multiples of; 0 where there is none. */
float lq_grid_super(const struct lq_grid *grid, const uint8_t *block, int way);
/* Changes it to the f16 number nearest to `value`, if that is finite. Returns what it is then. */
float lq_grid_set_super(const struct lq_grid *grid, uint8_t *block, int way, float value);

#endif
