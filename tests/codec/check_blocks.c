/* Encoders and decoders of block formats. */
#include "checkasm.h"
#include "codec/encode.h"
#include "guarded.h"
#include "weights.h"

#include <stdio.h>
#include <string.h>

enum { MOST_WEIGHTS = 40 * 256 };

static const char *const efforts[] = {
    [LQ_EFFORT_NORMAL] = "normal", [LQ_EFFORT_FAST] = "fast", [LQ_EFFORT_BEST] = "best"};
enum { N_EFFORTS = sizeof efforts / sizeof efforts[0] };

/* Rows and blocks in each: single ones, tiles of sixteen sub-blocks and what is left of them. */
static const struct shape {
    size_t rows, blocks;
} shapes[] = {{1, 1}, {3, 1}, {1, 2}, {2, 9}, {1, 3}, {5, 3}, {1, 16}, {1, 17}, {1, 35}};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

struct buffers {
    struct guarded src, importance, dst;
};

static struct buffers new_buffers(void)
{
    size_t size = MOST_WEIGHTS * sizeof(float);
    return (struct buffers){guarded_new(size), guarded_new(size), guarded_new(size)};
}

static void check_guards(const struct buffers *b, const char *name)
{
    if (!guarded_intact(&b->src) || !guarded_intact(&b->importance) || !guarded_intact(&b->dst))
        failed(name, "writes beside its buffer");
}

/* Encodes row by row, as another division of the work would: the same bytes. */
static void encode_by_rows(const struct lq_encode *whole, const struct lq_format *f)
{
    struct lq_encode row = *whole;
    row.rows = 1;
    for (size_t r = 0; r < whole->rows; r++) {
        row.src = whole->src + r * whole->columns;
        row.dst = whole->dst + r * whole->columns / f->block * f->bytes;
        lq_kernels_scalar.encode[f->type](&row);
    }
}

static void check_encoder(const struct run *run, const struct lq_format *f, struct buffers *b, struct lq_encode *job,
                          enum kind kind, bool weighted)
{
    static uint8_t expected[MOST_WEIGHTS * sizeof(float)], by_rows[sizeof expected];
    enum place place = random_bits() % 2 == 0 ? AT_START : AT_END;
    size_t n = job->rows * job->columns, bytes = n / f->block * f->bytes, skew = random_bits() % 64, where = 0;
    float *src = guarded_place(&b->src, n * sizeof *src, place, skew & 60);
    float *importance = guarded_place(&b->importance, job->columns * sizeof *importance, place, 0);
    fill_weights(src, n, kind);
    fill_importance(importance, job->columns);
    job->src = src;
    job->importance = weighted ? importance : NULL;

    char what[120];
    snprintf(what, sizeof what, "%s encoder, %s, %s importance, %zu rows of %zu, %s", f->name, efforts[job->effort],
             weighted ? "with" : "no", job->rows, job->columns, kind_name(kind));
    now("scalar: %s", what);
    job->dst = expected;
    lq_kernels_scalar.encode[f->type](job);
    if (kind < HUGE_VALUES && !lq_codec_validate(f->type, expected, bytes)) failed("scalar", "has scales not finite");
    job->dst = by_rows;
    if (job->rows > 1) {
        encode_by_rows(job, f);
        if (!same(by_rows, expected, bytes, 0, &where)) failed("scalar", "depends on other rows (byte %zu)", where);
    }
    for (size_t s = 0; s < run->n_subjects; s++) {
        const char *name = run->subjects[s].name;
        now("%s: %s", name, what);
        job->dst = guarded_place(&b->dst, bytes, place, skew & 31);
        run->subjects[s].table->encode[f->type](job);
        if (!same(job->dst, expected, bytes, 0, &where))
            failed(name, "differs at byte %zu of block %zu", where % f->bytes, where / f->bytes);
        check_guards(b, name);
    }
}

/* An emulated processor sees fewer kinds, each of them within blocks of others too. */
static bool skipped(const struct run *run, enum kind kind, size_t shape)
{
    return run->quick && kind != MIXED && shape != 1;
}

static void check_encoders(const struct run *run, const struct lq_format *f, struct buffers *b)
{
    for (enum kind kind = 0; kind < ANY_BITS; kind++)
        for (size_t s = 0; s < N_SHAPES; s++) {
            struct lq_encode job = {.rows = shapes[s].rows, .columns = shapes[s].blocks * f->block};
            if (skipped(run, kind, s)) continue;
            for (int effort = 0; effort < N_EFFORTS; effort++)
                for (int weighted = 0; weighted < 2; weighted++) {
                    job.effort = (enum lq_effort)effort;
                    check_encoder(run, f, b, &job, kind, weighted == 1);
                }
        }
}

