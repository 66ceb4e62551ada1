/* The base room: errors, checked arithmetic, files, the worker pool, counting CPUs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/checked.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/pool.h"
#include "base/random.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/lq-test-base-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static const char *in_folder(const char *name)
{
    static char path[4][320];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static int count_entries(const char *path)
{
    int n = 0;
    DIR *d = opendir(path);
    for (struct dirent *e; (e = readdir(d)) != NULL;) n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

static int remove_folder(void **state)
{
    (void)state;
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d)) != NULL;) unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    return rmdir(folder);
}

static void test_error(void **state)
{
    (void)state;
    char longest[2000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    struct lq_error err = {0};
    assert_int_equal(lq_error_set(&err, LQ_ERR_IO, "%s: gone", "a"), LQ_ERR_IO);
    assert_int_equal(lq_error_prefix(&err, "model %d", 7), LQ_ERR_IO);
    assert_string_equal(err.message, "model 7: a: gone");
    assert_int_equal(lq_error_set(NULL, LQ_ERR_USAGE, "nobody listens"), LQ_ERR_USAGE);
    assert_int_equal(lq_error_prefix(NULL, "nobody"), LQ_OK);
    lq_error_set(&err, LQ_ERR_FORMAT, "%s", longest);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_string_equal(err.message + sizeof err.message - 4, "...");
    lq_error_prefix(&err, "%s", longest);
    assert_string_equal(err.message + sizeof err.message - 4, "...");
    lq_error_set(&err, LQ_ERR_FORMAT, "short");
    assert_string_equal(err.message, "short");
}

static void test_checked(void **state)
{
    (void)state;
    uint64_t v = 42;
    assert_false(lq_add_u64(UINT64_MAX, 1, &v));
    assert_false(lq_mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &v));
    assert_false(lq_align_u64(UINT64_MAX - 30, 32, &v));
    assert_int_equal(v, 42);
    assert_true(lq_add_u64(UINT64_MAX - 1, 1, &v) && v == UINT64_MAX);
    assert_true(lq_mul_u64(UINT64_MAX, 0, &v) && v == 0);
    assert_true(lq_align_u64(33, 32, &v) && v == 64);
    assert_true(lq_align_u64(UINT64_MAX - 31, 32, &v) && v == UINT64_MAX - 31);
}

static void test_file_save_and_load(void **state)
{
    (void)state;
    struct lq_error err = {0};
    struct stat st;
    char *text = NULL;
    size_t size = 0;
    const char *path = in_folder("plan.json");
    assert_int_equal(lq_file_save(path, "one\0two", 7, &err), LQ_OK);
    assert_int_equal(lq_file_load(path, 7, &text, &size, &err), LQ_OK);
    assert_int_equal(size, 7);
    assert_memory_equal(text, "one\0two\0", 8);
    free(text);
    assert_int_equal(lq_file_save(path, "", 0, &err), LQ_OK);
    assert_int_equal(lq_file_load(path, 7, &text, &size, &err), LQ_OK);
    assert_int_equal(size, 0);
    free(text);
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0666 & ~mask);
    assert_int_equal(count_entries(folder), 1);
}

static void test_file_load_refusals(void **state)
{
    (void)state;
    struct lq_error err = {0};
    char *text = (char *)"untouched";
    size_t size = 5;
    assert_int_equal(lq_file_save(in_folder("big"), "12345678", 8, &err), LQ_OK);
    assert_int_equal(lq_file_load(in_folder("big"), 7, &text, &size, &err), LQ_ERR_FORMAT);
    assert_non_null(strstr(err.message, "big: 8 bytes, expected at most 7"));
    assert_int_equal(lq_file_load(in_folder("none"), 7, &text, &size, &err), LQ_ERR_IO);
    assert_non_null(strstr(err.message, "none: cannot open: No such file"));
    assert_int_equal(lq_file_load(folder, 7, &text, &size, &err), LQ_ERR_IO);
    assert_non_null(strstr(err.message, "not a regular file"));
    assert_int_equal(mkfifo(in_folder("fifo"), 0600), 0);
    assert_int_equal(lq_file_load(in_folder("fifo"), 7, &text, &size, &err), LQ_ERR_IO);
    assert_non_null(strstr(err.message, "fifo: not a regular file"));
    assert_string_equal(text, "untouched");
    assert_int_equal(size, 5);
}

/* A save that cannot finish leaves the old file and nothing else. */
static void test_file_save_fails_clean(void **state)
{
    (void)state;
    struct lq_error err = {0};
    assert_int_equal(mkdir(in_folder("taken"), 0700), 0);
    assert_int_equal(lq_file_save(in_folder("taken"), "x", 1, &err), LQ_ERR_IO);
    assert_non_null(strstr(err.message, "taken: cannot save: Is a directory"));
    assert_int_equal(rmdir(in_folder("taken")), 0);
    assert_int_equal(count_entries(folder), 0);
    assert_int_equal(lq_file_save(in_folder("no/where"), "x", 1, &err), LQ_ERR_IO);
    assert_non_null(strstr(err.message, "no/where: cannot create: No such file"));
    struct stat info;
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    assert_int_equal(lq_file_save(in_folder("pipe"), "x", 1, &err), LQ_ERR_IO);
    assert_int_equal(lstat(in_folder("pipe"), &info), 0);
    assert_true(S_ISFIFO(info.st_mode));
    int full = open("/dev/full", O_WRONLY);
    assert_int_equal(lq_file_write(full, "full", 0, "x", 1, &err), LQ_ERR_IO);
    assert_string_equal(err.message, "full: cannot write at byte 0: No space left on device");
    close(full);
}

