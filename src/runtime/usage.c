#include "runtime/usage.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

double lq_usage_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Bytes of this process that lie in memory; 0 where the system does not tell. */
static uint64_t resident(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL) return 0;
    if (fscanf(f, "%*u %lu", &pages) != 1) pages = 0;
    fclose(f);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

struct lq_meter lq_meter_start(void)
{
    return (struct lq_meter){.start = lq_usage_seconds(), .resident = resident()};
}

/* What a caller keeps is mostly freed memory used again, so that a call may seem to shrink the process: that counts as
 * nothing. */
double lq_meter_stop(const struct lq_meter *meter, struct lq_runtime *rt, uint64_t kept)
{
    int64_t grown = (int64_t)(resident() - meter->resident) - (int64_t)kept;
    if (kept > 0 && grown < 0) grown = 0;
    rt->resident += grown;
    if (rt->resident > 0 && (uint64_t)rt->resident > rt->used.memory) rt->used.memory = (uint64_t)rt->resident;
    return lq_usage_seconds() - meter->start;
}

struct lq_runtime_usage lq_runtime_used(const struct lq_runtime *rt)
{
    return rt->used;
}
