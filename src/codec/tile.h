/* A tile: sixteen sub-blocks of weights side by side, one in each lane.
 *
 * Part of the kernels' text: included once per instruction set, behind lanes_<isa>.h.
 * Enters: rows of weights, perhaps an importance per column. Leaves: for each sub-block its weights, what an error in
 * each counts, and room for the chosen levels, all with the sub-blocks as columns.
 * Invariants: a lane's numbers depend on its own sub-block alone; a tile of less than sixteen is filled up with zeros.
 *
 *     for (size_t first = 0; first < n_blocks; first += TILE) {
 *         struct tile t;
 *         tile_load(&t, job, first, 32, BY_SQUARE);
 *         for (size_t g = 0; g < TILE; g += LANES) search(&t, g);   // v_load(&t.x[i][g]) is weight i of LANES of them
 *     }
 */
#include <math.h>

enum { TILE = 16, LONGEST_SUB_BLOCK = 32 };

/* What an error counts where no importance is given. What ggml's encoders imply grows with the weight; ours is more even
 * where that leaves room, because the outputs of real layers then change less. */
enum weighting {
    UNWEIGHED, /* every error the same: t.w is not filled in */
    BY_ONE,
    BY_SQUARE, /* x^2 */
    BY_SPREAD, /* |x| + the root of the sub-block's mean square */
    BY_EVEN,   /* |x| + four times that root */
    BY_BOTH    /* x^2 + half the sub-block's mean square */
};

struct tile {
    _Alignas(64) float x[LONGEST_SUB_BLOCK][TILE];       /* weights */
    _Alignas(64) float w[LONGEST_SUB_BLOCK][TILE];       /* what an error in them counts, squared */
    _Alignas(64) uint8_t level[LONGEST_SUB_BLOCK][TILE]; /* what is stored for them */
};

/* Smaller magnitudes vanish beside the smallest f16 scale, and their squares would underflow. */
static const float tile_tiny = 0x1p-30f;

static inline vf flush_tiny(vf x)
{
    return v_select(v_less(v_abs(x), v_set(tile_tiny)), v_set(0), x);
}

/* Sixteen runs of n floats, each behind its own pointer, into columns. */
static inline void transpose_runs(const float *const run[TILE], size_t n, float (*dst)[TILE], bool flush)
{
    for (size_t g = 0; g < TILE; g += LANES)
        for (size_t i = 0; i < n; i += LANES) {
            vf rows[LANES];
            for (size_t k = 0; k < LANES; k++) rows[k] = v_load(run[g + k] + i);
            for (size_t k = 0; flush && k < LANES; k++) rows[k] = flush_tiny(rows[k]);
            v_transpose(rows);
            for (size_t k = 0; k < LANES; k++) v_store(&dst[i + k][g], rows[k]);
        }
}

static inline void weigh(struct tile *t, size_t n, size_t g, enum weighting weighting)
{
    vf squares = v_set(0);
    for (size_t i = 0; i < n && weighting != BY_ONE && weighting != BY_SQUARE; i++) {
        vf x = v_load(&t->x[i][g]);
        squares = squares + x * x;
    }
    vf spread = v_sqrt(squares / v_set((float)n));
    for (size_t i = 0; i < n; i++) {
        vf x = v_load(&t->x[i][g]), w = v_set(1);
        if (weighting == BY_SQUARE) w = x * x;
        if (weighting == BY_SPREAD) w = spread + v_abs(x);
        if (weighting == BY_EVEN) w = v_set(4) * spread + v_abs(x);
        if (weighting == BY_BOTH) w = v_set(0.5f) * spread * spread + x * x;
        v_store(&t->w[i][g], w);
    }
}

/* Sub-blocks first .. first + TILE - 1 of n weights each, of the job's rows one behind the other; importance where there
 * is any. */
static inline void tile_gather(struct tile *t, const struct lq_encode *job, size_t first, size_t n, bool flush)
{
    static const float zeros[LONGEST_SUB_BLOCK];
    size_t per_row = job->columns / n, n_blocks = job->rows * per_row;
    const float *runs[TILE];
    for (size_t lane = 0; lane < TILE; lane++)
        runs[lane] = first + lane < n_blocks ? job->src + (first + lane) * n : zeros;
    transpose_runs(runs, n, t->x, flush);
    if (job->importance == NULL) return;
    for (size_t lane = 0; lane < TILE; lane++)
        runs[lane] = first + lane < n_blocks ? job->importance + (first + lane) % per_row * n : zeros;
    transpose_runs(runs, n, t->w, false);
}

/* The same, with tiny weights taken as zero, and an error's weight where no importance is given. */
static inline void tile_load(struct tile *t, const struct lq_encode *job, size_t first, size_t n,
                             enum weighting weighting)
{
    tile_gather(t, job, first, n, true);
    for (size_t g = 0; g < TILE && job->importance == NULL && weighting != UNWEIGHED; g += LANES)
        weigh(t, n, g, weighting);
}

/* The whole number nearest to a, ties to the even one; |a| < 2^22. */
static inline vf v_round(vf a)
{
    const vf shift = v_set(0x1.8p23f);
    return a + shift - shift;
}

/* numerator / denominator; zero where the denominator is not above zero. */
static inline vf divide_or_zero(vf numerator, vf denominator)
{
    vm sound = v_less(v_set(0), denominator);
    return v_select(sound, numerator / v_select(sound, denominator, v_set(1)), v_set(0));
}

/* f16 as written and read back; a zero is never negative. */
static inline uint16_t round_to_half(float *f)
{
    uint16_t half = FLOAT_TO_HALF(*f);
    if ((half & 0x7fff) == 0) half = 0;
    *f = HALF_TO_FLOAT(half);
    return half;
}

/* The same for LANES numbers. */
static inline vf round_lanes(vf a, uint16_t *half)
{
    v_store_halves(half, a);
    vf rounded = v_load_halves(half) + v_set(0); /* -0 + 0 is 0 */
    v_store_halves(half, rounded);
    return rounded;
}
