/* One tensor, to be encoded in several types: what each costs, and its bytes.
 *
 * Enters: a tensor of the model, statistics, a method. Leaves: for any type that fits, the error that its products
 * would have, on a sample of rows; or all rows encoded, the same bytes as lq_quantize writes for a plan of that one
 * type (where matrices share a factor but not a block size, error feedback may differ in a few bytes).
 * Invariants: one factor serves for judging all types (made for the largest blocks that fit the row, as it is where
 * matrices of several types share an input); what is encoded has the factor of its own block size; the same numbers and
 * bytes for any number of threads, in whatever order types are asked about.
 *
 *     lq_matrix_open(&m, &(struct lq_matrix_terms){.model = model, .tensor = t, .stats = stats, .rows = 256}, &err);
 *     lq_matrix_error(m, LQ_TYPE_Q4_K, &relative, &err);
 *     lq_matrix_encode(m, LQ_TYPE_Q4_K, blocks, &err);
 *     lq_matrix_free(m);
 */
#ifndef LQ_QUANTIZE_MATRIX_H
#define LQ_QUANTIZE_MATRIX_H

#include "llava_quantize/quantize.h"

struct lq_matrix;

struct lq_matrix_terms {
    const struct lq_model *model;   /* all borrowed */
    const struct lq_tensor *tensor; /* one that may be quantised, of either half */
    const struct lq_stats *stats;   /* NULL: plain */
    enum lq_method method;          /* the most that is made of them */
    enum lq_effort effort;
    uint64_t rows;                /* of the sample for lq_matrix_error, evenly spread; 0: all. Of experts as many are
                                     judged, evenly spread, as it allows for LQ_FEEDBACK_ROWS of each */
    unsigned threads;             /* 0: lq_cpu_count() */
    const struct lq_hooks *hooks; /* cancelling; may be NULL */
};

enum lq_status lq_matrix_open(struct lq_matrix **out, const struct lq_matrix_terms *terms, struct lq_error *err);
void lq_matrix_free(struct lq_matrix *matrix);

/* Squared error of the outputs relative to their size: sum (w - q)' H (w - q) / sum w' H w over the sample, H the
 * second moments of the inputs, their diagonal where nothing more is known, or the identity: for all types alike,
 * whatever the method makes of the statistics. 0 for the type that the tensor has. Errors: LQ_ERR_UNSUPPORTED for a
 * type that is no candidate: it does not fit the row, demands importance that is not there, or its scales do not hold
 * the weights; besides those of reading, LQ_ERR_FORMAT for a weight that is not finite, LQ_ERR_MEMORY,
 * LQ_ERR_CANCELLED. */
enum lq_status lq_matrix_error(struct lq_matrix *matrix, enum lq_type type, double *relative, struct lq_error *err);
/* The same of a row that is padded with zeros to `columns` (of a tower's ffn_down); 0: not padded. */
enum lq_status lq_matrix_error_padded(struct lq_matrix *matrix, enum lq_type type, uint64_t columns, double *relative,
                                      struct lq_error *err);
/* `dst`: all rows, lq_format_row_bytes(type, ne[0]) each, in the tensor's own shape: not padded. Errors as above. */
enum lq_status lq_matrix_encode(struct lq_matrix *matrix, enum lq_type type, void *dst, struct lq_error *err);
/* Encoded with rows padded to `columns` (0: not padded) and decoded again to f32 in the tensor's own shape: for
 * measuring what cannot be swapped in as it is. */
enum lq_status lq_matrix_round_trip(struct lq_matrix *matrix, enum lq_type type, uint64_t columns, float *dst,
                                    struct lq_error *err);

#endif
