/* The order of the work on one half: what needs no second moments first, then what shares them, batch after batch.
 *
 * Enters: entries cut into items, and what is made of each entry's statistics. Leaves: the items grouped so that one
 * factor at a time need be in memory.
 * Invariants: each item stands in one batch; within a batch, and among those of a group, file order; all items of a batch are of
 * matrices that share an input, an expert and a width.
 *
 *     for each entry: uses[i] = lq_use_of(&entries[i], stats, LQ_METHOD_FEEDBACK);
 *     lq_batches_build(&batches, entries, uses, &items, &err);
 *     for each batch: order[batch->first] .. order[batch->first + batch->n - 1] are numbers of items
 *     lq_batches_release(&batches);
 */
#ifndef LQ_QUANTIZE_BATCHES_H
#define LQ_QUANTIZE_BATCHES_H

#include "llava_quantize/quantize.h"
#include "quantize/items.h"

/* What an entry's statistics are used for. */
struct lq_use {
    enum lq_method method;
    const char *input; /* borrowed from the statistics: the text that those who share second moments share; or NULL */
};

struct lq_batch {
    size_t first, n;                /* in `order` */
    const char *input;              /* as in struct lq_use; NULL: no second moments are needed */
    const struct lq_tensor *tensor; /* one of those that share them */
    uint64_t expert;
    uint64_t columns; /* as written */
    int group;        /* when its turn comes: see sequential.h; 0: before all others */
    uint32_t block;   /* the largest block of the types that are written */
};

struct lq_batches {
    size_t *order;
    struct lq_batch *batches; /* the first one needs no second moments, and may be empty */
    size_t n;
};

/* How an entry is encoded by a method: the most that its statistics (NULL: none) and its type allow. */
struct lq_use lq_use_of(const struct lq_plan_entry *entry, const struct lq_stats *stats, enum lq_method method);

/* What an entry's encoding by importance goes by from row `first_row` on: a number for each column as written, or NULL.
 * Borrowed; from `row`, of entry->ne[0] floats, where it is padded. */
const float *lq_use_importance(const struct lq_use *use, const struct lq_plan_entry *entry,
                               const struct lq_stats *stats, uint64_t first_row, float *row);
struct lq_factor;
struct lq_meter;
struct lq_sequential;
/* The factor of a batch that needs one: of second moments gathered in sequence (*anew), where `sequential` is given and
 * has any, else of the statistics'. Moments that make none are no error: *out is NULL then, and `useless` says why.
 * Errors: LQ_ERR_MEMORY, LQ_ERR_CANCELLED (as `meter` has it), and those of lq_stats_hessian. */
enum lq_status lq_batch_factor(struct lq_factor **out, bool *anew, const struct lq_batch *batch,
                               const struct lq_stats *stats, const struct lq_sequential *sequential, unsigned threads,
                               const struct lq_meter *meter, struct lq_error *useless, struct lq_error *err);

/* `uses`: one per entry. Errors: LQ_ERR_MEMORY. `out` is untouched on failure. */
enum lq_status lq_batches_build(struct lq_batches *out, const struct lq_plan_entry *entries, const struct lq_use *uses,
                                const struct lq_items *items, struct lq_error *err);
/* The group that comes after `group`; 0 behind the last. */
int lq_batches_next_group(const struct lq_batches *batches, int group);
void lq_batches_release(struct lq_batches *batches);

#endif
