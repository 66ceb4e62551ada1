/* The original's outputs on the quantised model's inputs: GPTAQ (arXiv 2504.02692), QEP (arXiv 2504.09629).
 *
 * Enters: the pair that statistics were gathered from, and what it was calibrated on. Leaves: for the inputs of one
 * group of matrices at a time, the second moments of what the quantised model feeds them, and a correction of the
 * weights: with x the original's input and X that of the model quantised so far, rows w + w sum c (x - X) X' H^-1, where
 * H = sum c X X', come nearest to w x when they meet X; half of that correction is made.
 * Invariants: both models run the same tokens; groups are the tower's blocks, the projector, the language half's blocks
 * and the output, in this order; the same bytes for any number of our threads, as long as the runtime's are the same.
 *
 *     lq_sequential_open(&s, &terms, threads, &err);
 *     for each group: lq_sequential_gather(s, inputs, n, half, "block 1", &err);
 *         for each input: lq_sequential_hessian(s, input, packed, &moments); make the factor;
 *             lq_sequential_correct(s, input, factor, &err);
 *             for its rows: lq_sequential_aim(s, input, w, rows, stride, target); encode;
 *                 lq_sequential_replace(s, tensor, first_row, rows, decoded, &err);
 *     lq_sequential_free(s);
 */
#ifndef LQ_QUANTIZE_SEQUENTIAL_H
#define LQ_QUANTIZE_SEQUENTIAL_H

#include "llava_quantize/calibrate.h"
#include "llava_quantize/gather.h"
#include "quantize/feedback.h"

struct lq_sequential;

struct lq_sequential_input {
    const char *name; /* of the matrix that is computed first with it; borrowed until the next lq_sequential_gather */
    size_t n;
};

/* `terms` as of the calibration; borrowed. Runs one record in both models. */
enum lq_status lq_sequential_open(struct lq_sequential **out, const struct lq_calibrate_options *terms,
                                  unsigned threads, struct lq_error *err);
void lq_sequential_free(struct lq_sequential *s);

/* When a tensor's turn comes, counted from 1; within a half. */
int lq_sequential_group(const struct lq_tensor *tensor);
/* Bytes that the inputs of one group take. */
uint64_t lq_sequential_bytes(size_t columns);

/* Runs everything once through both models. `what` is for the progress. */
enum lq_status lq_sequential_gather(struct lq_sequential *s, const struct lq_sequential_input *inputs, size_t n,
                                    enum lq_half half, const char *what, struct lq_error *err);
/* As lq_stats_hessian; false where the input was not gathered, or nothing was seen of it. */
bool lq_sequential_hessian(const struct lq_sequential *s, const char *input, float *packed,
                           struct lq_stats_moments *moments);
/* Turns what was gathered into the correction. */
enum lq_status lq_sequential_correct(struct lq_sequential *s, const char *input, const struct lq_factor *factor,
                                     struct lq_error *err);
/* target = w + w C, the input's correction; rows are `stride` apart, columns behind those of the input are copied.
 * Thread-safe. */
void lq_sequential_aim(const struct lq_sequential *s, const char *input, const float *w, size_t rows, size_t stride,
                       float *target);
/* Rows of a finished matrix, for the quantised model; one that it never multiplies by is let pass. Thread-safe. */
enum lq_status lq_sequential_replace(struct lq_sequential *s, const struct lq_tensor *tensor, uint64_t first_row,
                                     uint64_t n_rows, const float *rows, struct lq_error *err);

#endif
