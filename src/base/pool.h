/* One worker pool: items are handed out in order, each to whichever thread is free.
 *
 * Enters: a number of items and a function. Leaves: every item done once, or the first (lowest-numbered) failure.
 * Invariants: threads live only during a run and sleep, never spin; 1 thread means the caller's own; results must be
 * stored by item, so that the outcome does not depend on the number of threads.
 *
 *     lq_pool_run(lq_cpu_count(), n_chunks, encode_chunk, &job, &err);
 */
#ifndef LQ_BASE_POOL_H
#define LQ_BASE_POOL_H

#include "llava_quantize/base.h"

/* `worker` (0 .. threads-1) indexes per-thread scratch memory. A non-zero return stops the hand-out of items. */
typedef enum lq_status lq_pool_fn(void *data, size_t item, unsigned worker, struct lq_error *err);

/* Errors: the lowest-numbered failing item's. The caller's own thread is worker 0; if fewer threads start than asked,
 * the run goes on with those. 0 threads mean 1. */
enum lq_status lq_pool_run(unsigned threads, size_t n_items, lq_pool_fn *fn, void *data, struct lq_error *err);

#endif
