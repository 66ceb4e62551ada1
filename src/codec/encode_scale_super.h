/* Encoders of the formats whose sub-blocks have whole-number scales, in units of one f16 super-scale: a weight is read
 * back as super-scale * scale * level.
 *
 * Part of the kernels' text: included once per instruction set, behind encode_scale.h.
 * Each sub-block is first given the best scale of its own, s, where the error grows by (s - d k)^2 sum w l^2 when d k
 * is used instead. By that measure super-scales d are ranked, with every k the whole number nearest to s / d. The best
 * of them are rounded to f16 and tried: each sub-block takes the k, of several neighbours, with the least error of the
 * levels nearest to x / (d k). What was chosen gives the least-squares d = sum k (sum w x l) / sum k^2 (sum w l^2),
 * which is tried in turn. */

struct scaled_format {
    size_t n, count;                  /* weights in a sub-block, sub-blocks in a super-block */
    struct scale_grid levels, scales; /* of weights, of sub-blocks */
};

/* Scales around the one that is nearest: first, first + 1, ... in units of that many of its own size, at least of 1. */
struct scale_tries {
    int n; /* a multiple of AT_ONCE */
    float first, unit;
};

/* Super-scales put the largest of the sub-blocks' own scales at `first`, first + step, ... in sixteen steps. */
struct scaled_search {
    struct scale_search own;
    float first, step;
    int n_starts; /* of those, the most promising ones are tried */
    struct scale_tries start, refit;
    int n_refits;
};

/* The sub-blocks of a tile, and what was chosen for them. */
struct scaled_tile {
    _Alignas(64) float own[TILE];    /* each one's own best scale */
    _Alignas(64) float weight[TILE]; /* sum w l^2 there */
    _Alignas(64) float zero[TILE];   /* its error, read back as zeros */
    _Alignas(64) float d[TILE], k[TILE];
    float error[TILE]; /* of super-block i at [i] */
    uint16_t half[TILE];
};

/* Super-scales to try, the most promising first. */
struct scaled_starts {
    _Alignas(64) float d[TILE], gain[TILE];
};

static inline vf error_of_zeros(const struct tile *t, size_t n, size_t g)
{
    vf sum = v_set(0);
    for (size_t i = 0; i < n; i++) {
        vf x = v_load(&t->x[i][g]);
        sum = sum + v_load(&t->w[i][g]) * (x * x);
    }
    return sum;
}

static inline float sum_lanes(const float *lanes, size_t n)
{
    float sums[TILE];
    memcpy(sums, lanes, n * sizeof *sums);
    for (size_t left = n / 2; left > 0; left /= 2)
        for (size_t i = 0; i < left; i++) sums[i] += sums[i + left];
    return sums[0];
}

LQ_SPECIALISED void rank_starts(struct scaled_starts *starts, const float *own, const float *weight,
                                const struct scaled_format *f, const struct scaled_search *search)
{
    static const float steps[TILE] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    float most = 0;
    for (size_t i = 0; i < f->count; i++) most = fabsf(own[i]) > fabsf(most) ? own[i] : most;
    vf unit = inverse_or_zero(v_set(most));
    for (size_t g = 0; g < TILE; g += LANES) {
        vf inverse = unit * (v_set(search->first) + v_set(search->step) * v_load(steps + g));
        vf xl = v_set(0), ll = v_set(0);
        for (size_t i = 0; i < f->count; i++) {
            vf k = nearest_level(v_set(own[i]) * inverse, f->scales), weighted = v_set(weight[i]) * k;
            xl = xl + weighted * v_set(own[i]);
            ll = ll + weighted * k;
        }
        vf d = divide_or_zero(xl, ll);
        v_store(starts->d + g, d);
        v_store(starts->gain + g, xl * d);
    }
}

/* The start with the greatest gain, which is struck off. */
static inline float next_start(struct scaled_starts *starts)
{
    size_t best = 0;
    for (size_t i = 1; i < TILE; i++)
        if (starts->gain[i] > starts->gain[best]) best = i;
    starts->gain[best] = -1;
    return starts->d[best];
}

