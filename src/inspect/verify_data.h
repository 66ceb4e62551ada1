/* One pass over the data of a half, in the work items of the pair id.
 *
 * Enters: a half, and where there is one the original of each tensor. Leaves: per item its hash, whether its values are
 * finite, and how far it is from the original.
 * Invariants: memory is two small buffers for each worker, whatever the tensor, but for rows longer than those; what an
 * item leaves depends on nothing but the files.
 */
#ifndef LQ_INSPECT_VERIFY_DATA_H
#define LQ_INSPECT_VERIFY_DATA_H

#include "inspect/verify_run.h"

/* A place in a tensor. */
struct lq_place {
    bool found;
    uint64_t row, column;
};

/* What is seen of an item besides its hash and sums. */
struct lq_sight {
    struct lq_place bad, original_bad; /* first value or block that is not finite: here, in the original */
    struct lq_place not_zero;          /* first value beyond the original's that is not zero and should be */
    bool differs;                      /* data without weights to decode are not the original's */
    double worst;                      /* (relative error of the worst block) squared */
    struct lq_place worst_at;
};

struct lq_data_pass {
    struct lq_verify_run *run;
    const struct lq_model_half *half;
    struct lq_plan_entry *entries; /* one per tensor, with the type it has */
    struct lq_items items;
    struct lq_sight *sights;         /* one per item */
    struct lq_data_scratch *scratch; /* one per worker */
    unsigned workers;
};

/* Errors: LQ_ERR_IO, LQ_ERR_MEMORY, LQ_ERR_CANCELLED. Release in any case. */
enum lq_status lq_data_pass_run(struct lq_data_pass *pass, struct lq_error *err);
void lq_data_pass_release(struct lq_data_pass *pass);

#endif
