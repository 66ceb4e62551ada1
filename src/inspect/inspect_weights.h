/* Statistics of every tensor's weights, tensor by tensor, each cut into items of rows for the worker pool.
 *
 * Enters: an opened model. Leaves: one lq_weight_stats per tensor of each half.
 * Invariants: memory is one item for each worker; sums are taken per item and added in the items' order, so that the
 * numbers do not depend on the number of threads. Each tensor is read twice, since outliers are counted against its own
 * root mean square; the second time it mostly comes out of the system's cache.
 *
 *     lq_inspect_weights(model, &options, inspection->stats, &err);   // stats[half]: one per tensor, allocated before
 */
#ifndef LQ_INSPECT_INSPECT_WEIGHTS_H
#define LQ_INSPECT_INSPECT_WEIGHTS_H

#include "llava_quantize/inspect.h"

/* Errors: LQ_ERR_IO, LQ_ERR_MEMORY, LQ_ERR_CANCELLED. */
enum lq_status lq_inspect_weights(const struct lq_model *model, const struct lq_inspect_options *options,
                                  struct lq_weight_stats *const stats[LQ_HALVES], struct lq_error *err);

#endif
