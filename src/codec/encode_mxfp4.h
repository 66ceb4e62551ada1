/* Encoder of MXFP4: 32 weights share a power of two; each is one of 0, 1, 2, 3, 4, 6, 8, 12 halves of it, and a sign.
 *
 * Part of the kernels' text: included once per instruction set, behind encode_scale.h.
 * With the largest magnitude scaled to at least 1 and less than 2, units of 1/8 and 1/4 are tried: with 1/4 nothing is
 * cut, and larger units have only levels that 1/4 has too. Smaller ones, which cut, seldom win but where the largest
 * weights count little: with more effort 1/16 and 1/32, with the most 1/64 and 1/128 are tried, too. The one with the
 * least sum w (x - q)^2 is taken. Powers of two change no digit, so that the whole range of exponents works alike. */

/* Weights of a lane times the power of two that brings the largest magnitude to 1 or more, less than 2; its exponent
 * before. What is too small for that counts as zeros. */
static inline void normalise(struct tile *t, size_t n, int exponent[TILE])
{
    enum { BIAS = 127, LEAST = -120 };
    _Alignas(64) float most[TILE], factor[TILE];
    for (size_t g = 0; g < TILE; g += LANES) v_store(most + g, extreme(t, n, g));
    for (size_t lane = 0; lane < TILE; lane++) {
        exponent[lane] = (int)(lq_float_bits(most[lane]) >> 23 & 0xff) - BIAS;
        bool zero = exponent[lane] < LEAST;
        factor[lane] = zero ? 0 : lq_bits_float((uint32_t)(BIAS - exponent[lane]) << 23);
    }
    for (size_t g = 0; g < TILE; g += LANES)
        for (size_t i = 0; i < n; i++) v_store(&t->x[i][g], flush_tiny(v_load(&t->x[i][g]) * v_load(factor + g)));
}

/* The first n_pairs pairs of units are tried. */
static inline vf best_unit(const struct tile *t, size_t n, size_t g, struct scale_grid grid, size_t n_pairs)
{
    static const float units[][2] = {{0x1p-3f, 0x1p-2f}, {0x1p-4f, 0x1p-5f}, {0x1p-6f, 0x1p-7f}};
    vf least = v_set(0x1p120f), best = v_set(units[0][0]);
    for (size_t pair = 0; pair < n_pairs; pair++) {
        vf unit[2] = {v_set(units[pair][0]), v_set(units[pair][1])}, error[2];
        errors_at(t, n, g, grid, unit, 2, error);
        for (size_t c = 0; c < 2; c++) {
            vm better = v_less(error[c], least);
            least = v_select(better, error[c], least);
            best = v_select(better, unit[c], best);
        }
    }
    return best;
}

/* 32 weights: a byte e, for units of 2^(e - 128), and 16 bytes of levels as in Q4_0. */
static void mxfp4_encode(const struct lq_encode *job)
{
    enum { N = 32, BYTES = 17, BIAS = 128 };
    static const size_t n_pairs[] = {[LQ_EFFORT_NORMAL] = 2, [LQ_EFFORT_FAST] = 1, [LQ_EFFORT_BEST] = 3};
    static const struct scale_grid grid = {FLOATS, -12, 12, false};
    size_t n_blocks = job->rows * job->columns / N;
    for (size_t first = 0; first < n_blocks; first += TILE) {
        struct tile t;
        int exponent[TILE];
        _Alignas(64) float unit[TILE];
        _Alignas(64) uint8_t packed[TILE][16];
        tile_gather(&t, job, first, N, false);
        normalise(&t, N, exponent);
        for (size_t g = 0; g < TILE; g += LANES) {
            if (job->importance == NULL) weigh(&t, N, g, BY_ONE);
            v_store(unit + g, best_unit(&t, N, g, grid, n_pairs[job->effort]));
        }
        choose_nibbles(&t, grid, unit, packed);
        for (size_t lane = 0; lane < TILE && first + lane < n_blocks; lane++) {
            uint8_t *dst = job->dst + (first + lane) * BYTES;
            int e = exponent[lane] + (int)(lq_float_bits(unit[lane]) >> 23) - 127 + BIAS;
            dst[0] = (uint8_t)(e < 0 ? 0 : e);
            memcpy(dst + 1, packed[lane], sizeof packed[lane]);
        }
    }
}
