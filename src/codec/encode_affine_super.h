/* Encoders of the super-blocks that store a scale and a minimum for each of their sub-blocks: a weight is read back as
 * d k level - m j, with whole numbers k and j of a sub-block and f16 numbers d and m of the super-block.
 *
 * Part of the kernels' text: included once per instruction set, behind encode_affine.h.
 * A super-block fills 8 or 16 neighbouring lanes of a tile. Each sub-block gets its own best line first. From then on, two
 * steps in turn, neither of which makes the error larger: with d and m fixed, each sub-block takes the k and j that are
 * best for its levels, then the levels that are best for these; with everything else fixed, d and m are the least-squares
 * ones, as f16 numbers. With the levels fixed the error of a line (s, low) is, but for a constant,
 * var (s - best)^2 + sum w (low + s mean)^2. */

struct super_format {
    size_t n;        /* weights in a sub-block */
    float top, most; /* the greatest level, the greatest k and j */
    enum weighting weighting;
};

struct super_search {
    struct affine_search line;
    int n_tries, n_rounds; /* of a first d, each time with rounds of the two steps */
};

/* What is stored of sub-blocks in their lanes; d and m stand in every lane of their super-block. */
struct factors {
    float k[TILE], j[TILE], d[TILE], m[TILE];
    float error[TILE]; /* with the levels chosen last, less sum w y^2 */
};

/* struct affine_fit in its lanes. */
struct fits {
    float l[TILE], ll[TILE], yl[TILE];
};

struct super_tile {
    struct tile t;
    float total[TILE], centre[TILE]; /* struct affine_block */
    float scale[TILE];               /* of the best line */
    struct fits first, fit;          /* of the best line's levels, of those chosen last */
    struct factors now, best;
};

static inline struct affine_block load_block(const struct super_tile *s, size_t g)
{
    return (struct affine_block){.total = v_load(s->total + g), .centre = v_load(s->centre + g)};
}

static inline struct affine_fit load_fit(const struct fits *f, size_t g)
{
    return (struct affine_fit){v_load(f->l + g), v_load(f->ll + g), v_load(f->yl + g)};
}

static inline void store_fit(struct fits *f, size_t g, struct affine_fit fit)
{
    v_store(f->l + g, fit.l);
    v_store(f->ll + g, fit.ll);
    v_store(f->yl + g, fit.yl);
}

static inline void search_lines(struct super_tile *s, const struct super_format *f, const struct affine_search *search)
{
    for (size_t g = 0; g < TILE; g += LANES) {
        struct affine_block b = centre_weights(&s->t, f->n, g, 0);
        struct affine_fit fit;
        struct line line = search_line(&s->t, f->n, g, f->top, &b, search, &fit);
        v_store(s->total + g, b.total);
        v_store(s->centre + g, b.centre);
        v_store(s->scale + g, line.scale);
        store_fit(&s->first, g, fit);
    }
}

static inline vf whole(vf a, float most)
{
    return v_round(v_min(v_max(a, v_set(0)), v_set(most)));
}

/* Of sixteen candidates, one per lane, the f16 number d that makes sum w (v - d k)^2 smallest, k = 0 ... most being
 * whole. The greatest v is put at most + 0.5, most, most - 0.5, ... */
static float common_factor(const float *v, const float *w, size_t n, float most)
{
    float greatest = 0, cost[TILE], factor[TILE], steps[TILE];
    for (size_t i = 0; i < n; i++) greatest = v[i] > greatest ? v[i] : greatest;
    for (size_t c = 0; c < TILE; c++) steps[c] = most + 0.5f - 0.5f * (float)c;
    for (size_t g = 0; g < TILE; g += LANES) {
        uint16_t half[LANES];
        vf d = round_lanes(store_scale(v_set(greatest) / v_load(steps + g)), half);
        vf inverse = divide_or_zero(v_set(1), d), sum = v_set(0);
        for (size_t i = 0; i < n; i++) {
            vf miss = v_set(v[i]) - d * whole(v_set(v[i]) * inverse, most);
            sum = sum + v_set(w[i]) * (miss * miss);
        }
        v_store(factor + g, d);
        v_store(cost + g, sum);
    }
    size_t best = 0;
    for (size_t c = 1; c < TILE; c++) best = cost[c] < cost[best] ? c : best;
    return factor[best];
}

