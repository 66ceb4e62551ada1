#include "quantize/factor.h"

#include "base/blas.h"
#include "base/pool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STRIPE = 256 /* rows of a panel that one item solves for */ };
/* A pivot that keeps less than this of its column's diagonal element is rounding alone. */
static const double least_pivot = 1e-11;
static const double least_share = 0.01, first_share = 1e-6, next_share = 10;
/* Tokens of a picture resemble one another: this many tell as much as one that stands alone (on the demo model, by how
 * far second moments of other pictures are from these). */
static const double tokens_alike = 4;

/* A factor being made. */
struct making {
    struct lq_factor *factor;
    const float *hessian;
    const struct lq_meter *meter;
    unsigned threads;
    double **lower; /* panels, not yet factored; NULL where done */
    size_t panel;   /* in hand */
};

/* Where a column comes in the order: its block, its group within that, itself, each by what its errors cost; the
 * costliest last, because the last are done first, while later ones can still make up for them. */
struct place {
    double cost[3];
    uint32_t member[3];
};

uint64_t lq_factor_bytes(size_t columns, bool making)
{
    uint64_t n = columns, panels = (n + LQ_PANEL - 1) / LQ_PANEL;
    uint64_t entries = n * LQ_PANEL * panels - (uint64_t)LQ_PANEL * LQ_PANEL * (panels * (panels - 1) / 2);
    uint64_t vectors = n * (3 * sizeof(float)) + panels * (2 * sizeof(float *) + sizeof(double *));
    vectors += n * LQ_PANEL * sizeof(float);
    return vectors + (making ? entries * sizeof(double) + n * (sizeof(struct place) + LQ_PANEL * sizeof(float))
                             : entries * sizeof(float));
}

static float at(const float *hessian, size_t row, size_t column)
{
    return hessian[row * (row + 1) / 2 + column];
}

static enum lq_status check(const float *hessian, size_t n, struct lq_error *err)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        double own = (double)at(hessian, i, i);
        for (size_t j = 0; j <= i; j++)
            if (!isfinite(at(hessian, i, j)))
                return lq_error_set(err, LQ_ERR_FORMAT, "second moment %g of columns %zu and %zu",
                                    (double)at(hessian, i, j), i, j);
        if (own < 0) return lq_error_set(err, LQ_ERR_FORMAT, "mean square of column %zu is negative (%g)", i, own);
        if (own > largest) largest = own;
    }
    if (largest == 0) return lq_error_set(err, LQ_ERR_FORMAT, "second moments are all zero");
    return LQ_OK;
}

static int compare(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    for (unsigned k = 0; k < 3; k++) {
        if (x->cost[k] != y->cost[k]) return x->cost[k] < y->cost[k] ? -1 : 1;
        if (x->member[k] != y->member[k]) return x->member[k] < y->member[k] ? -1 : 1;
    }
    return 0;
}

static double cost_of(const struct lq_factor *f, size_t member, size_t size)
{
    double sum = 0;
    for (size_t c = member * size; c < (member + 1) * size && c < f->columns; c++) sum += (double)f->diagonal[c];
    return sum;
}

static enum lq_status make_order(struct lq_factor *f, uint32_t block)
{
    const size_t sizes[3] = {block, LQ_GROUP, 1};
    struct place *places = malloc(f->columns * sizeof *places);
    if (places == NULL) return LQ_ERR_MEMORY;
    for (size_t c = 0; c < f->columns; c++)
        for (unsigned k = 0; k < 3; k++) {
            places[c].member[k] = (uint32_t)(c / sizes[k]);
            places[c].cost[k] = cost_of(f, c / sizes[k], sizes[k]);
        }
    qsort(places, f->columns, sizeof *places, compare);
    for (size_t p = 0; p < f->columns; p++) f->order[p] = places[p].member[2];
    free(places);
    return LQ_OK;
}

/* Item: a panel of the damped matrix, from its diagonal down. */
static enum lq_status fill_panel(void *data, size_t panel, unsigned worker, struct lq_error *err)
{
    (void)worker;
    (void)err;
    const struct making *m = data;
    const struct lq_factor *f = m->factor;
    size_t start = panel * LQ_PANEL, width = lq_panel_width(f, panel);
    double *row = m->lower[panel];
    for (size_t p = start; p < f->columns; p++, row += width)
        for (size_t k = 0; k < width; k++) {
            size_t a = f->order[p], b = f->order[start + k], low = a < b ? a : b, high = a < b ? b : a;
            row[k] = (high < f->n ? (double)at(m->hessian, high, low) : 0) + (a == b ? f->added : 0);
        }
    for (size_t i = 0; i < width * width; i++) f->square[panel][i] = (float)m->lower[panel][i];
    return LQ_OK;
}

