/* Watching what flows into the matrices of both halves while a runtime computes, and changing their weights.
 *
 * Enters: a pair of files, an observer. Leaves: for each product that llama.cpp computes, the inputs of its matrix.
 * Invariants: an observer never changes what is computed; inputs are seen as ggml sees them, in f32, before any rounding
 * for the product; matrices that share one input (q, k, v; gate, up) are seen once, under the name of the one that is
 * computed first, after the observer has been told of the others; tokens come in the order in which they were fed.
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

/* Inputs of one product: row i is rows[i * stride] .. + n_columns - 1. */
struct lq_observation {
    const char *weight; /* GGUF's name of the matrix, without a device's prefix */
    const float *rows;
    size_t n_columns, n_rows, stride;
    const int32_t *experts; /* which matrix of a 3-D tensor row i goes through; NULL where there is but one */
    const uint32_t *tokens; /* which token of the batch row i belongs to, for experts; NULL: row i is token i */
    size_t n_experts;       /* of the tensor; 1 */
};

/* All three are called from one thread, between ggml's computations, when its threads sleep. */
struct lq_observer {
    void *data;
    bool (*wants)(void *data, const char *weight);
    void (*sees)(void *data, const struct lq_observation *observation);
    void (*shares)(void *data, const char *weight, const char *first); /* `weight` takes the input of `first` */
};

/* As lq_runtime_open, with weights in memory of their own, that lq_runtime_replace may change. The observer is copied;
 * NULL: none. */
enum lq_status lq_runtime_open_observed(struct lq_runtime **out, const struct lq_runtime_options *options,
                                        const struct lq_observer *observer, struct lq_error *err);
/* Puts other numbers in the place of rows of a matrix, rounded to its own type (f32, f16 or bf16). Only matrices that
 * have been computed with since the runtime was opened are known. Errors: LQ_ERR_USAGE (not known, of another shape, or
 * rows outside), LQ_ERR_UNSUPPORTED (a quantised matrix). */
enum lq_status lq_runtime_replace(struct lq_runtime *rt, const char *weight, uint64_t first_row, uint64_t n_rows,
                                  const float *rows, struct lq_error *err);

#endif