/* d for the best lines' scales, `stretched`, then m for the minima that go with the scales that d leaves. */
static inline void first_factors(struct super_tile *s, const struct super_format *f, float stretched)
{
    float var[TILE], minimum[TILE];
    size_t n = 256 / f->n;
    s->fit = s->first;
    for (size_t g = 0; g < TILE; g += LANES) {
        struct affine_block b = load_block(s, g);
        v_store(var + g, variance(&b, load_fit(&s->fit, g)));
    }
    for (size_t at = 0; at < TILE; at += n) {
        float d = common_factor(s->scale + at, var + at, n, f->most) * stretched;
        round_to_half(&d);
        for (size_t i = at; i < at + n; i++) s->now.d[i] = d;
    }
    for (size_t g = 0; g < TILE; g += LANES) {
        vf d = v_load(s->now.d + g), k = whole(v_load(s->scale + g) * divide_or_zero(v_set(1), d), f->most);
        vf mean = divide_or_zero(v_load(s->fit.l + g), v_load(s->total + g));
        v_store(minimum + g, v_max(d * k * mean - v_load(s->centre + g), v_set(0)));
    }
    for (size_t at = 0; at < TILE; at += n) {
        float m = common_factor(minimum + at, s->total + at, n, f->most);
        for (size_t i = at; i < at + n; i++) s->now.m[i] = m;
    }
}

/* The best k and j for the levels chosen last: some k around the best one, each with its best j. */
static inline void choose_whole(struct super_tile *s, size_t g, float most)
{
    struct affine_block b = load_block(s, g);
    struct affine_fit fit = load_fit(&s->fit, g);
    vf d = v_load(s->now.d + g), m = v_load(s->now.m + g), per_d = divide_or_zero(v_set(1), d),
       per_m = divide_or_zero(v_set(1), m), mean = divide_or_zero(fit.l, b.total), var = variance(&b, fit);
    vf best = divide_or_zero(fit.yl, var), j = whole((best * mean - b.centre) * per_m, most);
    vf k = whole(divide_or_zero(fit.yl + (b.centre + m * j) * fit.l, fit.ll) * per_d, most);
    vf least = v_set(0x1p120f), best_k = v_set(0), best_j = v_set(0);
    for (int step = -2; step <= 2; step++) {
        vf near = whole(k + v_set((float)step), most), scale = d * near;
        j = whole((scale * mean - b.centre) * per_m, most);
        vf off = scale - best, low = scale * mean - b.centre - m * j;
        vf cost = var * (off * off) + b.total * (low * low);
        vm better = v_less(cost, least);
        least = v_select(better, cost, least);
        best_k = v_select(better, near, best_k);
        best_j = v_select(better, j, best_j);
    }
    v_store(s->now.k + g, best_k);
    v_store(s->now.j + g, best_j);
    v_store(s->now.error + g, least - best * fit.yl);
}

static inline struct line stored_line(const struct super_tile *s, const struct factors *f, size_t g)
{
    vf m = v_load(f->m + g) * v_load(f->j + g);
    return (struct line){v_load(f->d + g) * v_load(f->k + g), v_set(0) - m - v_load(s->centre + g)};
}

/* The least-squares d and m of a super-block in n lanes from `at`, as f16, where they are better than those that stand. */
static inline void refit_factors(struct super_tile *s, size_t at, size_t n)
{
    double kk = 0, kj = 0, jj = 0, kx = 0, jx = 0;
    for (size_t i = at; i < at + n; i++) {
        double k = s->now.k[i], j = s->now.j[i];
        kk += k * k * s->fit.ll[i];
        kj += k * j * s->fit.l[i];
        jj += j * j * s->total[i];
        kx += k * ((double)s->fit.yl[i] + (double)s->centre[i] * s->fit.l[i]);
        jx -= j * s->centre[i] * s->total[i];
    }
    double det = kk * jj - kj * kj, d0 = s->now.d[at], m0 = s->now.m[at];
    if (!(det > 0x1p-20 * kk * jj)) return;
    float d = (float)((kx * jj + kj * jx) / det), m = (float)((jx * kk + kj * kx) / det);
    if (!(d > 0 && m >= 0)) return;
    round_to_half(&d);
    round_to_half(&m);
    double before = d0 * (d0 * kk - 2 * m0 * kj - 2 * kx) + m0 * (m0 * jj - 2 * jx);
    double after = (double)d * (d * kk - 2 * m * kj - 2 * kx) + (double)m * (m * jj - 2 * jx);
    for (size_t i = at; i < at + n && after < before; i++) {
        s->now.d[i] = d;
        s->now.m[i] = m;
    }
}