/* The k around `centre` / d with the least error, and that error. k = 0 reads back as zeros. */
LQ_SPECIALISED vf try_scales(const struct tile *t, size_t g, const struct scaled_format *f, vf d, vf centre, vf zero,
                             const struct scale_tries *tries, vf *best_k)
{
    vf best = zero, middle = nearest_level(centre * inverse_or_zero(d), f->scales);
    vf unit = v_max(v_set(1), v_round(v_abs(middle) * v_set(tries->unit)));
    *best_k = v_set(0);
    for (int first = 0; first < tries->n; first += AT_ONCE) {
        vf k[AT_ONCE], scale[AT_ONCE], error[AT_ONCE];
        for (int c = 0; c < AT_ONCE; c++) {
            k[c] = nearest_level(middle + v_set(tries->first + (float)(first + c)) * unit, f->scales);
            scale[c] = d * k[c];
        }
        errors_at(t, f->n, g, f->levels, scale, AT_ONCE, error);
        for (int c = 0; c < AT_ONCE; c++) {
            vm better = v_less(error[c], best);
            best = v_select(better, error[c], best);
            *best_k = v_select(better, k[c], *best_k);
        }
    }
    return best;
}

/* Takes over, for each super-block of the tile, the super-scale and scales that have less error than what is there. A
 * super-scale that overflows f16 is as good as zeros: it stays where nothing better is found, for the caller to see. */
LQ_SPECIALISED void try_super_scales(struct scaled_tile *s, const struct tile *t, const struct scaled_format *f,
                                     const float wanted[TILE], const float centre[TILE],
                                     const struct scale_tries *tries)
{
    _Alignas(64) float d[TILE], k[TILE], error[TILE];
    uint16_t half[TILE];
    for (size_t i = 0; i < TILE / f->count; i++) {
        float rounded = wanted[i];
        if (rounded != 0 && fabsf(rounded) < 0x1p-24f) rounded = rounded < 0 ? -0x1p-24f : 0x1p-24f;
        half[i] = round_to_half(&rounded);
        if (fabsf(rounded) > 65504) rounded = 0;
        for (size_t lane = 0; lane < f->count; lane++) d[i * f->count + lane] = rounded;
    }
    for (size_t g = 0; g < TILE; g += LANES) {
        vf best_k;
        v_store(error + g, try_scales(t, g, f, v_load(d + g), v_load(centre + g), v_load(s->zero + g), tries, &best_k));
        v_store(k + g, best_k);
    }
    for (size_t i = 0; i < TILE / f->count; i++) {
        float sum = sum_lanes(error + i * f->count, f->count);
        if (!(sum < s->error[i])) continue;
        s->error[i] = sum;
        s->half[i] = half[i];
        memcpy(s->d + i * f->count, d + i * f->count, f->count * sizeof *d);
        memcpy(s->k + i * f->count, k + i * f->count, f->count * sizeof *k);
    }
}

/* The least-squares super-scales of what was chosen. */
LQ_SPECIALISED void refit_super_scales(const struct scaled_tile *s, const struct tile *t, const struct scaled_format *f,
                                       float wanted[TILE], float centre[TILE])
{
    _Alignas(64) float xl[TILE], ll[TILE];
    for (size_t g = 0; g < TILE; g += LANES) {
        vf k = v_load(s->k + g), scale = v_load(s->d + g) * k;
        vf inverse = inverse_or_zero(scale);
        struct scale_fit fit;
        fit_scales(t, f->n, g, f->levels, &inverse, 1, &fit);
        v_store(centre + g, scale);
        v_store(xl + g, k * fit.xl);
        v_store(ll + g, k * k * fit.ll);
    }
    for (size_t i = 0; i < TILE / f->count; i++) {
        float above = sum_lanes(xl + i * f->count, f->count), below = sum_lanes(ll + i * f->count, f->count);
        wanted[i] = below > 0 ? above / below : 0;
    }
}

/* Chooses super-scales and scales, then the levels. */
LQ_SPECIALISED void encode_super_tile(struct scaled_tile *s, struct tile *t, const struct scaled_format *f,
                                      const struct scaled_search *search)
{
    struct scaled_starts starts[TILE];
    _Alignas(64) float wanted[TILE], centre[TILE];
    *s = (struct scaled_tile){0};
    for (size_t g = 0; g < TILE; g += LANES) {
        struct scale_found own = search_scale(t, f->n, g, f->levels, &search->own, AT_ONCE);
        v_store(s->own + g, own.scale);
        v_store(s->weight + g, own.ll);
        v_store(s->zero + g, error_of_zeros(t, f->n, g));
    }
    for (size_t i = 0; i < TILE / f->count; i++) {
        rank_starts(&starts[i], s->own + i * f->count, s->weight + i * f->count, f, search);
        s->error[i] = INFINITY;
    }
    for (int start = 0; start < search->n_starts; start++) {
        for (size_t i = 0; i < TILE / f->count; i++) wanted[i] = next_start(&starts[i]);
        try_super_scales(s, t, f, wanted, s->own, &search->start);
    }
    for (int refit = 0; refit < search->n_refits; refit++) {
        refit_super_scales(s, t, f, wanted, centre);
        try_super_scales(s, t, f, wanted, centre, &search->refit);
    }
    for (size_t g = 0; g < TILE; g += LANES) choose_levels(t, f->n, g, f->levels, v_load(s->d + g) * v_load(s->k + g));
}

