#include "quantize/feedback_tile.h"

#include "base/blas.h"

#include <string.h>

/* g = H e of the panel, into sums[..][FED]: L times the rows of L' e before and in it. */
static void set_gradient(const struct lq_tile *t)
{
    for (size_t p = 0; p <= t->at; p++)
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)t->width, ROWS, (int)lq_panel_width(t->factor, p), 1,
                    t->factor->upper[p] + (t->at - p) * LQ_PANEL, (int)lq_panel_height(t->factor, p),
                    t->lost[p * LQ_PANEL], ROWS, p > 0, t->panel->sums[0][FED], BOTH);
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

/* Adds up x * y of one block, row by row. */
static void dot(const float *x, size_t x_stride, const float *y, size_t y_stride, size_t n, float *out)
{
    memset(out, 0, ROWS * sizeof *out);
    for (size_t k = 0; k < n; k++)
        for (size_t r = 0; r < ROWS; r++) out[r] += x[k * x_stride + r] * y[k * y_stride + r];
}

/* What of a block's weights comes from the scales (way 0) or the offsets (way 1). */
static void set_share(const struct lq_tile *t, size_t first, int way, float (*share)[ROWS])
{
    const struct lq_tile_panel *p = t->panel;
    const int8_t *table = t->grid->table;
    for (size_t k = first; k < first + t->grid->weights; k++) {
        size_t part = lq_tile_part(t, k);
        for (size_t r = 0; r < ROWS; r++) {
            float value = (float)(table != NULL ? table[p->levels[k][r] - t->grid->least] : p->levels[k][r]);
            share[k][r] = way == 0 ? p->scale[part][r] * value : p->offset[part][r];
        }
    }
}

/* The block's scales, or its offsets, all times what makes the loss least while its levels stand. With shares s of the
 * weights, s times 1 + a changes it by a (a s' H s - 2 s' H e). */
static void stretch(struct lq_tile *t, size_t first, int way)
{
    struct lq_tile_panel *p = t->panel;
    size_t n = t->grid->weights;
    float with[ROWS], own[ROWS], got[ROWS] = {0};
    set_share(t, first, way, p->moved);
    multiply(t, first);
    dot(p->moved[first], ROWS, p->sums[first][FED], BOTH, n, with);
    dot(p->moved[first], ROWS, p->pushed[first], ROWS, n, own);
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
        for (size_t r = 0; r < ROWS; r++) p->sums[k][FED][r] -= got[r] * p->pushed[k][r];
    lq_tile_read_scales(t, first / n);
}

/* The errors as they are with the scales now. */
static void set_errors(const struct lq_tile *t)
{
    struct lq_tile_panel *p = t->panel;
    for (size_t first = 0; first < t->width; first += t->grid->weights) {
        set_share(t, first, 0, p->moved);
        set_share(t, first, 1, p->pushed);
    }
    for (size_t k = 0; k < t->width; k++) {
        float *error = t->errors[t->at * LQ_PANEL + k][FED];
        for (size_t r = 0; r < ROWS; r++) {
            float now = p->weights[k][r] - (p->moved[k][r] + p->pushed[k][r]);
            p->change[k][r] = now - error[r];
            error[r] = now;
        }
    }
}

/* Gives position k the best level while all others stay; its step is left in `moved`. */
static void step(const struct lq_tile *t, size_t k)
{
    struct lq_tile_panel *p = t->panel;
    float target[ROWS], q[ROWS], over = 1 / *square_of(t, k), *error = t->errors[t->at * LQ_PANEL + k][FED];
    for (size_t r = 0; r < ROWS; r++) target[r] = p->weights[k][r] - (error[r] - p->sums[k][FED][r] * over);
    lq_tile_round(t, k, target, q);
    for (size_t r = 0; r < ROWS; r++) {
        float now = p->weights[k][r] - q[r];
        p->moved[k][r] = now - error[r];
        p->change[k][r] += p->moved[k][r];
        error[r] = now;
    }
}

static void step_group(const struct lq_tile *t, size_t first)
{
    struct lq_tile_panel *p = t->panel;
    for (size_t done = 0; done < LQ_GROUP; done++) {
        size_t k = first + LQ_GROUP - 1 - done;
        if (done > 0) lq_tile_add(square_of(t, k) + 1, p->moved[k + 1], ROWS, done, p->sums[k][FED]);
        step(t, k);
    }
    if (first > 0)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)first, ROWS, LQ_GROUP, 1,
                    t->factor->square[t->at] + first, (int)t->width, p->moved[first], ROWS, 1, p->sums[0][FED], BOTH);
}

void lq_tile_close(struct lq_tile *t)
{
    for (t->at = t->factor->panels; t->at-- > 0;) {
        lq_tile_enter(t);
        lq_tile_read(t);
        set_gradient(t);
        for (size_t first = 0; first < t->width; first += t->grid->weights)
            for (int way = 0; way < 2; way++) stretch(t, first, way);
        set_errors(t);
        for (size_t end = t->width; end > 0; end -= LQ_GROUP) step_group(t, end - LQ_GROUP);
        lq_tile_write(t);
        pass_on(t, t->panel->change[0]);
    }
}
