/* Computing with another encoding of a matrix, without reloading the model.
 *
 * Enters: an observed runtime (lq_runtime_open_observed), a tensor's name, the same tensor encoded in another type.
 * Leaves: every product and row look-up with that tensor uses the new bytes, as it would if the file had held them:
 * the same kernels of ggml, activations rounded as for that type.
 * Invariants: the runtime's own weights are never touched, so a mapped runtime will do; the other tensors, and this one
 * after lq_runtime_recode with `data` NULL, give exactly what they gave before. Views opened before keep their
 * embeddings, lanes what they were fed. An observer is told of the tensor under its name, as ever. The logits are those
 * of the quantised file in an observed runtime, bit for bit; in one without an observer llama.cpp repacks some types
 * for kernels that add in another order.
 *
 *     lq_runtime_recode(rt, "blk.0.ffn_up.weight", LQ_TYPE_Q4_K, blocks, &err);
 *     ... lq_lane_feed ...
 *     lq_runtime_recode(rt, "blk.0.ffn_up.weight", LQ_TYPE_NONE, NULL, &err);
 */
#ifndef LQ_RUNTIME_RECODE_H
#define LQ_RUNTIME_RECODE_H

#include "llava_quantize/codec.h"
#include "runtime/observe.h"

/* `data`: all rows of the tensor in its own shape, encoded; borrowed until it is replaced, given back (NULL) or the
 * runtime is freed. Takes effect with the next computation. Errors: LQ_ERR_USAGE for a runtime without an observer, and
 * for a tensor that the pair does not have or that is never quantised; LQ_ERR_UNSUPPORTED for a type whose blocks do
 * not divide its rows, or in which no file holds weights; with the first call, those of opening the files. */
enum lq_status lq_runtime_recode(struct lq_runtime *rt, const char *weight, enum lq_type type, const void *data,
                                 struct lq_error *err);
/* All tensors as the files have them. */
void lq_runtime_recode_none(struct lq_runtime *rt);
/* Tells views apart: 0 while no tensor of the vision half is recoded, else a number that no other recoding of it
 * has. */
uint64_t lq_runtime_sight(const struct lq_runtime *rt);

#endif
