/* Conversions between f32 and the other floats.
 *
 * Part of the kernels' text: included once per instruction set, behind lanes_<isa>.h. */

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
