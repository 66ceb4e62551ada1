#include "runtime/usage.h"

#include "base/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int lq_usage_open(void)
{
    return open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
}

/* Bytes of this process that lie in memory; 0 where the system does not tell. Feeds are short, so the file is kept open
 * and read in one go. */
static uint64_t resident(const struct lq_runtime *rt)
{
    char text[128];
    unsigned long pages = 0;
    ssize_t n = pread(rt->memory_file, text, sizeof text - 1, 0);
    if (n <= 0) return 0;
    text[n] = 0;
    return sscanf(text, "%*u %lu", &pages) == 1 ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

struct lq_usage lq_usage_start(const struct lq_runtime *rt)
{
    return (struct lq_usage){.start = lq_clock_seconds(), .resident = resident(rt)};
}

/* What a caller keeps is mostly freed memory used again, so that a call may seem to shrink the process: that counts as
 * nothing. */
double lq_usage_stop(const struct lq_usage *usage, struct lq_runtime *rt, uint64_t kept)
{
    int64_t grown = (int64_t)(resident(rt) - usage->resident) - (int64_t)kept;
    if (kept > 0 && grown < 0) grown = 0;
    rt->resident += grown;
    if (rt->resident > 0 && (uint64_t)rt->resident > rt->used.memory) rt->used.memory = (uint64_t)rt->resident;
    return lq_clock_seconds() - usage->start;
}

struct lq_runtime_usage lq_runtime_used(const struct lq_runtime *rt)
{
    struct lq_runtime_usage used = rt->used;
    used.threads = rt->threads;
    return used;
}
