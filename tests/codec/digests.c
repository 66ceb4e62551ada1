/* What the scalar kernels write, as digests in a file: the same with any compiler, on any processor. */
#include "checkasm.h"
#include "llava_quantize/codec.h"
#include "weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { ROWS = 3, COLUMNS = 1536, WEIGHTS = ROWS * COLUMNS, LONGEST_NAME = 60, LONGEST_LINE = 80 };

/* The golden file, read or written line by line. */
struct golden {
    FILE *file;
    bool update;
};

static void digest(void *context, const char *what, const void *data, size_t bytes)
{
    struct golden *g = context;
    char line[LONGEST_LINE], expected[LONGEST_LINE] = "";
    snprintf(line, sizeof line, "%s %016llx", what, (unsigned long long)XXH3_64bits(data, bytes));
    if (g->update) {
        fprintf(g->file, "%s\n", line);
        return;
    }
    if (fgets(expected, sizeof expected, g->file) != NULL) expected[strcspn(expected, "\n")] = 0;
    now("scalar: %s", line);
    if (strcmp(line, expected) != 0) failed("scalar", "on file (rewritten by UPDATE=1) is %s", expected);
}

static void digest_encoder(struct golden *g, const struct lq_format *f)
{
    static const char *const efforts[] = {"normal", "fast", "best"};
    static float src[WEIGHTS], importance[COLUMNS];
    static uint8_t blocks[WEIGHTS * sizeof(float)];
    random_seed(1);
    fill_weights(src, WEIGHTS, MIXED);
    fill_weights(src, WEIGHTS / 2, ORDINARY);
    fill_importance(importance, COLUMNS);
    for (int e = 0; e < 6; e++) {
        char what[LONGEST_NAME];
        const struct lq_encode job = {.src = src,
                                      .importance = e % 2 == 0 ? NULL : importance,
                                      .rows = ROWS,
                                      .columns = COLUMNS,
                                      .effort = (enum lq_effort)(e / 2),
                                      .dst = blocks};
        snprintf(what, sizeof what, "encode %s %s %s", f->name, efforts[e / 2], e % 2 == 0 ? "plain" : "weighted");
        lq_kernels_scalar.encode[f->type](&job);
        digest(g, what, blocks, WEIGHTS / f->block * f->bytes);
    }
}

/* Which NaN comes out of arithmetic is the processor's own choice. */
static void settle_nan(float *weights, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(weights[i])) weights[i] = 0;
}

static void digest_decoder(struct golden *g, const struct lq_format *f)
{
    static float weights[WEIGHTS];
    static uint8_t blocks[WEIGHTS * sizeof(float)];
    char what[LONGEST_NAME];
    random_seed(2);
    fill_bytes(blocks, sizeof blocks);
    lq_kernels_scalar.decode[f->type](blocks, weights, WEIGHTS / f->block);
    settle_nan(weights, WEIGHTS);
    snprintf(what, sizeof what, "decode %s", f->name);
    digest(g, what, weights, sizeof weights);
}

static void digest_conversions(struct golden *g)
{
    static float src[WEIGHTS], back[WEIGHTS];
    static uint16_t halves[WEIGHTS];
    random_seed(3);
    fill_weights(src, WEIGHTS, ANY_BITS);
    lq_kernels_scalar.f32_to_f16(src, halves, WEIGHTS);
    digest(g, "f32 to f16", halves, sizeof halves);
    lq_kernels_scalar.f16_to_f32(halves, back, WEIGHTS);
    digest(g, "f16 to f32", back, sizeof back);
    lq_kernels_scalar.f32_to_bf16(src, halves, WEIGHTS);
    digest(g, "f32 to bf16", halves, sizeof halves);
}

void check_digests(const char *path, bool update)
{
    struct golden g = {fopen(path, update ? "w" : "r"), update};
    if (g.file == NULL) {
        perror(path);
        exit(1);
    }
    digest_conversions(&g);
    for (int type = 0; type < LQ_TYPE_COUNT; type++) {
        const struct lq_format *f = lq_format_get(type);
        if (lq_kernels_scalar.encode[type] != NULL) digest_encoder(&g, f);
        if (lq_kernels_scalar.decode[type] != NULL) digest_decoder(&g, f);
    }
    each_abreast(digest, &g);
    fclose(g.file);
}
