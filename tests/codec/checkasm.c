/* Compares every kernel of every instruction set that this machine has with the scalar one, bit for bit; or times them.
 *
 *     checkasm [--only TABLE] [--digests FILE] [--seed N] [--quick]
 *     checkasm --bench [--only TABLE]
 *
 * Exits with 77 where the machine lacks the table that --only names. A table uses one set of CPU features, all or none
 * of it, so that the tables are the subsets that there are. UPDATE=1 in the environment rewrites the file of digests.
 *
 * Kernels come from the lists in kernels.h: a new one without a row in check_rows.c or
 * check_abreast.c does not compile, a new encoder or
 * decoder is found by itself. Like dav1d's program of this name, it tests and times by the same means. */
#include "checkasm.h"
#include "lane_ops.h"
#include "weights.h"

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SKIPPED = 77, MOST_PRINTED = 20 };

/* What this program was compiled with. */
static const struct subject known[] = {
#if defined(__x86_64__)
    {&lq_kernels_avx2, lane_ops_avx2, "avx2"},
    {&lq_kernels_avx512, lane_ops_avx512, "avx512"},
#elif defined(__aarch64__)
    {&lq_kernels_neon, lane_ops_neon, "neon"},
#endif
};

#ifdef EMULATED_AVX512
extern const struct lq_kernel_table lq_kernels_avx512_emulated;
static const struct subject emulated = {&lq_kernels_avx512_emulated, lane_ops_avx512_emulated, "avx512-emulated"};
#endif

static char running[200];
static int n_failed;
static uint64_t seed = 1;

void now(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(running, sizeof running, format, args);
    va_end(args);
}

void failed(const char *table, const char *format, ...)
{
    va_list args;
    if (n_failed++ >= MOST_PRINTED) return;
    printf("FAILED (--seed %llu) %s: ", (unsigned long long)seed, running);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf(" (%s)\n", table);
}

/* A guard page was touched, or an instruction is not there. */
static void die(int signal)
{
    static const char fault[] = "FAILED by a fault, --seed as before: ";
    ssize_t written = write(1, fault, sizeof fault - 1) + write(1, running, strlen(running)) + write(1, "\n", 1);
    _exit(written > 0 ? 128 + signal : 1);
}

static bool both_nan(const uint8_t *a, const uint8_t *b, size_t size)
{
    float f[2];
    double d[2];
    if (size == sizeof(double)) {
        memcpy(&d[0], a, size);
        memcpy(&d[1], b, size);
        return isnan(d[0]) && isnan(d[1]);
    }
    memcpy(&f[0], a, size);
    memcpy(&f[1], b, size);
    return isnan(f[0]) && isnan(f[1]);
}

bool same(const void *found, const void *expected, size_t bytes, size_t size, size_t *where)
{
    const uint8_t *a = found, *b = expected;
    size_t step = size == 0 ? 1 : size;
    if (bytes == 0 || memcmp(a, b, bytes) == 0) return true;
    for (*where = 0; *where < bytes; *where += step)
        if (memcmp(a + *where, b + *where, step) != 0 && (size == 0 || !both_nan(a + *where, b + *where, size)))
            return false;
    return true;
}

static double clock_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double least_time(void (*once)(void *context), void *context)
{
    enum { FEWEST = 5 };
    const double enough = 0.03;
    double least = INFINITY, begun = clock_seconds();
    for (int i = 0; i < FEWEST || clock_seconds() - begun < enough; i++) {
        double start = clock_seconds();
        once(context);
        least = fmin(least, clock_seconds() - start);
    }
    return least;
}

void print_times(const char *what, const double *seconds, size_t n, double weights)
{
    printf("%-32s %9.3f", what, 1e9 * seconds[0] / weights);
    for (size_t i = 1; i <= n; i++) printf(" %9.3f %6.1fx", 1e9 * seconds[i] / weights, seconds[0] / seconds[i]);
    putchar('\n');
}

static bool is_here(const struct lq_kernel_table *table)
{
    for (size_t i = 0; lq_kernels_at(i) != NULL; i++)
        if (lq_kernels_at(i) == table) return true;
    return false;
}

static void add_subject(struct run *run, const struct subject *subject, const char *only)
{
    if (only == NULL || strcmp(only, subject->name) == 0) run->subjects[run->n_subjects++] = *subject;
}

/* The tables that this machine can run; all, or the one called `only`. */
static void find_subjects(struct run *run, const char *only)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (is_here(known[i].table)) add_subject(run, &known[i], only);
#ifdef EMULATED_AVX512
    add_subject(run, &emulated, only);
#endif
}

static void print_heading(const struct run *run)
{
    printf("%-32s %9s", "ns per weight", "scalar");
    for (size_t i = 0; i < run->n_subjects; i++) printf(" %17s", run->subjects[i].name);
    putchar('\n');
}

static int report(const struct run *run)
{
    printf("scalar is what these are compared with:");
    for (size_t i = 0; i < run->n_subjects; i++) printf(" %s", run->subjects[i].name);
    printf("%s; %d failures\n", run->n_subjects == 0 ? " none" : "", n_failed);
    return n_failed == 0 ? 0 : 1;
}

static int usage(void)
{
    fputs("usage: checkasm [--bench] [--only TABLE] [--digests FILE] [--seed N] [--quick]\n", stderr);
    return 2;
}

int main(int argc, char **argv)
{
    struct run run = {0};
    const char *only = NULL, *digests = NULL;
    bool bench = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0) bench = true;
        else if (strcmp(argv[i], "--quick") == 0) run.quick = true;
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) only = argv[++i];
        else if (strcmp(argv[i], "--digests") == 0 && i + 1 < argc) digests = argv[++i];
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) seed = strtoull(argv[++i], NULL, 10);
        else return usage();
    }
    find_subjects(&run, only);
    if (only != NULL && run.n_subjects == 0) {
        printf("skipped: this CPU has no %s\n", only);
        return SKIPPED;
    }
    random_seed(seed);
    if (bench) {
        print_heading(&run);
        time_rows(&run);
        time_abreast(&run);
        time_blocks(&run);
        return 0;
    }
    for (int i = 0; i < 4; i++) signal((const int[]){SIGSEGV, SIGBUS, SIGILL, SIGFPE}[i], die);
    if (digests != NULL) check_digests(digests, getenv("UPDATE") != NULL);
    random_seed(seed);
    check_lanes(&run);
    check_rows(&run);
    check_abreast(&run);
    check_blocks(&run);
    return report(&run);
}
