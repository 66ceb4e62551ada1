/* How many CPUs a control group's quota is worth.
 *
 * Enters: the text of /proc/self/cgroup and the place where control groups are mounted. Leaves: whole CPUs, rounded up.
 * Invariants: versions 1 and 2, and every level from the process's group up to the root, take part: the smallest wins.
 *
 *     unsigned n = lq_cgroup_cpus("0::/user.slice\n", "/sys/fs/cgroup");   // cpu.max says "150000 100000": 2
 */
#ifndef LQ_BASE_CPU_H
#define LQ_BASE_CPU_H

/* UINT_MAX when no quota is set or none can be read. */
unsigned lq_cgroup_cpus(const char *membership, const char *mount);

#endif
