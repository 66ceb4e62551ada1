#include "codec/kernels.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const struct lq_kernel_table *tables[4]; /* scalar, then what this machine has, better ones later */
static const struct lq_kernel_table *chosen;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)
/* The compiler's run-time checks look at the operating system's support (XGETBV) too, of AVX-512's masks and longer
 * registers apart from AVX's; F16C shares those of AVX. */
static bool has_avx2(void)
{
    unsigned eax, ebx, ecx, edx;
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

static void detect(void)
{
    size_t n = 0;
    tables[n++] = &lq_kernels_scalar;
#if defined(__x86_64__)
    if (has_avx2()) tables[n++] = &lq_kernels_avx2;
    if (has_avx512()) tables[n++] = &lq_kernels_avx512;
#elif defined(__aarch64__)
    tables[n++] = &lq_kernels_neon;
#endif
    chosen = tables[n - 1];
    const char *forced = getenv("LQ_CPU");
    for (size_t i = 0; forced != NULL && i < n; i++)
        if (strcmp(forced, tables[i]->name) == 0) chosen = tables[i];
}

const struct lq_kernel_table *lq_kernels(void)
{
    pthread_once(&once, detect);
    return chosen;
}

const struct lq_kernel_table *lq_kernels_at(size_t i)
{
    pthread_once(&once, detect);
    return i < sizeof tables / sizeof tables[0] ? tables[i] : NULL;
}