static inline void alternate(struct super_tile *s, const struct super_format *f, int n_rounds)
{
    for (int round = 0; round < n_rounds; round++) {
        for (size_t g = 0; g < TILE; g += LANES) {
            choose_whole(s, g, f->most);
            struct line line = stored_line(s, &s->now, g);
            vf inverse = divide_or_zero(v_set(1), line.scale);
            store_fit(&s->fit, g, fit_levels(&s->t, f->n, g, f->top, inverse, v_set(0) - line.low * inverse));
        }
        for (size_t at = 0; at < TILE; at += 256 / f->n) refit_factors(s, at, 256 / f->n);
    }
    for (size_t g = 0; g < TILE; g += LANES) choose_whole(s, g, f->most);
}

/* Takes over what is stored of the super-block in n lanes from `at` where its error is the least so far. */
static inline void keep_better(struct super_tile *s, size_t at, size_t n)
{
    double now = 0, best = 0;
    for (size_t i = at; i < at + n; i++) {
        now += s->now.error[i];
        best += s->best.error[i];
    }
    for (size_t i = at; i < at + n && now < best; i++) {
        s->best.k[i] = s->now.k[i];
        s->best.j[i] = s->now.j[i];
        s->best.d[i] = s->now.d[i];
        s->best.m[i] = s->now.m[i];
        s->best.error[i] = s->now.error[i];
    }
}

static inline void encode_super(struct super_tile *s, const struct super_format *f, const struct super_search *search)
{
    static const float stretched[] = {1, 0.9f, 1.1f, 0.8f, 1.2f, 0.7f, 1.3f, 0.6f, 1.4f};
    search_lines(s, f, &search->line);
    for (int try = 0; try < search->n_tries; try++) {
        first_factors(s, f, stretched[try]);
        alternate(s, f, search->n_rounds);
        if (try == 0) s->best = s->now;
        for (size_t at = 0; at < TILE; at += 256 / f->n) keep_better(s, at, 256 / f->n);
    }
    for (size_t g = 0; g < TILE; g += LANES) choose_line_levels(&s->t, f->n, g, f->top, stored_line(s, &s->best, g));
}

static void store_factors(const struct super_tile *s, size_t at, uint8_t *dst)
{
    uint16_t half[2] = {FLOAT_TO_HALF(s->best.d[at]), FLOAT_TO_HALF(s->best.m[at])};
    memcpy(dst, half, sizeof half);
}

/* Eight 6-bit k and eight 6-bit j in 12 bytes: the first four k and j in the lower bits of bytes 0-3 and 4-7, with the
 * upper two bits of the last four above them; their lower four bits in the halves of bytes 8-11. */
static void store_six_bits(const struct super_tile *s, size_t at, uint8_t *dst)
{
    for (size_t i = 0; i < 4; i++) {
        unsigned k = (unsigned)s->best.k[at + 4 + i], j = (unsigned)s->best.j[at + 4 + i];
        dst[i] = (uint8_t)((unsigned)s->best.k[at + i] | k >> 4 << 6);
        dst[4 + i] = (uint8_t)((unsigned)s->best.j[at + i] | j >> 4 << 6);
        dst[8 + i] = (uint8_t)((k & 15) | (j & 15) << 4);
    }
}

/* For each pair of sub-blocks 32 bytes: the first in their lower halves, the second in the upper. */
static void store_nibbles(const struct tile *t, size_t at, uint8_t *dst)
{
    for (size_t pair = at; pair < at + 8; pair += 2)
        for (size_t i = 0; i < 32; i++) *dst++ = (uint8_t)((t->level[i][pair] & 15) | t->level[i][pair + 1] << 4);
}

static const struct super_search q4_k_search[] = {
    [LQ_EFFORT_NORMAL] = {{16, 1, 17, -0.25f, 1e-5f}, 1, 2},
    [LQ_EFFORT_FAST] = {{1, 1, 15, 0, 0}, 1, 1},
    [LQ_EFFORT_BEST] = {{36, 4, 19.2f, -0.2f, 1e-5f}, 3, 4},
};

