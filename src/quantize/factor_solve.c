#include "base/blas.h"
#include "quantize/factor.h"

enum { ROWS = LQ_FEEDBACK_ROWS };

/* Rows side by side, by position; missing rows and columns that the matrix has only as written are zeros. */
static void take(const struct lq_factor *f, const float *r, size_t rows, float *x)
{
    for (size_t p = 0; p < f->columns; p++)
        for (size_t i = 0; i < ROWS; i++)
            x[p * ROWS + i] = i < rows && f->order[p] < f->n ? r[i * f->n + f->order[p]] : 0;
}

static void give(const struct lq_factor *f, const float *x, size_t rows, float share, float *r)
{
    for (size_t p = 0; p < f->columns; p++)
        for (size_t i = 0; i < rows && f->order[p] < f->n; i++) r[i * f->n + f->order[p]] = share * x[p * ROWS + i];
}

/* One panel of L x = r or, from the last panel to the first, of L' x = r. */
static void solve_panel(const struct lq_factor *f, size_t panel, bool transposed, float *x)
{
    size_t width = lq_panel_width(f, panel), height = lq_panel_height(f, panel);
    int below = (int)(height - width);
    const float *square = f->upper[panel], *rest = square + width;
    float *own = x + panel * LQ_PANEL * ROWS, *others = own + width * ROWS;
    if (transposed && below > 0)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)width, ROWS, below, -1, rest, (int)height, others,
                    ROWS, 1, own, ROWS);
    cblas_strsm(CblasRowMajor, CblasLeft, CblasUpper, transposed ? CblasNoTrans : CblasTrans, CblasNonUnit, (int)width,
                ROWS, 1, square, (int)height, own, ROWS);
    if (!transposed && below > 0)
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, below, ROWS, (int)width, -1, rest, (int)height, own, ROWS,
                    1, others, ROWS);
}

void lq_factor_solve(const struct lq_factor *f, float *r, size_t rows, float share, float *room)
{
    take(f, r, rows, room);
    for (size_t p = 0; p < f->panels; p++) solve_panel(f, p, false, room);
    for (size_t p = f->panels; p-- > 0;) solve_panel(f, p, true, room);
    give(f, room, rows, share, r);
}
