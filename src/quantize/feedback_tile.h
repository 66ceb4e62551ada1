/* A tile of rows on its way through a factor's panels, for those who choose its levels.
 *
 * Arrays [..][ROWS] hold the same number of each row side by side. There are always ROWS of them, missing ones as zeros, so
 * that BLAS adds up each row in the same order whatever the number of rows.
 */
#ifndef LQ_QUANTIZE_FEEDBACK_TILE_H
#define LQ_QUANTIZE_FEEDBACK_TILE_H

#include "codec/levels.h"
#include "quantize/factor.h"

/* The same rows as they are encoded with feedback, and plainly. */
enum { FED, PLAIN, WAYS };
enum { ROWS = LQ_FEEDBACK_ROWS, BOTH = WAYS * ROWS, PANEL_BYTES = 272 /* of a row at most: eight blocks of q8_0 */ };

/* The panel in hand; by position, but for the last two. */
struct lq_tile_panel {
    float weights[LQ_PANEL][ROWS];
    float sums[LQ_PANEL][WAYS][ROWS];
    float moved[LQ_PANEL][ROWS], pushed[LQ_PANEL][ROWS], change[LQ_PANEL][ROWS];
    float scale[LQ_GRID_PARTS][ROWS], inverse[LQ_GRID_PARTS][ROWS], offset[LQ_GRID_PARTS][ROWS];
    int8_t levels[LQ_PANEL][ROWS];
    float rowwise[ROWS * LQ_PANEL];    /* row by row */
    uint8_t coded[ROWS * PANEL_BYTES]; /* block by block, in each row by row */
};

struct lq_tile {
    const struct lq_factor *factor;
    const struct lq_grid *grid;
    enum lq_effort effort;
    const float *w;
    size_t rows, row_bytes, block_bytes;
    struct lq_tile_panel *panel;
    float (*errors)[WAYS][ROWS]; /* w - q, by position */
    float (*lost)[ROWS];         /* with feedback, L' (w - q) */
    uint8_t *coded;              /* rows with feedback */
    size_t at, width, height;    /* the panel's number, columns, and rows of L */
    const float *upper;          /* its columns of L */
    uint32_t within[LQ_PANEL];   /* a block: the weight at each position */
    bool broken[ROWS];           /* rows that cannot be encoded with feedback */
};

/* Goes to panel t->at and reads its weights. */
void lq_tile_enter(struct lq_tile *t);
/* The column of the matrix at each of the panel's positions. */
const uint32_t *lq_tile_columns(const struct lq_tile *t);
/* Rows side by side from rows behind one another: column[k] of row r goes to dst[k][r]. */
void lq_tile_set_rows(const float *src, size_t stride, size_t rows, const uint32_t *column, size_t n,
                      float (*dst)[ROWS]);
/* The block of a row in panel->coded. */
uint8_t *lq_tile_block(const struct lq_tile *t, size_t block, size_t row);
/* Sets the scales of a block's parts from panel->coded. */
void lq_tile_read_scales(const struct lq_tile *t, size_t block);
/* The part, among the panel's, that position k belongs to. */
size_t lq_tile_part(const struct lq_tile *t, size_t k);
/* Gives position k the levels whose weights are nearest to `target`; those weights go to q. */
void lq_tile_round(const struct lq_tile *t, size_t k, const float *target, float *q);
/* Puts the panel's blocks, with the levels chosen, into the tile's rows; */
void lq_tile_write(const struct lq_tile *t);
/* and takes them, scales and levels, from there. */
void lq_tile_read(const struct lq_tile *t);
/* Adds l[j] times vectors[j * stride] .. to `sums`, for n vectors of ROWS. */
void lq_tile_add(const float *l, const float *vectors, size_t stride, size_t n, float *sums);

/* After all panels are done: one round in which each block's scales are fitted to its levels under the whole H, and then
 * each level takes the best value that it can while all others stay. Neither makes a row's loss larger. */
void lq_tile_close(struct lq_tile *t);

#endif
