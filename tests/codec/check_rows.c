/* The kernels of LQ_KERNELS: all take one or two rows of numbers and write a row, or sums. */
#include "checkasm.h"
#include "guarded.h"
#include "weights.h"

#include <stdio.h>
#include <string.h>

/* How a kernel is fed; sizes are of one element. */
struct row_kernel {
    const char *name;
    void (*run)(const struct lq_kernel_table *t, const void *a, const void *b, void *out, size_t n);
    size_t a_size, b_size;      /* floats, halves, or no second row */
    size_t out_fixed, out_each; /* bytes written: in all, and for each weight */
    size_t out_each_block;      /* and for each started LQ_DIFFERENCE_BLOCK */
    size_t nan_size;            /* of what may come out as any NaN; 0: the same bits always */
    size_t alignment;           /* of the first row */
};

#define RUN(kernel, call) \
    static void run_##kernel(const struct lq_kernel_table *t, const void *a, const void *b, void *out, size_t n) \
    { \
        (void)b; \
        t->call; \
    }
RUN(f16_to_f32, f16_to_f32(a, out, n))
RUN(f32_to_f16, f32_to_f16(a, out, n))
RUN(bf16_to_f32, bf16_to_f32(a, out, n))
RUN(f32_to_bf16, f32_to_bf16(a, out, n))
RUN(survey, survey(a, n, out))
RUN(largest_16, largest_16(a, n, out))
RUN(difference, difference(a, b, n, out))
RUN(half_differences, half_differences(a, b, n, out))

#define ROW(kernel, ...) static const struct row_kernel kernel = {.name = #kernel, .run = run_##kernel, __VA_ARGS__};
ROW(f16_to_f32, .a_size = 2, .alignment = 2, .out_each = 4)
ROW(f32_to_f16, .a_size = 4, .alignment = 4, .out_each = 2)
ROW(bf16_to_f32, .a_size = 2, .alignment = 2, .out_each = 4)
ROW(f32_to_bf16, .a_size = 4, .alignment = 4, .out_each = 2)
ROW(survey, .a_size = 4, .alignment = 4, .out_fixed = sizeof(struct lq_survey))
ROW(largest_16, .a_size = 2, .alignment = 1, .out_fixed = sizeof(uint32_t))
ROW(difference, .a_size = 4, .alignment = 4, .b_size = 4, .out_fixed = sizeof(double[2]), .nan_size = 8)
ROW(half_differences, .a_size = 2, .alignment = 2, .b_size = 4, .out_each_block = sizeof(double[2]), .nan_size = 8)

#define ENTRY(kernel, arguments) &kernel,
static const struct row_kernel *const kernels[] = {LQ_KERNELS(ENTRY)};
enum { N_KERNELS = sizeof kernels / sizeof kernels[0], MANY = 1 << 16 };

/* Rows that differ from `a` a little, as decoded weights do. */
struct rows {
    struct guarded a, b, out;
};

static size_t out_bytes(const struct row_kernel *k, size_t n)
{
    return k->out_fixed + k->out_each * n + k->out_each_block * ((n + LQ_DIFFERENCE_BLOCK - 1) / LQ_DIFFERENCE_BLOCK);
}

static void fill_row(void *row, size_t size, size_t n, enum kind kind, bool every_half)
{
    uint16_t half;
    if (size == 4) fill_weights(row, n, kind);
    for (size_t i = 0; i < n && size == 2; i++) { /* perhaps at an odd address */
        if (every_half) half = (uint16_t)i;
        else fill_halves(&half, 1, kind);
        memcpy((uint8_t *)row + i * sizeof half, &half, sizeof half);
    }
}

/* One length, one kind of weights: the scalar kernel first, then each subject's on the same buffers. */
static void check_row(const struct run *run, const struct row_kernel *k, struct rows *rows, size_t n, enum kind kind)
{
    static uint8_t expected[MANY * sizeof(float)];
    enum place place = n % 2 == 0 ? AT_END : AT_START;
    size_t bytes = out_bytes(k, n), skew = random_bits() % 16, where = 0;
    uint8_t *a = guarded_place(&rows->a, n * k->a_size, place, skew / k->alignment * k->alignment);
    void *b = guarded_place(&rows->b, n * k->b_size, place, 0), *out;
    fill_row(a, k->a_size, n, kind, kind == ANY_BITS && n == MANY);
    if (k->b_size != 0) fill_row(b, k->b_size, n, kind, false);

    memset(expected, 0, bytes);
    now("scalar: %s of %zu weights, %s", k->name, n, kind_name(kind));
    k->run(&lq_kernels_scalar, a, b, expected, n);
    for (size_t s = 0; s < run->n_subjects; s++) {
        const char *name = run->subjects[s].name;
        now("%s: %s of %zu weights, %s", name, k->name, n, kind_name(kind));
        out = guarded_place(&rows->out, bytes, place, k->out_each == 2 ? skew & 14 : skew & 8);
        memset(out, 0, bytes);
        k->run(run->subjects[s].table, a, b, out, n);
        if (!same(out, expected, bytes, k->nan_size, &where)) failed(name, "differs at byte %zu", where);
        if (!guarded_intact(&rows->a) || !guarded_intact(&rows->b) || !guarded_intact(&rows->out))
            failed(name, "writes beside its buffer");
    }
}

static struct rows new_rows(size_t n)
{
    size_t size = n * sizeof(float);
    return (struct rows){guarded_new(size), guarded_new(size), guarded_new(size)};
}

void check_rows(const struct run *run)
{
    static const size_t odd[] = {MANY, 255, 256, 257, 1000, 1023, 1025, 4099};
    enum { SHORTEST = 70 };
    struct rows few = new_rows(SHORTEST), many = new_rows(MANY);
    for (size_t k = 0; k < N_KERNELS; k++) {
        for (enum kind kind = 0; kind < N_KINDS; kind++)
            for (size_t n = 0; n < SHORTEST; n++) check_row(run, kernels[k], &few, n, kind);
        for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
            check_row(run, kernels[k], &many, odd[i], ANY_BITS);
            check_row(run, kernels[k], &many, odd[i], MIXED);
        }
    }
}

struct timed {
    const struct row_kernel *kernel;
    const struct lq_kernel_table *table;
    const void *a, *b;
    void *out;
};

static void run_timed(void *context)
{
    const struct timed *t = context;
    t->kernel->run(t->table, t->a, t->b, t->out, MANY);
}

void time_rows(const struct run *run)
{
    static float a[MANY], b[MANY], out[MANY];
    for (size_t k = 0; k < N_KERNELS; k++) {
        double seconds[1 + MOST_TABLES];
        struct timed timed = {kernels[k], &lq_kernels_scalar, a, b, out};
        fill_row(a, kernels[k]->a_size, MANY, ORDINARY, false);
        fill_weights(b, MANY, ORDINARY);
        for (size_t s = 0; s <= run->n_subjects; s++) {
            if (s > 0) timed.table = run->subjects[s - 1].table;
            seconds[s] = least_time(run_timed, &timed);
        }
        print_times(kernels[k]->name, seconds, run->n_subjects, MANY);
    }
}
