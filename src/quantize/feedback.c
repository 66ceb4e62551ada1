#include "quantize/feedback.h"

#include "base/blas.h"
#include "codec/encode.h"
#include "codec/kernels.h"
#include "quantize/feedback_tile.h"

#include <string.h>

/* Closing rounds, by effort: the first one gains most. */
static const unsigned rounds[] = {[LQ_EFFORT_FAST] = 0, [LQ_EFFORT_NORMAL] = 1, [LQ_EFFORT_BEST] = 3};

static size_t panel_floats(void)
{
    return (sizeof(struct lq_tile_panel) + sizeof(float) - 1) / sizeof(float);
}

size_t lq_feedback_scratch(size_t columns)
{
    size_t coded = (columns + LQ_PANEL - 1) / LQ_PANEL * PANEL_BYTES * ROWS / sizeof(float);
    return panel_floats() + columns * (WAYS + 1) * ROWS + columns * ROWS / sizeof(float) + coded;
}

static const float *block_importance(const struct lq_tile *t, size_t block)
{
    size_t weights = t->grid->weights, column = lq_tile_columns(t)[block * weights];
    return t->factor->conditional + column / weights * weights;
}

/* Row by row, because one cannot be encoded: it is left to the plain encoding, the others do not notice. */
static void encode_singly(struct lq_tile *t, size_t block, size_t weights)
{
    for (size_t r = 0; r < ROWS; r++) {
        float *row = t->panel->rowwise + r * weights;
        const float *importance = block_importance(t, block);
        uint8_t *dst = lq_tile_block(t, block, r);
        if (lq_codec_encode(t->grid->type, row, 1, weights, importance, t->effort, dst, NULL) == LQ_OK) continue;
        t->broken[r] = true;
        memset(dst, 0, t->block_bytes);
    }
}

/* The scales of one block, searched for on its corrected weights. */
static void fit_block(struct lq_tile *t, size_t block)
{
    struct lq_tile_panel *p = t->panel;
    size_t weights = t->grid->weights, first = block * weights;
    const float *square = t->upper + first * t->height + first;
    for (size_t k = first; k < first + weights; k++) memcpy(p->moved[k], p->sums[k][FED], sizeof p->moved[k]);
    cblas_strsm(CblasRowMajor, CblasLeft, CblasUpper, CblasNoTrans, CblasNonUnit, (int)weights, ROWS, 1, square,
                (int)t->height, p->moved[first], ROWS);
    lq_kernels()->put_behind(p->weights, p->moved, t->place + first, weights, p->rowwise);
    if (lq_codec_encode(t->grid->type, p->rowwise, ROWS, weights, block_importance(t, block), t->effort,
                        lq_tile_block(t, block, 0), NULL) != LQ_OK)
        encode_singly(t, block, weights);
    lq_tile_read_scales(t, block);
}

/* The panel's columns with feedback. */
static void feed_back(struct lq_tile *t)
{
    for (size_t end = t->width; end > 0; end -= LQ_GROUP) {
        if (end % t->grid->weights == 0) fit_block(t, end / t->grid->weights - 1);
        size_t k = end - LQ_GROUP;
        lq_tile_descend(t, k, t->upper + k * t->height + k, t->height, true);
    }
}

/* Rows of L' e that the errors behind the panel make. */
static void add_up(const struct lq_tile *t)
{
    float *sums = t->panel->sums[0][0];
    size_t n = t->height - t->width;
    if (n == 0) memset(sums, 0, t->width * sizeof t->panel->sums[0]);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)t->width, BOTH, (int)n, 1, t->upper + t->width,
                    (int)t->height, t->errors[t->at * LQ_PANEL + t->width][0], BOTH, 0, sums, BOTH);
}

/* Adds the squares of n vectors, `times` so much, to each row's sum. */
static void add_squares(const float *x, size_t apart, size_t n, double times, double *sum)
{
    float now[ROWS];
    lq_kernels()->dot_abreast(x, apart, x, apart, n, now);
    for (size_t r = 0; r < ROWS; r++) sum[r] += times * (double)now[r];
}