/* Any bytes may stand in a file: what they decode to is the same, but for which NaN. */
static void check_decoder(const struct run *run, const struct lq_format *f, struct buffers *b, size_t n_blocks)
{
    static float expected[MOST_WEIGHTS];
    enum place place = random_bits() % 2 == 0 ? AT_START : AT_END;
    size_t n = n_blocks * f->block, skew = random_bits() % 64, where = 0;
    uint8_t *src = guarded_place(&b->src, n_blocks * f->bytes, place, skew);
    guarded_place(&b->importance, 0, AT_START, 0);
    fill_bytes(src, n_blocks * f->bytes);
    now("scalar: %s decoder, %zu blocks", f->name, n_blocks);
    lq_kernels_scalar.decode[f->type](src, expected, n_blocks);
    for (size_t s = 0; s < run->n_subjects; s++) {
        const char *name = run->subjects[s].name;
        now("%s: %s decoder, %zu blocks", name, f->name, n_blocks);
        float *dst = guarded_place(&b->dst, n * sizeof *dst, place, skew & 60);
        run->subjects[s].table->decode[f->type](src, dst, n_blocks);
        if (!same(dst, expected, n * sizeof *dst, sizeof *dst, &where))
            failed(name, "differs at weight %zu of block %zu", where / 4 % f->block, where / 4 / f->block);
        check_guards(b, name);
    }
}

void check_blocks(const struct run *run)
{
    struct buffers buffers = new_buffers();
    for (int type = 0; type < LQ_TYPE_COUNT; type++) {
        const struct lq_format *f = lq_format_get(type);
        for (size_t s = 0; s < run->n_subjects; s++)
            if ((run->subjects[s].table->encode[type] == NULL) != (lq_kernels_scalar.encode[type] == NULL) ||
                (run->subjects[s].table->decode[type] == NULL) != (lq_kernels_scalar.decode[type] == NULL))
                failed(run->subjects[s].name, "has another list of types than scalar (%s)", lq_format_name(type));
        if (lq_kernels_scalar.encode[type] != NULL) check_encoders(run, f, &buffers);
        for (size_t n = 0; n < 20 && lq_kernels_scalar.decode[type] != NULL; n++) check_decoder(run, f, &buffers, n);
        for (size_t n = 20; n < 40 && lq_kernels_scalar.decode[type] != NULL && !run->quick; n++)
            check_decoder(run, f, &buffers, n);
    }
}

struct timed {
    const struct lq_kernel_table *table;
    const struct lq_format *format;
    struct lq_encode job;
    const uint8_t *blocks;
    float *weights;
};

static void encode_timed(void *context)
{
    const struct timed *t = context;
    t->table->encode[t->format->type](&t->job);
}

static void decode_timed(void *context)
{
    const struct timed *t = context;
    t->table->decode[t->format->type](t->blocks, t->weights, t->job.rows * t->job.columns / t->format->block);
}

static void time_tables(const struct run *run, struct timed *timed, void (*once)(void *), const char *what)
{
    double seconds[1 + MOST_TABLES];
    for (size_t s = 0; s <= run->n_subjects; s++) {
        timed->table = s == 0 ? &lq_kernels_scalar : run->subjects[s - 1].table;
        seconds[s] = least_time(once, timed);
    }
    print_times(what, seconds, run->n_subjects, (double)timed->job.rows * (double)timed->job.columns);
}

static void time_format(const struct run *run, struct timed *timed, const float *importance)
{
    char what[64];
    const struct lq_format *f = timed->format;
    for (int e = 0; e < 2 * N_EFFORTS && lq_kernels_scalar.encode[f->type] != NULL; e++) {
        timed->job.effort = (enum lq_effort)(e / 2);
        timed->job.importance = e % 2 == 0 ? NULL : importance;
        snprintf(what, sizeof what, "%s encode %s%s", f->name, efforts[e / 2], e % 2 == 0 ? "" : " weighted");
        time_tables(run, timed, encode_timed, what);
    }
    snprintf(what, sizeof what, "%s decode", f->name);
    if (lq_kernels_scalar.decode[f->type] != NULL) time_tables(run, timed, decode_timed, what);
}

void time_blocks(const struct run *run)
{
    enum { ROWS = 8, COLUMNS = 1024, WEIGHTS = ROWS * COLUMNS };
    static float src[WEIGHTS], importance[COLUMNS], back[WEIGHTS];
    static uint8_t blocks[WEIGHTS * sizeof(float)];
    fill_weights(src, WEIGHTS, ORDINARY);
    for (size_t i = 0; i < COLUMNS; i++) importance[i] = (float)(1 + random_bits() % 64) * 0x1p-6f;
    for (int type = 0; type < LQ_TYPE_COUNT; type++) {
        struct timed timed = {.format = lq_format_get(type), .blocks = blocks, .weights = back};
        timed.job = (struct lq_encode){.src = src, .rows = ROWS, .columns = COLUMNS, .dst = blocks};
        if (timed.format != NULL) time_format(run, &timed, importance);
    }
}
