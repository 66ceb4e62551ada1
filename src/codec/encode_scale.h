/* Encoders of the formats that store a scale alone: a weight is read back as scale * level.
 *
 * Part of the kernels' text: included once per instruction set, behind tile.h.
 * With the levels fixed, the error sum w (x - s l)^2 is smallest at s = sum w x l / sum w l^2, where it is less than
 * sum w x^2 by the gain (sum w x l)^2 / sum w l^2. So a candidate is an inverse scale that chooses levels; the one with
 * the greatest gain wins, and its least-squares scale chooses levels anew. Scales of either sign are tried, for the
 * levels reach further on one side. */

/* What the compiler must specialise for a format. */
#define LQ_SPECIALISED static inline __attribute__((always_inline))

/* Levels run from `lowest` to `highest`. */
struct scale_grid {
    enum { EVEN, CURVED, FLOATS } kind; /* every whole number; the sixteen of IQ4_NL; those of MXFP4 */
    float lowest, highest;
    bool unweighed; /* every error counts one: the tile has no weights for them */
};

static const struct scale_grid curved_grid = {CURVED, -127, 113, false};

/* What is stored for the sixteen levels, and the levels: behind a threshold in y + 4, those above it and (second row)
 * those below. */
static const float curved_levels[2][8] = {{1, 13, 25, 38, 53, 69, 89, 113}, {-10, -22, -35, -49, -65, -83, -104, -127}};
static const float curved_codes[2][8] = {{8, 9, 10, 11, 12, 13, 14, 15}, {7, 6, 5, 4, 3, 2, 1, 0}};

/* The entry that belongs to the level nearest to y. Both ways from y = -4, each sixteen units hold one boundary between
 * two levels: units / 16, and one more beyond the boundary, is the place in the table. */
static inline vf at_nearest_curved(vf y, const float entries[2][8])
{
    static const float boundary[2][8] = {
        {11 / 16.f, 23 / 16.f, 35.5f / 16, 49.5f / 16, 65 / 16.f, 83 / 16.f, 105 / 16.f, 8},
        {12 / 16.f, 24.5f / 16, 38 / 16.f, 53 / 16.f, 70 / 16.f, 89.5f / 16, 111.5f / 16, 8},
    };
    vf from = y + v_set(4), units = v_min(v_abs(from) * v_set(0x1p-4f), v_set(7.5f));
    vm below = v_less(from, v_set(-0.5f));
    vf next = v_select(below, v_lookup(boundary[1], units), v_lookup(boundary[0], units));
    vf place = v_select(v_less(units, next), units, units + v_set(1));
    return v_select(below, v_lookup(entries[1], place), v_lookup(entries[0], place));
}

/* The magnitudes 0, 1, 2, 3, 4, 6, 8 and 12 have two binary digits. Adding and taking away a number whose last digit
 * counts one, two or four rounds to that digit. */
static inline vf nearest_magnitude(vf y)
{
    vf a = v_min(v_abs(y), v_set(12));
    vf shift = v_select(v_less(a, v_set(4)), v_set(0x1.8p23f),
                        v_select(v_less(a, v_set(8)), v_set(0x1.8p24f), v_set(0x1.8p25f)));
    return a + shift - shift;
}

/* Magnitudes are numbered from 0 to 7, and 8 is added for a negative one. */
static inline vf nearest_float_code(vf y)
{
    vf a = nearest_magnitude(y);
    vf number = v_select(v_less(a, v_set(5)), a,
                         v_select(v_less(a, v_set(7)), v_set(5), v_select(v_less(a, v_set(10)), v_set(6), v_set(7))));
    return v_select(v_both(v_less(y, v_set(0)), v_less(v_set(0), a)), number + v_set(8), number);
}

LQ_SPECIALISED vf nearest_level(vf y, struct scale_grid grid)
{
    if (grid.kind == CURVED) return at_nearest_curved(y, curved_levels);
    if (grid.kind == FLOATS) {
        vf a = nearest_magnitude(y);
        return v_select(v_less(y, v_set(0)), v_set(0) - a, a);
    }
    return v_round(v_min(v_max(y, v_set(grid.lowest)), v_set(grid.highest)));
}

/* The nearest level as it is stored. */
LQ_SPECIALISED vf nearest_code(vf y, struct scale_grid grid)
{
    if (grid.kind == CURVED) return at_nearest_curved(y, curved_codes);
    if (grid.kind == FLOATS) return nearest_float_code(y);
    return nearest_level(y, grid) - v_set(grid.lowest);
}