static void test_file_read_bounds(void **state)
{
    (void)state;
    struct lq_error err = {0};
    char text[8] = "";
    assert_int_equal(lq_file_save(in_folder("short"), "abcdef", 6, &err), LQ_OK);
    int fd = open(in_folder("short"), O_RDONLY);
    assert_int_equal(lq_file_read(fd, "short", 2, text, 4, &err), LQ_OK);
    assert_memory_equal(text, "cdef", 4);
    assert_int_equal(lq_file_read(fd, "short", 6, text, 0, &err), LQ_OK);
    assert_int_equal(lq_file_read(fd, "short", 3, text, 5, &err), LQ_ERR_IO);
    assert_string_equal(err.message, "short: ends at byte 6 of 8");
    assert_int_equal(lq_file_read(fd, "short", UINT64_MAX, text, 5, &err), LQ_ERR_IO);
    assert_int_equal(lq_file_read(fd, "short", 1, text, UINT64_MAX, &err), LQ_ERR_IO);
    assert_int_equal(lq_file_write(fd, "short", INT64_MAX, text, 5, &err), LQ_ERR_IO);
    close(fd);
}

struct pool_job {
    atomic_int done[1000];
    atomic_uint workers; /* bit per worker */
    size_t fail_from;
    bool linger; /* the lowest failing item is the last to say so */
};

static enum lq_status pool_item(void *data, size_t item, unsigned worker, struct lq_error *err)
{
    struct pool_job *job = data;
    job->done[item]++;
    job->workers |= 1u << worker;
    if (item < job->fail_from) return LQ_OK;
    if (job->linger && item == job->fail_from) nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    return lq_error_set(err, item % 2 == 0 ? LQ_ERR_FORMAT : LQ_ERR_IO, "item %zu", item);
}

static void test_pool_runs_every_item_once(void **state)
{
    (void)state;
    for (unsigned threads = 0; threads < 9; threads++) {
        static struct pool_job job;
        memset(&job, 0, sizeof job);
        job.fail_from = SIZE_MAX;
        assert_int_equal(lq_pool_run(threads, 1000, pool_item, &job, NULL), LQ_OK);
        for (int i = 0; i < 1000; i++) assert_int_equal(job.done[i], 1);
        assert_true(job.workers < 1u << (threads == 0 ? 1 : threads));
        assert_int_equal(lq_pool_run(threads, 0, pool_item, &job, NULL), LQ_OK);
    }
}

static void test_pool_lowest_failure_wins(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads < 9; threads++) {
        static struct pool_job job;
        struct lq_error err = {0};
        memset(&job, 0, sizeof job);
        job.fail_from = 77;
        job.linger = true;
        assert_int_equal(lq_pool_run(threads, 1000, pool_item, &job, &err), LQ_ERR_IO);
        assert_string_equal(err.message, "item 77");
        assert_int_equal(err.status, LQ_ERR_IO);
        for (int i = 0; i < 77; i++) assert_int_equal(job.done[i], 1);
        for (int i = 77 + (int)threads; i < 1000; i++) assert_int_equal(job.done[i], 0);
    }
}

static atomic_int met;
static enum lq_status pool_meet(void *data, size_t item, unsigned worker, struct lq_error *err)
{
    pthread_t *caller = data;
    (void)item;
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    bool mine = pthread_equal(pthread_self(), *caller);
    met++;
    while (met < 4) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    if (mine != (worker == 0) || mine == (bool)sigismember(&blocked, SIGINT))
        return lq_error_set(err, LQ_ERR_USAGE, "worker %u", worker);
    return LQ_OK;
}

/* Four items that wait for each other: only four threads at once get through. Worker 0 is the caller; the others take
 * no signals. */
static void test_pool_is_concurrent(void **state)
{
    (void)state;
    pthread_t caller = pthread_self();
    assert_int_equal(lq_pool_run(4, 4, pool_meet, &caller, NULL), LQ_OK);
}

static void save(const char *name, const char *text)
{
    assert_int_equal(lq_file_save(in_folder(name), text, strlen(text), NULL), LQ_OK);
}

