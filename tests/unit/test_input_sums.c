/* Sums over tokens against sums made by hand: kinds, weights, caps, experts, shared inputs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "calibrate/gathering.h"
#include "calibrate/kind_weights.h"

/* ---- one input ---- */

static void test_sums(void **state)
{
    struct lq_error err = {0};
    struct lq_input_sums s;
    const float a[2] = {1, -2}, b[2] = {3, 0.5f};
    float squares[2], count;
    (void)state;
    assert_int_equal(lq_input_sums_init(&s, 2, 2, &err), LQ_OK);
    lq_input_sums_add(&s, 1, LQ_KIND_AFTER, a, 5, 2);
    lq_input_sums_add(&s, 1, LQ_KIND_AFTER, b, 9.25, 0.5);
    lq_input_sums_add(&s, 1, LQ_KIND_TEXT, b, 9.25, 1);
    const double *after = s.moments + (LQ_KINDS + LQ_KIND_AFTER) * 2 * 2, *text = after + 4;
    const double expected[8] = {4, -1.5, 10, 4.25, 3, 0.5, 9, 0.25};
    assert_memory_equal(after, expected, sizeof expected);
    assert_ptr_equal(text, s.moments + (LQ_KINDS + LQ_KIND_TEXT) * 2 * 2);
    const double tokens[6] = {0, 0, 0, 0, 2, 1}, weighted[3] = {2 + 4.5 + 9, 8 + 0.125 + 0.25, 3.5};
    assert_memory_equal(s.tokens, tokens, sizeof tokens);
    assert_memory_equal(s.weighted + 3, weighted, sizeof weighted);
    assert_true(s.spread[2] == 4 * 25 + 0.25 * 9.25 * 9.25 + 9.25 * 9.25 && s.spread[3] == 4 + 0.25 + 1);
    lq_input_sums_imatrix(&s, 1, squares, &count);
    assert_true(count == 3 && squares[0] == (float)(15.5 * 3 / 3.5) && squares[1] == (float)(8.375 * 3 / 3.5));
    lq_input_sums_imatrix(&s, 0, squares, &count);
    assert_true(count == 0 && squares[0] == 0 && squares[1] == 0);
    lq_input_sums_release(&s);
}

static void test_square(void **state)
{
    float x[19];
    double sum = 0;
    (void)state;
    for (size_t i = 0; i < 19; i++) {
        x[i] = (float)i - 7;
        sum += x[i] * x[i];
    }
    assert_true(lq_square_of(x, 19) == sum);
    x[11] = NAN;
    assert_true(isnan(lq_square_of(x, 19)));
    x[11] = INFINITY;
    assert_true(isinf(lq_square_of(x, 19)));
}

static void test_cap(void **state)
{
    const double squares[5] = {4, 1, 2, 3, 90};
    double scales[5], room[5];
    (void)state;
    lq_cap_scales(scales, squares, 5, 10, room); /* the median is 3 */
    const double expected[5] = {1, 1, 1, 1, 1.0 / 3};
    assert_memory_equal(scales, expected, sizeof expected);
    lq_cap_scales(scales, squares, 5, 0, room);
    assert_true(scales[4] == 1);
    const double zeros[2] = {0, 0};
    lq_cap_scales(scales, zeros, 2, 1, room);
    assert_true(scales[0] == 1 && scales[1] == 1);
    const double one_sink[3] = {0, 0, 5}; /* nothing else to go by: it counts nothing */
    lq_cap_scales(scales, one_sink, 3, 8, room);
    assert_true(scales[2] == 0 && scales[0] == 1);
}

