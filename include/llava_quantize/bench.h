/* Measuring the encoders: how far from the weights they stay, and how fast they are.
 *
 * Enters: rows of weights, made up here or read from a model (lq_model_weights), and a type.
 * Leaves: the weighted squared error of our encoding and of ggml's of the same rows; speeds beside that of copying
 * memory.
 * Invariants: made-up rows and errors are the same on every machine; nothing is written.
 *
 *     lq_bench_weights(LQ_BENCH_HEAVY, 1, 64, 4096, weights);
 *     struct lq_bench_matrix matrix = {.weights = weights, .rows = 64, .columns = 4096};
 *     struct lq_bench_error error = {0};
 *     if (lq_bench_compare(LQ_TYPE_Q4_K, LQ_EFFORT_NORMAL, &matrix, &error, &err) == LQ_OK)
 *         printf("%+.2f %% against ggml\n", 100 * (error.ours / error.ggml - 1));
 */
#ifndef LLAVA_QUANTIZE_BENCH_H
#define LLAVA_QUANTIZE_BENCH_H

#include "llava_quantize/codec.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How weights are distributed in a row, around zero. Every row has a scale of its own, log-normal around e^-4. */
enum lq_bench_kind {
    LQ_BENCH_NORMAL,
    LQ_BENCH_HEAVY,   /* Student's t with 4 degrees of freedom */
    LQ_BENCH_OUTLIER, /* normal, and one column of 256 is 8 to 32 times as large */
};

/* Fills rows x columns weights; `seed` chooses which. */
void lq_bench_weights(enum lq_bench_kind kind, uint64_t seed, uint64_t rows, uint64_t columns, float *dst);
/* Fills `columns` importances over several orders of magnitude: log-normal, e^2 for one sigma. */
void lq_bench_importance(uint64_t seed, uint64_t columns, float *dst);

/* Borrowed arrays; importance: `columns` floats or NULL. */
struct lq_bench_matrix {
    const float *weights;
    uint64_t rows, columns;
    const float *importance;
};

/* Sums of v (w - q)^2 over the weights, and of v w^2. v is the column's importance; without one, what ggml's encoder of
 * the type goes by: 1, |w|, w^2, or |w| + the root mean square of 32 weights. */
struct lq_bench_error {
    double ours, ggml, weights;
};

/* Adds to the sums of `error`. From one thread at a time. Errors: LQ_ERR_USAGE (the type is no target, columns do not
 * divide into its blocks, it demands importance), LQ_ERR_FORMAT (weights that are not finite), LQ_ERR_UNSUPPORTED
 * (weights that overflow the type), LQ_ERR_MEMORY. */
enum lq_status lq_bench_compare(enum lq_type type, enum lq_effort effort, const struct lq_bench_matrix *matrix,
                                struct lq_bench_error *error, struct lq_error *err);

/* In bytes of f32 weights per second, the best of nine rounds, in which the three take turns. */
struct lq_bench_speed {
    double encode, decode, copy; /* copy: memcpy of a buffer far larger than the caches */
    double encode_share;         /* of encoding's speed to copying's, the median of the rounds: what else the machine
                                    does disturbs both sides of a round alike */
};

/* Whether the encoder of this block type is ours; where it is not, both errors are ggml's. */
bool lq_bench_is_own(enum lq_type type);
/* The kernels in use: "scalar", "avx2", ... */
const char *lq_bench_kernels(void);

struct lq_bench;

/* Buffers of 256 MiB filled with the rows of `matrix`, again and again. `seconds`: how long to look at each speed, the
 * all rounds together; `threads`: 0 is taken for 1. Free with lq_bench_free, which may be given NULL. Errors:
 * LQ_ERR_USAGE (no weights, or rows above 64 MiB), LQ_ERR_MEMORY; *out is untouched then. */
enum lq_status lq_bench_new(struct lq_bench **out, const struct lq_bench_matrix *matrix, unsigned threads,
                            double seconds, struct lq_error *err);
void lq_bench_free(struct lq_bench *bench);
/* Errors: those of lq_bench_compare. */
enum lq_status lq_bench_time(struct lq_bench *bench, enum lq_type type, enum lq_effort effort,
                             struct lq_bench_speed *speed, struct lq_error *err);

#ifdef __cplusplus
}
#endif
#endif
