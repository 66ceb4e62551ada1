/* The kernels of LQ_ABREAST_KERNELS: rows side by side. */
#include "checkasm.h"
#include "guarded.h"
#include "weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { COLUMNS = 256, SPARE = 24, OUT_BYTES = COLUMNS * 2 * LQ_ABREAST * sizeof(float) };

typedef float abreast[LQ_ABREAST];

/* What the kernels are given, and where their results stand: one behind the other, compared as bytes. */
struct stage {
    const struct lq_grid *grid;
    size_t n, rows, apart;
    bool again; /* the second form of those that have two */
    uint32_t place[COLUMNS];
    uint8_t part[COLUMNS];
    float src[LQ_ABREAST * (COLUMNS + SPARE)], matrix[LQ_DESCENT * (LQ_DESCENT + SPARE)];
    abreast a[COLUMNS], b[2 * COLUMNS], scale[LQ_GRID_PARTS], inverse[LQ_GRID_PARTS], offset[LQ_GRID_PARTS];
    float errors[LQ_DESCENT * 2 * LQ_ABREAST];
    uint8_t level[COLUMNS][LQ_ABREAST];
    float *out;
};

static struct lq_abreast columns_of(const struct stage *s, size_t n)
{
    return (struct lq_abreast){
        s->grid, n, s->part, (const abreast *)s->scale, (const abreast *)s->offset, (const abreast *)s->inverse};
}

static size_t run_put_abreast(const struct lq_kernel_table *t, struct stage *s)
{
    t->put_abreast(s->src, COLUMNS + SPARE, s->rows, LQ_ABREAST, s->place, s->n, s->again ? s->a[0] : NULL, s->out,
                   s->apart);
    return ((s->n - 1) * s->apart + LQ_ABREAST) * sizeof(float);
}

static size_t run_put_behind(const struct lq_kernel_table *t, struct stage *s)
{
    t->put_behind(s->a[0], s->b[0], LQ_ABREAST, s->place, s->n, s->out);
    return s->n * LQ_ABREAST * sizeof(float);
}

static size_t run_dot_abreast(const struct lq_kernel_table *t, struct stage *s)
{
    t->dot_abreast(s->a[0], LQ_ABREAST, s->b[0], s->apart, s->n, s->out);
    return LQ_ABREAST * sizeof(float);
}

static size_t run_grid_abreast(const struct lq_kernel_table *t, struct stage *s)
{
    const struct lq_abreast columns = columns_of(s, s->n);
    t->grid_abreast(&columns, (const uint8_t(*)[LQ_ABREAST])s->level, (abreast *)s->out);
    return s->n * LQ_ABREAST * sizeof(float);
}

static size_t run_descend(const struct lq_kernel_table *t, struct stage *s)
{
    enum { VECTORS = LQ_DESCENT * LQ_ABREAST };
    float *errors = s->out, *moved = errors + LQ_DESCENT * s->apart, *last = moved + VECTORS;
    uint8_t *level = (uint8_t *)(last + VECTORS);
    memcpy(errors, s->errors, LQ_DESCENT * s->apart * sizeof *errors);
    memcpy(level, s->level, VECTORS);
    const struct lq_descent d = {.columns = columns_of(s, LQ_DESCENT),
                                 .matrix = s->matrix,
                                 .stride = LQ_DESCENT + SPARE,
                                 .w = (const abreast *)s->a,
                                 .sums = s->b[0],
                                 .errors = errors,
                                 .apart = s->apart,
                                 .moved = (abreast *)moved,
                                 .level = (uint8_t(*)[LQ_ABREAST])level,
                                 .lost = s->again ? NULL : (abreast *)last,
                                 .change = s->again ? (abreast *)last : NULL};
    t->descend(&d);
    return (size_t)(level - (uint8_t *)s->out) + VECTORS;
}

static const struct abreast_kernel {
    const char *name;
    size_t (*run)(const struct lq_kernel_table *t, struct stage *s); /* returns bytes */
} kernels[] = {
#define ENTRY(kernel, arguments) {#kernel, run_##kernel},
    LQ_ABREAST_KERNELS(ENTRY)
#undef ENTRY
};
enum { N_KERNELS = sizeof kernels / sizeof kernels[0] };

