/* Full disks, size limits and folders that cannot be written to: one clear message, and the folder as it was.
 *
 * Each test runs in a process of its own, with a file system of its own where it needs one (a tmpfs in a mount
 * namespace); where the system allows no such thing the test is skipped.
 */
#include "test_write_fixture.h"

#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { PASSED, FAILED, SKIPPED };

static bool no_fallocate; /* as a file system that cannot reserve blocks */

int fallocate(int fd, int mode, off_t offset, off_t size)
{
    if (!no_fallocate) return posix_fallocate(fd, offset, size) == 0 ? mode : -1;
    errno = EOPNOTSUPP;
    return -1;
}

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
            return FAILED; \
        } \
    } while (0)

/* Like CHECK on a whole message; %s in `form` is the folder, anywhere in it. */
static bool says(const struct lq_error *err, const char *form, const char *folder)
{
    char expected[2048];
    snprintf(expected, sizeof expected, form, folder, folder);
    if (strcmp(err->message, expected) == 0) return true;
    fprintf(stderr, "found:    %s\nexpected: %s\n", err->message, expected);
    return false;
}

static bool state_is(const char *folder, const char *expected)
{
    char state[STATE_SIZE];
    fixture_state(folder, state);
    if (strcmp(state, expected) == 0) return true;
    fprintf(stderr, "found:    %s\nexpected: %s\n", state, expected);
    return false;
}

typedef int check_fn(const char *folder);

static void run_apart(const char *folder, check_fn *check)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL); /* cmocka's handler would run the other tests here as well */
        _exit(check(folder));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == SKIPPED) {
        print_message("no permission to set up a file system of its own\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), PASSED);
}

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0) close(fd);
    return ok;
}

/* Root gets a mount namespace; anybody else becomes root of a user namespace, where that is allowed. */
static bool may_mount(void)
{
    char user[64], group[64];
    snprintf(user, sizeof user, "0 %u 1", (unsigned)geteuid());
    snprintf(group, sizeof group, "0 %u 1", (unsigned)getegid());
    if (geteuid() == 0) return unshare(CLONE_NEWNS) == 0;
    return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && write_text("/proc/self/setgroups", "deny") &&
           write_text("/proc/self/uid_map", user) && write_text("/proc/self/gid_map", group);
}

/* Puts a tmpfs of `size` bytes at `folder`, seen by this process alone. */
static bool mount_small(const char *folder, const char *size)
{
    char options[64];
    snprintf(options, sizeof options, "size=%s", size);
    if (!may_mount()) return false;
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return false;
    return mount("lq-test", folder, "tmpfs", 0, options) == 0;
}

/* Begins one file with a tensor of `kilobytes`. */
static enum lq_status begin_large(struct lq_output *o, size_t file, uint64_t kilobytes, struct lq_error *err)
{
    struct lq_kvs kvs = {0};
    const struct lq_output_tensor tensor = {"t", LQ_TYPE_I8, 2, {1000, kilobytes}};
    return lq_output_begin(o, file, &kvs, &tensor, 1, 32, err);
}

struct scene {
    char *vision, *language;
    const char *paths[2];
    struct lq_output *o;
    struct lq_error err;
};

static struct scene open_scene(const char *folder, bool force)
{
    struct scene s = {fixture_path(folder, "v.gguf"), fixture_path(folder, "l.gguf"), {NULL}, NULL, {0}};
    s.paths[0] = s.vision;
    s.paths[1] = s.language;
    lq_output_open(&s.o, s.paths, 2, force, &s.err);
    return s;
}

static void close_scene(struct scene *s)
{
    lq_output_close(s->o);
    free(s->vision);
    free(s->language);
}

static int space_is_checked_first(const char *folder)
{
    if (!mount_small(folder, "256k")) return SKIPPED;
    struct scene s = open_scene(folder, false);
    CHECK(begin_large(s.o, 0, 1000, &s.err) == LQ_ERR_IO);
    CHECK(says(&s.err,
               "%s/v.gguf: needs 977 KiB, but only 256 KiB are free there; free some space or choose another folder",
               folder));
    CHECK(begin_large(s.o, 0, 100, &s.err) == LQ_OK);
    CHECK(begin_large(s.o, 1, 200, &s.err) == LQ_ERR_IO);
    CHECK(says(&s.err,
               "%s/l.gguf: needs 289 KiB, but only 252 KiB are free there; free some space or choose another folder",
               folder));
    CHECK(begin_large(s.o, 1, 100, &s.err) == LQ_OK);
    close_scene(&s);
    CHECK(state_is(folder, ""));
    return PASSED;
}

/* Without fallocate nothing is taken at begin, so the first half's bytes must be remembered. */
static int space_is_checked_for_both_halves(const char *folder)
{
    if (!mount_small(folder, "256k")) return SKIPPED;
    no_fallocate = true;
    struct scene s = open_scene(folder, false);
    CHECK(begin_large(s.o, 0, 200, &s.err) == LQ_OK);
    CHECK(begin_large(s.o, 1, 200, &s.err) == LQ_ERR_IO);
    CHECK(says(&s.err,
               "%s/l.gguf: needs 387 KiB, but only 252 KiB are free there; free some space or choose another folder",
               folder));
    close_scene(&s);
    return PASSED;
}

