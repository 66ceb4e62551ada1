/* The evaluation callback of both contexts, behind an observer.
 *
 * Enters: every node of every graph that ggml is about to compute, twice: "is it wanted?", and if so, "it is there".
 * Leaves: calls of the observer's functions; nodes that compute with recoded weights; the matrices met so far, for
 * lq_runtime_replace. Invariants: a node that nobody wants costs a comparison or two; the callback never answers "no"
 * to a finished node, because ggml would leave out the rest of the graph and report success; an observer is told of the
 * model's own weights, recoded or not; what goes wrong is kept for lq_watch_check.
 *
 *     params.cb_eval = lq_watch_node;
 *     params.cb_eval_user_data = rt->watch;
 */
#ifndef LQ_RUNTIME_WATCH_H
#define LQ_RUNTIME_WATCH_H

#include "runtime/observe.h"
#include "runtime/substitutes.h"

struct lq_watch;

/* `observer` is copied; NULL: matrices are only noted. */
enum lq_status lq_watch_new(struct lq_watch **out, const struct lq_observer *observer, struct lq_error *err);
void lq_watch_free(struct lq_watch *watch);
/* A ggml_backend_sched_eval_callback; `watch` is a struct lq_watch. */
bool lq_watch_node(struct ggml_tensor *node, bool ask, void *watch);
/* True where weights are to stay in the file's mapping. */
bool lq_watch_is_mapped(const struct lq_watch *watch);
/* What the nodes of all graphs are computed with in the place of weights. */
struct lq_substitutes *lq_watch_substitutes(struct lq_watch *watch);
/* The matrix of that name, or NULL when no product with it has been computed yet. */
struct ggml_tensor *lq_watch_find(const struct lq_watch *watch, const char *weight);
/* LQ_ERR_MEMORY when an input could not be shown for want of memory, now or before; LQ_OK for a NULL watch. */
enum lq_status lq_watch_check(const struct lq_watch *watch, struct lq_error *err);

#endif
