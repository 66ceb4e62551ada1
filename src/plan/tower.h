/* The feed-forwards of a vision tower, which may be widened with zeros without changing what the tower computes.
 *
 * Enters: the vision half of a model. Leaves: the hidden size that all blocks share, and the shape of each of their
 * tensors at any other.
 * Why it is exact: new rows of up and gate and new entries of their biases are zeros, so each new hidden value is
 * act(0) or act(0) * 0, which is 0 for every activation that llama.cpp gives a tower (GELU, its two approximations,
 * SiLU, the square of ReLU); new columns of down multiply these zeros. Nothing stands between act and down.
 * Invariants: a tower is found only where all of that is certain: all blocks alike, every tensor of the feed-forward
 * known, and the metadata's sizes those of the matrices.
 *
 *     struct lq_tower tower;
 *     uint64_t ne[4];
 *     if (lq_tower_find(&tower, half) && lq_tower_shape(&tower, tensor, 4352, ne)) ...   // else: not of a feed-forward
 */
#ifndef LQ_PLAN_TOWER_H
#define LQ_PLAN_TOWER_H

#include "llava_quantize/model.h"

#define LQ_TOWER_HIDDEN_KEY "clip.vision.feed_forward_length"

enum { LQ_TOWER_STEP = 256 }; /* every type's block divides it, so no tower is widened by more */

struct lq_tower {
    uint64_t width, hidden;
    bool swapped; /* an old file, in which "ffn_down" is the matrix that comes first */
};

/* False where there is no tower, or widening it is not known to be exact. */
bool lq_tower_find(struct lq_tower *out, const struct lq_model_half *half);
/* The tensor's shape in a tower of that hidden size; false for a tensor that does not depend on it. */
bool lq_tower_shape(const struct lq_tower *tower, const struct lq_tensor *tensor, uint64_t hidden, uint64_t ne[4]);

#endif