static void fill_stage(struct stage *s, const struct lq_grid *grid, enum kind kind)
{
    s->grid = grid;
    s->n = 32 * (1 + random_bits() % (COLUMNS / 32));
    s->rows = random_bits() % 2 == 0 ? LQ_ABREAST : random_bits() % (LQ_ABREAST + 1);
    s->apart = LQ_ABREAST * (1 + random_bits() % 2);
    s->again = random_bits() % 2 == 0;
    for (uint32_t i = 0; i < s->n; i++) { /* a permutation: each goes where one before it is, which moves up */
        uint32_t k = random_bits() % (i + 1);
        s->place[i] = s->place[k];
        s->place[k] = i;
        s->part[i] = (uint8_t)(random_bits() % LQ_GRID_PARTS);
    }
    fill_weights(s->src, sizeof s->src / sizeof(float), kind);
    fill_weights(s->matrix, sizeof s->matrix / sizeof(float), ORDINARY);
    fill_weights(s->a[0], sizeof s->a / sizeof(float), kind);
    fill_weights(s->b[0], sizeof s->b / sizeof(float), kind);
    fill_weights(s->errors, sizeof s->errors / sizeof(float), kind);
    fill_weights(s->scale[0], sizeof s->scale / sizeof(float), kind == ANY_BITS ? MIXED : kind);
    fill_weights(s->offset[0], sizeof s->offset / sizeof(float), kind);
    for (size_t i = 0; i < LQ_GRID_PARTS * LQ_ABREAST; i++) {
        float scale = s->scale[i / LQ_ABREAST][i % LQ_ABREAST];
        s->inverse[i / LQ_ABREAST][i % LQ_ABREAST] = fabsf(scale) < 0x1p-120f ? 0 : 1 / scale;
    }
    fill_bytes(s->level[0], sizeof s->level);
    for (size_t i = 0; i < COLUMNS; i++)
        for (size_t r = 0; r < LQ_ABREAST; r++)
            s->level[i][r] = (uint8_t)(s->level[i][r] % (unsigned)(grid->most - grid->least + 1));
}

static void check_kernel(const struct run *run, const struct abreast_kernel *k, struct stage *s, struct guarded *out,
                         enum kind kind)
{
    static uint8_t expected[OUT_BYTES];
    size_t where = 0;
    now("scalar: %s, %zu columns, %s, %s", k->name, s->n, lq_format_name(s->grid->type), kind_name(kind));
    memset(expected, 0, sizeof expected);
    s->out = (float *)(void *)expected;
    size_t bytes = k->run(&lq_kernels_scalar, s);
    for (size_t i = 0; i < run->n_subjects; i++) {
        const char *name = run->subjects[i].name;
        now("%s: %s, %zu columns, %s, %s", name, k->name, s->n, lq_format_name(s->grid->type), kind_name(kind));
        s->out = guarded_place(out, bytes, i % 2 == 0 ? AT_END : AT_START, 0);
        memset(s->out, 0, bytes);
        k->run(run->subjects[i].table, s);
        if (!same(s->out, expected, bytes, sizeof(float), &where)) failed(name, "differs at byte %zu", where);
        if (!guarded_intact(out)) failed(name, "writes beside its buffer");
    }
}

void check_abreast(const struct run *run)
{
    static struct stage stage;
    struct guarded out = guarded_new(OUT_BYTES);
    for (int type = 0; type < LQ_TYPE_COUNT; type++)
        for (enum kind kind = 0; kind < N_KINDS && lq_grid_find((enum lq_type)type) != NULL; kind++)
            for (int turn = 0; turn < (run->quick ? 1 : 4); turn++) {
                fill_stage(&stage, lq_grid_find((enum lq_type)type), kind);
                for (size_t k = 0; k < N_KERNELS; k++) check_kernel(run, &kernels[k], &stage, &out, kind);
            }
}

void each_abreast(void (*take)(void *context, const char *what, const void *data, size_t bytes), void *context)
{
    static struct stage stage;
    static float out[OUT_BYTES / sizeof(float)];
    for (int type = 0; type < LQ_TYPE_COUNT; type++)
        for (size_t k = 0; k < N_KERNELS && lq_grid_find((enum lq_type)type) != NULL; k++) {
            char what[60];
            random_seed(4);
            fill_stage(&stage, lq_grid_find((enum lq_type)type), ORDINARY);
            memset(out, 0, sizeof out);
            stage.out = out;
            size_t bytes = kernels[k].run(&lq_kernels_scalar, &stage);
            snprintf(what, sizeof what, "%s %s", kernels[k].name, lq_format_name((enum lq_type)type));
            take(context, what, out, bytes);
        }
}

struct timed {
    const struct abreast_kernel *kernel;
    const struct lq_kernel_table *table;
    struct stage *stage;
};

static void run_timed(void *context)
{
    const struct timed *t = context;
    t->kernel->run(t->table, t->stage);
}

void time_abreast(const struct run *run)
{
    static const enum lq_type types[] = {LQ_TYPE_Q4_K, LQ_TYPE_IQ4_XS};
    static struct stage stage;
    static float out[OUT_BYTES / sizeof(float)];
    for (size_t k = 0; k < 2 * N_KERNELS; k++) {
        char what[60];
        double seconds[1 + MOST_TABLES];
        struct timed timed = {&kernels[k / 2], &lq_kernels_scalar, &stage};
        fill_stage(&stage, lq_grid_find(types[k % 2]), ORDINARY);
        stage.n = strcmp(timed.kernel->name, "descend") == 0 ? LQ_DESCENT : 32;
        stage.rows = LQ_ABREAST;
        stage.out = out;
        for (size_t i = 0; i < 32; i++) stage.place[i] = (uint32_t)(31 - i);
        for (size_t s = 0; s <= run->n_subjects; s++) {
            if (s > 0) timed.table = run->subjects[s - 1].table;
            seconds[s] = least_time(run_timed, &timed);
        }
        snprintf(what, sizeof what, "%s %s", timed.kernel->name, lq_format_name(types[k % 2]));
        print_times(what, seconds, run->n_subjects, 32.0 * LQ_ABREAST);
    }
}
