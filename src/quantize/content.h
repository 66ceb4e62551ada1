/* The pair id: a hash of everything that the tensors of both halves say.
 *
 * Enters: the entries of each half with their items, hashed. Leaves: 32 hex digits.
 * Invariants: the id depends on names, shapes, types and encoded bytes alone, in file order, vision half first: whoever
 * has the two files can compute it again.
 *
 *     struct lq_content content = {0};
 *     lq_content_begin(&content, &err);
 *     for each half: lq_content_add(&content, entries, n_entries, &items);
 *     lq_content_id(&content, id);
 *     lq_content_release(&content);
 */
#ifndef LQ_QUANTIZE_CONTENT_H
#define LQ_QUANTIZE_CONTENT_H

#include "quantize/items.h"
#include "write/layout.h"

struct lq_content {
    XXH3_state_t *digest;
};

/* Makes it empty: a zeroed struct, or one to be used again. Errors: LQ_ERR_MEMORY. */
enum lq_status lq_content_begin(struct lq_content *content, struct lq_error *err);
void lq_content_release(struct lq_content *content);
/* Adds a half; the hash of each item is that of its encoded bytes. */
void lq_content_add(struct lq_content *content, const struct lq_plan_entry *entries, size_t n_entries,
                    const struct lq_items *items);
void lq_content_id(const struct lq_content *content, char id[LQ_PAIR_ID_LENGTH + 1]);

#endif