static int files_to_be_replaced_are_not_free_space(const char *folder)
{
    if (!mount_small(folder, "64k")) return SKIPPED;
    struct lq_error err = {0};
    char *vision = fixture_path(folder, "v.gguf"), *language = fixture_path(folder, "l.gguf"),
         *fill = fixture_path(folder, "fill");
    CHECK(fixture_write(vision, language, false, '1', &err) == LQ_OK);
    int fd = open(fill, O_WRONLY | O_CREAT, 0666);
    CHECK(posix_fallocate(fd, 0, 53248) == 0);
    CHECK(fixture_write(vision, language, true, '2', &err) == LQ_ERR_IO);
    CHECK(says(&err,
               "%s/l.gguf: needs 512 bytes, but only 0 bytes are free there; free some space or choose another folder",
               folder));
    CHECK(state_is(folder, "fill:? l.gguf:1 v.gguf:1"));
    return PASSED;
}

static int space_that_goes_while_writing(const char *folder)
{
    static char data[100000];
    if (!mount_small(folder, "256k")) return SKIPPED;
    no_fallocate = true;
    struct scene s = open_scene(folder, false);
    CHECK(begin_large(s.o, 0, 200, &s.err) == LQ_OK);
    CHECK(lq_output_write(s.o, 0, 0, 0, data, sizeof data, &s.err) == LQ_OK);
    char *fill = fixture_path(folder, "fill");
    int fd = open(fill, O_WRONLY | O_CREAT, 0666);
    CHECK(posix_fallocate(fd, 0, 147456) == 0);
    CHECK(lq_output_write(s.o, 0, 0, sizeof data, data, sizeof data, &s.err) == LQ_ERR_IO);
    CHECK(says(&s.err, "%s/v.gguf: cannot write at byte 114688: No space left on device", folder));
    close_scene(&s);
    CHECK(state_is(folder, "fill:?"));
    return PASSED;
}

/* The first writes, to whichever file, take the space of all. */
static int what_was_taken_cannot_go(const char *folder)
{
    static char data[100000];
    if (!mount_small(folder, "256k")) return SKIPPED;
    struct scene s = open_scene(folder, false);
    CHECK(begin_large(s.o, 0, 100, &s.err) == LQ_OK);
    CHECK(begin_large(s.o, 1, 100, &s.err) == LQ_OK);
    for (uint64_t i = 0; i < 2; i++) CHECK(lq_output_write(s.o, 0, 0, i, data, 1, &s.err) == LQ_OK);
    char *fill = fixture_path(folder, "fill");
    int fd = open(fill, O_WRONLY | O_CREAT, 0666);
    CHECK(posix_fallocate(fd, 0, 65536) == ENOSPC);
    CHECK(lq_output_write(s.o, 0, 0, 2, data, sizeof data - 2, &s.err) == LQ_OK);
    CHECK(lq_output_write(s.o, 1, 0, 0, data, sizeof data, &s.err) == LQ_OK);
    close_scene(&s);
    return PASSED;
}

static int a_read_only_file_system(const char *folder)
{
    if (!mount_small(folder, "64k")) return SKIPPED;
    if (mount("none", folder, NULL, MS_REMOUNT | MS_RDONLY, NULL) != 0) return SKIPPED;
    char *missing = fixture_path(folder, "new");
    struct scene here = open_scene(folder, false), there = open_scene(missing, false);
    CHECK(here.o == NULL && there.o == NULL);
    CHECK(here.err.status == LQ_ERR_IO);
    CHECK(
        says(&here.err,
             "%s/v.gguf: cannot write into folder '%s': Read-only file system; choose a folder that can be written to",
             folder));
    CHECK(says(&there.err,
               "%s/v.gguf: cannot make folder '%s': Read-only file system; choose a folder that can be written to",
               missing));
    return PASSED;
}

/* Root may write everywhere, so that root has to become somebody else first. */
static int a_folder_of_somebody_else(const char *folder)
{
    char *missing = fixture_path(folder, "new");
    CHECK(chmod(folder, 0555) == 0);
    if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setgid(65534) != 0 || setuid(65534) != 0)) return SKIPPED;
    struct scene here = open_scene(folder, false), there = open_scene(missing, false);
    CHECK(here.o == NULL && there.o == NULL);
    CHECK(says(&here.err,
               "%s/v.gguf: cannot write into folder '%s': Permission denied; choose a folder that you may write to",
               folder));
    CHECK(says(&there.err,
               "%s/v.gguf: cannot make folder '%s': Permission denied; choose a folder that you may write to",
               missing));
    return PASSED;
}

static int a_limit_on_file_sizes(const char *folder)
{
    struct rlimit limit = {4096, 4096}; /* without a word to SIGXFSZ, which would end the process */
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    struct scene s = open_scene(folder, false);
    CHECK(begin_large(s.o, 1, 100, &s.err) == LQ_ERR_IO);
    CHECK(says(&s.err,
               "%s/l.gguf: needs 97.8 KiB, but this process may write files of at most 4 KiB; raise the limit "
               "(ulimit -f)",
               folder));
    close_scene(&s);
    CHECK(state_is(folder, ""));
    return PASSED;
}

#define APART(check) \
    static void test_##check(void **state) \
    { \
        run_apart(*state, check); \
    }

APART(space_is_checked_first)
APART(space_is_checked_for_both_halves)
APART(files_to_be_replaced_are_not_free_space)
APART(space_that_goes_while_writing)
APART(what_was_taken_cannot_go)
APART(a_read_only_file_system)
APART(a_folder_of_somebody_else)
APART(a_limit_on_file_sizes)

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, fixture_make, fixture_remove)
    const struct CMUnitTest tests[] = {
        TEST(space_is_checked_first),
        TEST(space_is_checked_for_both_halves),
        TEST(files_to_be_replaced_are_not_free_space),
        TEST(space_that_goes_while_writing),
        TEST(what_was_taken_cannot_go),
        TEST(a_read_only_file_system),
        TEST(a_folder_of_somebody_else),
        TEST(a_limit_on_file_sizes),
    };
    return cmocka_run_group_tests_name("write, refused by the system", tests, NULL, NULL);
}