static const struct super_search q5_k_search[] = {
    [LQ_EFFORT_NORMAL] = {{12, 2, 33, -0.4f, 1e-5f}, 1, 2},
    [LQ_EFFORT_FAST] = {{1, 1, 31, 0, 0}, 1, 1},
    [LQ_EFFORT_BEST] = {{36, 4, 36, -0.3f, 1e-5f}, 3, 4},
};

static const struct super_search q2_k_search[] = {
    [LQ_EFFORT_NORMAL] = {{8, 1, 4, -0.25f, 1e-3f}, 3, 1},
    [LQ_EFFORT_FAST] = {{1, 1, 3, 0, 0}, 1, 1},
    [LQ_EFFORT_BEST] = {{20, 4, 4.2f, -0.12f, 1e-3f}, 7, 3},
};

/* q4_k: d, m, 12 bytes of k and j for eight sub-blocks of 32 weights, 128 bytes of levels. */
static void q4_k_encode(const struct lq_encode *job)
{
    enum { BYTES = 144 };
    static const struct super_format format = {32, 15, 63, BY_EVEN};
    size_t n_blocks = job->rows * job->columns / 32;
    for (size_t first = 0; first < n_blocks; first += TILE) {
        struct super_tile s;
        tile_load(&s.t, job, first, 32, format.weighting);
        encode_super(&s, &format, &q4_k_search[job->effort]);
        for (size_t at = 0; at < TILE && first + at < n_blocks; at += 8) {
            uint8_t *dst = job->dst + (first + at) / 8 * BYTES;
            store_factors(&s, at, dst);
            store_six_bits(&s, at, dst + 4);
            store_nibbles(&s.t, at, dst + 16);
        }
    }
}

/* q5_k: as q4_k, with 32 bytes before the levels' lower bits: bit p of byte i is the fifth bit of weight i of sub-block
 * p. */
static void q5_k_encode(const struct lq_encode *job)
{
    enum { BYTES = 176 };
    static const struct super_format format = {32, 31, 63, BY_EVEN};
    size_t n_blocks = job->rows * job->columns / 32;
    for (size_t first = 0; first < n_blocks; first += TILE) {
        struct super_tile s;
        tile_load(&s.t, job, first, 32, format.weighting);
        encode_super(&s, &format, &q5_k_search[job->effort]);
        for (size_t at = 0; at < TILE && first + at < n_blocks; at += 8) {
            uint8_t *dst = job->dst + (first + at) / 8 * BYTES;
            store_factors(&s, at, dst);
            store_six_bits(&s, at, dst + 4);
            for (size_t i = 0; i < 32; i++) {
                unsigned high = 0;
                for (size_t p = 0; p < 8; p++) high |= (unsigned)(s.t.level[i][at + p] >> 4) << p;
                dst[16 + i] = (uint8_t)high;
            }
            store_nibbles(&s.t, at, dst + 48);
        }
    }
}

/* q2_k: 16 bytes with k in the lower and j in the upper half for sixteen sub-blocks of 16 weights, 64 bytes of levels,
 * d, m. Byte i of the first or last 32 holds, from its lowest bits on, the levels of weights i, i + 32, i + 64 and i + 96
 * of the first or last 128. */
static void q2_k_encode(const struct lq_encode *job)
{
    enum { BYTES = 84 };
    static const struct super_format format = {16, 3, 15, BY_SPREAD};
    size_t n_blocks = job->rows * job->columns / 256;
    uint8_t *dst = job->dst;
    for (size_t block = 0; block < n_blocks; block++, dst += BYTES) {
        struct super_tile s;
        tile_load(&s.t, job, block * TILE, 16, format.weighting);
        encode_super(&s, &format, &q2_k_search[job->effort]);
        for (size_t p = 0; p < TILE; p++) dst[p] = (uint8_t)((unsigned)s.best.k[p] | (unsigned)s.best.j[p] << 4);
        for (size_t i = 0; i < 64; i++) {
            const uint8_t *level = s.t.level[i % 16] + i / 32 * 8 + i % 32 / 16;
            dst[16 + i] = (uint8_t)(level[0] | level[2] << 2 | level[4] << 4 | level[6] << 6);
        }
        store_factors(&s, 0, dst + 80);
    }
}
