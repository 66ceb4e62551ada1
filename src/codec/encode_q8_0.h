/* The encoder of Q8_0: 32 weights; an f16 scale and 32 signed bytes.
 *
 * Part of the kernels' text: included once per instruction set, behind encode_scale.h.
 * Where nothing says which weights count, the scale is the largest magnitude / 127, and quotients are rounded half away
 * from zero, as ggml's reference does: no search, because the bytes are ggml's and memory should be what limits it.
 * With importance, or at best effort, the scale of least weighted error is looked for. */

enum { Q8_0_WEIGHTS = 32, Q8_0_BYTES = 34 };

/* The largest magnitudes of LANES blocks. */
static inline vf largest_of_blocks(const float *src)
{
    vf most[LANES];
    for (size_t k = 0; k < LANES; k++, src += Q8_0_WEIGHTS) {
        most[k] = v_abs(v_load(src));
        for (size_t i = LANES; i < Q8_0_WEIGHTS; i += LANES) most[k] = v_max(most[k], v_abs(v_load(src + i)));
    }
    v_transpose(most);
    for (size_t k = 1; k < LANES; k++) most[0] = v_max(most[0], most[k]);
    return most[0];
}

/* Adding the float just below one half, away from zero, and cutting rounds half away from zero. */
static inline void q8_0_block(const float *src, float inverse, uint16_t scale, uint8_t *dst)
{
    int8_t values[Q8_0_WEIGHTS];
    for (size_t i = 0; i < Q8_0_WEIGHTS; i++) {
        float x = src[i] * inverse;
        values[i] = (int8_t)(int32_t)(x + lq_bits_float((lq_float_bits(x) & 0x80000000) | 0x3effffff));
    }
    memcpy(dst, &scale, sizeof scale);
    memcpy(dst + sizeof scale, values, sizeof values);
}

/* LANES blocks. */
static inline void q8_0_blocks(const float *src, uint8_t *dst)
{
    float inverse[LANES];
    uint16_t half[LANES];
    vf scale = largest_of_blocks(src) / v_set(127);
    vm tiny = v_less(scale, v_set(0x1p-126f)); /* the inverse could be infinite; the f16 scale is zero */
    v_store(inverse, v_select(tiny, v_set(0), v_set(1) / v_select(tiny, v_set(1), scale)));
    v_store_halves(half, scale);
    for (size_t k = 0; k < LANES; k++) q8_0_block(src + k * Q8_0_WEIGHTS, inverse[k], half[k], dst + k * Q8_0_BYTES);
}

static void q8_0_round(const struct lq_encode *job)
{
    size_t n_blocks = job->rows * job->columns / Q8_0_WEIGHTS, whole = n_blocks - n_blocks % LANES;
    for (size_t b = 0; b < whole; b += LANES) q8_0_blocks(job->src + b * Q8_0_WEIGHTS, job->dst + b * Q8_0_BYTES);
    if (whole < n_blocks) {
        float src[LANES * Q8_0_WEIGHTS] = {0};
        uint8_t dst[LANES * Q8_0_BYTES];
        memcpy(src, job->src + whole * Q8_0_WEIGHTS, (n_blocks - whole) * Q8_0_WEIGHTS * sizeof *src);
        q8_0_blocks(src, dst);
        memcpy(job->dst + whole * Q8_0_BYTES, dst, (n_blocks - whole) * Q8_0_BYTES);
    }
}

/* The levels are so fine that gains would drown in rounding: errors themselves are compared. */
static void q8_0_fit(const struct lq_encode *job, const struct level_range *range)
{
    enum { N = Q8_0_WEIGHTS };
    static const struct scale_grid grid = {EVEN, -127, 127, false};
    size_t n_blocks = job->rows * job->columns / N;
    for (size_t first = 0; first < n_blocks; first += TILE) {
        struct tile t;
        _Alignas(64) float scale[TILE];
        uint16_t half[TILE];
        tile_load(&t, job, first, N, BY_ONE);
        for (size_t g = 0; g < TILE; g += LANES)
            v_store(scale + g, round_lanes(least_error_scale(&t, N, g, grid, range), half + g));
        for (size_t g = 0; g < TILE; g += LANES) choose_levels(&t, N, g, grid, v_load(scale + g));
        transpose_bytes(t.level);
        transpose_bytes(t.level + 16);
        for (size_t lane = 0; lane < TILE && first + lane < n_blocks; lane++) {
            uint8_t *dst = job->dst + (first + lane) * Q8_0_BYTES;
            memcpy(dst, &half[lane], sizeof half[lane]);
            for (size_t i = 0; i < 16; i++) dst[2 + i] = (uint8_t)(t.level[lane][i] - 127);
            for (size_t i = 0; i < 16; i++) dst[18 + i] = (uint8_t)(t.level[16 + lane][i] - 127);
        }
    }
}

static void q8_0_encode(const struct lq_encode *job)
{
    static const struct level_range ranges[] = {
        [LQ_EFFORT_NORMAL] = {8, 127.5f, -0.5f},
        [LQ_EFFORT_FAST] = {4, 127, -0.8f},
        [LQ_EFFORT_BEST] = {16, 127.5f, -0.5f},
    };
    if (job->importance == NULL && job->effort != LQ_EFFORT_BEST) q8_0_round(job);
    else q8_0_fit(job, &ranges[job->effort]);
}
