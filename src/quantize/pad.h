/* Weights of an entry that is written larger than its tensor: the tensor's in front, zeros behind.
 *
 * Enters: some rows of an entry, decoded, row behind row as the tensor has them. Leaves: the same as the entry has them.
 * Invariants: what the tensor holds is not changed; an entry of its tensor's shape passes through untouched.
 *
 *     uint64_t stored = lq_pad_stored_rows(entry, first_row, n_rows);   // these alone can be read
 *     lq_codec_decode(type, raw, weights, stored * tensor->ne[0], &err);
 *     lq_pad_spread(entry, stored, n_rows, weights);                    // weights[n_rows * entry->ne[0]]
 */
#ifndef LQ_QUANTIZE_PAD_H
#define LQ_QUANTIZE_PAD_H

#include "llava_quantize/plan.h"

/* Is the entry larger than its tensor, and so never a plain copy of it? */
bool lq_pad_has(const struct lq_plan_entry *entry);
/* How many of the rows the tensor holds; those behind them are zeros. */
uint64_t lq_pad_stored_rows(const struct lq_plan_entry *entry, uint64_t first_row, uint64_t n_rows);
/* In place. */
void lq_pad_spread(const struct lq_plan_entry *entry, uint64_t stored, uint64_t n_rows, float *weights);
/* The importance of the entry's columns: the tensor's where its rows are no longer, else a copy in `row`, of ne[0]
 * weights, that ends in zeros, because those columns are multiplied by zeros. */
const float *lq_pad_importance(const struct lq_plan_entry *entry, const float *importance, float *row);

#endif
