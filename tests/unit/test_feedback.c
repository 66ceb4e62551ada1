/* Error feedback: against GPTQ as its paper has it, against least squares solved directly, against every choice of
 * levels; its guard, its bytes, its refusals. */
#include "codec/encode.h"
#include "codec/levels.h"
#include "quantize/feedback.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const enum lq_type types[] = {LQ_TYPE_Q2_K,   LQ_TYPE_Q3_K,   LQ_TYPE_Q4_K, LQ_TYPE_Q5_K, LQ_TYPE_Q6_K,
                                     LQ_TYPE_IQ4_XS, LQ_TYPE_Q4_0,   LQ_TYPE_Q4_1, LQ_TYPE_Q5_0, LQ_TYPE_Q5_1,
                                     LQ_TYPE_Q8_0,   LQ_TYPE_IQ4_NL, LQ_TYPE_MXFP4};
enum { TYPES = sizeof types / sizeof types[0] };

static uint64_t random_state;

static double uniform(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(random_state >> 11) * 0x1p-53 - 0.5;
}

static double normal(void)
{
    double sum = 0;
    for (int i = 0; i < 12; i++) sum += uniform();
    return sum;
}

static float *floats(size_t n)
{
    float *p = calloc(n, sizeof *p);
    assert_non_null(p);
    return p;
}

/* A problem: weights, and second moments of inputs whose columns share a few causes. */
struct problem {
    size_t n, columns, rows, tokens;
    float *w, *hessian;
};

static void problem_init(struct problem *p, size_t n, size_t columns, size_t rows, size_t tokens)
{
    enum { CAUSES = 8 };
    *p = (struct problem){n, columns, rows, tokens, floats(rows * columns), floats(n * (n + 1) / 2)};
    float *mixed = floats(n * CAUSES), *x = floats(n);
    for (size_t i = 0; i < n * CAUSES; i++) mixed[i] = (float)normal();
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < n; i++) p->w[r * columns + i] = (float)(0.02 * normal());
    for (size_t t = 0; t < tokens; t++) {
        double cause[CAUSES];
        for (int k = 0; k < CAUSES; k++) cause[k] = normal();
        for (size_t i = 0; i < n; i++) {
            double sum = normal();
            for (int k = 0; k < CAUSES; k++) sum += cause[k] * (double)mixed[i * CAUSES + (size_t)k];
            x[i] = (float)(sum * (i % 37 == 5 ? 10 : 1));
        }
        float *h = p->hessian;
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j <= i; j++) *h++ += x[i] * x[j];
    }
    free(mixed);
    free(x);
}

static void problem_release(struct problem *p)
{
    free(p->w);
    free(p->hessian);
}

static double second_moment(const struct problem *p, size_t i, size_t j)
{
    size_t low = i < j ? i : j, high = i < j ? j : i;
    return high < p->n ? (double)p->hessian[high * (high + 1) / 2 + low] : 0;
}

static struct lq_factor *factor_of(const struct problem *p, uint32_t block, double damping, unsigned threads)
{
    struct lq_factor *factor = NULL;
    struct lq_error err = {0};
    struct lq_factor_terms terms = {p->n, p->columns, (double)p->tokens, 0, damping, block, threads, NULL};
    if (lq_factor_make(&factor, p->hessian, &terms, &err) != LQ_OK) fail_msg("%s", err.message);
    return factor;
}

static enum lq_status encode(const struct lq_factor *factor, enum lq_type type, const struct problem *p, size_t first,
                             size_t rows, uint8_t *dst, struct lq_feedback_outcome *outcome)
{
    float *scratch = floats(lq_feedback_scratch(p->columns));
    enum lq_status status = lq_feedback_encode(factor, type, p->w + first * p->columns, rows, LQ_EFFORT_NORMAL, scratch,
                                               dst, outcome, NULL);
    free(scratch);
    return status;
}

static uint32_t block_of(enum lq_type type)
{
    return lq_format_get(type)->block;
}

static size_t bytes_of(enum lq_type type, const struct problem *p, size_t rows)
{
    return rows * lq_format_row_bytes(type, p->columns);
}

