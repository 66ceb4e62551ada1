#include "base/blas.h"
#include "quantize/factor.h"

enum { ROWS = LQ_FEEDBACK_ROWS };

size_t lq_factor_loss_room(size_t columns)
{
    return (columns + LQ_PANEL) * ROWS;
}

static double squares(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

/* |L' e|^2, panel by panel, less what damping makes of it. */
double lq_factor_loss(const struct lq_factor *f, const float *e, size_t rows, float *room)
{
    float *x = room, *y = room + f->columns * ROWS;
    double sum = 0;
    for (size_t p = 0; p < f->columns; p++)
        for (size_t r = 0; r < ROWS; r++) x[p * ROWS + r] = r < rows ? e[r * f->columns + f->order[p]] : 0;
    for (size_t p = 0; p < f->panels; p++) {
        int width = (int)lq_panel_width(f, p), height = (int)lq_panel_height(f, p);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, width, ROWS, height, 1, f->upper[p], height,
                    x + p * LQ_PANEL * ROWS, ROWS, 0, y, ROWS);
        sum += squares(y, (size_t)width * ROWS);
    }
    sum -= f->added * squares(e, rows * f->columns);
    return sum > 0 ? sum / f->tokens : 0;
}
