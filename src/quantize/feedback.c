#include "quantize/feedback.h"

#include "base/blas.h"
#include "codec/encode.h"
#include "codec/levels.h"
#include "quantize/factor.h"

#include <math.h>
#include <string.h>

/* Always ROWS at a time, missing ones as zeros, so that BLAS adds up each row in the same order. */
/* The same rows as they are encoded with feedback, and plainly. */
enum { FED, PLAIN, WAYS };
enum { ROWS = LQ_FEEDBACK_ROWS, AT_ONCE = 16, PANEL_BYTES = 272 /* of a row at most: eight blocks of q8_0 */ };

/* The panel in hand. All but `rowwise` and `coded` by position, rows side by side. */
struct panel {
    float weights[LQ_PANEL][ROWS];
    float sums[LQ_PANEL][WAYS][ROWS]; /* rows of L' e that the errors done make */
    float targets[LQ_PANEL][ROWS];    /* corrected weights */
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
    float (*errors)[WAYS][ROWS]; /* w - q, by position */
    uint8_t *coded;              /* rows with feedback */
    size_t at;                   /* the panel's number, */
    size_t width, height;
    const float *upper;        /* and its columns of L */
    uint32_t within[LQ_PANEL]; /* blocks: the weight at each position */
    bool broken[ROWS];
};

/* What rows lose, under the damped H, and without it: of the panel in hand, and of all before. */
struct losses {
    float now[2][WAYS][ROWS];
    double sum[2][WAYS][ROWS];
};

static void leave_panel(struct losses *losses)
{
    float *now = losses->now[0][0];
    double *sum = losses->sum[0][0];
    for (size_t i = 0; i < (size_t)2 * WAYS * ROWS; i++) sum[i] += (double)now[i];
    memset(losses->now, 0, sizeof losses->now);
}

static void add_losses(struct losses *losses, int way, const float *lost, const float *error)
{
    for (size_t r = 0; r < ROWS; r++) {
        losses->now[0][way][r] += lost[r] * lost[r];
        losses->now[1][way][r] += error[r] * error[r];
    }
}

static size_t panel_floats(void)
{
    return (sizeof(struct panel) + sizeof(float) - 1) / sizeof(float);
}

size_t lq_feedback_scratch(size_t columns)
{
    size_t coded = (columns + LQ_PANEL - 1) / LQ_PANEL * PANEL_BYTES * ROWS / sizeof(float);
    return panel_floats() + columns * WAYS * ROWS + coded;
}

/* The columns at the panel's positions. */
static const uint32_t *columns_of(const struct tile *t)
{
    return t->factor->order + t->at * LQ_PANEL;
}

/* Rows side by side, from rows behind one another: column[k] of row r goes to dst[k][r], zeros where there is no such
 * row. Some rows at a time, so that what is read and written stays in the processor's cache. */
static void set_rows(const float *src, size_t stride, size_t rows, const uint32_t *column, size_t n, float (*dst)[ROWS])
{
    for (size_t first = 0; first < rows; first += AT_ONCE) {
        const float *from[AT_ONCE];
        for (size_t r = 0; r < AT_ONCE; r++) from[r] = src + (first + r < rows ? first + r : 0) * stride;
        for (size_t k = 0; k < n; k++)
            for (size_t r = 0; r < AT_ONCE; r++) dst[k][first + r] = from[r][column[k]];
    }
    for (size_t k = 0; k < n && rows < ROWS; k++) memset(dst[k] + rows, 0, (ROWS - rows) * sizeof dst[0][0]);
}

/* The block of position k among the panel's. */
static size_t block_of(const struct tile *t, size_t k)
{
    return k / t->grid->weights;
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
    const float *square = t->upper + first * t->height + first;
    for (size_t k = first; k < first + weights; k++) memcpy(p->targets[k], p->sums[k][FED], sizeof p->targets[k]);
    cblas_strsm(CblasRowMajor, CblasLeft, CblasUpper, CblasNoTrans, CblasNonUnit, (int)weights, ROWS, 1, square,
                (int)t->height, p->targets[first], ROWS);
    for (size_t row = 0; row < ROWS; row += AT_ONCE)
        for (size_t k = first; k < first + weights; k++) {
            float *to = p->rowwise + t->within[k];
            for (size_t r = row; r < row + AT_ONCE; r++) to[r * weights] = p->weights[k][r] + p->targets[k][r];
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
    size_t part = block_of(t, k) * (t->grid->weights / t->grid->part) + t->within[k] / t->grid->part;
    const float *scale = p->scale[part], *inverse = p->inverse[part], *offset = p->offset[part], *w = p->weights[k];
    float x[ROWS], target[ROWS], value[ROWS], level[ROWS], lost[ROWS], over = 1 / own;
    for (size_t r = 0; r < ROWS; r++) {
        target[r] = w[r] + p->sums[k][FED][r] * over;
        x[r] = (target[r] - offset[r]) * inverse[r];
    }
    if (t->grid->table != NULL) round_table(t->grid, x, value, level);
    else round_even(t->grid, x, value);
    for (size_t r = 0; r < ROWS; r++) {
        float q = scale[r] * value[r] + offset[r];
        lost[r] = own * (target[r] - q);
        error[r] = w[r] - q;
        p->levels[k][r] = (int8_t)(t->grid->table != NULL ? level[r] : value[r]);
    }
    add_losses(losses, FED, lost, error);
}

/* Adds l[j] times the errors of row j to sums, for n rows. */
static void add_errors(const float *l, float (*errors)[WAYS][ROWS], size_t n, float *sums)
{
    for (size_t first = 0; first < ROWS; first += AT_ONCE) {
        float sum[AT_ONCE];
        memcpy(sum, sums + first, sizeof sum);
        for (size_t j = 0; j < n; j++)
            for (size_t r = 0; r < AT_ONCE; r++) sum[r] += l[j] * errors[j][FED][first + r];
        memcpy(sums + first, sum, sizeof sum);
    }
}

/* The columns of a group, from the last to the first, each with what the ones done call for. */
static void round_group(struct tile *t, size_t first, struct losses *losses)
{
    struct panel *p = t->panel;
    float(*errors)[WAYS][ROWS] = t->errors + t->at * LQ_PANEL + first;
    for (size_t i = LQ_GROUP; i-- > 0;) {
        const float *l = t->upper + (first + i) * t->height + first + i;
        add_errors(l + 1, errors + i + 1, LQ_GROUP - 1 - i, p->sums[first + i][FED]);
        round_column(t, first + i, *l, errors[i][FED], losses);
    }
    if (first > 0)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)first, ROWS, LQ_GROUP, 1, t->upper + first,
                    (int)t->height, errors[0][FED], WAYS * ROWS, 1, p->sums[0][FED], WAYS * ROWS);
}

