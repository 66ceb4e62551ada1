/* What a factor is made of, for those who solve with it.
 *
 * Columns stand in an order of their own, in which blocks, and groups of LQ_GROUP columns within them, stay together;
 * "position" means a place in it. Panel p holds the columns of L at positions from p * LQ_PANEL on, each from the
 * panel's first position down, one behind the other: rows of L', with zeros left of the diagonal.
 */
#ifndef LQ_QUANTIZE_FACTOR_H
#define LQ_QUANTIZE_FACTOR_H

#include "quantize/feedback.h"

enum { LQ_PANEL = 256, LQ_GROUP = 32 };

struct lq_factor {
    size_t n, columns, panels;
    uint32_t block;
    double tokens;
    double added;       /* to each diagonal element of H */
    double share;       /* the same, of their mean */
    uint32_t *order;    /* the column at each position */
    float **upper;      /* panels */
    float **square;     /* of the damped H: where a panel's rows and columns meet */
    float *diagonal;    /* of H, by column */
    float *conditional; /* L_ii^2, by column: what an error costs once later ones are made up for */
};

/* Puts share * r H^-1, H damped, in the place of each of at most LQ_FEEDBACK_ROWS rows r of f->n numbers. `room`:
 * LQ_FEEDBACK_ROWS * f->columns floats. Thread-safe. */
void lq_factor_solve(const struct lq_factor *f, float *r, size_t rows, float share, float *room);

/* Sum of e' H e / tokens over at most LQ_FEEDBACK_ROWS rows e of f->columns numbers, what their products lose, H
 * without its damping. `room`: lq_factor_loss_room(f->columns) floats. Thread-safe. */
double lq_factor_loss(const struct lq_factor *f, const float *e, size_t rows, float *room);
size_t lq_factor_loss_room(size_t columns);

/* Numbers in one of a panel's columns of L. */
static inline size_t lq_panel_height(const struct lq_factor *f, size_t panel)
{
    return f->columns - panel * LQ_PANEL;
}

static inline size_t lq_panel_width(const struct lq_factor *f, size_t panel)
{
    size_t left = f->columns - panel * LQ_PANEL;
    return left < LQ_PANEL ? left : LQ_PANEL;
}

#endif
