/* The encoder of Q8_0: 32 weights; an f16 scale and 32 signed bytes.
 *
 * Part of the kernels' text: included once per instruction set, behind lanes_<isa>.h.
 * The scale is the largest magnitude / 127; quotients are rounded half away from zero, as ggml's reference does: no
 * search, because the bytes are ggml's and memory should be what limits it. */

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

static void q8_0_encode(const struct lq_encode *job)
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