/* L' e of the panel, of what lies behind it. */
static void add_up(const struct tile *t)
{
    float *sums = t->panel->sums[0][0];
    size_t n = t->height - t->width;
    if (n == 0) memset(sums, 0, t->width * sizeof t->panel->sums[0]);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)t->width, WAYS * ROWS, (int)n, 1,
                    t->upper + t->width, (int)t->height, t->errors[t->at * LQ_PANEL + t->width][0], WAYS * ROWS, 0,
                    sums, WAYS * ROWS);
}

static void enter_panel(struct tile *t)
{
    t->width = lq_panel_width(t->factor, t->at);
    t->height = lq_panel_height(t->factor, t->at);
    t->upper = t->factor->upper[t->at];
    for (size_t k = 0; k < t->width; k++) t->within[k] = columns_of(t)[k] % t->grid->weights;
    set_rows(t->w, t->factor->columns, t->rows, columns_of(t), t->width, t->panel->weights);
    add_up(t);
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
            for (size_t k = 0; k < weights; k++) levels[t->within[first + k]] = p->levels[first + k][r];
            lq_grid_write(t->grid, block, levels);
            memcpy(t->coded + r * t->row_bytes + at * t->block_bytes, block, t->block_bytes);
        }
    }
}

/* The panel's columns with feedback. */
static void feed_back(struct tile *t, struct losses *losses)
{
    for (size_t end = t->width; end > 0; end -= LQ_GROUP) {
        if (end % t->grid->weights == 0) fit_block(t, end / t->grid->weights - 1);
        round_group(t, end - LQ_GROUP, losses);
    }
    write_blocks(t);
}

/* The panel's columns as they are encoded plainly, in `plain`. */
static void lose_plainly(struct tile *t, const uint8_t *plain, struct losses *losses)
{
    struct panel *p = t->panel;
    float(*errors)[WAYS][ROWS] = t->errors + t->at * LQ_PANEL;
    size_t weights = t->grid->weights;
    for (size_t first = 0; first < t->width; first += weights) {
        size_t at = columns_of(t)[first] / weights;
        for (size_t r = 0; r < t->rows; r++)
            lq_codec_decode(t->grid->type, plain + r * t->row_bytes + at * t->block_bytes, p->rowwise + r * weights,
                            weights, NULL);
        set_rows(p->rowwise, weights, t->rows, t->within + first, weights, p->targets + first);
    }
    for (size_t k = 0; k < t->width; k++)
        for (size_t r = 0; r < ROWS; r++) errors[k][PLAIN][r] = p->weights[k][r] - p->targets[k][r];
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)t->width, ROWS, (int)t->width, 1, t->upper,
                (int)t->height, errors[0][PLAIN], WAYS * ROWS, 1, p->sums[0][PLAIN], WAYS * ROWS);
    for (size_t k = 0; k < t->width; k++) add_losses(losses, PLAIN, p->sums[k][PLAIN], errors[k][PLAIN]);
}

static double loss_of(const struct tile *t, const struct losses *losses, int way, size_t row)
{
    double loss = losses->sum[0][way][row] - t->factor->added * losses->sum[1][way][row];
    return (loss < 0 ? 0 : loss) / t->factor->tokens;
}

/* `dst` holds the rows as encoded plainly. */
static void encode_tile(struct tile *t, uint8_t *dst, struct lq_feedback_outcome *outcome)
{
    struct losses losses = {.now = {{{0}}}};
    memset(t->broken, 0, sizeof t->broken);
    for (t->at = t->factor->panels; t->at-- > 0;) {
        enter_panel(t);
        lose_plainly(t, dst, &losses);
        feed_back(t, &losses);
        leave_panel(&losses);
    }
    for (size_t r = 0; r < t->rows; r++) {
        double before = loss_of(t, &losses, PLAIN, r), after = loss_of(t, &losses, FED, r);
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
    t.errors = (float(*)[WAYS][ROWS])(void *)(scratch + panel_floats());
    t.coded = (uint8_t *)(t.errors + factor->columns);
    for (size_t row = 0; row < rows; row += ROWS) {
        t.w = w + row * factor->columns;
        t.rows = rows - row < ROWS ? rows - row : ROWS;
        encode_tile(&t, dst + row * t.row_bytes, outcome);
    }
    return LQ_OK;
}
