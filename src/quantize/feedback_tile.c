#include "quantize/feedback_tile.h"

#include "base/blas.h"
#include "codec/kernels.h"

#include <math.h>

_Static_assert((int)ROWS == (int)LQ_ABREAST && (int)LQ_GROUP <= (int)LQ_DESCENT, "tiles are what kernels take");

const uint32_t *lq_tile_columns(const struct lq_tile *t)
{
    return t->factor->order + t->at * LQ_PANEL;
}

void lq_tile_enter(struct lq_tile *t)
{
    size_t weights = t->grid->weights, parts = weights / t->grid->part;
    t->width = lq_panel_width(t->factor, t->at);
    t->height = lq_panel_height(t->factor, t->at);
    t->upper = t->factor->upper[t->at];
    for (size_t k = 0; k < t->width; k++) {
        size_t first = k / weights * weights, within = lq_tile_columns(t)[k] % weights;
        t->place[first + within] = (uint32_t)k;
        t->part[k] = (uint8_t)(first / weights * parts + within / t->grid->part);
    }
    for (size_t first = 0; first < t->width; first += weights)
        lq_kernels()->put_abreast(t->w + lq_tile_columns(t)[first] / weights * weights, t->factor->columns, t->rows,
                                  ROWS, t->place + first, weights, NULL, t->panel->weights[0], ROWS);
}

uint8_t *lq_tile_block(const struct lq_tile *t, size_t block, size_t row)
{
    return t->coded + ((t->at * t->blocks + block) * ROWS + row) * t->block_bytes;
}

void lq_tile_read_scales(const struct lq_tile *t, size_t block)
{
    struct lq_tile_panel *p = t->panel;
    size_t parts = t->grid->weights / t->grid->part, first = block * parts;
    for (size_t r = 0; r < ROWS; r++) {
        float scale[LQ_GRID_PARTS], offset[LQ_GRID_PARTS];
        lq_grid_scales(t->grid, lq_tile_block(t, block, r), scale, offset);
        for (size_t k = 0; k < parts; k++) {
            p->scale[first + k][r] = scale[k];
            p->offset[first + k][r] = offset[k];
        }
    }
    for (size_t part = first; part < first + parts; part++)
        for (size_t r = 0; r < ROWS; r++) {
            float scale = p->scale[part][r], inverse = 1 / scale;
            p->inverse[part][r] = fabsf(scale) < 0x1p-120f ? 0 : inverse;
        }
}

struct lq_abreast lq_tile_grid(const struct lq_tile *t, size_t k, size_t n)
{
    const struct lq_tile_panel *p = t->panel;
    return (struct lq_abreast){t->grid, n, t->part + k, p->scale, p->offset, p->inverse};
}

void lq_tile_descend(const struct lq_tile *t, size_t k, const float *matrix, size_t stride, bool first)
{
    struct lq_tile_panel *p = t->panel;
    size_t position = t->at * LQ_PANEL + k;
    const struct lq_descent descent = {.columns = lq_tile_grid(t, k, LQ_GROUP),
                                       .matrix = matrix,
                                       .stride = stride,
                                       .w = p->weights + k,
                                       .sums = p->sums[k],
                                       .errors = t->errors[position],
                                       .apart = BOTH,
                                       .moved = p->moved,
                                       .level = t->levels + position,
                                       .lost = first ? t->lost + position : NULL,
                                       .change = first ? NULL : p->change + k};
    lq_kernels()->descend(&descent);
    if (k > 0)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)k, ROWS, LQ_GROUP, 1, matrix - k * stride,
                    (int)stride, p->moved[0], ROWS, 1, p->sums[0], BOTH);
}

/* Puts the panel's levels into its blocks. */
static void write_levels(const struct lq_tile *t)
{
    size_t weights = t->grid->weights;
    for (size_t block = 0; block * weights < t->width; block++) {
        const uint8_t *level[LQ_GRID_WEIGHTS];
        for (size_t i = 0; i < weights; i++) level[i] = t->levels[t->at * LQ_PANEL + t->place[block * weights + i]];
        lq_grid_write(t->grid, level, lq_tile_block(t, block, 0), t->block_bytes);
    }
}

/* |L' e|^2 of the panel's columns, less what damping makes of it. */
static void add_loss(struct lq_tile *t)
{
    const float *lost = t->lost[t->at * LQ_PANEL], *errors = t->errors[t->at * LQ_PANEL];
    float all[ROWS], own[ROWS];
    lq_kernels()->dot_abreast(lost, ROWS, lost, ROWS, t->width, all);
    lq_kernels()->dot_abreast(errors, BOTH, errors, BOTH, t->width, own);
    for (size_t r = 0; r < ROWS; r++) t->loss[r] += (double)all[r] - t->factor->added * (double)own[r];
}

static void add_noise(struct lq_tile *t)
{
    size_t weights = t->grid->weights, part = t->grid->part;
    for (size_t first = 0; first < t->width; first += part) {
        size_t column = lq_tile_columns(t)[first / weights * weights] / weights * weights + first % weights;
        double cost = 0;
        for (size_t c = column; c < column + part; c++) cost += (double)t->factor->diagonal[c];
        const float *scale = t->panel->scale[first / part];
        for (size_t r = 0; r < ROWS; r++) t->noise[r] += cost * ((double)scale[r] * (double)scale[r]);
    }
}

void lq_tile_finish(struct lq_tile *t)
{
    write_levels(t);
    add_loss(t);
    add_noise(t);
}
