/* What a runtime has taken so far: time, tokens, memory.
 *
 *     struct lq_usage usage = lq_usage_start(rt);
 *     ... work for the runtime ...
 *     lq_usage_stop(&usage, rt, 0);
 */
#ifndef LQ_RUNTIME_USAGE_H
#define LQ_RUNTIME_USAGE_H

#include "runtime/state.h"

struct lq_usage {
    double start;
    uint64_t resident;
};

/* What rt->memory_file must hold: where the system tells of this process's memory, or -1. */
int lq_usage_open(void);
struct lq_usage lq_usage_start(const struct lq_runtime *rt);
/* Adds what the process has grown since the start, less `kept` bytes that now are the caller's. Returns the seconds
 * since. */
double lq_usage_stop(const struct lq_usage *usage, struct lq_runtime *rt, uint64_t kept);

#endif