/* Cholesky of the panel's square, column by column. False when it is not positive definite. */
static bool factor_square(double *a, size_t n)
{
    double column[LQ_PANEL], whole[LQ_PANEL];
    for (size_t i = 0; i < n; i++) whole[i] = a[i * n + i];
    for (size_t j = 0; j < n; j++) {
        double pivot = a[j * n + j];
        if (!(pivot > whole[j] * least_pivot)) return false;
        pivot = sqrt(pivot);
        a[j * n + j] = pivot;
        memset(a + j * n + j + 1, 0, (n - j - 1) * sizeof *a);
        for (size_t i = j + 1; i < n; i++) column[i] = a[i * n + j] /= pivot;
        for (size_t i = j + 1; i < n; i++)
            for (size_t k = j + 1; k <= i; k++) a[i * n + k] -= column[i] * column[k];
    }
    return true;
}

/* Keeps n rows of the panel in hand, from row `first` on. */
static void keep_rows(const struct making *m, size_t first, size_t n)
{
    size_t width = lq_panel_width(m->factor, m->panel), height = lq_panel_height(m->factor, m->panel);
    const double *rows = m->lower[m->panel] + first * width;
    for (size_t k = 0; k < width; k++) {
        float *column = m->factor->upper[m->panel] + k * height + first;
        for (size_t i = 0; i < n; i++) column[i] = (float)rows[i * width + k];
    }
}

/* Item: some rows below the panel's square. */
static enum lq_status solve_stripe(void *data, size_t item, unsigned worker, struct lq_error *err)
{
    (void)worker;
    (void)err;
    const struct making *m = data;
    size_t width = lq_panel_width(m->factor, m->panel), start = m->panel * LQ_PANEL + width;
    size_t row = item * STRIPE, left = m->factor->columns - start - row, n = left < STRIPE ? left : STRIPE;
    double *stripe = m->lower[m->panel] + (width + row) * width;
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (int)n, (int)width, 1,
                m->lower[m->panel], (int)width, stripe, (int)width);
    keep_rows(m, width + row, n);
    return LQ_OK;
}

/* Item: takes the panel in hand out of a later one. */
static enum lq_status update_panel(void *data, size_t item, unsigned worker, struct lq_error *err)
{
    (void)worker;
    (void)err;
    const struct making *m = data;
    size_t later = m->panel + 1 + item, width = lq_panel_width(m->factor, later), skipped = (1 + item) * LQ_PANEL;
    const double *rows = m->lower[m->panel] + skipped * LQ_PANEL;
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)(m->factor->columns - later * LQ_PANEL), (int)width,
                LQ_PANEL, -1, rows, LQ_PANEL, rows, LQ_PANEL, 1, m->lower[later], (int)width);
    return LQ_OK;
}

/* Numbers in a panel. */
static size_t entries(const struct lq_factor *f, size_t panel)
{
    return (f->columns - panel * LQ_PANEL) * lq_panel_width(f, panel);
}

/* LQ_ERR_UNSUPPORTED: not positive definite. */
static enum lq_status factor_panel(struct making *m, struct lq_error *err)
{
    struct lq_factor *f = m->factor;
    size_t width = lq_panel_width(f, m->panel), below = f->columns - m->panel * LQ_PANEL - width;
    if (m->meter != NULL && lq_meter_check(m->meter, err) != LQ_OK) return LQ_ERR_CANCELLED;
    if (!factor_square(m->lower[m->panel], width)) return LQ_ERR_UNSUPPORTED;
    f->upper[m->panel] = malloc(entries(f, m->panel) * sizeof(float));
    if (f->upper[m->panel] == NULL) return LQ_ERR_MEMORY;
    keep_rows(m, 0, width);
    enum lq_status status = lq_pool_run(m->threads, (below + STRIPE - 1) / STRIPE, solve_stripe, m, err);
    if (status == LQ_OK) status = lq_pool_run(m->threads, f->panels - m->panel - 1, update_panel, m, err);
    free(m->lower[m->panel]);
    m->lower[m->panel] = NULL;
    return status;
}

static void drop_result(struct lq_factor *f)
{
    for (size_t p = 0; p < f->panels; p++) {
        free(f->upper[p]);
        free(f->square[p]);
        f->upper[p] = f->square[p] = NULL;
    }
}