/* sum (w - q)' H (w - q) of one row. */
static double loss_of(const struct problem *p, const float *w, const float *q)
{
    double sum = 0;
    for (size_t i = 0; i < p->n; i++)
        for (size_t j = 0; j < p->n; j++)
            sum += ((double)w[i] - (double)q[i]) * second_moment(p, i, j) * ((double)w[j] - (double)q[j]);
    return sum;
}

static double loss_of_rows(enum lq_type type, const struct problem *p, const uint8_t *coded)
{
    double sum = 0;
    float *q = floats(p->columns);
    for (size_t r = 0; r < p->rows; r++) {
        lq_codec_decode(type, coded + bytes_of(type, p, r), q, p->columns, NULL);
        sum += loss_of(p, p->w + r * p->columns, q);
    }
    free(q);
    return sum / (double)p->tokens;
}

/* Loss of each row encoded plainly; their sum by token. */
static double lose_plainly(enum lq_type type, const struct problem *p, double *loss)
{
    uint8_t *plain = malloc(bytes_of(type, p, p->rows));
    float *importance = floats(p->columns), *q = floats(p->columns);
    double sum = 0;
    for (size_t i = 0; i < p->columns; i++) importance[i] = (float)second_moment(p, i, i);
    assert_int_equal(lq_codec_encode(type, p->w, p->rows, p->columns, importance, LQ_EFFORT_NORMAL, plain, NULL),
                     LQ_OK);
    for (size_t r = 0; r < p->rows; r++) {
        lq_codec_decode(type, plain + bytes_of(type, p, r), q, p->columns, NULL);
        sum += loss[r] = loss_of(p, p->w + r * p->columns, q);
    }
    free(plain);
    free(importance);
    free(q);
    return sum / (double)p->tokens;
}

/* What it says of the losses is so, and feedback helps every type. */
static void losses_are_what_it_says(void **state)
{
    (void)state;
    random_state = 1;
    struct problem p;
    double loss[5];
    problem_init(&p, 512, 512, 5, 800);
    for (int t = 0; t < TYPES; t++) {
        struct lq_feedback_outcome outcome;
        struct lq_factor *factor = factor_of(&p, block_of(types[t]), 0.01, 1);
        uint8_t *coded = malloc(bytes_of(types[t], &p, p.rows));
        assert_int_equal(encode(factor, types[t], &p, 0, p.rows, coded, &outcome), LQ_OK);
        double before = lose_plainly(types[t], &p, loss), after = loss_of_rows(types[t], &p, coded);
        if (fabs(outcome.plain - before) > 1e-3 * before) fail_msg("%s: plain", lq_format_name(types[t]));
        if (fabs(outcome.written - after) > 1e-2 * after)
            fail_msg("%s: written %g, said %g", lq_format_name(types[t]), after, outcome.written);
        if (!(after < 0.5 * before)) fail_msg("%s: %g of %g", lq_format_name(types[t]), after, before);
        assert_int_equal(outcome.kept, 0);
        free(coded);
        lq_factor_free(factor);
    }
    problem_release(&p);
}

/* Sixteen rows tell what the others, half of them three times as large, would lose plainly. */
static void plain_losses_are_expected(void **state)
{
    (void)state;
    enum { N = 256, ROWS = 128 };
    random_state = 8;
    struct problem p;
    double loss[ROWS];
    problem_init(&p, N, N, ROWS, 600);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t i = 0; i < N; i++) p.w[r * N + i] *= r < ROWS / 2 ? 1 : 3;
    for (int t = 0; t < TYPES; t++) {
        struct lq_feedback_outcome outcome;
        struct lq_factor *factor = factor_of(&p, block_of(types[t]), 0.01, 1);
        uint8_t *coded = malloc(bytes_of(types[t], &p, ROWS));
        assert_int_equal(encode(factor, types[t], &p, 0, ROWS, coded, &outcome), LQ_OK);
        double before = lose_plainly(types[t], &p, loss), after = loss_of_rows(types[t], &p, coded);
        if (fabs(outcome.plain - before) > 0.4 * before)
            fail_msg("%s: plain %g, said %g", lq_format_name(types[t]), before, outcome.plain);
        if (fabs(outcome.written - after) > 1e-2 * after) fail_msg("%s: written", lq_format_name(types[t]));
        assert_int_equal(outcome.kept, 0);
        free(coded);
        lq_factor_free(factor);
    }
    problem_release(&p);
}

