/* Tensors that stand in for a runtime's weights in the graphs that ggml computes.
 *
 * Enters: weights by name, with other data for them; the nodes of graphs before they are computed. Leaves: nodes whose
 * first operand is the stand-in, of the weight's name and shape but another type.
 * Invariants: a graph that is used again may still hold a stand-in, so each lives as long as the runtime, and nodes are
 * to pass through here every time before they are computed; weights themselves are never touched. ggml's CPU backend
 * plans its work and chooses its kernels by an operand's type when it computes, so that nothing else has to change.
 * Without any stand-in a node costs one comparison.
 */
#ifndef LQ_RUNTIME_SUBSTITUTES_H
#define LQ_RUNTIME_SUBSTITUTES_H

#include "llava_quantize/model.h"

#include <ggml.h>

struct lq_substitutes {
    struct lq_substitute **items; /* in the order in which they were first set */
    size_t n, n_room;
    size_t at; /* the one that was met last */
};

void lq_substitutes_release(struct lq_substitutes *substitutes);
/* Makes `data` stand in for the weight, or NULL the weight itself be used again; both borrowed. LQ_ERR_MEMORY. */
enum lq_status lq_substitutes_set(struct lq_substitutes *substitutes, const struct lq_tensor *weight, enum lq_type type,
                                  const void *data, struct lq_error *err);
void lq_substitutes_reset(struct lq_substitutes *substitutes);
/* True while anything stands in for a weight of that half. */
bool lq_substitutes_any(const struct lq_substitutes *substitutes, enum lq_half half);
/* Puts what a node is to be computed with now, a weight or its stand-in, in the place of its first operand. Returns the
 * operand that the model has there. */
struct ggml_tensor *lq_substitutes_put(struct lq_substitutes *substitutes, struct ggml_tensor *node);

/* A tensor of the model as it lies in the file: no view of one, nothing computed. */
bool lq_is_weight(const struct ggml_tensor *tensor);

#endif
