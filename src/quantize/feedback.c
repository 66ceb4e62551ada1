#include "quantize/feedback.h"

#include "base/blas.h"
#include "codec/encode.h"
#include "codec/levels.h"
#include "quantize/factor.h"

#include <math.h>
#include <string.h>

/* Always ROWS at a time, missing ones as zeros, so that BLAS adds up each row in the same order. */
enum { ROWS = LQ_FEEDBACK_ROWS, PANEL_BYTES = 272 /* of a row at most: eight blocks of q8_0 */ };

/* The panel in hand. All but `rowwise` and `coded` by position, rows side by side. */
struct panel {
    float weights[LQ_PANEL][ROWS];
    float sums[LQ_PANEL][ROWS];    /* row of L' e that the errors done make */
    float targets[LQ_PANEL][ROWS]; /* corrected weights */
    float scale[LQ_GRID_PARTS][ROWS], inverse[LQ_GRID_PARTS][ROWS], offset[LQ_GRID_PARTS][ROWS];
    float rowwise[ROWS * LQ_PANEL];
    int8_t levels[LQ_PANEL][ROWS];
    uint8_t coded[ROWS * PANEL_BYTES]; /* block by block, in each row by row */
};

/* A tile: ROWS rows of a call, or what is left of them. */
struct tile {
    const struct lq_factor *factor;
    const struct lq_grid *grid;
    enum lq_effort effort;
    const float *w;
    size_t rows, row_bytes, block_bytes;
    struct panel *panel;
    float *errors;  /* w - q, by position, rows side by side */
    uint8_t *coded; /* rows with feedback */
    size_t at;      /* the panel's number, */
    size_t width;   /* and its columns */
    bool broken[ROWS];
};

/* What rows lose: under the damped H, and without it. */
struct losses {
    double damped[ROWS], squares[ROWS];
};

static size_t panel_floats(void)
{
    return (sizeof(struct panel) + sizeof(float) - 1) / sizeof(float);
}

size_t lq_feedback_scratch(size_t columns)
{
    size_t coded = (columns + LQ_PANEL - 1) / LQ_PANEL * PANEL_BYTES * ROWS / sizeof(float);
    return panel_floats() + columns * ROWS + coded;
}

/* The columns at the panel's positions. */
static const uint32_t *columns_of(const struct tile *t)
{
    return t->factor->order + t->at * LQ_PANEL;
}

/* The panel's numbers of one row, between their columns' order and that of positions. */
static void set_rows(const struct tile *t, const float *src, size_t stride, float (*dst)[ROWS])
{
    const uint32_t *column = columns_of(t);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t k = 0; k < t->width; k++) dst[k][r] = r < t->rows ? src[r * stride + column[k]] : 0;
}

/* Where the block of position k stands among the panel's, and the position's weight within it. */
static size_t block_of(const struct tile *t, size_t k)
{
    return k / t->grid->weights;
}

static size_t weight_of(const struct tile *t, size_t k)
{
    return columns_of(t)[k] % t->grid->weights;
}

static uint8_t *coded_block(const struct tile *t, size_t block, size_t row)
{
    return t->panel->coded + (block * ROWS + row) * t->block_bytes;
}

static const float *block_importance(const struct tile *t, size_t block)
{
    size_t weights = t->grid->weights, column = columns_of(t)[block * weights];
    return t->factor->conditional + column / weights * weights;
}

/* Row by row, because one cannot be encoded: it is left to the plain encoding, the others do not notice. */
static void encode_singly(struct tile *t, size_t block, size_t weights)
{
    for (size_t r = 0; r < ROWS; r++) {
        float *row = t->panel->rowwise + r * weights;
        const float *importance = block_importance(t, block);
        uint8_t *dst = coded_block(t, block, r);
        if (lq_codec_encode(t->grid->type, row, 1, weights, importance, t->effort, dst, NULL) == LQ_OK) continue;
        t->broken[r] = true;
        memset(dst, 0, t->block_bytes);
    }
}

static void read_scales(const struct tile *t, size_t block)
{
    struct panel *p = t->panel;
    size_t parts = t->grid->weights / t->grid->part;
    for (size_t r = 0; r < ROWS; r++) {
        float scale[LQ_GRID_PARTS], offset[LQ_GRID_PARTS];
        lq_grid_scales(t->grid, coded_block(t, block, r), scale, offset);
        for (size_t k = 0; k < parts; k++) {
            size_t part = block * parts + k;
            p->scale[part][r] = scale[k];
            p->offset[part][r] = offset[k];
            p->inverse[part][r] = fabsf(scale[k]) < 0x1p-120f ? 0 : 1 / scale[k];
        }
    }
}