/* The levels of a super-block of sixteen sub-blocks of sixteen, one after another. */
static inline void levels_in_order(const struct tile *t, uint8_t levels[TILE * TILE])
{
    memcpy(levels, t->level, TILE * TILE);
    transpose_bytes((uint8_t(*)[TILE])levels);
}

typedef void scaled_pack(const uint8_t levels[256], const struct scaled_tile *s, uint8_t *dst);

/* Q3_K and Q6_K: a super-block of 16 sub-blocks of 16 weights is a tile. */
LQ_SPECIALISED void encode_sixteens(const struct lq_encode *job, const struct scaled_format *f,
                                    enum weighting weighting, const struct scaled_search *search, scaled_pack *pack,
                                    size_t block_bytes)
{
    for (size_t b = 0; b < job->rows * job->columns / 256; b++) {
        struct tile t;
        struct scaled_tile s;
        _Alignas(64) uint8_t levels[TILE * TILE];
        tile_load(&t, job, b * TILE, 16, weighting);
        encode_super_tile(&s, &t, f, search);
        levels_in_order(&t, levels);
        pack(levels, &s, job->dst + b * block_bytes);
    }
}

/* Q6_K: 16 sub-blocks of 16; the lower 4 bits of the levels, the upper 2, signed bytes of scales, the super-scale.
 * Each half of 128 weights has its lower bits in 64 bytes, weights j and j + 64 in one, and its upper bits in 32,
 * weights j, j + 32, j + 64 and j + 96 in one. */
static void pack_q6_k(const uint8_t levels[256], const struct scaled_tile *s, uint8_t *dst)
{
    for (size_t h = 0; h < 2; h++) {
        const uint8_t *l = levels + 128 * h;
        uint8_t *lower = dst + 64 * h, *upper = dst + 128 + 32 * h;
        for (size_t i = 0; i < 64; i++) lower[i] = (uint8_t)((l[i] & 15) | l[i + 64] << 4);
        for (size_t i = 0; i < 32; i++)
            upper[i] = (uint8_t)(l[i] >> 4 | l[i + 32] >> 4 << 2 | l[i + 64] >> 4 << 4 | l[i + 96] >> 4 << 6);
    }
    for (size_t i = 0; i < TILE; i++) dst[192 + i] = (uint8_t)(int8_t)s->k[i];
    memcpy(dst + 208, s->half, sizeof s->half[0]);
}

static void q6_k_encode(const struct lq_encode *job)
{
    enum { BYTES = 210 };
    static const struct scaled_format f = {16, 16, {EVEN, -32, 31, false}, {EVEN, -128, 127, false}};
    static const struct scaled_search search[] = {
        [LQ_EFFORT_NORMAL] = {{{{4, -32, 0.4f}}, 0}, -128, 1, 1, {8, -2, 1 / 64.f}, {0}, 0},
        [LQ_EFFORT_FAST] = {{{{4, -32, 0.4f}}, 0}, -128, 1, 1, {4, -2, 1 / 64.f}, {0}, 0},
        [LQ_EFFORT_BEST] = {{{{4, -32, 0.4f}}, 0}, -128, 1, 4, {16, -6, 1 / 64.f}, {4, -2, 0}, 4},
    };
    encode_sixteens(job, &f, BY_SQUARE, &search[job->effort], pack_q6_k, BYTES);
}

/* Q3_K: 16 sub-blocks of 16; the upper bits of the levels, the lower 2, scales, the super-scale. Bit j / 32 of byte
 * j % 32 is weight j's upper bit; each half of 128 weights has its lower bits in 32 bytes, weights j, j + 32, j + 64
 * and j + 96 in one. Of the scales plus 32, the lower 4 bits of i and i + 8 share byte i, the upper 2 of i, i + 4,
 * i + 8 and i + 12 share byte 8 + i. */