/* Adds what the panel's columns lose as they are encoded plainly: |L' e|^2, less what damping makes of it. */
static void lose_plainly(struct lq_tile *t, const uint8_t *plain, double *loss)
{
    struct lq_tile_panel *p = t->panel;
    float(*errors)[WAYS][ROWS] = t->errors + t->at * LQ_PANEL;
    size_t weights = t->grid->weights;
    for (size_t first = 0; first < t->width; first += weights) {
        size_t at = lq_tile_columns(t)[first] / weights;
        for (size_t r = 0; r < t->rows; r++)
            lq_codec_decode(t->grid->type, plain + r * t->row_bytes + at * t->block_bytes, p->rowwise + r * weights,
                            weights, NULL);
        lq_kernels()->put_abreast(p->rowwise, weights, t->rows, t->place + first, weights, p->weights, errors[0][PLAIN],
                                  BOTH);
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)t->width, ROWS, (int)t->width, 1, t->upper,
                (int)t->height, errors[0][PLAIN], BOTH, 1, p->sums[0][PLAIN], BOTH);
    add_squares(p->sums[0][PLAIN], BOTH, t->width, 1, loss);
    add_squares(errors[0][PLAIN], BOTH, t->width, -t->factor->added, loss);
}

/* Puts a row's blocks where they belong. */
static void give_row(struct lq_tile *t, size_t r, uint8_t *dst)
{
    size_t weights = t->grid->weights;
    for (t->at = 0; t->at < t->factor->panels; t->at++)
        for (size_t first = 0; first < lq_panel_width(t->factor, t->at); first += weights)
            memcpy(dst + lq_tile_columns(t)[first] / weights * t->block_bytes, lq_tile_block(t, first / weights, r),
                   t->block_bytes);
}

/* Keeps the better of both encodings of each row; `dst` holds the plain one. */
static void choose(struct lq_tile *t, const double (*loss)[ROWS], uint8_t *dst, struct lq_feedback_outcome *outcome)
{
    for (size_t r = 0; r < t->rows; r++) {
        double plain = loss[PLAIN][r] < 0 ? 0 : loss[PLAIN][r], fed = loss[FED][r] < 0 ? 0 : loss[FED][r];
        bool better = !t->broken[r] && fed < plain;
        if (better) give_row(t, r, dst + r * t->row_bytes);
        outcome->plain += plain / t->factor->tokens;
        outcome->written += (better ? fed : plain) / t->factor->tokens;
        outcome->kept += !better;
    }
}

static void encode_tile(struct lq_tile *t, uint8_t *dst, struct lq_feedback_outcome *outcome)
{
    double loss[WAYS][ROWS] = {{0}};
    memset(t->broken, 0, sizeof t->broken);
    for (t->at = t->factor->panels; t->at-- > 0;) {
        lq_tile_enter(t);
        add_up(t);
        lose_plainly(t, dst, loss[PLAIN]);
        feed_back(t);
        if (rounds[t->effort] == 0) lq_tile_write(t);
    }
    for (unsigned left = rounds[t->effort]; left > 0; left--) lq_tile_close(t, left == 1);
    for (size_t p = 0; p < t->factor->columns; p += LQ_GROUP) {
        add_squares(t->lost[p], ROWS, LQ_GROUP, 1, loss[FED]);
        add_squares(t->errors[p][FED], BOTH, LQ_GROUP, -t->factor->added, loss[FED]);
    }
    choose(t, loss, dst, outcome);
}

enum lq_status lq_feedback_encode(const struct lq_factor *factor, enum lq_type type, const float *w, size_t rows,
                                  enum lq_effort effort, float *scratch, uint8_t *dst,
                                  struct lq_feedback_outcome *outcome, struct lq_error *err)
{
    struct lq_tile t = {.factor = factor, .grid = lq_grid_find(type), .effort = effort};
    if (t.grid == NULL)
        return lq_error_set(err, LQ_ERR_USAGE, "%s has no levels to feed errors back to", lq_format_name(type));
    if (t.grid->weights > factor->block)
        return lq_error_set(err, LQ_ERR_USAGE, "%s has blocks of %u, the factor was made for %u", lq_format_name(type),
                            t.grid->weights, factor->block);
    enum lq_status status = lq_codec_encode(type, w, rows, factor->columns, factor->diagonal, effort, dst, err);
    if (status != LQ_OK) return status;
    *outcome = (struct lq_feedback_outcome){0};
    t.row_bytes = lq_format_row_bytes(type, factor->columns);
    t.block_bytes = lq_format_get(type)->bytes;
    t.blocks = LQ_PANEL / t.grid->weights;
    t.panel = (struct lq_tile_panel *)(void *)scratch;
    t.errors = (float(*)[WAYS][ROWS])(void *)(scratch + panel_floats());
    t.lost = (float(*)[ROWS])(void *)(t.errors + factor->columns);
    t.levels = (uint8_t(*)[ROWS])(t.lost + factor->columns);
    t.coded = (uint8_t *)(t.levels + factor->columns);
    for (size_t row = 0; row < rows; row += ROWS) {
        t.w = w + row * factor->columns;
        t.rows = rows - row < ROWS ? rows - row : ROWS;
        encode_tile(&t, dst + row * t.row_bytes, outcome);
    }
    return LQ_OK;
}
