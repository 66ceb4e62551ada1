/* The text of the kernels, included once per instruction set by kernels_<isa>.c, which includes before the lanes of that
 * instruction set (lanes_<isa>.h) and defines LQ_ISA, a suffix.
 *
 * What is not written in lanes are loops that a compiler can spread over vector registers without changing any result:
 * sums run in a fixed number of places, and nothing is contracted (-ffp-contract=off). */
#include "codec/half.h"
#include "codec/kernels.h"

enum { SUMS = 8, HALF_SUMS = 16, Q8_0_WEIGHTS = 32, Q8_0_BYTES = 34 };

static void f16_to_f32(const uint16_t *src, float *dst, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) v_store(dst + i, v_load_halves(src + i));
    for (; i < n; i++) dst[i] = HALF_TO_FLOAT(src[i]);
}

static void f32_to_f16(const float *src, uint16_t *dst, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) v_store_halves(dst + i, v_load(src + i));
    for (; i < n; i++) dst[i] = FLOAT_TO_HALF(src[i]);
}

static void bf16_to_f32(const uint16_t *src, float *dst, size_t n)
{
    for (size_t i = 0; i < n; i++) dst[i] = lq_bits_float((uint32_t)src[i] << 16);
}

static void f32_to_bf16(const float *src, uint16_t *dst, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = lq_float_bits(src[i]);
        uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, quieted = bits >> 16 | 0x40;
        dst[i] = (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? quieted : rounded);
    }
}

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

static void difference(const float *w, const float *q, size_t n, double sums[2])
{
    double error[SUMS] = {0}, weight[SUMS] = {0};
    size_t whole = n - n % SUMS;
    for (size_t i = 0; i < whole; i += SUMS)
        for (size_t lane = 0; lane < SUMS; lane++) {
            double a = w[i + lane], d = a - q[i + lane];
            error[lane] += d * d;
            weight[lane] += a * a;
        }
    for (size_t i = whole; i < n; i++) {
        double a = w[i], d = a - q[i];
        error[i - whole] += d * d;
        weight[i - whole] += a * a;
    }
    for (size_t lane = 0; lane < SUMS; lane++) {
        sums[0] += error[lane];
        sums[1] += weight[lane];
    }
}

/* Upper halves are added to the lower ones until four are left. */
static double fold_sums(float sums[HALF_SUMS])
{
    for (size_t left = HALF_SUMS / 2; left >= 4; left /= 2)
        for (size_t i = 0; i < left; i++) sums[i] += sums[i + left];
    return ((double)sums[0] + (double)sums[1]) + ((double)sums[2] + (double)sums[3]);
}

struct half_sums {
    vf error[HALF_SUMS / LANES], weight[HALF_SUMS / LANES];
};

static inline void add_halves(struct half_sums *sums, const uint16_t *w, const float *q)
{
    for (size_t k = 0; k < HALF_SUMS / LANES; k++) {
        vf a = v_load_halves(w + k * LANES), d = a - v_load(q + k * LANES);
        sums->error[k] = sums->error[k] + d * d;
        sums->weight[k] = sums->weight[k] + a * a;
    }
}

static void half_difference(const uint16_t *w, const float *q, size_t n, double sums[2])
{
    struct half_sums places;
    for (size_t k = 0; k < HALF_SUMS / LANES; k++) places.error[k] = places.weight[k] = v_set(0);
    size_t whole = n - n % HALF_SUMS;
    for (size_t i = 0; i < whole; i += HALF_SUMS) add_halves(&places, w + i, q + i);
    if (whole < n) { /* zeros add nothing */
        uint16_t last_w[HALF_SUMS] = {0};
        float last_q[HALF_SUMS] = {0};
        memcpy(last_w, w + whole, (n - whole) * sizeof *w);
        memcpy(last_q, q + whole, (n - whole) * sizeof *q);
        add_halves(&places, last_w, last_q);
    }
    float error[HALF_SUMS], weight[HALF_SUMS];
    for (size_t k = 0; k < HALF_SUMS / LANES; k++) {
        v_store(error + k * LANES, places.error[k]);
        v_store(weight + k * LANES, places.weight[k]);
    }
    sums[0] = fold_sums(error);
    sums[1] = fold_sums(weight);
}

static void half_differences(const uint16_t *w, const float *q, size_t n, double (*sums)[2])
{
    for (size_t i = 0; i < n; i += LQ_DIFFERENCE_BLOCK)
        half_difference(w + i, q + i, n - i < LQ_DIFFERENCE_BLOCK ? n - i : LQ_DIFFERENCE_BLOCK, *sums++);
}

/* The scale is the largest magnitude / 127; quotients are rounded half away from zero, as ggml's reference does. Adding
 * the float just below one half and cutting gives exactly that. */
static void q8_0_encode(const struct lq_encode *job)
{
    const float *src = job->src;
    uint8_t *dst = job->dst;
    size_t n_blocks = job->rows * job->columns / Q8_0_WEIGHTS;
    for (size_t b = 0; b < n_blocks; b++, src += Q8_0_WEIGHTS, dst += Q8_0_BYTES) {
        uint32_t largest = 0;
        for (size_t i = 0; i < Q8_0_WEIGHTS; i++) {
            uint32_t magnitude = lq_float_bits(src[i]) & 0x7fffffff;
            largest = magnitude > largest ? magnitude : largest;
        }
        float scale = lq_bits_float(largest) / 127, inverse = scale > 0x1p-100f ? 1 / scale : 0;
        uint16_t half = FLOAT_TO_HALF(scale);
        memcpy(dst, &half, sizeof half);
        int8_t values[Q8_0_WEIGHTS];
        for (size_t i = 0; i < Q8_0_WEIGHTS; i++) {
            float x = src[i] * inverse;
            values[i] = (int8_t)(int32_t)(x + lq_bits_float((lq_float_bits(x) & 0x80000000) | 0x3effffff));
        }
        memcpy(dst + sizeof half, values, sizeof values);
    }
}

#include "codec/decode_blocks.h"
#include "codec/tile.h"
#include "codec/encode_scale.h"

#define LQ_TABLE_OF(isa) LQ_TABLE_OF_(isa)
#define LQ_TABLE_OF_(isa) lq_kernels_##isa
#define LQ_STRING(isa) LQ_STRING_(isa)
#define LQ_STRING_(isa) #isa
#define LQ_ENTRY(kernel, arguments) .kernel = kernel,
#define LQ_ENCODER(type, kernel) [LQ_TYPE_##type] = kernel##_encode,
#define LQ_DECODER(type, kernel) [LQ_TYPE_##type] = kernel##_decode,
const struct lq_kernel_table LQ_TABLE_OF(LQ_ISA) = {.name = LQ_STRING(LQ_ISA),
                                                    .encode = {LQ_ENCODERS(LQ_ENCODER)},
                                                    .decode = {LQ_DECODERS(LQ_DECODER)},
                                                    LQ_KERNELS(LQ_ENTRY)};