/* Where columns know nothing of one another, feedback has hardly anything to gain: every row is compared. */
static void rows_in_doubt_are_compared(void **state)
{
    (void)state;
    enum { N = 256, ROWS = 40, EMPTY = 35 };
    random_state = 9;
    struct problem p;
    double loss[ROWS];
    problem_init(&p, N, N, ROWS, 300);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < i; j++) p.hessian[i * (i + 1) / 2 + j] = 0;
    memset(p.w + (size_t)EMPTY * N, 0, N * sizeof *p.w);
    for (int t = 0; t < TYPES; t++) {
        struct lq_feedback_outcome outcome;
        struct lq_factor *factor = factor_of(&p, block_of(types[t]), 0.01, 1);
        uint8_t *coded = malloc(bytes_of(types[t], &p, ROWS));
        assert_int_equal(encode(factor, types[t], &p, 0, ROWS, coded, &outcome), LQ_OK);
        double before = lose_plainly(types[t], &p, loss);
        if (fabs(outcome.plain - before) > 1e-3 * before)
            fail_msg("%s: plain %g, said %g", lq_format_name(types[t]), before, outcome.plain);
        for (size_t r = 0; r < ROWS; r++) {
            float q[N];
            lq_codec_decode(types[t], coded + bytes_of(types[t], &p, r), q, N, NULL);
            if (loss_of(&p, p.w + r * N, q) > 1.001 * loss[r]) fail_msg("%s: row %zu", lq_format_name(types[t]), r);
        }
        assert_true(outcome.kept >= 1); /* nothing is lost of nothing */
        free(coded);
        lq_factor_free(factor);
    }
    problem_release(&p);
}

/* Solves a x = b in place, by elimination with pivots. */
static void solve(double *a, double *b, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        size_t best = k;
        for (size_t i = k + 1; i < n; i++)
            if (fabs(a[i * n + k]) > fabs(a[best * n + k])) best = i;
        for (size_t j = 0; j < n; j++) {
            double swap = a[k * n + j];
            a[k * n + j] = a[best * n + j];
            a[best * n + j] = swap;
        }
        double swap = b[k];
        b[k] = b[best];
        b[best] = swap;
        for (size_t i = k + 1; i < n; i++) {
            double factor = a[i * n + k] / a[k * n + k];
            for (size_t j = k; j < n; j++) a[i * n + j] -= factor * a[k * n + j];
            b[i] -= factor * b[k];
        }
    }
    for (size_t k = n; k-- > 0;) {
        for (size_t j = k + 1; j < n; j++) b[k] -= a[k * n + j] * b[j];
        b[k] /= a[k * n + k];
    }
}

/* Two blocks of q8_0: the one done first has a weight that makes its grid coarse; the other has a fine grid, and comes
 * to lie where least squares puts it once the first one's errors are fixed. */
static void corrections_are_least_squares(void **state)
{
    (void)state;
    enum { B = 32, N = 2 * B };
    random_state = 2;
    struct problem p;
    problem_init(&p, N, N, 1, 400);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j <= i; j++) p.hessian[i * (i + 1) / 2 + j] *= (i < B ? 3.0f : 1) * (j < B ? 3.0f : 1);
    for (size_t i = 0; i < B; i++) p.w[i] *= 20;
    p.w[7] = 200;
    struct lq_factor *factor = factor_of(&p, B, 0, 1);
    struct lq_feedback_outcome outcome;
    uint8_t coded[2 * 34];
    float q[N];
    assert_int_equal(encode(factor, LQ_TYPE_Q8_0, &p, 0, 1, coded, &outcome), LQ_OK);
    assert_int_equal(outcome.kept, 0);
    lq_codec_decode(LQ_TYPE_Q8_0, coded, q, N, NULL);
    double a[B * B], b[B], largest = 0;
    for (size_t i = 0; i < B; i++) {
        b[i] = 0;
        for (size_t j = 0; j < B; j++) {
            a[i * B + j] = second_moment(&p, B + i, B + j);
            b[i] += second_moment(&p, B + i, j) * ((double)p.w[j] - (double)q[j]);
        }
    }
    solve(a, b, B);
    for (size_t i = 0; i < B; i++) largest = fmax(largest, fabs(b[i]));
    assert_true(largest > 0.5); /* far more than the weights of 0.02 */
    double distance = 0, size = 0;
    for (size_t i = 0; i < B; i++) {
        double moved = (double)q[B + i] - (double)p.w[B + i];
        distance += (moved - b[i]) * (moved - b[i]);
        size += b[i] * b[i];
    }
    assert_true(distance < 0.01 * size);
    lq_factor_free(factor);
    problem_release(&p);
}

