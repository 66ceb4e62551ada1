/* Watching what flows into the matrices of both halves while a runtime computes, and changing their weights.
 *
 * Enters: a pair of files, an observer. Leaves: for each product that llama.cpp computes, the inputs of its matrix.
 * Invariants: unless it is asked to, an observer never changes what is computed; inputs are seen as ggml sees them, in
 * f32, before any rounding for the product; matrices that share one input (q, k, v; gate, up; experts with the same
 * routing) are seen once, under the name of the one that is computed first; rows come in the order of the tokens fed.
 *
 * Only a matrix that is multiplied as it lies in the file counts, under its name there (a tied output is
 * "token_embd.weight"): no view or transposition of one. All weights stay on the CPU, so that no name has a device's
 * prefix.
 *
 *     struct lq_observer observer = {.data = me, .wants = wants, .sees = sees, .shares = shares};
 *     lq_runtime_open_observed(&rt, &options, &observer, &err);
 *     lq_lane_open(&lane, rt, &(struct lq_lane_options){.cells = 1024, .sequences = 1, .all = true}, &err);
 *     lq_view_open(&view, rt, "cat.png", &err);    // sees the vision half's inputs
 *     lq_lane_show(lane, 0, view, &err);           // sees the language half's, of picture tokens
 */
#ifndef LQ_RUNTIME_OBSERVE_H
#define LQ_RUNTIME_OBSERVE_H

#include "runtime/lane.h"

/* Inputs of one product: row i is rows[i * stride] .. + n_columns - 1. An input of more dimensions (a matrix that all
 * heads share) gives a multiple of the tokens' rows, in ggml's order. */
struct lq_observation {
    const char *weight; /* GGUF's name of the matrix */
    const float *rows;
    size_t n_columns, n_rows, stride;
    const int32_t *experts; /* which matrix of a 3-D tensor row i goes through; NULL where there is but one */
    const uint32_t *tokens; /* which token of the batch row i belongs to, for experts; NULL: row i is token i */
    size_t n_experts;       /* of the tensor; 1 */
};

/* All are called from one thread, between ggml's computations, when its threads sleep; each may be NULL. What they are
 * given is borrowed until they return. */
struct lq_observer {
    void *data;
    /* Before each product: are its inputs wanted (of one that is first with its input), may its output be changed? */
    bool (*wants)(void *data, const char *weight);
    void (*sees)(void *data, const struct lq_observation *observation);
    /* `weight` takes the input of `first`. Told once for each such matrix, wanted or not, when a graph with it is
     * computed for the first time: in that graph the input may have been seen already. */
    void (*shares)(void *data, const char *weight, const char *first);
    /* After the product, and after `sees`: rows[0 .. n_columns * n_rows) are the output, row i that of the input's row
     * i, and what they are when this returns is computed with from there on. */
    void (*changes)(void *data, const char *weight, float *rows, size_t n_columns, size_t n_rows);
    bool mapped; /* leave the weights in the file's mapping, which takes less memory; lq_runtime_replace then refuses */
};

/* As lq_runtime_open, with weights in memory of their own, that lq_runtime_replace may change. The observer is copied;
 * NULL: none. */
enum lq_status lq_runtime_open_observed(struct lq_runtime **out, const struct lq_runtime_options *options,
                                        const struct lq_observer *observer, struct lq_error *err);
/* Puts other numbers in the place of rows of a matrix, rounded to its own type (f32, f16 or bf16). Views that were
 * opened before keep their embeddings. Only matrices that have been computed with since the runtime was opened are known.
 * Errors: LQ_ERR_USAGE (not known, rows outside, a mapped runtime), LQ_ERR_UNSUPPORTED (a quantised matrix). */
enum lq_status lq_runtime_replace(struct lq_runtime *rt, const char *weight, uint64_t first_row, uint64_t n_rows,
                                  const float *rows, struct lq_error *err);

#endif
