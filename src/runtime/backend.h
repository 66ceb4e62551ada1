/* ggml's backends and threads: found and started once, away from the rest.
 *
 * Enters: nothing but where ggml's library lies. Leaves: a CPU backend that fits this machine, and thread pools that
 * sleep between graphs where ggml's own would spin.
 */
#ifndef LQ_RUNTIME_BACKEND_H
#define LQ_RUNTIME_BACKEND_H

#include "llava_quantize/base.h"

struct ggml_threadpool;

/* Installs the log callbacks and loads the backends, once per process; later calls repeat the first one's outcome. */
enum lq_status lq_backend_prepare(struct lq_error *err);

/* A pool for one context; free it after the context. */
enum lq_status lq_backend_pool_new(struct ggml_threadpool **out, unsigned threads, struct lq_error *err);
void lq_backend_pool_free(struct ggml_threadpool *pool);

#endif
