#include "quantize/feedback_tile.h"

#include "base/blas.h"
#include "codec/kernels.h"

#include <string.h>

/* g = H e of the panel, into sums, of the rows with feedback: L times the rows of L' e before and in it. */
static void set_gradient(const struct lq_tile *t)
{
    for (size_t p = 0; p <= t->at; p++)
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)t->width, ROWS, (int)lq_panel_width(t->factor, p), 1,
                    t->factor->upper[p] + (t->at - p) * LQ_PANEL, (int)lq_panel_height(t->factor, p),
                    t->lost[p * LQ_PANEL], ROWS, p > 0, t->panel->sums[0], BOTH);
}

/* L' e once the panel's errors have changed by `change`. */
static void pass_on(const struct lq_tile *t, const float *change)
{
    for (size_t p = 0; p <= t->at; p++)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)lq_panel_width(t->factor, p), ROWS, (int)t->width,
                    1, t->factor->upper[p] + (t->at - p) * LQ_PANEL, (int)lq_panel_height(t->factor, p), change, ROWS,
                    1, t->lost[p * LQ_PANEL], ROWS);
}

/* The panel's square of the damped H, from its diagonal at `first` on. */
static const float *square_of(const struct lq_tile *t, size_t first)
{
    return t->factor->square[t->at] + first * t->width + first;
}

/* pushed = the square of H times `moved`, which one block alone has. */
static void multiply(const struct lq_tile *t, size_t first)
{
    struct lq_tile_panel *p = t->panel;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)t->width, ROWS, (int)t->grid->weights, 1,
                t->factor->square[t->at] + first, (int)t->width, p->moved[first], ROWS, 0, p->pushed[0], ROWS);
}

/* What of a block's weights comes from the scales (way 0) or the offsets (way 1), into `moved`. */
static void set_share(const struct lq_tile *t, size_t first, int way)
{
    static const float none[LQ_GRID_PARTS][ROWS];
    struct lq_tile_panel *p = t->panel;
    struct lq_abreast columns = lq_tile_grid(t, first, t->grid->weights);
    columns.offset = none;
    if (way == 0) lq_kernels()->grid_abreast(&columns, t->levels + t->at * LQ_PANEL + first, p->moved + first);
    for (size_t k = first; k < first + t->grid->weights && way == 1; k++)
        memcpy(p->moved[k], p->offset[t->part[k]], sizeof p->moved[k]);
}

/* The block's scales, or its offsets, all times what makes the loss least while its levels stand. With shares s of the
 * weights, s times 1 + a changes it by a (a s' H s - 2 s' H e). */
static void stretch(struct lq_tile *t, size_t first, int way)
{
    struct lq_tile_panel *p = t->panel;
    size_t n = t->grid->weights;
    float with[ROWS], own[ROWS], got[ROWS] = {0};
    set_share(t, first, way);
    multiply(t, first);
    lq_kernels()->dot_abreast(p->moved[first], ROWS, p->sums[first], BOTH, n, with);
    lq_kernels()->dot_abreast(p->moved[first], ROWS, p->pushed[first], ROWS, n, own);
    for (size_t r = 0; r < t->rows; r++) {
        uint8_t *block = lq_tile_block(t, first / n, r);
        float before = lq_grid_super(t->grid, block, way);
        if (!(own[r] > 0) || before == 0) continue;
        got[r] = lq_grid_set_super(t->grid, block, way, before + before * (with[r] / own[r])) / before - 1;
        if (got[r] * (got[r] * own[r] - 2 * with[r]) < 0) continue;
        lq_grid_set_super(t->grid, block, way, before);
        got[r] = 0;
    }
    for (size_t k = 0; k < t->width; k++)
        for (size_t r = 0; r < ROWS; r++) p->sums[k][r] -= got[r] * p->pushed[k][r];
}

void lq_tile_close(struct lq_tile *t, bool last)
{
    for (t->at = t->factor->panels; t->at-- > 0;) {
        lq_tile_enter(t);
        for (size_t first = 0; first < t->width; first += t->grid->weights)
            lq_tile_read_scales(t, first / t->grid->weights);
        set_gradient(t);
        for (size_t first = 0; first < t->width; first += t->grid->weights) {
            for (int way = 0; way < 2; way++)
                if (t->grid->super[way] >= 0) stretch(t, first, way);
            lq_tile_read_scales(t, first / t->grid->weights);
        }
        for (size_t k = t->width; k > 0; k -= LQ_GROUP)
            lq_tile_descend(t, k - LQ_GROUP, square_of(t, k - LQ_GROUP), t->width, false);
        pass_on(t, t->panel->change[0]);
        if (last) lq_tile_finish(t);
    }
}