static void test_weights(void **state)
{
    struct lq_error err = {0};
    const uint64_t tokens[LQ_KINDS] = {600, 300, 100}, no_text[LQ_KINDS] = {600, 400, 0};
    const double ratio[LQ_KINDS] = {1, 2, 1}, none[LQ_KINDS] = {0, 0, 1};
    double w[LQ_KINDS];
    (void)state;
    assert_int_equal(lq_kind_weights(w, tokens, LQ_WEIGHTING_COUNTS, ratio, &err), LQ_OK);
    assert_true(w[0] == 1 && w[1] == 1 && w[2] == 1);
    assert_int_equal(lq_kind_weights(w, tokens, LQ_WEIGHTING_EQUAL, ratio, &err), LQ_OK);
    for (int k = 0; k < LQ_KINDS; k++) assert_float_equal(w[k] * (double)tokens[k], 1000.0 / 3, 1e-9);
    assert_int_equal(lq_kind_weights(w, tokens, LQ_WEIGHTING_RATIO, ratio, &err), LQ_OK);
    assert_float_equal(w[1] * 300, 500, 1e-9);
    assert_float_equal(w[2] * 100, 250, 1e-9);
    assert_int_equal(lq_kind_weights(w, tokens, LQ_WEIGHTING_MEASURED, ratio, &err), LQ_OK);
    assert_float_equal(w[1] / w[0], 2, 1e-9);
    assert_float_equal(w[0] * 600 + w[1] * 300 + w[2] * 100, 1000, 1e-9);
    assert_int_equal(lq_kind_weights(w, no_text, LQ_WEIGHTING_EQUAL, ratio, &err), LQ_OK);
    assert_true(w[2] == 0);
    assert_float_equal(w[0] * 600, 500, 1e-9);
    assert_int_equal(lq_kind_weights(w, no_text, LQ_WEIGHTING_RATIO, none, &err), LQ_ERR_USAGE);
    assert_string_equal(err.message, "with these weights no token of the data would count");
}

/* ---- what an observer tells ---- */

enum { COLUMNS = 3, EXPERTS = 2 };

static struct lq_tensor tensors[] = {
    {.name = "v.blk.0.attn_q.weight", .half = LQ_VISION, .quantisable = true, .ne = {COLUMNS, 4, 1, 1}},
    {.name = "blk.0.attn_k.weight", .half = LQ_LANGUAGE, .quantisable = true, .ne = {COLUMNS, 4, 1, 1}},
    {.name = "blk.0.attn_q.weight", .half = LQ_LANGUAGE, .quantisable = true, .ne = {COLUMNS, 4, 1, 1}},
    {.name = "blk.0.attn_norm.weight", .half = LQ_LANGUAGE, .ne = {COLUMNS, 1, 1, 1}},
    {.name = "blk.0.ffn_up_exps.weight", .half = LQ_LANGUAGE, .quantisable = true, .ne = {COLUMNS, 4, EXPERTS, 1}},
};
enum { VISION, SHARED, EXPERT, INPUTS };

static const float rows[4][COLUMNS] = {{1, 0, 2}, {0, 1, 1}, {3, 0, 0}, {0, 2, 9}};
static const int32_t experts[4] = {0, 1, 1, 0};

static struct lq_observation observation(const char *weight, size_t n_rows, size_t n_experts)
{
    return (struct lq_observation){.weight = weight,
                                   .rows = rows[0],
                                   .n_columns = COLUMNS,
                                   .n_rows = n_rows,
                                   .stride = COLUMNS,
                                   .experts = n_experts > 1 ? experts : NULL,
                                   .n_experts = n_experts};
}

static void see(struct lq_calibration *c, const char *weight, size_t n_rows, size_t n_experts)
{
    struct lq_observation o = observation(weight, n_rows, n_experts);
    lq_look_sees(c, &o);
}

static void watch(struct lq_calibration *c)
{
    lq_look_kind(c, LQ_KIND_PICTURE);
    see(c, "v.blk.0.attn_q.weight", 4, 1);
    lq_look_kind(c, LQ_KIND_AFTER);
    see(c, "blk.0.attn_q.weight", 3, 1);
    see(c, "blk.0.ffn_up_exps.weight", 4, EXPERTS);
}