/* Of either sign; zero for zero. */
static inline vf inverse_or_zero(vf a)
{
    vm zero = v_less(v_abs(a), v_set(0x1p-100f));
    return v_select(zero, v_set(0), v_set(1) / v_select(zero, v_set(1), a));
}

LQ_SPECIALISED vf weight_of_error(const struct tile *t, size_t i, size_t g, struct scale_grid grid)
{
    return grid.unweighed ? v_set(1) : v_load(&t->w[i][g]);
}

/* What levels chosen by an inverse scale lead to. */
struct scale_fit {
    vf xl, ll; /* sum w x l, sum w l^2 */
};

/* Candidates are judged several at once, at most so many, which keeps the processor's arithmetic busy. */
enum { AT_ONCE = 4 };

LQ_SPECIALISED void fit_scales(const struct tile *t, size_t n, size_t g, struct scale_grid grid, const vf *inverse,
                               size_t count, struct scale_fit *fit)
{
    for (size_t c = 0; c < count; c++) fit[c].xl = fit[c].ll = v_set(0);
    for (size_t i = 0; i < n; i++) {
        vf x = v_load(&t->x[i][g]), w = weight_of_error(t, i, g, grid);
        for (size_t c = 0; c < count; c++) {
            vf level = nearest_level(x * inverse[c], grid), weighted = w * level;
            fit[c].xl = fit[c].xl + weighted * x;
            fit[c].ll = fit[c].ll + weighted * level;
        }
    }
}

/* Errors of the levels nearest to x / scale; beyond all others where a scale is zero. */
LQ_SPECIALISED void errors_at(const struct tile *t, size_t n, size_t g, struct scale_grid grid, const vf *scale,
                              size_t count, vf *error)
{
    vf inverse[AT_ONCE], sum[AT_ONCE];
    for (size_t c = 0; c < count; c++) {
        inverse[c] = inverse_or_zero(scale[c]);
        sum[c] = v_set(0);
    }
    for (size_t i = 0; i < n; i++) {
        vf x = v_load(&t->x[i][g]), w = weight_of_error(t, i, g, grid);
        for (size_t c = 0; c < count; c++) {
            vf y = x * inverse[c], off = y - nearest_level(y, grid);
            sum[c] = sum[c] + w * (off * off);
        }
    }
    for (size_t c = 0; c < count; c++)
        error[c] = v_select(v_less(v_set(0), v_abs(scale[c])), scale[c] * scale[c] * sum[c], v_set(0x1p120f));
}

/* The weight of the largest magnitude, with its sign; of two, the positive one. */
static inline vf extreme(const struct tile *t, size_t n, size_t g)
{
    vf least = v_set(0), most = v_set(0);
    for (size_t i = 0; i < n; i++) {
        vf x = v_load(&t->x[i][g]);
        least = v_min(x, least);
        most = v_max(x, most);
    }
    return v_select(v_less(most, v_set(0) - least), least, most);
}

/* Levels that the extreme weight is put at, in turn, and how often the best scale is refitted. The level may lie beyond
 * the grid: then the extreme weight is cut. */
struct level_range {
    int n; /* a multiple of how many are judged at once */
    float first, step;
};

struct scale_search {
    struct level_range ranges[2];
    int n_refits;
};

struct scale_found {
    vf scale, gain, ll;
};

LQ_SPECIALISED void try_inverses(struct scale_found *best, const struct tile *t, size_t n, size_t g,
                                 struct scale_grid grid, const vf *inverse, size_t count)
{
    struct scale_fit fit[AT_ONCE];
    fit_scales(t, n, g, grid, inverse, count, fit);
    for (size_t c = 0; c < count; c++) {
        vf scale = divide_or_zero(fit[c].xl, fit[c].ll), gain = fit[c].xl * scale;
        vm better = v_less(best->gain, gain);
        best->gain = v_select(better, gain, best->gain);
        best->scale = v_select(better, scale, best->scale);
        best->ll = v_select(better, fit[c].ll, best->ll);
    }
}