static void pack_q3_k(const uint8_t levels[256], const struct scaled_tile *s, uint8_t *dst)
{
    memset(dst, 0, 32);
    for (size_t j = 0; j < 256; j += 32)
        for (size_t i = 0; i < 32; i++) dst[i] |= (uint8_t)(levels[j + i] >> 2 << j / 32);
    for (size_t h = 0; h < 2; h++) {
        const uint8_t *l = levels + 128 * h;
        for (size_t i = 0; i < 32; i++)
            dst[32 + 32 * h + i] =
                (uint8_t)((l[i] & 3) | (l[i + 32] & 3) << 2 | (l[i + 64] & 3) << 4 | (l[i + 96] & 3) << 6);
    }
    uint8_t k[TILE];
    for (size_t i = 0; i < TILE; i++) k[i] = (uint8_t)(s->k[i] + 32);
    for (size_t i = 0; i < 8; i++) dst[96 + i] = (uint8_t)((k[i] & 15) | (k[i + 8] & 15) << 4);
    for (size_t i = 0; i < 4; i++)
        dst[104 + i] = (uint8_t)(k[i] >> 4 | k[i + 4] >> 4 << 2 | k[i + 8] >> 4 << 4 | k[i + 12] >> 4 << 6);
    memcpy(dst + 108, s->half, sizeof s->half[0]);
}

static void q3_k_encode(const struct lq_encode *job)
{
    enum { BYTES = 110 };
    static const struct scaled_format f = {16, 16, {EVEN, -4, 3, false}, {EVEN, -32, 31, false}};
    static const struct scaled_search search[] = {
        [LQ_EFFORT_NORMAL] = {{{{8, -3.5f, -0.5f}, {4, 3, 0.5f}}, 0}, -32, 1, 1, {4, -2, 0}, {0}, 0},
        [LQ_EFFORT_FAST] = {{{{4, -3.5f, -0.7f}}, 0}, -32, 1, 1, {4, -2, 0}, {0}, 0},
        [LQ_EFFORT_BEST] = {{{{8, -3.5f, -0.5f}, {8, 2.6f, 0.3f}}, 0}, -32, 1, 2, {4, -2, 0}, {4, -2, 0}, 2},
    };
    encode_sixteens(job, &f, BY_BOTH, &search[job->effort], pack_q3_k, BYTES);
}

/* IQ4_XS: 8 sub-blocks of 32; the super-scale, scales, the sub-blocks' levels as in IQ4_NL. Of the scales plus 32, the
 * upper 2 bits share one number of 16 bits, the lower 4 bits of 2 i and 2 i + 1 share byte i. */
static void pack_iq4_xs(uint16_t half, const float *k, const uint8_t *packed, uint8_t *dst)
{
    uint16_t upper = 0;
    memset(dst + 4, 0, 4);
    for (size_t i = 0; i < 8; i++) {
        unsigned whole = (unsigned)(k[i] + 32);
        upper |= (uint16_t)(whole >> 4 << 2 * i);
        dst[4 + i / 2] |= (uint8_t)((whole & 15) << i % 2 * 4);
    }
    memcpy(dst, &half, sizeof half);
    memcpy(dst + 2, &upper, sizeof upper);
    memcpy(dst + 8, packed, 128);
}

static void iq4_xs_encode(const struct lq_encode *job)
{
    enum { BYTES = 136, COUNT = 8 };
    static const struct scaled_format f = {32, COUNT, {CURVED, -127, 113, false}, {EVEN, -32, 31, false}};
    static const struct scaled_search search[] = {
        [LQ_EFFORT_NORMAL] = {{{{8, -90, -10}, {4, 90, 12}}, 0}, -32, 1, 1, {4, -2, 0}, {0}, 0},
        [LQ_EFFORT_FAST] = {{{{4, -90, -15}}, 0}, -32, 1, 1, {4, -2, 0}, {0}, 0},
        [LQ_EFFORT_BEST] = {{{{16, -85, -6}, {8, 80, 10}}, 1}, -32, 1, 4, {8, -4, 0}, {4, -2, 0}, 4},
    };
    size_t n_blocks = job->rows * job->columns / 256;
    for (size_t first = 0; first < n_blocks; first += TILE / COUNT) {
        struct tile t;
        struct scaled_tile s;
        _Alignas(64) uint8_t packed[TILE][16];
        tile_load(&t, job, first * COUNT, 32, BY_SQUARE);
        encode_super_tile(&s, &t, &f, &search[job->effort]);
        pack_nibbles(&t, packed);
        for (size_t i = 0; i < TILE / COUNT && first + i < n_blocks; i++)
            pack_iq4_xs(s.half[i], s.k + i * COUNT, packed[i * COUNT], job->dst + (first + i) * BYTES);
    }
}
