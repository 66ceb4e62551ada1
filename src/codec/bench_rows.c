/* Made-up rows. Only operations whose result IEEE fixes take part, so that every machine gets the same ones. */
#include "llava_quantize/bench.h"

#include "base/portable_math.h"
#include "base/random.h"

static const double row_sigma = 0.3, row_mean = -4, importance_sigma = 2;
static const uint64_t columns_per_outlier = 256;

/* A point inside the unit circle, without its centre: returns its first coordinate, *w is its squared radius. */
static double draw_point(uint64_t *state, double *w)
{
    double u, v;
    do {
        u = (double)(lq_random_next(state) >> 11) * 0x1p-52 - 1;
        v = (double)(lq_random_next(state) >> 11) * 0x1p-52 - 1;
        *w = u * u + v * v;
    } while (*w >= 1 || *w == 0);
    return u;
}

/* Marsaglia's polar method. */
static double draw_normal(uint64_t *state)
{
    double w, u = draw_point(state, &w);
    return u * sqrt(-2 * lq_log(w) / w);
}

/* Bailey's polar method ("Polar generation of random variates with the t-distribution", 1994), for 4 degrees. */
static double draw_heavy(uint64_t *state)
{
    double w, u = draw_point(state, &w);
    return u * sqrt(4 * (1 / sqrt(w) - 1) / w);
}

/* Multiplies one column in each stretch of columns_per_outlier. */
static void enlarge_columns(uint64_t state, uint64_t rows, uint64_t columns, float *weights)
{
    for (uint64_t first = 0; first < columns; first += columns_per_outlier) {
        uint64_t left = columns - first, n = left < columns_per_outlier ? left : columns_per_outlier;
        uint64_t column = first + lq_random_below(&state, n);
        float factor = (float)(8 + lq_random_below(&state, 25));
        for (uint64_t r = 0; r < rows; r++) weights[r * columns + column] *= factor;
    }
}

void lq_bench_weights(enum lq_bench_kind kind, uint64_t seed, uint64_t rows, uint64_t columns, float *dst)
{
    uint64_t state = seed;
    double (*draw)(uint64_t *) = kind == LQ_BENCH_HEAVY ? draw_heavy : draw_normal;
    for (uint64_t r = 0; r < rows; r++) {
        double scale = lq_exp(row_mean + row_sigma * draw_normal(&state));
        for (uint64_t i = 0; i < columns; i++) dst[r * columns + i] = (float)(scale * draw(&state));
    }
    if (kind == LQ_BENCH_OUTLIER) enlarge_columns(state, rows, columns, dst);
}

void lq_bench_importance(uint64_t seed, uint64_t columns, float *dst)
{
    uint64_t state = seed;
    for (uint64_t i = 0; i < columns; i++) dst[i] = (float)lq_exp(importance_sigma * draw_normal(&state));
}