/* The best scale found, of `at_once` candidates at a time. */
LQ_SPECIALISED struct scale_found search_scale(const struct tile *t, size_t n, size_t g, struct scale_grid grid,
                                               const struct scale_search *search, int at_once)
{
    struct scale_found best = {v_set(0), v_set(0), v_set(0)};
    vf unit = inverse_or_zero(extreme(t, n, g)), inverse[AT_ONCE];
    for (const struct level_range *range = search->ranges; range < search->ranges + 2; range++)
        for (int first = 0; first < range->n; first += at_once) {
            for (int c = 0; c < at_once; c++)
                inverse[c] = unit * v_set(range->first + range->step * (float)(first + c));
            try_inverses(&best, t, n, g, grid, inverse, (size_t)at_once);
        }
    for (int refit = 0; refit < search->n_refits; refit++) {
        inverse[0] = inverse_or_zero(best.scale);
        try_inverses(&best, t, n, g, grid, inverse, 1);
    }
    return best;
}

/* The scale of least error, of those that put the extreme weight at the levels of a range. */
LQ_SPECIALISED vf least_error_scale(const struct tile *t, size_t n, size_t g, struct scale_grid grid,
                                    const struct level_range *range)
{
    vf most = extreme(t, n, g), least = v_set(0x1p120f), best = v_set(0);
    for (int first = 0; first < range->n; first += AT_ONCE) {
        vf scale[AT_ONCE], error[AT_ONCE];
        for (int c = 0; c < AT_ONCE; c++) scale[c] = most / v_set(range->first + range->step * (float)(first + c));
        errors_at(t, n, g, grid, scale, AT_ONCE, error);
        for (int c = 0; c < AT_ONCE; c++) {
            vm better = v_less(error[c], least);
            least = v_select(better, error[c], least);
            best = v_select(better, scale[c], best);
        }
    }
    return best;
}

/* What is stored for the weights: the levels nearest to x / scale. */
LQ_SPECIALISED void choose_levels(struct tile *t, size_t n, size_t g, struct scale_grid grid, vf scale)
{
    vf inverse = inverse_or_zero(scale);
    for (size_t i = 0; i < n; i++) v_store_bytes(&t->level[i][g], nearest_code(v_load(&t->x[i][g]) * inverse, grid));
}

/* Row i of bytes becomes column i: four times, the first half and the second take turns. */
static inline void transpose_bytes(uint8_t bytes[TILE][TILE])
{
    enum { HALF = TILE * TILE / 2 };
    uint8_t *from = bytes[0], turned[2 * HALF];
    for (int step = 0; step < 4; step++) {
        for (size_t i = 0; i < HALF; i++) {
            turned[2 * i] = from[i];
            turned[2 * i + 1] = from[HALF + i];
        }
        memcpy(from, turned, sizeof turned);
    }
}

/* 32 levels in 16 bytes for each lane: level i in the lower half of byte i, level i + 16 in the upper. */
static inline void pack_nibbles(const struct tile *t, uint8_t packed[TILE][16])
{
    for (size_t i = 0; i < 16; i++)
        for (size_t lane = 0; lane < TILE; lane++)
            packed[i][lane] = (uint8_t)((t->level[i][lane] & 15) | t->level[i + 16][lane] << 4);
    transpose_bytes(packed);
}

/* The f16 scales of a tile of blocks of 32 weights: the best ones, rounded. */
LQ_SPECIALISED void find_scales(const struct tile *t, struct scale_grid grid, const struct scale_search *search,
                                int at_once, float scale[TILE], uint16_t half[TILE])
{
    for (size_t g = 0; g < TILE; g += LANES)
        v_store(scale + g, round_lanes(search_scale(t, 32, g, grid, search, at_once).scale, half + g));
}

/* The levels nearest to x / scale, as pack_nibbles stores them. */
LQ_SPECIALISED void choose_nibbles(const struct tile *t, struct scale_grid grid, const float scale[TILE],
                                   uint8_t packed[TILE][16])
{
    for (size_t g = 0; g < TILE; g += LANES) {
        vf inverse = inverse_or_zero(v_load(scale + g));
        for (size_t i = 0; i < 16; i++) {
            vf lower = nearest_code(v_load(&t->x[i][g]) * inverse, grid);
            vf upper = nearest_code(v_load(&t->x[i + 16][g]) * inverse, grid);
            v_store_bytes(&packed[i][g], lower + v_set(16) * upper);
        }
    }
    transpose_bytes(packed);
}

/* How many of a tile's sub-blocks there are. */
static inline size_t count_blocks(size_t first, size_t n_blocks)
{
    return n_blocks - first < TILE ? n_blocks - first : TILE;
}

