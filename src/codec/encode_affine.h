/* Encoders of the formats that store a scale and a minimum: a weight is read back as scale * level + minimum.
 *
 * Part of the kernels' text: included once per instruction set, behind tile.h.
 * Weights are measured from their weighted mean, y = x - centre, so that sum w y is nothing and little cancels. With the
 * levels fixed, the error sum w (y - s l - m)^2 is a parabola in (s, m): with mean = sum w l / sum w and
 * var = sum w l^2 - mean sum w l it is smallest at s = sum w y l / var, m = -s mean, where it is less than sum w y^2 by
 * the gain s sum w y l. So a candidate is a line that chooses levels; the one with the greatest gain wins, and its
 * least-squares line chooses levels anew. */

/* One sub-block per lane. */
struct affine_block {
    vf total;     /* sum w */
    vf centre;    /* what has been taken off the weights */
    vf low, high; /* the least and the greatest weight, centred */
    vf ceiling;   /* the greatest minimum that the format can store, centred */
};

/* y is near low + scale * level. */
struct line {
    vf scale, low;
};

/* Sums over the levels that a line chooses. */
struct affine_fit {
    vf l, ll, yl; /* sum w l, sum w l^2, sum w y l */
};

/* Lines tried for every sub-block: first the weights' range is made to span `first`, `first + step`, ... levels, with the
 * least weight at the lowest one and the greatest at the highest in turn; then come refits of the best. Where steps
 * are negative, scales grow: a line must beat the gain of a finer one by `margin`, a fraction. */
struct affine_search {
    int n_starts, n_refits;
    float first, step, margin;
};

/* No more than the format's minima: `ceiling` in terms of x. */
static inline struct affine_block centre_weights(struct tile *t, size_t n, size_t g, float ceiling)
{
    vf total = v_set(0), sum = v_set(0);
    for (size_t i = 0; i < n; i++) {
        vf w = v_load(&t->w[i][g]);
        total = total + w;
        sum = sum + w * v_load(&t->x[i][g]);
    }
    struct affine_block b = {.total = total, .centre = divide_or_zero(sum, total)};
    b.low = b.high = v_load(&t->x[0][g]) - b.centre;
    for (size_t i = 0; i < n; i++) {
        vf y = v_load(&t->x[i][g]) - b.centre;
        v_store(&t->x[i][g], y);
        b.low = v_min(b.low, y);
        b.high = v_max(b.high, y);
    }
    b.ceiling = v_set(ceiling) - b.centre;
    return b;
}

/* The nearest level to y = (level - at_zero) / inverse. */
static inline vf level_at(vf y, vf inverse, vf at_zero, vf top)
{
    return v_round(v_min(v_max(y * inverse + at_zero, v_set(0)), top));
}

static inline struct affine_fit fit_levels(const struct tile *t, size_t n, size_t g, float top, vf inverse, vf at_zero)
{
    struct affine_fit fit = {v_set(0), v_set(0), v_set(0)};
    for (size_t i = 0; i < n; i++) {
        vf y = v_load(&t->x[i][g]), level = level_at(y, inverse, at_zero, v_set(top));
        vf weighted = v_load(&t->w[i][g]) * level;
        fit.l = fit.l + weighted;
        fit.ll = fit.ll + weighted * level;
        fit.yl = fit.yl + weighted * y;
    }
    return fit;
}

/* A floor on var, for sub-blocks in which one weight counts for nearly all. */
static inline vf variance(const struct affine_block *b, struct affine_fit fit)
{
    return v_max(fit.ll - fit.l * divide_or_zero(fit.l, b->total), v_set(0x1p-14f) * fit.ll);
}

/* The least-squares line and its gain; a minimum above the ceiling is cut to it. */
static inline struct line refit(const struct affine_block *b, struct affine_fit fit, vf *gain)
{
    vf scale = v_max(divide_or_zero(fit.yl, variance(b, fit)), v_set(0));
    vf low = v_set(0) - scale * divide_or_zero(fit.l, b->total);
    vm cut = v_less(b->ceiling, low);
    vf moved = fit.yl - b->ceiling * fit.l, cut_scale = v_max(divide_or_zero(moved, fit.ll), v_set(0));
    *gain = v_select(cut, cut_scale * moved - b->ceiling * b->ceiling * b->total, scale * fit.yl);
    return (struct line){v_select(cut, cut_scale, scale), v_select(cut, b->ceiling, low)};
}

