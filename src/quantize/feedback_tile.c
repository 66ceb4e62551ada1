#include "quantize/feedback_tile.h"

#include <math.h>
#include <string.h>

enum { AT_ONCE = 16 /* rows: what is read and written stays in the processor's cache or registers */ };

const uint32_t *lq_tile_columns(const struct lq_tile *t)
{
    return t->factor->order + t->at * LQ_PANEL;
}

void lq_tile_set_rows(const float *src, size_t stride, size_t rows, const uint32_t *column, size_t n,
                      float (*dst)[ROWS])
{
    for (size_t first = 0; first < rows; first += AT_ONCE) {
        const float *from[AT_ONCE];
        for (size_t r = 0; r < AT_ONCE; r++) from[r] = src + (first + r < rows ? first + r : 0) * stride;
        for (size_t k = 0; k < n; k++)
            for (size_t r = 0; r < AT_ONCE; r++) dst[k][first + r] = from[r][column[k]];
    }
    for (size_t k = 0; k < n && rows < ROWS; k++) memset(dst[k] + rows, 0, (ROWS - rows) * sizeof dst[0][0]);
}

void lq_tile_enter(struct lq_tile *t)
{
    t->width = lq_panel_width(t->factor, t->at);
    t->height = lq_panel_height(t->factor, t->at);
    t->upper = t->factor->upper[t->at];
    for (size_t k = 0; k < t->width; k++) t->within[k] = lq_tile_columns(t)[k] % t->grid->weights;
    lq_tile_set_rows(t->w, t->factor->columns, t->rows, lq_tile_columns(t), t->width, t->panel->weights);
}

uint8_t *lq_tile_block(const struct lq_tile *t, size_t block, size_t row)
{
    return t->panel->coded + (block * ROWS + row) * t->block_bytes;
}

void lq_tile_read_scales(const struct lq_tile *t, size_t block)
{
    struct lq_tile_panel *p = t->panel;
    size_t parts = t->grid->weights / t->grid->part;
    for (size_t r = 0; r < ROWS; r++) {
        float scale[LQ_GRID_PARTS], offset[LQ_GRID_PARTS];
        lq_grid_scales(t->grid, lq_tile_block(t, block, r), scale, offset);
        for (size_t k = 0; k < parts; k++) {
            size_t part = block * parts + k;
            p->scale[part][r] = scale[k];
            p->offset[part][r] = offset[k];
            p->inverse[part][r] = fabsf(scale[k]) < 0x1p-120f ? 0 : 1 / scale[k];
        }
    }
}

size_t lq_tile_part(const struct lq_tile *t, size_t k)
{
    return k / t->grid->weights * (t->grid->weights / t->grid->part) + t->within[k] / t->grid->part;
}

/* Nearest values and their levels: of whole numbers, */
static void round_even(const struct lq_grid *grid, const float *x, float *value, float *level)
{
    const float least = grid->least, most = grid->most, shift = 0x1.8p23f;
    for (size_t r = 0; r < ROWS; r++) {
        float v = x[r] > least ? x[r] : least; /* a NaN too */
        v = v < most ? v : most;
        value[r] = level[r] = v + shift - shift;
    }
}

/* and of a table. */
static void round_table(const struct lq_grid *grid, const float *x, float *value, float *level)
{
    for (size_t r = 0; r < ROWS; r++) {
        value[r] = grid->table[0];
        level[r] = grid->least;
    }
    for (int k = 0; k < grid->most - grid->least; k++) {
        float middle = 0.5f * (float)(grid->table[k] + grid->table[k + 1]);
        float step = (float)(grid->table[k + 1] - grid->table[k]);
        for (size_t r = 0; r < ROWS; r++) {
            value[r] += x[r] > middle ? step : 0;
            level[r] += x[r] > middle ? 1.0f : 0;
        }
    }
}

void lq_tile_round(const struct lq_tile *t, size_t k, const float *target, float *q)
{
    struct lq_tile_panel *p = t->panel;
    size_t part = lq_tile_part(t, k);
    const float *scale = p->scale[part], *inverse = p->inverse[part], *offset = p->offset[part];
    float x[ROWS], value[ROWS], level[ROWS];
    for (size_t r = 0; r < ROWS; r++) x[r] = (target[r] - offset[r]) * inverse[r];
    if (t->grid->table != NULL) round_table(t->grid, x, value, level);
    else round_even(t->grid, x, value, level);
    for (size_t r = 0; r < ROWS; r++) {
        q[r] = scale[r] * value[r] + offset[r];
        p->levels[k][r] = (int8_t)level[r];
    }
}

void lq_tile_write(const struct lq_tile *t)
{
    const struct lq_tile_panel *p = t->panel;
    size_t weights = t->grid->weights;
    for (size_t first = 0; first < t->width; first += weights) {
        size_t at = lq_tile_columns(t)[first] / weights;
        for (size_t r = 0; r < t->rows; r++) {
            int8_t levels[LQ_GRID_WEIGHTS];
            uint8_t *block = lq_tile_block(t, first / weights, r);
            for (size_t k = 0; k < weights; k++) levels[t->within[first + k]] = p->levels[first + k][r];
            lq_grid_write(t->grid, block, levels);
            memcpy(t->coded + r * t->row_bytes + at * t->block_bytes, block, t->block_bytes);
        }
    }
}

void lq_tile_read(const struct lq_tile *t)
{
    struct lq_tile_panel *p = t->panel;
    size_t weights = t->grid->weights;
    for (size_t first = 0; first < t->width; first += weights) {
        size_t at = lq_tile_columns(t)[first] / weights;
        for (size_t r = 0; r < ROWS; r++) {
            int8_t levels[LQ_GRID_WEIGHTS];
            uint8_t *block = lq_tile_block(t, first / weights, r);
            if (r < t->rows) memcpy(block, t->coded + r * t->row_bytes + at * t->block_bytes, t->block_bytes);
            else memset(block, 0, t->block_bytes);
            lq_grid_levels(t->grid, block, levels);
            for (size_t k = 0; k < weights; k++) p->levels[first + k][r] = levels[t->within[first + k]];
        }
        lq_tile_read_scales(t, first / weights);
    }
}

void lq_tile_add(const float *l, const float *vectors, size_t stride, size_t n, float *sums)
{
    for (size_t first = 0; first < ROWS; first += AT_ONCE) {
        float sum[AT_ONCE];
        memcpy(sum, sums + first, sizeof sum);
        for (size_t j = 0; j < n; j++)
            for (size_t r = 0; r < AT_ONCE; r++) sum[r] += l[j] * vectors[j * stride + first + r];
        memcpy(sums + first, sum, sizeof sum);
    }
}