/* The scales of one block, searched for on its corrected weights. */
static void fit_block(struct tile *t, size_t block)
{
    struct panel *p = t->panel;
    size_t weights = t->grid->weights, first = block * weights;
    const float *square = t->factor->lower[t->at] + first * t->width + first;
    memcpy(p->targets[first], p->sums[first], weights * sizeof p->sums[0]);
    cblas_strsm(CblasRowMajor, CblasLeft, CblasLower, CblasTrans, CblasNonUnit, (int)weights, ROWS, 1, square,
                (int)t->width, p->targets[first], ROWS);
    for (size_t k = first; k < first + weights; k++) {
        float *to = p->rowwise + weight_of(t, k);
        for (size_t r = 0; r < ROWS; r++) to[r * weights] = p->weights[k][r] + p->targets[k][r];
    }
    if (lq_codec_encode(t->grid->type, p->rowwise, ROWS, weights, block_importance(t, block), t->effort,
                        coded_block(t, block, 0), NULL) != LQ_OK)
        encode_singly(t, block, weights);
    read_scales(t, block);
}

/* Nearest values: of whole numbers, */
static void round_even(const struct lq_grid *grid, const float *x, float *value)
{
    const float least = grid->least, most = grid->most, shift = 0x1.8p23f;
    for (size_t r = 0; r < ROWS; r++) {
        float v = x[r] > least ? x[r] : least; /* a NaN too */
        v = v < most ? v : most;
        value[r] = v + shift - shift;
    }
}

/* and of a table, whose levels come out too. */
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

/* Rounds the column at position k; its errors are left in `error`. */
static void round_column(struct tile *t, size_t k, float own, float *error, struct losses *losses)
{
    struct panel *p = t->panel;
    size_t part = block_of(t, k) * (t->grid->weights / t->grid->part) + weight_of(t, k) / t->grid->part;
    const float *scale = p->scale[part], *inverse = p->inverse[part], *offset = p->offset[part], *w = p->weights[k];
    float x[ROWS], target[ROWS], value[ROWS], level[ROWS], over = 1 / own;
    for (size_t r = 0; r < ROWS; r++) {
        target[r] = w[r] + p->sums[k][r] * over;
        x[r] = (target[r] - offset[r]) * inverse[r];
    }
    if (t->grid->table != NULL) round_table(t->grid, x, value, level);
    else round_even(t->grid, x, value);
    for (size_t r = 0; r < ROWS; r++) {
        float q = scale[r] * value[r] + offset[r], lost = own * (target[r] - q);
        error[r] = w[r] - q;
        losses->damped[r] += (double)lost * (double)lost;
        losses->squares[r] += (double)error[r] * (double)error[r];
        p->levels[k][r] = (int8_t)(t->grid->table != NULL ? level[r] : value[r]);
    }
}

/* The columns of a group, from the last to the first, each with what the ones done call for. */
static void round_group(struct tile *t, size_t first, size_t n, struct losses *losses)
{
    struct panel *p = t->panel;
    float *errors = t->errors + (t->at * LQ_PANEL + first) * ROWS;
    const float *row = t->factor->lower[t->at] + first * t->width;
    for (size_t i = n; i-- > 0;) {
        const float *l = row + i * t->width + first;
        float *error = errors + i * ROWS;
        round_column(t, first + i, l[i], error, losses);
        for (size_t k = 0; k < i; k++) {
            float *sum = p->sums[first + k];
            for (size_t r = 0; r < ROWS; r++) sum[r] += l[k] * error[r];
        }
    }
    if (first > 0)
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)first, ROWS, (int)n, 1, row, (int)t->width, errors,
                    ROWS, 1, p->sums[0], ROWS);
}

/* L' e of the panel, of the errors from position `from` on. */
static void add_up(const struct tile *t, size_t from, float (*sums)[ROWS])
{
    size_t n = t->factor->columns - from;
    const float *row = t->factor->lower[t->at] + (from - t->at * LQ_PANEL) * t->width;
    if (n == 0) memset(sums, 0, t->width * sizeof sums[0]);
    else
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)t->width, ROWS, (int)n, 1, row, (int)t->width,
                    t->errors + from * ROWS, ROWS, 0, sums[0], ROWS);
}

