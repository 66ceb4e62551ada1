/* What a tensor does, read off its GGUF name, and whether the runtime multiplies by it.
 *
 * Enters: a tensor with half, name, shape and type. Leaves: its role, block and `quantisable`.
 * Invariants: vision matrices are quantisable only if listed (the towers hold transposed, convolved and interpolated
 * matrices); language matrices are unless listed, as llama-quantize decides.
 */
#ifndef LQ_MODEL_ROLES_H
#define LQ_MODEL_ROLES_H

#include "llava_quantize/model.h"

/* `architecture` is general.architecture of the tensor's half. */
void lq_role_assign(struct lq_tensor *tensor, const char *architecture);

/* True for the projectors whose older files name the tower's feed-forward the other way round (fc1 = ffn_down);
 * llama.cpp detects it by ffn_down's row length, so must we. */
bool lq_role_ffn_may_be_swapped(const char *projector);

#endif