/* One column done, as in Optimal Brain Surgeon: the others make up for its error by the inverse of what is left. */
static void fix_column(double *inverse, double *w, double *q, size_t n, size_t i, double scale)
{
    double level = round(w[i] / scale);
    level = level < -8 ? -8 : level > 7 ? 7 : level;
    q[i] = scale * level;
    double error = (w[i] - q[i]) / inverse[i * n + i];
    for (size_t j = 0; j < n; j++) w[j] -= error * inverse[i * n + j];
    double own = inverse[i * n + i];
    double *row = malloc(n * sizeof *row);
    memcpy(row, inverse + i * n, n * sizeof *row);
    for (size_t j = 0; j < n; j++)
        for (size_t k = 0; k < n; k++) inverse[j * n + k] -= row[j] * row[k] / own;
    for (size_t j = 0; j < n; j++) inverse[i * n + j] = inverse[j * n + i] = j == i;
    free(row);
}

/* One block, its columns from the costliest on, as GPTQ's paper derives it from inverses; the scale is the one that was
 * searched for. */
static void levels_are_those_of_gptq(void **state)
{
    (void)state;
    enum { N = 32 };
    random_state = 6;
    for (int round = 0; round < 20; round++) {
        struct problem p;
        struct lq_feedback_outcome outcome;
        double h[N * N], inverse[N * N], w[N], q[N];
        float got[N], scale, offset;
        uint8_t coded[18];
        bool done[N] = {false};
        problem_init(&p, N, N, 1, 200);
        struct lq_factor *factor = factor_of(&p, N, 0, 1);
        float *scratch = floats(lq_feedback_scratch(N));
        assert_int_equal(
            lq_feedback_encode(factor, LQ_TYPE_Q4_0, p.w, 1, LQ_EFFORT_FAST, scratch, coded, &outcome, NULL), LQ_OK);
        lq_codec_decode(LQ_TYPE_Q4_0, coded, got, N, NULL);
        lq_grid_scales(lq_grid_find(LQ_TYPE_Q4_0), coded, &scale, &offset);
        for (size_t i = 0; i < N; i++) {
            for (size_t j = 0; j < N; j++) h[i * N + j] = second_moment(&p, i, j);
            w[i] = (double)p.w[i];
        }
        for (size_t i = 0; i < N; i++) {
            double a[N * N], b[N] = {0};
            memcpy(a, h, sizeof a);
            b[i] = 1;
            solve(a, b, N);
            for (size_t j = 0; j < N; j++) inverse[j * N + i] = b[j];
        }
        for (size_t turn = 0; turn < N; turn++) {
            size_t next = N;
            for (size_t i = 0; i < N; i++)
                if (!done[i] && (next == N || h[i * N + i] > h[next * N + next])) next = i;
            done[next] = true;
            fix_column(inverse, w, q, N, next, (double)scale);
        }
        for (size_t i = 0; i < N && outcome.kept == 0; i++)
            if (fabs(q[i] - (double)got[i]) > 1e-5)
                fail_msg("round %d, column %zu: %g, %g", round, i, (double)got[i], q[i]);
        assert_int_equal(outcome.kept, 0);
        free(scratch);
        lq_factor_free(factor);
        problem_release(&p);
    }
}

/* A closing round steps every level to the best one while all others stay: no single step is left that gains anything
 * worth while; and of a block with few live columns there is hardly a better choice of levels at all. */
