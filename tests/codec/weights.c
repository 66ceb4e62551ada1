#include "weights.h"

#include "codec/half.h"
#include "codec/importance.h"

#include <math.h>
#include <string.h>

static uint64_t state;

void random_seed(uint64_t seed)
{
    state = seed * 0x9e3779b97f4a7c15 + 1;
}

uint32_t random_bits(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}

/* From -1 to 1. */
static float uniform(void)
{
    return (float)((int32_t)random_bits() >> 8) * 0x1p-23f;
}

static float ordinary(void)
{
    float sum = 0;
    for (int i = 0; i < 4; i++) sum += uniform();
    return 0.02f * sum;
}

static float heavy(void)
{
    float x = ordinary(), y = uniform(), z = uniform();
    return x / (0.02f + fabsf(y * z));
}

/* Up to 2^14. */
static float spread(void)
{
    float x = uniform();
    return ldexpf(x, (int)(random_bits() % 60) - 45);
}

/* Dense where halves round, end, tie and go denormal. */
static float any_bits(size_t i)
{
    static const uint32_t edges[] = {0,          1,          0x7fffff,   0x800000,   0x33000000, 0x33000001,
                                     0x32ffffff, 0x387fffff, 0x38800000, 0x477fefff, 0x477ff000, 0x477fffff,
                                     0x47800000, 0x7f7fffff, 0x7f7f7fff, 0x7f7f8000, 0x7f800000, 0x7f800001,
                                     0x7fc00000, 0x7fffffff, 0x7f80ffff};
    uint32_t bits = random_bits(), sign = bits << 31;
    if (i % 4 == 0) return lq_bits_float(edges[bits / 2 % (sizeof edges / sizeof edges[0])] | sign);
    if (i % 4 == 1) return lq_bits_float(((0x33000000 + bits % 0x14800000) & 0xfffff000) | sign);
    return lq_bits_float(bits);
}

static float weight(enum kind kind, size_t i)
{
    switch (kind) {
    case ORDINARY: return ordinary();
    case HEAVY: return heavy();
    case ONE_OUTLIER: return ordinary() * (i % 256 == 77 ? 1000.0f : 1.0f);
    case ZEROS: return random_bits() % 2 == 0 ? 0.0f : -0.0f;
    case CONSTANT: return -0.375f;
    case DENORMAL: return lq_bits_float(random_bits() & 0x807fffff);
    case NEARLY_DENORMAL: return i % 7 == 3 ? lq_bits_float(random_bits() & 0x807fffff) : ordinary();
    case HUGE_VALUES: return i % 32 == 9 ? -0x1p28f : 0x1p28f * uniform();
    case ALTERNATING: return i % 2 == 0 ? 1.5f : -1.5f;
    case SPARSE: return random_bits() % 16 == 0 ? ordinary() : 0.0f;
    case TIES: return i % 16 == 0 ? -127.0f : (float)(random_bits() % 509) * 0.5f - 127.0f;
    case SPREAD: return spread();
    case ONE_SIDED: return 1.0f + fabsf(ordinary());
    case MIXED: return 0;
    case ANY_BITS:
    case N_KINDS: break;
    }
    return any_bits(i);
}

const char *kind_name(enum kind kind)
{
    static const char *const names[] = {[ORDINARY] = "ordinary",
                                        [HEAVY] = "heavy",
                                        [ONE_OUTLIER] = "one outlier",
                                        [ZEROS] = "zeros",
                                        [CONSTANT] = "constant",
                                        [DENORMAL] = "denormal",
                                        [NEARLY_DENORMAL] = "nearly denormal",
                                        [ALTERNATING] = "alternating",
                                        [SPARSE] = "sparse",
                                        [TIES] = "ties",
                                        [ONE_SIDED] = "one-sided",
                                        [SPREAD] = "spread",
                                        [HUGE_VALUES] = "huge",
                                        [MIXED] = "mixed",
                                        [ANY_BITS] = "any bits"};
    return names[kind];
}

void fill_weights(float *dst, size_t n, enum kind kind)
{
    enum kind here = kind;
    for (size_t i = 0; i < n; i++) {
        if (kind == MIXED && i % 32 == 0) here = (enum kind)(random_bits() % MIXED);
        dst[i] = weight(here, i);
    }
}

void fill_halves(uint16_t *dst, size_t n, enum kind kind)
{
    for (size_t i = 0; i < n; i++) {
        float f;
        if (kind == MIXED) fill_weights(&f, 1, kind);
        else f = weight(kind, i);
        dst[i] = kind == ANY_BITS ? (uint16_t)random_bits() : lq_float_to_half(f);
    }
}

void fill_bytes(uint8_t *dst, size_t n)
{
    for (size_t i = 0; i < n; i++) dst[i] = (uint8_t)random_bits();
}

void fill_importance(float *dst, size_t n)
{
    uint32_t style = random_bits() % 5;
    for (size_t i = 0; i < n; i++) {
        float any = fabsf(uniform()), wide = ldexpf(1, (int)(random_bits() % 250) - 125);
        const float styles[] = {1, any, wide, i % 64 == 5 ? 3e38f : 1, any_bits(i)};
        dst[i] = styles[style];
    }
    lq_importance_repair(dst, n, true, dst);
}
