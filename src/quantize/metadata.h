/* The metadata of a quantised half: what the input says, and what this run adds.
 *
 * Enters: a half, the part of the plan that belongs to it, importance data and effort. Leaves: a complete key list.
 * Invariants: the input's keys keep their order, except split.*, which no longer holds; ours stand behind them in one
 * fixed order, take less than 2 KB, and depend on nothing but contents (no path, no date), so that one input gives one
 * output by whatever way it came.
 *
 *     struct lq_kvs kvs = {0};
 *     lq_metadata_build(&kvs, model, half, &part, options, &err);
 *     lq_kvs_release(&kvs);
 */
#ifndef LQ_QUANTIZE_METADATA_H
#define LQ_QUANTIZE_METADATA_H

#include "llava_quantize/quantize.h"
#include "source/kv.h"

/* Drops split.*, for shards that are joined. */
void lq_metadata_remove_split(struct lq_kvs *kvs);
/* What a shard says of its place among `count`, on top of what is there; `number` counts from 1, `n_tensors` are those
 * of all shards. Only the first shard has the metadata of the half. */
enum lq_status lq_metadata_set_shard(struct lq_kvs *kvs, uint32_t number, uint32_t count, size_t n_tensors,
                                     struct lq_error *err);
/* The metadata of a shard that is not the first: llama.cpp wants its number, ours is the pair id, which tells a shard
 * of another run. `out` is empty before and, on failure, after. */
enum lq_status lq_metadata_build_shard(struct lq_kvs *out, uint32_t number, uint32_t count, size_t n_tensors,
                                       struct lq_error *err);

/* `part` is a view of the plan that holds the half's entries alone. `out` is empty before and, on failure, after. */
enum lq_status lq_metadata_build(struct lq_kvs *out, const struct lq_model *model, const struct lq_model_half *half,
                                 const struct lq_plan *part, const struct lq_quantize_options *options,
                                 struct lq_error *err);

#endif