static void few_columns_come_close_to_the_best(void **state)
{
    (void)state;
    enum { N = 32, LIVE = 4 };
    random_state = 7;
    double lost = 0, least_lost = 0;
    for (int round = 0; round < 20; round++) {
        struct problem p;
        struct lq_feedback_outcome outcome;
        float q[N], scale, offset;
        uint8_t coded[18];
        problem_init(&p, N, N, 1, 50);
        for (size_t i = LIVE; i < N; i++)
            for (size_t j = 0; j <= i; j++) p.hessian[i * (i + 1) / 2 + j] = 0;
        struct lq_factor *factor = factor_of(&p, N, 1e-4, 1);
        float *scratch = floats(lq_feedback_scratch(N));
        assert_int_equal(
            lq_feedback_encode(factor, LQ_TYPE_Q4_0, p.w, 1, LQ_EFFORT_BEST, scratch, coded, &outcome, NULL), LQ_OK);
        lq_codec_decode(LQ_TYPE_Q4_0, coded, q, N, NULL);
        lq_grid_scales(lq_grid_find(LQ_TYPE_Q4_0), coded, &scale, &offset);
        lost += loss_of(&p, p.w, q);
        double least = INFINITY;
        for (int choice = 0; choice < 1 << (4 * LIVE); choice++) {
            double e[LIVE], sum = 0;
            for (int i = 0; i < LIVE; i++) e[i] = (double)p.w[i] - (double)scale * ((choice >> 4 * i & 15) - 8);
            for (int i = 0; i < LIVE; i++) {
                const float *row = p.hessian + i * (i + 1) / 2;
                for (int j = 0; j < i; j++) sum += 2 * e[i] * (double)row[j] * e[j];
                sum += e[i] * (double)row[i] * e[i];
            }
            if (sum < least) least = sum;
        }
        least_lost += least;
        free(scratch);
        lq_factor_free(factor);
        problem_release(&p);
    }
    assert_true(lost >= 0.999 * least_lost);
    if (!(lost < 2 * least_lost)) fail_msg("%g, at best %g", lost, least_lost);
}

/* Tiles of rows alone or together, whatever the number of threads: the same bytes. */
static void bytes_are_the_same(void **state)
{
    (void)state;
    enum { ROWS = 2 * LQ_FEEDBACK_ROWS + 6 };
    random_state = 3;
    struct problem p;
    problem_init(&p, 768, 768, ROWS, 300);
    struct lq_feedback_outcome outcome;
    struct lq_factor *factor = factor_of(&p, 256, 0.01, 1);
    for (int t = 0; t < TYPES; t += 4) {
        size_t row = bytes_of(types[t], &p, 1);
        uint8_t *first = malloc(row * ROWS), *other = malloc(row * ROWS);
        assert_int_equal(encode(factor, types[t], &p, 0, ROWS, first, &outcome), LQ_OK);
        for (size_t r = 0; r < ROWS; r += LQ_FEEDBACK_ROWS) {
            size_t n = ROWS - r < LQ_FEEDBACK_ROWS ? ROWS - r : LQ_FEEDBACK_ROWS;
            assert_int_equal(encode(factor, types[t], &p, r, n, other + r * row, &outcome), LQ_OK);
        }
        assert_memory_equal(first, other, row * ROWS);
        for (unsigned threads = 2; threads < 5; threads += 2) {
            struct lq_factor *threaded = factor_of(&p, 256, 0.01, threads);
            assert_int_equal(encode(threaded, types[t], &p, 0, ROWS, other, &outcome), LQ_OK);
            assert_memory_equal(first, other, row * ROWS);
            lq_factor_free(threaded);
        }
        free(first);
        free(other);
    }
    lq_factor_free(factor);
    problem_release(&p);
}

/* Fewer tokens than columns, columns that never were anything but zero, one far above all others, padding. */
static void odd_hessians_do(void **state)
{
    (void)state;
    random_state = 4;
    struct problem p;
    problem_init(&p, 300, 512, 3, 20);
    for (size_t j = 0; j < p.n; j++) {
        for (size_t dead = 40; dead < 80; dead++) {
            size_t low = dead < j ? dead : j, high = dead < j ? j : dead;
            p.hessian[high * (high + 1) / 2 + low] = 0;
        }
        p.hessian[p.n * (p.n - 1) / 2 + j] *= j + 1 == p.n ? 1e8f : 1e4f;
    }
    for (int t = 0; t < TYPES; t++) {
        struct lq_feedback_outcome outcome;
        struct lq_factor *factor = factor_of(&p, block_of(types[t]), t % 2 == 0 ? 0 : 0.01, 1);
        assert_true(lq_factor_damping(factor) > 0);
        uint8_t *coded = malloc(bytes_of(types[t], &p, p.rows));
        assert_int_equal(encode(factor, types[t], &p, 0, p.rows, coded, &outcome), LQ_OK);
        assert_true(lq_codec_validate(types[t], coded, bytes_of(types[t], &p, p.rows)));
        assert_true(outcome.written <= outcome.plain);
        assert_true(loss_of_rows(types[t], &p, coded) < 1.1 * outcome.plain);
        free(coded);
        lq_factor_free(factor);
    }
    problem_release(&p);
}