/* Q4_0 and IQ4_NL: 32 weights; an f16 scale and 16 bytes of levels, two each. */
LQ_SPECIALISED void encode_nibbles(const struct lq_encode *job, struct scale_grid grid, enum weighting weighting,
                                   const struct scale_search *search, int at_once)
{
    enum { N = 32, BYTES = 18 };
    size_t n_blocks = job->rows * job->columns / N;
    for (size_t first = 0; first < n_blocks; first += TILE) {
        struct tile t;
        uint16_t half[TILE];
        _Alignas(64) float scale[TILE];
        _Alignas(64) uint8_t packed[TILE][16];
        tile_load(&t, job, first, N, weighting);
        find_scales(&t, grid, search, at_once, scale, half);
        choose_nibbles(&t, grid, scale, packed);
        uint8_t *dst = job->dst + first * BYTES;
        for (size_t lane = 0; lane < count_blocks(first, n_blocks); lane++, dst += BYTES) {
            memcpy(dst, &half[lane], sizeof half[lane]);
            memcpy(dst + sizeof half[lane], packed[lane], sizeof packed[lane]);
        }
    }
}

/* Without importance, normal is as quick as fast: more would not be four times as fast as llama-quantize. */
static void q4_0_encode(const struct lq_encode *job)
{
    static const struct scale_search search[] = {
        [LQ_EFFORT_NORMAL] = {{{6, -7.2f, -0.5f}}, 0},
        [LQ_EFFORT_FAST] = {{{3, -7.2f, -0.75f}}, 0},
        [LQ_EFFORT_BEST] = {{{24, -7, -0.3f}, {18, 6.5f, 0.4f}}, 4},
    };
    const struct scale_grid alike = {EVEN, -8, 7, true}, weighed = {EVEN, -8, 7, false};
    enum lq_effort quick = job->effort == LQ_EFFORT_NORMAL ? LQ_EFFORT_FAST : job->effort;
    if (job->importance == NULL) encode_nibbles(job, alike, UNWEIGHED, &search[quick], 3);
    else encode_nibbles(job, weighed, UNWEIGHED, &search[job->effort], 3);
}

static void iq4_nl_encode(const struct lq_encode *job)
{
    static const struct scale_search search[] = {
        [LQ_EFFORT_NORMAL] = {{{12, -90, -8}, {4, 90, 12}}, 1},
        [LQ_EFFORT_FAST] = {{{4, -90, -15}}, 1},
        [LQ_EFFORT_BEST] = {{{48, -80, -3}, {32, 75, 4}}, 4},
    };
    encode_nibbles(job, curved_grid, BY_SQUARE, &search[job->effort], AT_ONCE);
}

/* Q5_0: 32 weights; an f16 scale, the fifth bits of the levels in a number of 32 bits, the lower four as in Q4_0. */
static void q5_0_encode(const struct lq_encode *job)
{
    enum { N = 32, BYTES = 22 };
    static const struct scale_grid grid = {EVEN, -16, 15, false};
    static const struct scale_search search[] = {
        [LQ_EFFORT_NORMAL] = {{{8, -15.2f, -0.7f}, {4, 14.6f, 0.8f}}, 1},
        [LQ_EFFORT_FAST] = {{{4, -15.2f, -0.75f}}, 0},
        [LQ_EFFORT_BEST] = {{{24, -14, -0.3f}, {16, 13.5f, 0.4f}}, 4},
    };
    size_t n_blocks = job->rows * job->columns / N;
    for (size_t first = 0; first < n_blocks; first += TILE) {
        struct tile t;
        uint16_t half[TILE];
        uint32_t fifth[TILE] = {0};
        _Alignas(64) float scale[TILE];
        _Alignas(64) uint8_t packed[TILE][16];
        tile_load(&t, job, first, N, BY_ONE);
        find_scales(&t, grid, &search[job->effort], AT_ONCE, scale, half);
        for (size_t g = 0; g < TILE; g += LANES) choose_levels(&t, N, g, grid, v_load(scale + g));
        for (size_t i = 0; i < N; i++)
            for (size_t lane = 0; lane < TILE; lane++) fifth[lane] |= (uint32_t)(t.level[i][lane] >> 4) << i;
        pack_nibbles(&t, packed);
        for (size_t lane = 0; lane < TILE && first + lane < n_blocks; lane++) {
            uint8_t *dst = job->dst + (first + lane) * BYTES;
            memcpy(dst, &half[lane], sizeof half[lane]);
            memcpy(dst + 2, &fifth[lane], sizeof fifth[lane]);
            memcpy(dst + 6, packed[lane], sizeof packed[lane]);
        }
    }
}
