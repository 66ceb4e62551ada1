/* The work on one half: every item read, decoded, checked, encoded, measured, hashed and written.
 *
 * Enters: a half, its entries with their types, an output whose headers stand. Leaves: the encoded data in the output,
 * a hash and error sums per item, and which entries' weights overflow their type.
 * Invariants: memory is, for each worker, an item encoded and a piece of it as read and as numbers; what an item leaves
 * depends on nothing but its input.
 *
 *     struct lq_work work = {.model = m, .half = h, .entries = e, .n_entries = n, .output = o, .files = f, ...};
 *     if (lq_work_run(&work, threads, &err) == LQ_OK && work.n_overflowed == 0) ...
 *     lq_work_release(&work);
 */
#ifndef LQ_QUANTIZE_WORK_H
#define LQ_QUANTIZE_WORK_H

#include "llava_quantize/quantize.h"
#include "quantize/batches.h"
#include "quantize/sequential.h"
#include "base/meter.h"
#include "write/write.h"

#include <stdatomic.h>

struct lq_scratch {
    unsigned char *raw, *coded; /* of a piece, of an item */
    float *weights;             /* of a piece */
    float *feedback;            /* what error feedback needs for an item */
    float *target;              /* of a piece: what it aims at instead of the weights */
};

struct lq_work {
    const struct lq_model *model;
    const struct lq_model_half *half;
    const struct lq_plan_entry *entries; /* of this half */
    size_t n_entries;
    struct lq_output *output;
    const struct lq_quantize_file *files; /* which entry goes where, by the plan's numbers */
    size_t first;                         /* the plan's number of entries[0] */
    const struct lq_stats *stats;         /* NULL: none */
    enum lq_method method;
    bool in_sequence;                 /* error feedback aims at the original's outputs; lq_work_run then needs: */
    struct lq_sequential *sequential; /* else NULL */
    const bool *without;              /* of each entry: encoded as if there were no statistics for it */
    struct lq_meter *meter;
    enum lq_effort effort;
    uint64_t memory, resident; /* bytes that the process may take (0: LQ_QUANTIZE_MEMORY, or what error feedback needs
                                  beyond it), and that it took before the run */

    struct lq_items items; /* from here on: set by lq_work_plan */
    struct lq_use *uses;   /* one per entry */
    struct lq_batches batches;
    unsigned workers;
    uint64_t raw_bytes, coded_bytes, weights, longest_row, feedback; /* sizes of a worker's buffers */
    uint64_t target;
    unsigned passes;                 /* groups for which all data run */
    uint64_t factor_bytes;           /* of the largest factor, while it is made, and of
 what is gathered anew at once */
    const struct lq_tensor *largest; /* whose factor that is */
    uint64_t all_bytes;              /* with as many workers as were asked for */

    atomic_bool *overflowed; /* set by lq_work_run; one per entry: weights or scales do not fit its type */
    size_t n_overflowed;
    struct lq_scratch *scratch; /* one per worker */
    struct lq_factor *factor;   /* of the batch in hand, or NULL */
    bool corrected;             /* it comes with a correction of the weights */
};

/* Cuts and groups the items and decides how many workers there is memory for; touches no output. Errors: LQ_ERR_MEMORY
 * (also: one worker needs more than `memory`; the message says how much), LQ_ERR_UNSUPPORTED (a row too long). */
enum lq_status lq_work_plan(struct lq_work *work, unsigned threads, struct lq_error *err);
/* Whether the inputs of a batch are gathered anew: not those of experts, which the quantised model may route otherwise. */
bool lq_work_gathers(const struct lq_work *work, const struct lq_batch *batch);
/* The workers' buffers. */
enum lq_status lq_work_allocate(struct lq_work *work, struct lq_error *err);
/* Rows of an item that are worked on at once: as many as stay in the processor's cache, or for error feedback all. */
uint64_t lq_work_piece_rows(const struct lq_work *work, const struct lq_item *item);

/* Plans, and does the work. Errors: besides those above LQ_ERR_FORMAT for a weight that is not finite (file, tensor,
 * row, column), LQ_ERR_CANCELLED, LQ_ERR_IO. An overflow is no error: the rest of the half is still looked at, so that
 * one pass finds all of them, and the output is of no use. Release in any case. */
enum lq_status lq_work_run(struct lq_work *work, unsigned threads, struct lq_error *err);
void lq_work_release(struct lq_work *work);

#endif