static void assert_refused(const struct problem *p, const char *words)
{
    struct lq_factor *factor = NULL;
    struct lq_error err = {0};
    struct lq_factor_terms terms = {p->n, p->columns, (double)p->tokens, 0, 0.01, 32, 1, NULL};
    assert_int_equal(lq_factor_make(&factor, p->hessian, &terms, &err), LQ_ERR_FORMAT);
    if (strstr(err.message, words) == NULL) fail_msg("%s", err.message);
    assert_null(factor);
}

/* Says yes when it is asked once more than `data` says. */
static bool after(void *data)
{
    return (*(int *)data)-- == 0;
}

static void factors_can_be_stopped_at_each_panel(void **state)
{
    (void)state;
    enum { COLUMNS = 576, PANELS = 3 };
    random_state = 6;
    struct problem p;
    problem_init(&p, COLUMNS, COLUMNS, 1, 50);
    for (int panel = 0; panel <= PANELS; panel++) {
        int patience = panel;
        const struct lq_hooks hooks = {.data = &patience, .cancelled = after};
        struct lq_meter meter;
        struct lq_factor *factor = NULL;
        struct lq_error err = {0};
        lq_meter_init(&meter, &hooks, 1);
        struct lq_factor_terms terms = {p.n, p.columns, (double)p.tokens, 0, 0.01, 32, 1, &meter};
        assert_int_equal(lq_factor_make(&factor, p.hessian, &terms, &err), panel < PANELS ? LQ_ERR_CANCELLED : LQ_OK);
        if (panel < PANELS) assert_string_equal(err.message, "cancelled");
        assert_true((factor == NULL) == (panel < PANELS));
        lq_factor_free(factor);
        lq_meter_release(&meter);
    }
    problem_release(&p);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    random_state = 5;
    struct problem p;
    struct lq_feedback_outcome outcome;
    uint8_t coded[34];
    problem_init(&p, 32, 32, 1, 100);
    struct lq_factor *factor = factor_of(&p, 32, 0.01, 1);
    assert_int_equal(encode(factor, LQ_TYPE_F16, &p, 0, 1, coded, &outcome), LQ_ERR_USAGE);
    assert_int_equal(encode(factor, LQ_TYPE_Q4_K, &p, 0, 1, coded, &outcome), LQ_ERR_USAGE);
    p.w[3] = 1e8f;
    assert_int_equal(encode(factor, LQ_TYPE_Q4_0, &p, 0, 1, coded, &outcome), LQ_ERR_UNSUPPORTED);
    p.w[3] = NAN;
    assert_int_equal(encode(factor, LQ_TYPE_Q4_0, &p, 0, 1, coded, &outcome), LQ_ERR_FORMAT);
    lq_factor_free(factor);
    float kept = p.hessian[5];
    p.hessian[5] = -kept;
    assert_refused(&p, "column 2 is negative");
    p.hessian[5] = kept;
    p.hessian[7] = INFINITY;
    assert_refused(&p, "columns 3 and 1");
    p.hessian[7] = NAN;
    assert_refused(&p, "columns 3 and 1");
    memset(p.hessian, 0, p.n * (p.n + 1) / 2 * sizeof *p.hessian);
    assert_refused(&p, "all zero");
    problem_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_what_it_says),
        cmocka_unit_test(plain_losses_are_expected),
        cmocka_unit_test(rows_in_doubt_are_compared),
        cmocka_unit_test(corrections_are_least_squares),
        cmocka_unit_test(levels_are_those_of_gptq),
        cmocka_unit_test(few_columns_come_close_to_the_best),
        cmocka_unit_test(bytes_are_the_same),
        cmocka_unit_test(odd_hessians_do),
        cmocka_unit_test(factors_can_be_stopped_at_each_panel),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
