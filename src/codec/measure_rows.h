/* What can be said of rows of weights: their largest and smallest magnitudes, how far they are from others.
 *
 * Part of the kernels' text: included once per instruction set, behind lanes_<isa>.h. Sums run in PLACES places, which are
 * added in a fixed order, so that they are the same for any number of lanes. */

enum { PLACES = 32 };

static void survey(const float *src, size_t n, struct lq_survey *out)
{
    uint32_t largest = 0, before_smallest = UINT32_MAX; /* magnitude - 1: zero wraps to the top */
    for (size_t i = 0; i < n; i++) {
        uint32_t magnitude = lq_float_bits(src[i]) & 0x7fffffff;
        largest = magnitude > largest ? magnitude : largest;
        before_smallest = magnitude - 1 < before_smallest ? magnitude - 1 : before_smallest;
    }
    out->largest = largest;
    out->smallest = before_smallest == UINT32_MAX ? UINT32_MAX : before_smallest + 1;
}

static void largest_16(const uint8_t *src, size_t n, uint32_t *out)
{
    uint16_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t bits;
        memcpy(&bits, src + i * sizeof bits, sizeof bits);
        bits &= 0x7fff;
        largest = bits > largest ? bits : largest;
    }
    *out = largest;
}

/* Weights, f32 or f16, beside what became of them. */
struct pair {
    const void *w;
    bool half;
    const float *q;
};

struct places {
    vf error[PLACES / LANES], weight[PLACES / LANES];
};

static inline vf load_weights(const struct pair *p, size_t i)
{
    return p->half ? v_load_halves((const uint16_t *)p->w + i) : v_load((const float *)p->w + i);
}

static inline void add_pair(struct places *sums, const struct pair *p, size_t i)
{
    for (size_t k = 0; k < PLACES / LANES; k++) {
        vf a = load_weights(p, i + k * LANES), d = a - v_load(p->q + i + k * LANES);
        sums->error[k] = sums->error[k] + d * d;
        sums->weight[k] = sums->weight[k] + a * a;
    }
}

/* Upper halves are added to the lower ones until four are left. */
static inline double fold_places(vf places[PLACES / LANES])
{
    enum { STORED = LANES < 4 ? 4 : LANES };
    float sums[STORED];
    for (size_t left = PLACES / 2; left >= STORED; left /= 2)
        for (size_t k = 0; k < left / LANES; k++) places[k] = places[k] + places[k + left / LANES];
    for (size_t k = 0; k < STORED / LANES; k++) v_store(sums + k * LANES, places[k]);
    for (size_t left = STORED / 2; left >= 4; left /= 2)
        for (size_t i = 0; i < left; i++) sums[i] += sums[i + left];
    return ((double)sums[0] + (double)sums[1]) + ((double)sums[2] + (double)sums[3]);
}

/* Sets sum (w - q)^2 and sum w^2, in floats: of not too many weights. */
static inline void pair_sums(const struct pair *p, size_t n, double sums[2])
{
    struct places places;
    for (size_t k = 0; k < PLACES / LANES; k++) places.error[k] = places.weight[k] = v_set(0);
    size_t whole = n - n % PLACES;
    for (size_t i = 0; i < whole; i += PLACES) add_pair(&places, p, i);
    if (whole < n) { /* zeros add nothing */
        size_t size = p->half ? sizeof(uint16_t) : sizeof(float);
        float w[PLACES] = {0}, q[PLACES] = {0};
        memcpy(w, (const uint8_t *)p->w + whole * size, (n - whole) * size);
        memcpy(q, p->q + whole, (n - whole) * sizeof *q);
        add_pair(&places, &(struct pair){w, p->half, q}, 0);
    }
    sums[0] = fold_places(places.error);
    sums[1] = fold_places(places.weight);
}

static void half_differences(const uint16_t *w, const float *q, size_t n, double (*sums)[2])
{
    for (size_t i = 0; i < n; i += LQ_DIFFERENCE_BLOCK)
        pair_sums(&(struct pair){w + i, true, q + i}, n - i < LQ_DIFFERENCE_BLOCK ? n - i : LQ_DIFFERENCE_BLOCK,
                  *sums++);
}

static void exact_sums(const float *w, const float *q, size_t n, double sums[2])
{
    sums[0] = sums[1] = 0;
    for (size_t i = 0; i < n; i++) {
        double a = w[i], d = a - q[i];
        sums[0] += d * d;
        sums[1] += a * a;
    }
}

/* Stretches whose squares leave the range of floats are added up once more, in double. */
static void difference(const float *w, const float *q, size_t n, double sums[2])
{
    enum { STRETCH = 1024 };
    const double least = 0x1p-80, most = 0x1p+100;
    for (size_t i = 0; i < n; i += STRETCH) {
        size_t left = n - i < STRETCH ? n - i : STRETCH;
        double block[2];
        pair_sums(&(struct pair){w + i, false, q + i}, left, block);
        if (!(block[0] < most && block[1] < most && block[1] > least)) exact_sums(w + i, q + i, left, block);
        sums[0] += block[0];
        sums[1] += block[1];
    }
}
