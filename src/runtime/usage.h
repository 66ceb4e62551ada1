/* What a runtime has taken so far: time, tokens, memory.
 *
 *     struct lq_meter meter = lq_meter_start();
 *     ... work for the runtime ...
 *     lq_meter_stop(&meter, rt, 0);
 */
#ifndef LQ_RUNTIME_USAGE_H
#define LQ_RUNTIME_USAGE_H

#include "runtime/state.h"

struct lq_meter {
    double start;
    uint64_t resident;
};

double lq_usage_seconds(void); /* of a clock that only goes forward */
struct lq_meter lq_meter_start(void);
/* Adds what the process has grown since the start, less `kept` bytes that now are the caller's. Returns the seconds
 * since. */
double lq_meter_stop(const struct lq_meter *meter, struct lq_runtime *rt, uint64_t kept);

#endif