/* The best line found, and the sums over its levels. */
static inline struct line search_line(const struct tile *t, size_t n, size_t g, float top, const struct affine_block *b,
                                      const struct affine_search *search, struct affine_fit *best)
{
    struct line line = {v_set(0), v_min(v_set(0), b->ceiling)};
    vf most_gain = v_set(0) - line.low * line.low * b->total;
    vf low = v_min(b->low, b->ceiling), unit = divide_or_zero(v_set(1), b->high - low);
    *best = (struct affine_fit){v_set(0), v_set(0), v_set(0)};
    for (int c = 0; c < search->n_starts + search->n_refits; c++) {
        float span = search->first + search->step * (float)c;
        vf inverse = unit * v_set(span), at_zero = v_set(c % 2 == 0 ? 0 : top - span) - low * inverse;
        if (c >= search->n_starts) {
            inverse = divide_or_zero(v_set(1), line.scale);
            at_zero = v_set(0) - line.low * inverse;
        }
        struct affine_fit fit = fit_levels(t, n, g, top, inverse, at_zero);
        vf gain;
        struct line refitted = refit(b, fit, &gain);
        vm better = v_less(most_gain * v_set(1 + search->margin), gain);
        most_gain = v_select(better, gain, most_gain);
        line.scale = v_select(better, refitted.scale, line.scale);
        line.low = v_select(better, refitted.low, line.low);
        best->l = v_select(better, fit.l, best->l);
        best->ll = v_select(better, fit.ll, best->ll);
        best->yl = v_select(better, fit.yl, best->yl);
    }
    return line;
}

/* Levels that the stored line makes nearest. */
static inline void choose_line_levels(struct tile *t, size_t n, size_t g, float top, struct line line)
{
    vf inverse = divide_or_zero(v_set(1), line.scale), at_zero = v_set(0) - line.low * inverse;
    for (size_t i = 0; i < n; i++)
        v_store_bytes(&t->level[i][g], level_at(v_load(&t->x[i][g]), inverse, at_zero, v_set(top)));
}

/* The least scale that f16 can store, and so the least that is used where it is not zero. */
static inline vf store_scale(vf scale)
{
    return v_select(v_less(v_set(0), scale), v_max(scale, v_set(0x1p-24f)), v_set(0));
}

/* Scale and minimum as f16 numbers: with the minimum rounded, the scale is fitted to it once more. */
static inline void store_line(struct tile *t, size_t n, size_t g, float top, const struct affine_block *b,
                              struct line line, uint16_t scale[LANES], uint16_t minimum[LANES])
{
    line.low = round_lanes(line.low + b->centre, minimum) - b->centre;
    vf inverse = divide_or_zero(v_set(1), line.scale);
    struct affine_fit fit = fit_levels(t, n, g, top, inverse, v_set(0) - line.low * inverse);
    line.scale = v_max(divide_or_zero(fit.yl - line.low * fit.l, fit.ll), v_set(0));
    line.scale = round_lanes(store_scale(line.scale), scale);
    choose_line_levels(t, n, g, top, line);
}

static const struct affine_search q4_1_search[] = {
    [LQ_EFFORT_NORMAL] = {12, 2, 12, 0.6f, 0},
    [LQ_EFFORT_FAST] = {1, 1, 15, 0, 0},
    [LQ_EFFORT_BEST] = {36, 4, 12, 0.2f, 0},
};

static const struct affine_search q5_1_search[] = {
    [LQ_EFFORT_NORMAL] = {12, 2, 27, 0.8f, 0},
    [LQ_EFFORT_FAST] = {1, 1, 31, 0, 0},
    [LQ_EFFORT_BEST] = {36, 4, 26, 0.3f, 0},
};

/* Sub-blocks of 32 weights with levels from 0 to `top`: f16 scale and minimum, the fifth bits where there are any (bit i
 * for weight i), 16 bytes with the lower four bits, weight i in the lower half of byte i, weight i + 16 in the upper. */
static inline void encode_affine(const struct lq_encode *job, float top, const struct affine_search *search,
                                 size_t high_bytes)
{
    enum { N = 32 };
    size_t n_blocks = job->rows * job->columns / N, bytes = 20 + high_bytes;
    for (size_t first = 0; first < n_blocks; first += TILE) {
        struct tile t;
        uint16_t scale[TILE], minimum[TILE];
        tile_load(&t, job, first, N, BY_ONE);
        for (size_t g = 0; g < TILE; g += LANES) {
            struct affine_block b = centre_weights(&t, N, g, 0x1p100f);
            struct affine_fit fit;
            struct line line = search_line(&t, N, g, top, &b, search, &fit);
            store_line(&t, N, g, top, &b, line, scale + g, minimum + g);
        }
        for (size_t lane = 0; lane < TILE && first + lane < n_blocks; lane++) {
            uint8_t *dst = job->dst + (first + lane) * bytes, *q = dst + 4 + high_bytes;
            uint32_t high = 0;
            memcpy(dst, &scale[lane], sizeof *scale);
            memcpy(dst + 2, &minimum[lane], sizeof *minimum);
            for (size_t i = 0; i < N; i++) high |= (uint32_t)(t.level[i][lane] >> 4) << i;
            memcpy(dst + 4, &high, high_bytes);
            for (size_t i = 0; i < N / 2; i++)
                q[i] = (uint8_t)((t.level[i][lane] & 15) | t.level[i + N / 2][lane] << 4);
        }
    }
}

static void q4_1_encode(const struct lq_encode *job)
{
    encode_affine(job, 15, &q4_1_search[job->effort], 0);
}

static void q5_1_encode(const struct lq_encode *job)
{
    encode_affine(job, 31, &q5_1_search[job->effort], 4);
}