/* A calibration with nothing but what observing needs. */
static void open_by_hand(struct lq_calibration *c)
{
    struct lq_error err = {0};
    static const struct lq_model_half vision = {.half = LQ_VISION, .n_tensors = 1, .tensors = tensors};
    static const struct lq_model_half language = {.half = LQ_LANGUAGE, .n_tensors = 4, .tensors = tensors + 1};
    const struct lq_model model = {.half = {&vision, &language}};
    *c = (struct lq_calibration){.options = {.hessian = true, .language = "l.gguf", .mmproj = "v.gguf"},
                                 .bench = {.threads = 1},
                                 .passes = {.n = 1},
                                 .weights = {1, 2, 0.5}};
    assert_int_equal(lq_census_init(&c->census, &model, &err), LQ_OK);
    c->look.census = true;
    assert_true(lq_look_wants(c, "blk.0.attn_k.weight"));
    assert_false(lq_look_wants(c, "blk.0.attn_norm.weight"));
    assert_false(lq_look_wants(c, "rope_freqs"));
    lq_look_shares(c, "blk.0.attn_k.weight", "blk.0.attn_q.weight"); /* may come before or after */
    watch(c);
    c->look.census = false;
    assert_int_equal(lq_census_finish(&c->census, &err), LQ_OK);
    c->passes.of = calloc(INPUTS, sizeof *c->passes.of);
    c->sums = calloc(INPUTS, sizeof *c->sums);
    c->matrices = calloc(INPUTS + 1, sizeof *c->matrices);
    c->first_matrix = calloc(INPUTS, sizeof *c->first_matrix);
    c->moments_done = calloc(INPUTS, sizeof *c->moments_done);
    for (size_t i = 0, m = 0; i < INPUTS; i++) {
        size_t n_experts = lq_input_experts(&c->census.inputs[i]);
        c->first_matrix[i] = m;
        assert_int_equal(lq_input_sums_init(&c->sums[i], COLUMNS, n_experts, &err), LQ_OK);
        for (size_t e = 0; e < n_experts; e++, m++) {
            assert_int_equal(lq_second_moments_begin(&c->matrices[m], COLUMNS, LQ_MOMENTS_CHUNK, &err), LQ_OK);
            assert_int_equal(lq_second_moments_resident(&c->matrices[m], &err), LQ_OK);
        }
    }
}

static void close_by_hand(struct lq_calibration *c)
{
    for (size_t i = 0; i < INPUTS; i++) lq_input_sums_release(&c->sums[i]);
    for (size_t m = 0; m <= INPUTS; m++) lq_second_moments_release(&c->matrices[m]);
    lq_census_release(&c->census);
    free(c->passes.of);
    free(c->sums);
    free(c->matrices);
    free(c->first_matrix);
    free(c->moments_done);
    free(c->look.squares);
}

static void test_census(void **state)
{
    struct lq_calibration c;
    (void)state;
    open_by_hand(&c);
    assert_int_equal(c.census.n, INPUTS);
    assert_string_equal(c.census.inputs[VISION].first->name, "v.blk.0.attn_q.weight");
    const struct lq_input *shared = lq_census_find(&c.census, "blk.0.attn_q.weight");
    assert_ptr_equal(shared, &c.census.inputs[SHARED]);
    assert_int_equal(shared->n_members, 1);
    assert_string_equal(shared->members[0]->name, "blk.0.attn_k.weight");
    assert_int_equal(shared->n_rows, 3);
    assert_int_equal(lq_input_experts(lq_census_find(&c.census, "blk.0.ffn_up_exps.weight")), EXPERTS);
    assert_null(lq_census_find(&c.census, "blk.0.attn_k.weight"));
    close_by_hand(&c);
}

/* The packed triangle of one matrix against the sum over rows[] of weight x x'. */
static void check_moments(struct lq_calibration *c, size_t matrix, const double weights[4])
{
    struct lq_error err = {0};
    float packed[6], scratch[COLUMNS * COLUMNS];
    struct lq_second_moments *m = &c->matrices[matrix];
    assert_int_equal(lq_second_moments_flush(m, &c->bench, &err), LQ_OK);
    assert_int_equal(lq_second_moments_pack(m, 0, NULL, scratch, packed, &err), LQ_OK);
    for (size_t i = 0; i < COLUMNS; i++)
        for (size_t j = 0; j <= i; j++) {
            double sum = 0;
            for (size_t r = 0; r < 4; r++) sum += weights[r] * rows[r][i] * rows[r][j];
            assert_float_equal(packed[i * (i + 1) / 2 + j], sum, 1e-5);
        }
}

