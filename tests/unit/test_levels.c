/* Blocks as scales and levels: they say what the decoders say, bit for bit, of any block. */
#include "codec/encode.h"
#include "codec/levels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

enum { BLOCK_BYTES = 256 };

static const enum lq_type types[] = {
#define TYPE_OF(TYPE, name) LQ_TYPE_##TYPE,
    LQ_BLOCK_FORMATS(TYPE_OF)
#undef TYPE_OF
};
enum { TYPES = sizeof types / sizeof types[0] };

static uint64_t random_state = 1;

static unsigned below(unsigned n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % n;
}

/* Any bytes with finite scales. */
static void random_block(enum lq_type type, uint8_t *block)
{
    uint32_t bytes = lq_format_get(type)->bytes;
    do
        for (uint32_t i = 0; i < bytes; i++) block[i] = (uint8_t)below(256);
    while (!lq_codec_validate(type, block, bytes));
}

static float value_of(const struct lq_grid *grid, int level)
{
    return (float)(grid->table != NULL ? grid->table[level - grid->least] : level);
}

static void assert_decodes_to(const struct lq_grid *grid, const uint8_t *block, const int *levels)
{
    float scale[LQ_GRID_PARTS], offset[LQ_GRID_PARTS], decoded[LQ_GRID_WEIGHTS];
    assert_int_equal(lq_codec_decode(grid->type, block, decoded, grid->weights, NULL), LQ_OK);
    lq_grid_scales(grid, block, scale, offset);
    for (unsigned i = 0; i < grid->weights; i++) {
        unsigned part = i / grid->part;
        float said = scale[part] * value_of(grid, levels[i]) + offset[part];
        if (memcmp(&said, &decoded[i], sizeof said) != 0)
            fail_msg("%s, weight %u, level %d: %a, decoded %a", lq_format_name(grid->type), i, levels[i], (double)said,
                     (double)decoded[i]);
    }
}

/* Levels alone change; scales keep their bytes. */
static void levels_are_written(void **state)
{
    (void)state;
    enum { ROUNDS = 4, APART = BLOCK_BYTES + 3 };
    static uint8_t blocks[LQ_ABREAST * APART], numbers[LQ_GRID_WEIGHTS][LQ_ABREAST];
    static float before[LQ_ABREAST][2][LQ_GRID_PARTS], after[2][LQ_GRID_PARTS];
    for (int t = 0; t < TYPES * ROUNDS; t++) {
        const struct lq_grid *grid = lq_grid_find(types[t / ROUNDS]);
        const uint8_t *level[LQ_GRID_WEIGHTS];
        assert_non_null(grid);
        assert_int_equal(grid->weights, lq_format_get(grid->type)->block);
        for (unsigned i = 0; i < grid->weights; i++) {
            level[i] = numbers[i];
            for (int r = 0; r < LQ_ABREAST; r++)
                numbers[i][r] = (uint8_t)below((unsigned)(grid->most - grid->least + 1));
        }
        memset(blocks, 0xa5, sizeof blocks);
        for (int r = 0; r < LQ_ABREAST; r++) {
            random_block(grid->type, blocks + r * APART);
            lq_grid_scales(grid, blocks + r * APART, before[r][0], before[r][1]);
        }
        lq_grid_write(grid, level, blocks, APART);
        for (int r = 0; r < LQ_ABREAST; r++) {
            const uint8_t *block = blocks + r * APART;
            int levels[LQ_GRID_WEIGHTS];
            memcpy(after, before[r], sizeof after);
            lq_grid_scales(grid, block, after[0], after[1]);
            assert_memory_equal(before[r], after, sizeof after);
            for (unsigned i = 0; i < grid->weights; i++) levels[i] = grid->least + numbers[i][r];
            assert_decodes_to(grid, block, levels);
            assert_int_equal(block[lq_format_get(grid->type)->bytes], 0xa5);
        }
    }
}

/* The number that they are multiples of changes, and all scales or all offsets with it. */
static void super_scales_stretch(void **state)
{
    (void)state;
    for (int t = 0; t < TYPES; t++) {
        const struct lq_grid *grid = lq_grid_find(types[t]);
        uint8_t block[BLOCK_BYTES];
        random_block(types[t], block);
        for (int way = 0; way < 2; way++) {
            float before[2][LQ_GRID_PARTS] = {{0}}, after[2][LQ_GRID_PARTS] = {{0}};
            if (grid->super[way] < 0) {
                assert_true(lq_grid_super(grid, block, way) == 0 && lq_grid_set_super(grid, block, way, 1) == 0);
                continue;
            }
            assert_true(lq_grid_set_super(grid, block, way, 0.75f) == 0.75f);
            lq_grid_scales(grid, block, before[0], before[1]);
            assert_true(lq_grid_set_super(grid, block, way, 1e9f) == 0.75f); /* no f16 number */
            assert_true(lq_grid_set_super(grid, block, way, 1.5f) == 1.5f);
            lq_grid_scales(grid, block, after[0], after[1]);
            for (unsigned k = 0; k < (unsigned)grid->weights / grid->part; k++) {
                assert_true(after[way][k] == 2 * before[way][k]);
                assert_true(after[1 - way][k] == before[1 - way][k]);
            }
        }
    }
}

/* So that the nearest level can be found between neighbours. */
static void values_ascend(void **state)
{
    (void)state;
    for (int t = 0; t < TYPES; t++) {
        const struct lq_grid *grid = lq_grid_find(types[t]);
        for (int level = grid->least; level < grid->most; level++)
            assert_true(value_of(grid, level) < value_of(grid, level + 1));
    }
    assert_null(lq_grid_find(LQ_TYPE_F16));
    assert_null(lq_grid_find(LQ_TYPE_IQ3_S));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_are_written),
        cmocka_unit_test(super_scales_stretch),
        cmocka_unit_test(values_ascend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
