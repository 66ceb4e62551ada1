#include "quantize/feedback.h"

#include "base/blas.h"
#include "codec/encode.h"
#include "codec/kernels.h"
#include "quantize/feedback_tile.h"

#include <string.h>

/* Closing rounds, by effort: the first one gains most. */
static const unsigned rounds[] = {[LQ_EFFORT_FAST] = 0, [LQ_EFFORT_NORMAL] = 1, [LQ_EFFORT_BEST] = 3};
/* A row that loses less than this share of what it is expected to lose plainly is not compared. */
static const double beyond_doubt = 0.6;

static size_t panel_floats(void)
{
    return (sizeof(struct lq_tile_panel) + sizeof(float) - 1) / sizeof(float);
}

size_t lq_feedback_scratch(size_t columns)
{
    size_t coded = (columns + LQ_PANEL - 1) / LQ_PANEL * PANEL_BYTES * ROWS / sizeof(float);
    return panel_floats() + columns * (BOTH + ROWS) + columns * ROWS / sizeof(float) + coded;
}

static const float *block_importance(const struct lq_tile *t, size_t block)
{
    size_t weights = t->grid->weights, column = lq_tile_columns(t)[block * weights];
    return t->factor->conditional + column / weights * weights;
}

/* Rows of a block that are in panel->rowwise at a time. */
static size_t rows_at_once(const struct lq_tile *t)
{
    size_t rows = ROWWISE / t->grid->weights;
    return rows < ROWS ? rows : ROWS;
}

/* Row by row, because one of n from `row` on cannot be encoded: it is left to the plain encoding, the others do not
 * notice. */
static void encode_singly(struct lq_tile *t, size_t block, size_t row, size_t n)
{
    size_t weights = t->grid->weights;
    const float *importance = block_importance(t, block);
    for (size_t r = row; r < row + n; r++) {
        const float *w = t->panel->rowwise + (r - row) * weights;
        uint8_t *dst = lq_tile_block(t, block, r);
        if (lq_codec_encode(t->grid->type, w, 1, weights, importance, t->effort, dst, NULL) == LQ_OK) continue;
        t->broken[r] = true;
        memset(dst, 0, t->block_bytes);
    }
}

/* The scales of one block, searched for on its corrected weights. */
static void fit_block(struct lq_tile *t, size_t block)
{
    struct lq_tile_panel *p = t->panel;
    size_t weights = t->grid->weights, first = block * weights, n = rows_at_once(t);
    const float *square = t->upper + first * t->height + first, *importance = block_importance(t, block);
    for (size_t k = first; k < first + weights; k++) memcpy(p->moved[k], p->sums[k], sizeof p->moved[k]);
    cblas_strsm(CblasRowMajor, CblasLeft, CblasUpper, CblasNoTrans, CblasNonUnit, (int)weights, ROWS, 1, square,
                (int)t->height, p->moved[first], ROWS);
    for (size_t r = 0; r < ROWS; r += n) {
        lq_kernels()->put_behind(p->weights[0] + r, p->moved[0] + r, n, t->place + first, weights, p->rowwise);
        if (lq_codec_encode(t->grid->type, p->rowwise, n, weights, importance, t->effort, lq_tile_block(t, block, r),
                            NULL) != LQ_OK)
            encode_singly(t, block, r, n);
    }
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

/* Rows of L' e that the errors behind the panel make, for n rows from `first` on; plain ones are behind the others. */
static void add_up(const struct lq_tile *t, size_t first, int n)
{
    float *sums = t->panel->sums[0] + first;
    int behind = (int)(t->height - t->width);
    if (behind == 0) memset(t->panel->sums, 0, sizeof t->panel->sums);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)t->width, n, behind, 1, t->upper + t->width,
                    (int)t->height, t->errors[t->at * LQ_PANEL + t->width] + first, BOTH, 0, sums, BOTH);
}

/* Rows that are encoded plainly at a time, and what they lose. */
struct plain {
    size_t first, n;
    const uint8_t *coded; /* the tile's rows */
    double loss[BESIDE];
};

/* Errors of a block's plain rows. */
static void set_plain_errors(const struct lq_tile *t, size_t first, const struct plain *plain)
{
    struct lq_tile_panel *p = t->panel;
    size_t weights = t->grid->weights, block = lq_tile_columns(t)[first] / weights;
    const uint8_t *src = plain->coded + plain->first * t->row_bytes + block * t->block_bytes;
    for (size_t r = 0; r < plain->n; r++)
        lq_codec_decode(t->grid->type, src + r * t->row_bytes, p->rowwise + r * weights, weights, NULL);
    lq_kernels()->put_abreast(p->rowwise, weights, plain->n, BESIDE, t->place + first, weights,
                              p->weights[0] + plain->first, t->errors[t->at * LQ_PANEL] + ROWS, BOTH);
}

/* Adds what the panel's columns lose in plain rows: |L' e|^2, less what damping makes of it. */
static void lose_plainly(struct lq_tile *t, struct plain *plain)
{
    struct lq_tile_panel *p = t->panel;
    float(*errors)[BOTH] = t->errors + t->at * LQ_PANEL;
    for (size_t first = 0; first < t->width; first += t->grid->weights) set_plain_errors(t, first, plain);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)t->width, BESIDE, (int)t->width, 1, t->upper,
                (int)t->height, errors[0] + ROWS, BOTH, 1, p->sums[0] + ROWS, BOTH);
    for (size_t k = 0; k < t->width; k++)
        for (size_t r = 0; r < BESIDE; r++) {
            double lost = (double)p->sums[k][ROWS + r], own = (double)errors[k][ROWS + r];
            plain->loss[r] += lost * lost - t->factor->added * (own * own);
        }
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

