/* A tile of rows on its way through a factor's panels, for those who choose its levels.
 *
 * Arrays [..][ROWS] hold the same number of each row side by side. There are always ROWS of them, missing ones as
 * zeros, so that BLAS adds up each row in the same order whatever the number of rows.
 */
#ifndef LQ_QUANTIZE_FEEDBACK_TILE_H
#define LQ_QUANTIZE_FEEDBACK_TILE_H

#include "codec/levels.h"
#include "quantize/factor.h"

/* Rows with feedback, and behind them, in the same products, some that are encoded plainly. */
enum { ROWS = LQ_FEEDBACK_ROWS, BESIDE = 16, BOTH = ROWS + BESIDE };
enum { PANEL_BYTES = 272 /* of a row at most: eight blocks of q8_0 */ };
/* Weights that are turned, or encoded, in one go: the processor's nearest cache holds them. */
enum { ROWWISE = 32 * LQ_PANEL };

/* The panel in hand, by position; but for what stands row by row. */
struct lq_tile_panel {
    float weights[LQ_PANEL][ROWS];
    float sums[LQ_PANEL][BOTH];
    float moved[LQ_PANEL][ROWS], pushed[LQ_PANEL][ROWS], change[LQ_PANEL][ROWS];
    float scale[LQ_GRID_PARTS][ROWS], inverse[LQ_GRID_PARTS][ROWS], offset[LQ_GRID_PARTS][ROWS];
    float rowwise[ROWWISE]; /* some rows of a block, one behind the other */
};

struct lq_tile {
    const struct lq_factor *factor;
    const struct lq_grid *grid;
    enum lq_effort effort;
    const float *w;
    size_t rows, row_bytes, block_bytes;
    struct lq_tile_panel *panel;
    float (*errors)[BOTH];    /* w - q, by position */
    float (*lost)[ROWS];      /* with feedback, L' (w - q) */
    uint8_t (*levels)[ROWS];  /* with feedback, less the least one, by position */
    uint8_t *coded;           /* blocks with feedback, by position, each of all rows: their scales */
    size_t at, width, height; /* the panel's number, columns, and rows of L */
    size_t blocks;            /* of a row in a whole panel */
    const float *upper;       /* its columns of L */
    uint32_t place[LQ_PANEL]; /* of a block's weights: their positions */
    uint8_t part[LQ_PANEL];   /* at each position: the part of the panel */
    bool broken[ROWS];        /* rows that cannot be encoded with feedback */
    double loss[ROWS];        /* with feedback, of the panels that are finished */
    double noise[ROWS];       /* what errors as wide as the levels are apart would lose there, but for a factor */
};

/* Goes to panel t->at and reads its weights. */
void lq_tile_enter(struct lq_tile *t);
/* The column of the matrix at each of the panel's positions. */
const uint32_t *lq_tile_columns(const struct lq_tile *t);
/* The block of a row, whose levels are those that its scales were searched for with until lq_tile_finish. */
uint8_t *lq_tile_block(const struct lq_tile *t, size_t block, size_t row);
/* Sets the scales of a block's parts. */
void lq_tile_read_scales(const struct lq_tile *t, size_t block);
/* n columns from position k on, as the kernels take them. */
struct lq_abreast lq_tile_grid(const struct lq_tile *t, size_t k, size_t n);
/* Gives the LQ_GROUP columns from position k on their levels, and tells those before them what that calls for. `matrix`
 * is where their rows and columns meet, with those before them above it, rows `stride` apart: of L' the first time, of
 * H later, when panel->change is set to what the errors have changed by since. */
void lq_tile_descend(const struct lq_tile *t, size_t k, const float *matrix, size_t stride, bool first);
/* Puts the panel's levels into its blocks and adds up t->loss and t->noise. */
void lq_tile_finish(struct lq_tile *t);

/* After all panels are done: one round in which each block's scales are fitted to its levels under the whole H, and
 * then each level takes the best value that it can while all others stay. Neither makes a row's loss larger. The last
 * round finishes the panels. */
void lq_tile_close(struct lq_tile *t, bool last);

#endif
