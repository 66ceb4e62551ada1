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

/* `uses`: one per entry. Errors: LQ_ERR_MEMORY. `out` is untouched on failure. */
enum lq_status lq_batches_build(struct lq_batches *out, const struct lq_plan_entry *entries, const struct lq_use *uses,
                                const struct lq_items *items, struct lq_error *err);
/* The group that comes after `group`; 0 behind the last. */
int lq_batches_next_group(const struct lq_batches *batches, int group);
void lq_batches_release(struct lq_batches *batches);

#endif