static double positive(double x)
{
    return x > 0 ? x : 0;
}

/* Keeps the better of both encodings of the plain rows. */
static void choose(struct lq_tile *t, const struct plain *plain, uint8_t *dst, struct lq_feedback_outcome *outcome)
{
    for (size_t i = 0; i < plain->n; i++) {
        size_t r = plain->first + i;
        double lost = positive(plain->loss[i]), fed = positive(t->loss[r]);
        bool better = !t->broken[r] && fed < lost;
        if (better) give_row(t, r, dst + r * t->row_bytes);
        outcome->plain += lost / t->factor->tokens;
        outcome->written += (better ? fed : lost) / t->factor->tokens;
        outcome->kept += !better;
    }
}

/* Encodes up to BESIDE rows plainly. */
static enum lq_status encode_plainly(const struct lq_tile *t, size_t first, uint8_t *dst, struct plain *plain,
                                     struct lq_error *err)
{
    size_t n = t->rows - first < BESIDE ? t->rows - first : BESIDE;
    *plain = (struct plain){.first = first, .n = n, .coded = dst};
    return lq_codec_encode(t->grid->type, t->w + first * t->factor->columns, n, t->factor->columns, t->factor->diagonal,
                           t->effort, dst + first * t->row_bytes, err);
}

/* Plain rows, while the others have been done. */
static enum lq_status compare(struct lq_tile *t, size_t first, uint8_t *dst, struct lq_feedback_outcome *outcome,
                              struct lq_error *err)
{
    struct plain plain;
    enum lq_status status = encode_plainly(t, first, dst, &plain, err);
    if (status != LQ_OK) return status;
    for (t->at = t->factor->panels; t->at-- > 0;) {
        lq_tile_enter(t);
        add_up(t, ROWS, BESIDE);
        lose_plainly(t, &plain);
    }
    choose(t, &plain, dst, outcome);
    return LQ_OK;
}

/* The rows that have nothing beside them: a loss of `per_noise` times their noise is expected. */
static enum lq_status guard(struct lq_tile *t, double per_noise, uint8_t *dst, struct lq_feedback_outcome *outcome,
                            struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t first = BESIDE; first < t->rows && status == LQ_OK; first += BESIDE) {
        size_t end = t->rows - first < BESIDE ? t->rows : first + BESIDE;
        bool doubt = false;
        for (size_t r = first; r < end; r++)
            doubt |= t->broken[r] || !(t->loss[r] < beyond_doubt * per_noise * t->noise[r]);
        if (doubt) status = compare(t, first, dst, outcome, err);
        for (size_t r = first; r < end && !doubt; r++) {
            give_row(t, r, dst + r * t->row_bytes);
            outcome->plain += per_noise * t->noise[r] / t->factor->tokens;
            outcome->written += positive(t->loss[r]) / t->factor->tokens;
        }
    }
    return status;
}

/* The first rows' plain losses tell what to expect of the others'. */
static enum lq_status encode_tile(struct lq_tile *t, uint8_t *dst, struct lq_feedback_outcome *outcome,
                                  struct lq_error *err)
{
    struct plain plain;
    enum lq_status status = encode_plainly(t, 0, dst, &plain, err);
    if (status != LQ_OK) return status;
    memset(t->broken, 0, sizeof t->broken);
    memset(t->loss, 0, sizeof t->loss);
    memset(t->noise, 0, sizeof t->noise);
    for (t->at = t->factor->panels; t->at-- > 0;) {
        lq_tile_enter(t);
        add_up(t, 0, BOTH);
        lose_plainly(t, &plain);
        feed_back(t);
        if (rounds[t->effort] == 0) lq_tile_finish(t);
    }
    for (unsigned left = rounds[t->effort]; left > 0; left--) lq_tile_close(t, left == 1);
    double lost = 0, noise = 0;
    for (size_t r = 0; r < plain.n; r++) {
        lost += positive(plain.loss[r]);
        noise += t->noise[r];
    }
    choose(t, &plain, dst, outcome);
    return guard(t, noise > 0 ? lost / noise : 0, dst, outcome, err);
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
    if (lq_codec_first_bad(w, rows * factor->columns) < rows * factor->columns) /* which says where */
        return lq_codec_encode(type, w, rows, factor->columns, factor->diagonal, LQ_EFFORT_FAST, dst, err);
    enum lq_status status = LQ_OK;
    *outcome = (struct lq_feedback_outcome){0};
    t.row_bytes = lq_format_row_bytes(type, factor->columns);
    t.block_bytes = lq_format_get(type)->bytes;
    t.blocks = LQ_PANEL / t.grid->weights;
    t.panel = (struct lq_tile_panel *)(void *)scratch;
    t.errors = (float(*)[BOTH])(void *)(scratch + panel_floats());
    t.lost = (float(*)[ROWS])(void *)(t.errors + factor->columns);
    t.levels = (uint8_t(*)[ROWS])(t.lost + factor->columns);
    t.coded = (uint8_t *)(t.levels + factor->columns);
    for (size_t row = 0; row < rows && status == LQ_OK; row += ROWS) {
        t.w = w + row * factor->columns;
        t.rows = rows - row < ROWS ? rows - row : ROWS;
        status = encode_tile(&t, dst + row * t.row_bytes, outcome, err);
    }
    return status;
}