/* Puts the panel's blocks, with the levels chosen, into the tile's rows. */
static void write_blocks(const struct tile *t)
{
    const struct panel *p = t->panel;
    size_t weights = t->grid->weights;
    for (size_t first = 0; first < t->width; first += weights) {
        size_t at = columns_of(t)[first] / weights;
        for (size_t r = 0; r < t->rows; r++) {
            int8_t levels[LQ_GRID_WEIGHTS];
            uint8_t *block = coded_block(t, block_of(t, first), r);
            for (size_t k = 0; k < weights; k++) levels[weight_of(t, first + k)] = p->levels[first + k][r];
            lq_grid_write(t->grid, block, levels);
            memcpy(t->coded + r * t->row_bytes + at * t->block_bytes, block, t->block_bytes);
        }
    }
}

static void feed_back(struct tile *t, struct losses *losses)
{
    for (t->at = t->factor->panels; t->at-- > 0;) {
        t->width = lq_panel_width(t->factor, t->at);
        set_rows(t, t->w, t->factor->columns, t->panel->weights);
        add_up(t, t->at * LQ_PANEL + t->width, t->panel->sums);
        for (size_t end = t->width; end > 0;) {
            size_t first = end - LQ_GROUP;
            if (end % t->grid->weights == 0) fit_block(t, end / t->grid->weights - 1);
            round_group(t, first, LQ_GROUP, losses);
            end = first;
        }
        write_blocks(t);
    }
}

/* What the rows lose as they are encoded plainly. */
static void lose_plainly(struct tile *t, const uint8_t *plain, struct losses *losses)
{
    const struct lq_factor *f = t->factor;
    struct panel *p = t->panel;
    size_t weights = t->grid->weights;
    for (t->at = f->panels; t->at-- > 0;) {
        float(*errors)[ROWS] = (float(*)[ROWS])(void *)(t->errors + t->at * LQ_PANEL * ROWS);
        t->width = lq_panel_width(f, t->at);
        set_rows(t, t->w, f->columns, p->weights);
        for (size_t first = 0; first < t->width; first += weights) {
            size_t block = columns_of(t)[first] / weights;
            for (size_t r = 0; r < ROWS; r++) {
                float decoded[LQ_GRID_WEIGHTS] = {0};
                if (r < t->rows)
                    lq_codec_decode(t->grid->type, plain + r * t->row_bytes + block * t->block_bytes, decoded, weights,
                                    NULL);
                for (size_t k = first; k < first + weights; k++)
                    errors[k][r] = p->weights[k][r] - decoded[weight_of(t, k)];
            }
        }
        add_up(t, t->at * LQ_PANEL, p->sums);
        for (size_t k = 0; k < t->width; k++)
            for (size_t r = 0; r < ROWS; r++) {
                losses->damped[r] += (double)p->sums[k][r] * (double)p->sums[k][r];
                losses->squares[r] += (double)errors[k][r] * (double)errors[k][r];
            }
    }
}

static double loss_of(const struct tile *t, const struct losses *losses, size_t row)
{
    double loss = losses->damped[row] - t->factor->added * losses->squares[row];
    return loss < 0 ? 0 : loss;
}

/* `dst` holds the rows as encoded plainly. */
static void encode_tile(struct tile *t, uint8_t *dst, struct lq_feedback_outcome *outcome)
{
    struct losses plain = {{0}, {0}}, fed = {{0}, {0}};
    memset(t->broken, 0, sizeof t->broken);
    lose_plainly(t, dst, &plain);
    feed_back(t, &fed);
    for (size_t r = 0; r < t->rows; r++) {
        double before = loss_of(t, &plain, r) / t->factor->tokens, after = loss_of(t, &fed, r) / t->factor->tokens;
        bool better = !t->broken[r] && after < before;
        if (better) memcpy(dst + r * t->row_bytes, t->coded + r * t->row_bytes, t->row_bytes);
        outcome->plain += before;
        outcome->written += better ? after : before;
        outcome->kept += !better;
    }
}

enum lq_status lq_feedback_encode(const struct lq_factor *factor, enum lq_type type, const float *w, size_t rows,
                                  enum lq_effort effort, float *scratch, uint8_t *dst,
                                  struct lq_feedback_outcome *outcome, struct lq_error *err)
{
    struct tile t = {.factor = factor, .grid = lq_grid_find(type), .effort = effort};
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
    t.panel = (struct panel *)(void *)scratch;
    t.errors = scratch + panel_floats();
    t.coded = (uint8_t *)(t.errors + factor->columns * ROWS);
    for (size_t row = 0; row < rows; row += ROWS) {
        t.w = w + row * factor->columns;
        t.rows = rows - row < ROWS ? rows - row : ROWS;
        encode_tile(&t, dst + row * t.row_bytes, outcome);
    }
    return LQ_OK;
}