static void test_cgroup_quota(void **state)
{
    (void)state;
    assert_int_equal(lq_cgroup_cpus("0::/\n", folder), UINT_MAX);
    save("cpu.max", "max 100000\n");
    assert_int_equal(lq_cgroup_cpus("0::/\n", folder), UINT_MAX);
    save("cpu.max", "250000 100000\n");
    assert_int_equal(lq_cgroup_cpus("0::/\n", folder), 3);
    assert_int_equal(lq_cgroup_cpus("0::/not/here\n", folder), 3);
    assert_int_equal(lq_cgroup_cpus("junk\n12:\n0:\n\n0::no-slash", folder), UINT_MAX);
    save("cpu.max", "garbage");
    assert_int_equal(lq_cgroup_cpus("0::/\n", folder), UINT_MAX);
}

static void test_cgroup_levels(void **state)
{
    (void)state;
    save("cpu.max", "400000 100000\n");
    assert_int_equal(mkdir(in_folder("cpu"), 0700), 0);
    assert_int_equal(mkdir(in_folder("cpu/a"), 0700), 0);
    save("cpu/cpu.max", "200000 100000\n");
    assert_int_equal(lq_cgroup_cpus("0::/cpu/a\n", folder), 2);
    save("cpu/cpu.cfs_quota_us", "-1\n");
    save("cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(lq_cgroup_cpus("4:cpu,cpuacct:/a\n3:cpuset:/a\n", folder), UINT_MAX);
    save("cpu/a/cpu.cfs_quota_us", "50000\n");
    save("cpu/a/cpu.cfs_period_us", "100000\n");
    assert_int_equal(lq_cgroup_cpus("4:cpu,cpuacct:/a\n3:cpuset:/a\n", folder), 1);
    assert_int_equal(lq_cgroup_cpus("3:cpuset:/a\n", folder), UINT_MAX);
    unlink(in_folder("cpu/a/cpu.cfs_quota_us"));
    unlink(in_folder("cpu/a/cpu.cfs_period_us"));
    rmdir(in_folder("cpu/a"));
    unlink(in_folder("cpu/cpu.max"));
    unlink(in_folder("cpu/cpu.cfs_quota_us"));
    unlink(in_folder("cpu/cpu.cfs_period_us"));
    rmdir(in_folder("cpu"));
}

/* Whatever the files say, and however they are damaged: at least one CPU, and a group never gets more than its parent. */
static void test_cgroup_is_never_nothing(void **state)
{
    static const char alphabet[] = "0123456789 -maxq\n";
    (void)state;
    uint64_t seed = 6;
    assert_int_equal(mkdir(in_folder("a"), 0700), 0);
    for (int round = 0; round < 500; round++) {
        static const char *const files[] = {"cpu.max", "a/cpu.max"};
        for (size_t f = 0; f < 2; f++) {
            char text[24] = "";
            for (size_t i = 0; i < sizeof text - 1; i++)
                text[i] = alphabet[lq_random_below(&seed, sizeof alphabet - 1)];
            if (round % 2 == 0)
                snprintf(text, sizeof text, "%d %d", 1 + (int)(lq_random_below(&seed, 1000000)), 1 + round * 1000);
            save(files[f], text);
        }
        unsigned parent = lq_cgroup_cpus("0::/\n", folder), child = lq_cgroup_cpus("0::/a\n", folder);
        if (child < 1 || child > parent) fail_msg("%u CPUs of %u", child, parent);
    }
    unlink(in_folder("a/cpu.max"));
    rmdir(in_folder("a"));
}

static void test_cpu_count(void **state)
{
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    unsigned n = lq_cpu_count();
    assert_true(n >= 1 && n <= (unsigned)sysconf(_SC_NPROCESSORS_CONF));
    CPU_ZERO(&one);
    for (int i = 0; CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &before)) CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(lq_cpu_count(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

/* From the reference implementation's published output for these seeds. */
static void test_random(void **state)
{
    (void)state;
    uint64_t state_of_0 = 0, other = 1234567;
    assert_true(lq_random_next(&state_of_0) == UINT64_C(0xE220A8397B1DCDAF));
    assert_true(lq_random_next(&other) == UINT64_C(6457827717110365317));
    assert_true(lq_random_next(&other) == UINT64_C(3203168211198807973));
    for (int i = 0; i < 1000; i++) {
        assert_in_range(lq_random_below(&other, 7), 0, 6);
        assert_int_equal(lq_random_below(&other, 1), 0);
    }
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error),
        cmocka_unit_test(test_checked),
        WITH_FOLDER(test_file_save_and_load),
        WITH_FOLDER(test_file_load_refusals),
        WITH_FOLDER(test_file_save_fails_clean),
        WITH_FOLDER(test_file_read_bounds),
        cmocka_unit_test(test_pool_runs_every_item_once),
        cmocka_unit_test(test_pool_lowest_failure_wins),
        cmocka_unit_test(test_pool_is_concurrent),
        WITH_FOLDER(test_cgroup_quota),
        WITH_FOLDER(test_cgroup_levels),
        WITH_FOLDER(test_cgroup_is_never_nothing),
        cmocka_unit_test(test_cpu_count),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