/* With f->added as it is; as factor_panel. */
static enum lq_status try_to_factor(struct making *m, struct lq_error *err)
{
    struct lq_factor *f = m->factor;
    enum lq_status status = LQ_OK;
    for (size_t p = 0; p < f->panels; p++)
        if ((m->lower[p] = malloc(entries(f, p) * sizeof(double))) == NULL ||
            (f->square[p] = malloc(lq_panel_width(f, p) * lq_panel_width(f, p) * sizeof(float))) == NULL)
            status = LQ_ERR_MEMORY;
    if (status == LQ_OK) status = lq_pool_run(m->threads, f->panels, fill_panel, m, err);
    for (m->panel = 0; m->panel < f->panels && status == LQ_OK; m->panel++) status = factor_panel(m, err);
    for (size_t p = 0; p < f->panels; p++) {
        free(m->lower[p]);
        m->lower[p] = NULL;
    }
    if (status != LQ_OK) drop_result(f);
    return status;
}

static double mean_diagonal(const struct lq_factor *f)
{
    double sum = 0;
    for (size_t c = 0; c < f->n; c++) sum += (double)f->diagonal[c];
    return sum / (double)f->n;
}

/* What Ledoit and Wolf (2004, "A well-conditioned estimator for large-dimensional covariance matrices") would mix with
 * the mean diagonal, as a share of that: what the second moments owe to the choice of tokens, of how far they are from
 * a multiple of one. At least 1 %, because rounding errors of the columns done are no sample of anything. */
static double share_by_data(const struct making *m, const struct lq_factor_terms *terms, double mean)
{
    size_t n = terms->n;
    double squares = 0, tokens = terms->tokens;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            double h = (double)at(m->hessian, i, j);
            squares += (i == j ? 1 : 2) * h * h;
        }
    double chance = tokens_alike * (terms->spread - squares / tokens), apart = squares - mean * mean * (double)n;
    double mixed = chance > 0 && apart > 0 ? chance / apart : 0;
    double share = mixed < 0.5 ? mixed / (1 - mixed) : 1;
    return share > least_share ? share : least_share;
}

static enum lq_status factor(struct making *m, const struct lq_factor_terms *terms, struct lq_error *err)
{
    struct lq_factor *f = m->factor;
    enum lq_status status = make_order(f, terms->block);
    double mean = mean_diagonal(f);
    f->share = terms->damping < 0 ? share_by_data(m, terms, mean) : terms->damping;
    while (status == LQ_OK) {
        f->added = f->share * mean;
        status = f->added > 0 || f->n == f->columns ? try_to_factor(m, err) : LQ_ERR_UNSUPPORTED;
        if (status != LQ_ERR_UNSUPPORTED) break;
        f->share = f->share < first_share ? first_share : f->share * next_share;
        status = LQ_OK;
    }
    for (size_t p = 0; p < f->columns && status == LQ_OK; p++) {
        size_t panel = p / LQ_PANEL, k = p % LQ_PANEL;
        float own = f->upper[panel][k * lq_panel_height(f, panel) + k];
        f->conditional[f->order[p]] = own * own;
    }
    return status;
}

enum lq_status lq_factor_make(struct lq_factor **out, const float *hessian, const struct lq_factor_terms *terms,
                              struct lq_error *err)
{
    enum lq_status status = check(hessian, terms->n, err);
    if (status != LQ_OK) return status;
    lq_blas_prepare();
    struct making m = {.hessian = hessian, .meter = terms->meter, .threads = terms->threads};
    struct lq_factor *f = calloc(1, sizeof *f);
    status = LQ_ERR_MEMORY;
    if (f == NULL) goto done;
    *f = (struct lq_factor){.n = terms->n, .columns = terms->columns, .block = terms->block};
    f->tokens = terms->tokens > 0 ? terms->tokens : 1;
    f->panels = (f->columns + LQ_PANEL - 1) / LQ_PANEL;
    f->order = malloc(f->columns * sizeof *f->order);
    f->diagonal = calloc(f->columns, sizeof *f->diagonal);
    f->conditional = malloc(f->columns * sizeof *f->conditional);
    f->upper = calloc(f->panels, sizeof *f->upper);
    f->square = calloc(f->panels, sizeof *f->square);
    m.factor = f;
    m.lower = calloc(f->panels, sizeof *m.lower);
    if (!f->order || !f->diagonal || !f->conditional || !f->upper || !f->square || !m.lower) goto done;
    for (size_t c = 0; c < f->n; c++) f->diagonal[c] = at(hessian, c, c);
    status = factor(&m, terms, err);
done:
    free(m.lower);
    if (status == LQ_OK) *out = f;
    else lq_factor_free(f);
    return status == LQ_ERR_MEMORY ? lq_error_set(err, status, "no memory for a factor of %zu columns", terms->columns)
                                   : status;
}

void lq_factor_free(struct lq_factor *f)
{
    if (f == NULL) return;
    if (f->upper != NULL && f->square != NULL) drop_result(f);
    free(f->upper);
    free(f->square);
    free(f->order);
    free(f->diagonal);
    free(f->conditional);
    free(f);
}

double lq_factor_damping(const struct lq_factor *factor)
{
    return factor->share;
}
