/* Where llama.cpp's log lines go.
 *
 * Enters: the pieces of text that llama.cpp, ggml and mtmd hand to their (global) log callbacks.
 * Leaves: whole lines to the hooks of whichever call of ours is running on this thread, and the first error line of
 * that call, so that its own message can quote llama.cpp's reason. Invariants: nothing is printed; lines from threads
 * that run no call of ours are dropped.
 *
 *     struct lq_log log;
 *     lq_log_begin(&log, &rt->hooks);
 *     if (llama_decode(...) != 0) lq_error_set(err, LQ_ERR_RUNTIME, "%s: %s", path, lq_log_reason(&log));
 *     lq_log_end(&log);
 */
#ifndef LQ_RUNTIME_LOG_H
#define LQ_RUNTIME_LOG_H

#include "llava_quantize/base.h"

struct lq_log {
    const struct lq_hooks *hooks;
    struct lq_log *outer; /* of a call that this one is part of */
    size_t used;
    bool error; /* the line in hand came as an error */
    char line[512], reason[320];
};

/* Points llama.cpp's callbacks here; once per process. */
void lq_log_install(void);
void lq_log_begin(struct lq_log *log, const struct lq_hooks *hooks);
void lq_log_end(struct lq_log *log);
/* The first error line since begin, or "llama.cpp gave no reason". */
const char *lq_log_reason(const struct lq_log *log);

#endif