static void test_observations(void **state)
{
    struct lq_calibration c;
    struct lq_error err = {0};
    (void)state;
    open_by_hand(&c);
    watch(&c);
    assert_int_equal(lq_look_end_step(&c, &err), LQ_OK);
    assert_int_equal(c.sums_done, 1);
    assert_int_equal(c.moments_done[EXPERT], 1);
    check_moments(&c, VISION, (double[4]){1, 1, 1, 1}); /* the vision half has one kind, of weight 1 */
    check_moments(&c, SHARED, (double[4]){2, 2, 2, 0});
    check_moments(&c, EXPERT, (double[4]){2, 0, 0, 2});
    check_moments(&c, EXPERT + 1, (double[4]){0, 2, 2, 0});
    assert_true(c.sums[SHARED].tokens[LQ_KIND_AFTER] == 3 && c.sums[VISION].tokens[LQ_KIND_PICTURE] == 4);
    assert_true(c.sums[EXPERT].weighted[2] == 2 * (4 + 81) && c.sums[EXPERT].weighted[3] == 4);
    close_by_hand(&c);
}

/* Steps that an earlier run has summed up are not summed again, each input by its own count. */
static void test_done_steps(void **state)
{
    struct lq_calibration c;
    struct lq_error err = {0};
    (void)state;
    open_by_hand(&c);
    c.sums_done = 1;
    c.moments_done[SHARED] = 1;
    watch(&c);
    assert_int_equal(lq_look_end_step(&c, &err), LQ_OK);
    assert_true(c.sums[SHARED].tokens[LQ_KIND_AFTER] == 0);
    assert_false(lq_look_wants(&c, "blk.0.attn_q.weight"));
    check_moments(&c, SHARED, (double[4]){0});
    check_moments(&c, VISION, (double[4]){1, 1, 1, 1});
    assert_true(c.sums_done == 1 && c.moments_done[SHARED] == 1 && c.moments_done[VISION] == 1);
    close_by_hand(&c);
}

static void test_capped(void **state)
{
    struct lq_calibration c;
    struct lq_error err = {0};
    (void)state;
    open_by_hand(&c);
    c.options.cap = 3; /* squares 5 2 9 85: the median is 5 */
    lq_look_kind(&c, LQ_KIND_PICTURE);
    see(&c, "v.blk.0.attn_q.weight", 4, 1);
    assert_int_equal(lq_look_end_step(&c, &err), LQ_OK);
    check_moments(&c, VISION, (double[4]){1, 1, 1, 15.0 / 85});
    assert_true(c.sums[VISION].tokens[LQ_KIND_PICTURE] == 4);
    assert_true(c.sums[VISION].moments[COLUMNS + 2] == 4 + 1 + 81); /* moments are those of all tokens */
    close_by_hand(&c);
}

static void test_refused(void **state)
{
    struct lq_calibration c;
    struct lq_error err = {0};
    float bad[COLUMNS] = {1, NAN, 0};
    const int32_t no_expert = EXPERTS;
    (void)state;
    open_by_hand(&c);
    struct lq_observation o = observation("blk.0.attn_q.weight", 1, 1);
    o.rows = bad;
    lq_look_sees(&c, &o);
    assert_int_equal(lq_look_end_step(&c, &err), LQ_ERR_RUNTIME);
    assert_string_equal(err.message, "l.gguf: tensor 'blk.0.attn_q.weight' takes an input that is NaN or infinite: the "
                                     "weights before it are damaged");
    c.look.err = (struct lq_error){0};
    o = observation("blk.0.ffn_up_exps.weight", 1, EXPERTS);
    o.experts = &no_expert;
    lq_look_sees(&c, &o);
    assert_int_equal(lq_look_end_step(&c, &err), LQ_ERR_RUNTIME);
    close_by_hand(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),       cmocka_unit_test(test_square), cmocka_unit_test(test_cap),
        cmocka_unit_test(test_weights),    cmocka_unit_test(test_census), cmocka_unit_test(test_observations),
        cmocka_unit_test(test_done_steps), cmocka_unit_test(test_capped), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
