/* A half cut into work items: ranges of rows, the same whatever the number of threads.
 *
 * Enters: the entries of one half. Leaves: items in file order, each with room for its outcome.
 * Invariants: an item is at most LQ_ITEM_WEIGHTS weights, LQ_ITEM_ROWS rows of up to LQ_WIDE_ROW weights or one row, so
 * that memory is bounded whatever the tensor; it lies inside one matrix of a tensor that may be quantised, because each
 * expert has its own statistics.
 */
#ifndef LQ_QUANTIZE_ITEMS_H
#define LQ_QUANTIZE_ITEMS_H

#include "llava_quantize/plan.h"

#include <xxhash.h>

enum {
    LQ_ITEM_WEIGHTS = 1 << 18, /* 1 MiB of f32 */
    LQ_ITEM_ROWS = 128,        /* rows come in as many, which error feedback works on at once */
    LQ_WIDE_ROW = 1 << 15,
    LQ_LONGEST_ROW = 1 << 22, /* weights; eighty times the longest of any known model */
};

struct lq_item {
    size_t entry; /* within the half */
    uint64_t first_row, n_rows;
    XXH128_hash_t hash; /* of the encoded bytes */
    double sums[2];     /* sum (w - q)^2, sum w^2 */
    double output[2];   /* output error of its rows without and with feedback, where there was any */
    uint64_t kept;      /* rows of those that feedback left as they were */
    bool fed;           /* went through feedback */
    bool fetched;       /* its rows come into memory for this run's sake */
};

struct lq_items {
    struct lq_item *items;
    size_t n;
};

/* `path` stands in messages. Errors: LQ_ERR_UNSUPPORTED (a longer row), LQ_ERR_MEMORY. Free out->items with free(). */
enum lq_status lq_items_build(struct lq_items *out, const char *path, const struct lq_plan_entry *entries,
                              size_t n_entries, struct lq_error *err);

#endif
