#include "base/cpu.h"

#include "llava_quantize/base.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* /proc and /sys files have no size of their own, so they are read as streams. False when missing or empty. */
static bool read_text(const char *path, char *text, size_t size)
{
    FILE *f = fopen(path, "re");
    if (f == NULL) return false;
    size_t n = fread(text, 1, size - 1, f);
    fclose(f);
    text[n] = 0;
    return n > 0;
}

static unsigned whole_cpus(long long quota, long long period)
{
    if (quota <= 0 || period <= 0) return UINT_MAX;
    long long cpus = quota / period + (quota % period != 0);
    return cpus < UINT_MAX ? (unsigned)cpus : UINT_MAX;
}

/* Version 2: "cpu.max" holds "QUOTA PERIOD", or "max PERIOD" for no limit. */
static unsigned quota_v2(const char *folder)
{
    char path[PATH_MAX + 32], text[128];
    long long quota, period;
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    if (!read_text(path, text, sizeof text) || sscanf(text, "%lld %lld", &quota, &period) != 2) return UINT_MAX;
    return whole_cpus(quota, period);
}

/* Version 1: quota (-1 for no limit) and period stand in files of their own. */
static unsigned quota_v1(const char *folder)
{
    char path[PATH_MAX + 32], quota[64], period[64];
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
    if (!read_text(path, quota, sizeof quota)) return UINT_MAX;
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    if (!read_text(path, period, sizeof period)) return UINT_MAX;
    return whole_cpus(atoll(quota), atoll(period));
}

/* The smallest quota from group `group` ("/a/b") up to the root. A container may see the host's name of its group,
 * which does not exist inside; its own limit then stands at the root. */
static unsigned smallest_quota(const char *mount, const char *group, unsigned (*quota)(const char *))
{
    char folder[PATH_MAX];
    size_t root = strlen(mount);
    int n = snprintf(folder, sizeof folder, "%s%s", mount, group);
    if (n < 0 || (size_t)n >= sizeof folder) return UINT_MAX;
    unsigned smallest = quota(folder);
    while (strlen(folder) > root) {
        *strrchr(folder, '/') = 0;
        unsigned here = quota(folder);
        if (here < smallest) smallest = here;
    }
    return smallest;
}

static bool lists_cpu(const char *controllers)
{
    char copy[256], *rest = NULL;
    snprintf(copy, sizeof copy, "%s", controllers);
    for (char *word = strtok_r(copy, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest))
        if (strcmp(word, "cpu") == 0) return true;
    return false;
}

/* One line reads "ID:CONTROLLERS:/GROUP"; version 2 has ID 0 and no controllers. */
static unsigned line_quota(char *line, const char *mount)
{
    char v1_mount[PATH_MAX];
    char *controllers = strchr(line, ':');
    char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
    if (group == NULL || group[1] != '/') return UINT_MAX;
    *group++ = 0;
    controllers++;
    if (*controllers == 0) return smallest_quota(mount, group, quota_v2);
    if (!lists_cpu(controllers)) return UINT_MAX;
    int n = snprintf(v1_mount, sizeof v1_mount, "%s/cpu", mount);
    return n < 0 || (size_t)n >= sizeof v1_mount ? UINT_MAX : smallest_quota(v1_mount, group, quota_v1);
}

unsigned lq_cgroup_cpus(const char *membership, const char *mount)
{
    unsigned smallest = UINT_MAX;
    char *text = strdup(membership), *rest = NULL;
    if (text == NULL) return smallest;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        unsigned here = line_quota(line, mount);
        if (here < smallest) smallest = here;
    }
    free(text);
    return smallest;
}

/* The kernel's mask may be wider than cpu_set_t: the set grows until the kernel is content. */
static unsigned affinity_cpus(void)
{
    for (int capacity = CPU_SETSIZE; capacity <= 1 << 20; capacity *= 2) {
        cpu_set_t *set = CPU_ALLOC(capacity);
        if (set == NULL) return 1;
        size_t size = CPU_ALLOC_SIZE(capacity);
        int failed = sched_getaffinity(0, size, set) == 0 ? 0 : errno;
        int n = failed == 0 ? CPU_COUNT_S(size, set) : 1;
        CPU_FREE(set);
        if (failed != EINVAL) return n > 0 ? (unsigned)n : 1;
    }
    return 1;
}

unsigned lq_cpu_count(void)
{
    char membership[8192];
    unsigned cpus = affinity_cpus();
    if (!read_text("/proc/self/cgroup", membership, sizeof membership)) return cpus;
    unsigned quota = lq_cgroup_cpus(membership, "/sys/fs/cgroup");
    return quota < cpus ? quota : cpus;
}
