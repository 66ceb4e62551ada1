/* Encoders of the formats that store a scale alone: a weight is read back as scale * level.
 *
 * Part of the kernels' text: included once per instruction set, behind tile.h.
 * With the levels fixed, the error sum w (x - d l)^2 is smallest at d = sum w x l / sum w l^2, where it is less than
 * sum w x^2 by the gain (sum w x l)^2 / sum w l^2. So a candidate is an inverse scale that chooses levels; the one with
 * the greatest gain wins, and its least-squares scale chooses levels anew. */

/* Levels run from `lowest` to `highest`. */
struct scale_grid {
    float lowest, highest;
};

/* What levels chosen by an inverse scale lead to. */
struct scale_fit {
    vf xl, ll; /* sum w x l, sum w l^2 */
};

static inline vf nearest_level(vf y, struct scale_grid grid)
{
    return v_round(v_min(v_max(y, v_set(grid.lowest)), v_set(grid.highest)));
}

static inline struct scale_fit fit_scale(const struct tile *t, size_t n, size_t g, struct scale_grid grid, vf inverse)
{
    struct scale_fit fit = {v_set(0), v_set(0)};
    for (size_t i = 0; i < n; i++) {
        vf x = v_load(&t->x[i][g]), level = nearest_level(x * inverse, grid);
        vf weighted = v_load(&t->w[i][g]) * level;
        fit.xl = fit.xl + weighted * x;
        fit.ll = fit.ll + weighted * level;
    }
    return fit;
}

static inline vf gain_of(struct scale_fit fit)
{
    return fit.xl * divide_or_zero(fit.xl, fit.ll);
}

/* The weight of the largest magnitude, with its sign. */
static inline vf extreme(const struct tile *t, size_t n, size_t g)
{
    vf most = v_set(0);
    for (size_t i = 0; i < n; i++) {
        vf x = v_load(&t->x[i][g]);
        most = v_select(v_less(v_abs(most), v_abs(x)), x, most);
    }
    return most;
}

/* How far from the grid's end the extreme weight is put: candidates at `ends` of the lowest level, then refits. */
struct scale_search {
    int n_ends, n_refits;
    float first, step;
};

static const struct scale_search q4_0_search[] = {
    [LQ_EFFORT_NORMAL] = {8, 2, 7.2f, 0.25f},
    [LQ_EFFORT_FAST] = {1, 1, 8, 0},
    [LQ_EFFORT_BEST] = {32, 8, 6.8f, 0.075f},
};

/* The best scale found. */
static inline vf search_scale(const struct tile *t, size_t n, size_t g, struct scale_grid grid,
                              const struct scale_search *search)
{
    vf most = extreme(t, n, g), most_gain = v_set(0), scale = v_set(0), unit = divide_or_zero(v_set(1), v_abs(most));
    unit = v_select(v_less(most, v_set(0)), unit, v_set(0) - unit);
    for (int c = 0; c < search->n_ends + search->n_refits; c++) {
        vf inverse = c < search->n_ends ? unit * v_set(search->first + search->step * (float)c)
                                        : v_set(1) / v_select(v_less(v_set(0), v_abs(scale)), scale, v_set(1));
        struct scale_fit fit = fit_scale(t, n, g, grid, inverse);
        vf gain = gain_of(fit);
        vm better = v_less(most_gain, gain);
        most_gain = v_select(better, gain, most_gain);
        scale = v_select(better, divide_or_zero(fit.xl, fit.ll), scale);
    }
    return scale;
}

/* Levels that the stored scale makes nearest, counted from the lowest. */
static inline void choose_levels(struct tile *t, size_t n, size_t g, struct scale_grid grid, vf scale)
{
    vm zero = v_less(v_abs(scale), v_set(0x1p-26f));
    vf inverse = v_select(zero, v_set(0), v_set(1) / v_select(zero, v_set(1), scale));
    for (size_t i = 0; i < n; i++)
        v_store_bytes(&t->level[i][g], nearest_level(v_load(&t->x[i][g]) * inverse, grid) - v_set(grid.lowest));
}

/* q4_0: 32 weights; an f16 scale and 16 bytes, weight i in the lower half of byte i, weight i + 16 in the upper. */
static void q4_0_encode(const struct lq_encode *job)
{
    enum { N = 32, BYTES = 18 };
    static const struct scale_grid grid = {-8, 7};
    size_t n_blocks = job->rows * job->columns / N;
    for (size_t first = 0; first < n_blocks; first += TILE) {
        struct tile t;
        _Alignas(64) float scale[TILE];
        tile_load(&t, job, first, N, BY_ONE);
        for (size_t g = 0; g < TILE; g += LANES)
            v_store(scale + g, search_scale(&t, N, g, grid, &q4_0_search[job->effort]));
        uint16_t half[TILE];
        for (size_t lane = 0; lane < TILE; lane++) half[lane] = round_to_half(&scale[lane]);
        for (size_t g = 0; g < TILE; g += LANES) choose_levels(&t, N, g, grid, v_load(scale + g));
        for (size_t lane = 0; lane < TILE && first + lane < n_blocks; lane++) {
            uint8_t *dst = job->dst + (first + lane) * BYTES;
            memcpy(dst, &half[lane], sizeof half[lane]);
            for (size_t i = 0; i < N / 2; i++) dst[2 + i] = (uint8_t)(t.level[i][lane] | t.level[i + N / 2][lane] << 4);
        }
    }
}
