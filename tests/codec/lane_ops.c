/* Compiled once for each instruction set, which LANES_HEADER and LANE_OPS name, with its flags. */
#include "lane_ops.h"

#include LANES_HEADER

#include <string.h>

/* A function over all lanes of the rows; i is the first of LANES numbers. */
#define OP(name, statement) \
    static void name(const struct op_input *in, float out[OP_WIDTH]) \
    { \
        for (size_t i = 0; i < OP_WIDTH; i += LANES) statement; \
    }
#define A v_load(in->a + i)
#define B v_load(in->b + i)
#define C v_load(in->c + i)
OP(min, v_store(out + i, v_min(A, B)))
OP(max, v_store(out + i, v_max(A, B)))
OP(abs_of, v_store(out + i, v_abs(A)))
OP(root, v_store(out + i, v_sqrt(A)))
OP(sum, v_store(out + i, A + B))
OP(difference, v_store(out + i, A - B))
OP(product, v_store(out + i, A *B))
OP(quotient, v_store(out + i, A / B))
OP(not_fused, v_store(out + i, A *B + C))
OP(set, v_store(out + i, v_set(in->c[3])))
OP(choose, v_store(out + i, v_select(v_less(A, B), B, C)))
OP(choose_both, v_store(out + i, v_select(v_both(v_less(A, B), v_less(B, C)), A, C)))
OP(look_up, v_store(out + i, v_lookup(in->table, v_load(in->index + i))))
OP(load_halves, v_store(out + i, v_load_halves(in->halves + i)))
OP(load_bytes, v_store(out + i, v_load_bytes(in->bytes + i)))
OP(store_halves, v_store_halves((uint16_t *)(void *)out + i, A))
OP(store_bytes, v_store_bytes((uint8_t *)out + i, v_load_bytes(in->bytes + i)))

/* Whether any of sixteen is less. */
static void any(const struct op_input *in, float out[OP_WIDTH])
{
    for (size_t i = 0; i < OP_WIDTH; i += LANES)
        if (v_any(v_less(A, B))) out[0] = 1;
}

/* Sixteen runs of as many: run k is row a turned by k. */
static void transpose(const struct op_input *in, float out[OP_WIDTH])
{
    float square[OP_WIDTH][OP_WIDTH], turned[OP_WIDTH][OP_WIDTH];
    for (size_t k = 0; k < OP_WIDTH; k++)
        for (size_t i = 0; i < OP_WIDTH; i++) square[k][i] = in->a[(i + k * k) % OP_WIDTH];
    for (size_t g = 0; g < OP_WIDTH; g += LANES)
        for (size_t i = 0; i < OP_WIDTH; i += LANES) {
            vf rows[LANES];
            for (size_t k = 0; k < LANES; k++) rows[k] = v_load(&square[g + k][i]);
            v_transpose(rows);
            for (size_t k = 0; k < LANES; k++) v_store(&turned[i + k][g], rows[k]);
        }
    for (size_t i = 0; i < OP_WIDTH; i++) out[i] = turned[i][(i * 5 + 3) % OP_WIDTH];
}

const struct lane_op LANE_OPS[] = {
    {"v_min", min, false},
    {"v_max", max, false},
    {"v_abs", abs_of, false},
    {"v_sqrt", root, true},
    {"+", sum, true},
    {"-", difference, true},
    {"*", product, true},
    {"/", quotient, true},
    {"* and +", not_fused, true},
    {"v_set", set, false},
    {"v_less, v_select", choose, false},
    {"v_both", choose_both, false},
    {"v_any", any, false},
    {"v_lookup", look_up, false},
    {"v_load_halves", load_halves, false},
    {"v_store_halves", store_halves, false},
    {"v_load_bytes", load_bytes, false},
    {"v_store_bytes", store_bytes, false},
    {"v_transpose", transpose, false},
    {NULL, NULL, false},
};
