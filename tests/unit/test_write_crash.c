/* Kills and failing system calls at every step of writing: afterwards there are the old files or the new ones, never a
 * mixture.
 *
 * The program's own definitions of the calls below take the place of the C library's, so that a test can count them,
 * die at one, or make one fail.
 */
#include "test_write_fixture.h"

#include <errno.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "write/stage.h"

enum { DIED = 42, MAX_STEPS = 200 };

enum fault { NOTHING, DIE, FAIL };

static struct {
    enum fault fault;
    int at, step; /* the fault comes at call number `at` */
    int error;    /* what FAIL sets errno to */
    const char *what;
    bool no_unnamed; /* as a file system without O_TMPFILE */
    bool no_flags;   /* as a file system without RENAME_NOREPLACE */
} faults;

/* True when this call is to fail. */
static bool step(const char *what)
{
    if (faults.fault == NOTHING || faults.step++ != faults.at) return false;
    if (faults.fault == DIE) _exit(DIED);
    faults.what = what;
    errno = faults.error;
    return true;
}

int openat(int folder, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (faults.no_unnamed && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    if (step("openat")) return -1;
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    return step("linkat") ? -1 : (int)syscall(SYS_linkat, from, old, to, new, flags);
}

int renameat(int from, const char *old, int to, const char *new)
{
    return step("renameat") ? -1 : (int)syscall(SYS_renameat2, from, old, to, new, 0);
}

int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    if (faults.no_flags && flags != 0) {
        errno = EINVAL;
        return -1;
    }
    return step("renameat2") ? -1 : (int)syscall(SYS_renameat2, from, old, to, new, flags);
}

int unlinkat(int folder, const char *name, int flags)
{
    return step("unlinkat") ? -1 : (int)syscall(SYS_unlinkat, folder, name, flags);
}

int mkdirat(int folder, const char *name, mode_t mode)
{
    return step("mkdirat") ? -1 : (int)syscall(SYS_mkdirat, folder, name, mode);
}

/* Nobody cuts the power here, so a real sync would only take time. */
int fsync(int fd)
{
    (void)fd;
    return step("fsync") ? -1 : 0;
}

int ftruncate(int fd, off_t size)
{
    return step("ftruncate") ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t offset)
{
    return step("pwrite") ? -1 : (ssize_t)syscall(SYS_pwrite64, fd, data, n, offset);
}

enum { MOST_FILES = 4 };

struct situation {
    const char *name, *folder; /* within the test's folder, NULL: itself */
    const char *files[MOST_FILES], *old[MOST_FILES];
    bool force;
    const char *before, *after;
};

#define VISION "v.gguf"
#define LANGUAGE "l.gguf"
#define SHARDS "a-1.gguf", "a-2.gguf", "a-3.gguf"

static const struct situation situations[] = {
    {"pair, new folder", "n", {VISION, LANGUAGE}, {NULL}, false, "", "n/(l.gguf:2 v.gguf:2)"},
    {"half, new folder", "n", {LANGUAGE}, {NULL}, false, "", "n/(l.gguf:2)"},
    {"pair", NULL, {VISION, LANGUAGE}, {NULL}, false, "", "l.gguf:2 v.gguf:2"},
    {"pair over a pair", NULL, {VISION, LANGUAGE}, {VISION, LANGUAGE}, true, "l.gguf:1 v.gguf:1", "l.gguf:2 v.gguf:2"},
    {"half", NULL, {VISION}, {NULL}, false, "", "v.gguf:2"},
    {"half over a pair", NULL, {LANGUAGE}, {VISION, LANGUAGE}, true, "l.gguf:1 v.gguf:1", "l.gguf:2 v.gguf:1"},
    {"shards, new folder", "n", {VISION, SHARDS}, {NULL}, false, "", "n/(a-1.gguf:2 a-2.gguf:2 a-3.gguf:2 v.gguf:2)"},
    {"shards", NULL, {VISION, SHARDS}, {NULL}, false, "", "a-1.gguf:2 a-2.gguf:2 a-3.gguf:2 v.gguf:2"},
    {"shards over shards",
     NULL,
     {VISION, SHARDS},
     {VISION, SHARDS},
     true,
     "a-1.gguf:1 a-2.gguf:1 a-3.gguf:1 v.gguf:1",
     "a-1.gguf:2 a-2.gguf:2 a-3.gguf:2 v.gguf:2"},
    {"pair, new folders", "n/m/k", {VISION, LANGUAGE}, {NULL}, false, "", "n/(m/(k/(l.gguf:2 v.gguf:2)))"},
};
enum { SITUATIONS = sizeof situations / sizeof *situations };

/* Each situation is tried on three kinds of file system. */
enum { FILE_SYSTEMS = 3 };

struct scene {
    char *path[MOST_FILES];
    size_t n;
};

static struct scene make_scene(const char *const names[MOST_FILES], const char *folder)
{
    struct scene scene = {{NULL}, 0};
    for (; scene.n < MOST_FILES && names[scene.n] != NULL; scene.n++)
        scene.path[scene.n] = fixture_path(folder, names[scene.n]);
    return scene;
}

static void release(struct scene *scene)
{
    for (size_t i = 0; i < scene->n; i++) free(scene->path[i]);
}

static enum lq_status write_scene(const struct scene *scene, bool force, char fill, struct lq_error *err)
{
    return fixture_write_all((const char *const *)scene->path, scene->n, force, fill, err);
}

static struct scene prepare(const struct situation *s, const char *folder, int file_system)
{
    struct lq_error err = {0};
    char *inner = s->folder != NULL ? fixture_path(folder, s->folder) : strdup(folder);
    struct scene scene = make_scene(s->files, inner), old = make_scene(s->old, inner);
    memset(&faults, 0, sizeof faults);
    fixture_empty(folder);
    if (old.n > 0) assert_int_equal(write_scene(&old, false, '1', &err), LQ_OK);
    assert_state(folder, s->before);
    faults.no_unnamed = file_system > 0;
    faults.no_flags = file_system > 1;
    release(&old);
    free(inner);
    return scene;
}

static enum lq_status run(const struct situation *s, const struct scene *scene, struct lq_error *err)
{
    return write_scene(scene, s->force, '2', err);
}

/* What the next run does first. */
static void open_and_close(const struct situation *s, const struct scene *scene)
{
    struct lq_error err = {0};
    struct lq_output *o = NULL;
    enum lq_status status = lq_output_open(&o, (const char *const *)scene->path, scene->n, true, &err);
    if (status != LQ_OK) fail_msg("%s: the next run says: %s", s->name, err.message);
    lq_output_close(o);
}

/* True for the new state, false for the old one; anything else fails the test. */
static bool is_new_state(const struct situation *s, const char *folder, int step_number)
{
    char found[STATE_SIZE];
    fixture_state(folder, found);
    if (strcmp(found, s->after) == 0) return true;
    if (strcmp(found, s->before) != 0) fail_msg("%s, step %d: neither old nor new: %s", s->name, step_number, found);
    return false;
}

static int run_and_die(const struct situation *s, const struct scene *scene, int at)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct lq_error err = {0};
        faults.fault = DIE;
        faults.at = at;
        _exit(run(s, scene, &err) == LQ_OK ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Killed at every step in turn: the next open leaves the old state or the new one, and once a kill comes so late that
 * the new one is reached, later kills reach it too. */
static void die_everywhere(const struct situation *s, const char *folder, int file_system)
{
    bool was_new = false;
    int code = DIED, at = 0;
    for (; code == DIED && at < MAX_STEPS; at++) {
        struct scene scene = prepare(s, folder, file_system);
        code = run_and_die(s, &scene, at);
        open_and_close(s, &scene);
        bool is_new = is_new_state(s, folder, at);
        if (was_new && !is_new) fail_msg("%s: step %d loses what an earlier one had reached", s->name, at);
        was_new = is_new;
        release(&scene);
    }
    assert_int_equal(code, 0);
    assert_true(was_new);
    assert_true(at > 8);
}

static void survives_a_kill_at_every_step(void **state)
{
    for (int i = 0; i < SITUATIONS; i++)
        for (int file_system = 0; file_system < FILE_SYSTEMS; file_system++)
            die_everywhere(&situations[i], *state, file_system);
}

/* A failing call: success means the new state; an error means the old one at once, unless a file could not be removed
 * or the message says that it is left to the next run. */
static bool fail_at(const struct situation *s, const char *folder, int file_system, int at, int error)
{
    struct lq_error err = {0};
    struct scene scene = prepare(s, folder, file_system);
    faults.fault = FAIL;
    faults.at = at;
    faults.error = error;
    enum lq_status status = run(s, &scene, &err);
    faults.fault = NOTHING;
    bool reached = faults.what != NULL;
    bool left = strstr(err.message, "the next run with this output finishes") != NULL;
    if (status != LQ_OK && err.message[0] == '\0') fail_msg("%s, step %d: no message", s->name, at);
    if (reached && strcmp(faults.what, "unlinkat") != 0 && !left) {
        bool is_new = is_new_state(s, folder, at);
        if (status == LQ_OK) assert_true(is_new);
        else if (is_new) assert_string_equal(faults.what, "fsync");
    }
    open_and_close(s, &scene);
    bool is_new = is_new_state(s, folder, at);
    if (status == LQ_OK || left) assert_true(is_new);
    release(&scene);
    return reached;
}

static void survives_a_failing_call_at_every_step(void **state)
{
    static const int errors[] = {EIO, ENOSPC};
    for (int i = 0; i < SITUATIONS; i++)
        for (int file_system = 0; file_system < FILE_SYSTEMS; file_system++)
            for (size_t e = 0; e < sizeof errors / sizeof *errors; e++) {
                int at = 0;
                while (fail_at(&situations[i], *state, file_system, at, errors[e])) at++;
                assert_true(at > 8 && at < MAX_STEPS);
            }
}

/* Leaves an interrupted replacement of a pair: the record and one or two hidden files. Returns the record's path. */
static char *interrupt(struct scene *scene, const char *folder)
{
    const struct situation *s = &situations[3];
    for (int at = 0; at < MAX_STEPS; at++) {
        *scene = prepare(s, folder, 0);
        run_and_die(s, scene, at);
        char *record = fixture_path(folder, ".l.gguf.lq-commit");
        if (access(record, F_OK) == 0) return record;
        free(record);
        release(scene);
    }
    fail_msg("no record was ever written");
    return NULL;
}

static void another_target_in_the_folder_finishes_the_work_too(void **state)
{
    struct lq_error err = {0};
    struct scene scene;
    char *record = interrupt(&scene, *state), *other = fixture_path(*state, "other.gguf");
    assert_int_equal(fixture_write_one(other, false, '3', &err), LQ_OK);
    assert_state(*state, "l.gguf:2 other.gguf:3 v.gguf:2");
    free(record);
    free(other);
    release(&scene);
}

static void overwrite(const char *path, const char *text, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

/* Every single byte of a record changed, and every shorter length: refused, and no file of the folder touched. */
static void a_damaged_record_is_refused(void **state)
{
    struct scene scene;
    char text[4096], damaged[4096], before[STATE_SIZE], expected[1024];
    char *record = interrupt(&scene, *state);
    FILE *f = fopen(record, "rb");
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    snprintf(expected, sizeof expected,
             "%s: the record of an interrupted run is damaged; look at the files beside it, "
             "then delete it",
             record);
    fixture_state(*state, before);
    for (size_t i = 0; i < 2 * n; i++) {
        struct lq_error err = {0};
        struct lq_output *o = NULL;
        memcpy(damaged, text, n);
        if (i < n) damaged[i] ^= 1;
        overwrite(record, damaged, i < n ? n : i - n);
        assert_int_equal(lq_output_open(&o, (const char *const *)scene.path, 2, true, &err), LQ_ERR_FORMAT);
        assert_string_equal(err.message, expected);
        assert_state(*state, before);
    }
    overwrite(record, text, n);
    open_and_close(&situations[3], &scene);
    assert_state(*state, "l.gguf:2 v.gguf:2");
    free(record);
    release(&scene);
}

static void a_record_whose_file_is_gone_is_refused(void **state)
{
    struct scene scene;
    struct lq_error err = {0};
    struct lq_output *o = NULL;
    char *record = interrupt(&scene, *state), expected[1024];
    struct dirent **entries;
    int n = scandir(*state, &entries, is_no_dot, alphasort);
    for (int i = 0; i < n; i++) {
        char *path = fixture_path(*state, entries[i]->d_name);
        if (strncmp(entries[i]->d_name, ".v.gguf", 7) == 0) assert_int_equal(unlink(path), 0);
        free(path);
        free(entries[i]);
    }
    free(entries);
    assert_int_equal(lq_output_open(&o, (const char *[]){scene.path[1]}, 1, true, &err), LQ_ERR_IO);
    snprintf(expected, sizeof expected,
             "%s: an interrupted run was giving 2 files their names, from 'v.gguf' to 'l.gguf', which cannot be "
             "finished: one of its files is gone; look at the files, then delete this record",
             record);
    assert_string_equal(err.message, expected);
    assert_int_equal(fixture_read(scene.path[0]), '1');
    assert_int_equal(fixture_read(scene.path[1]), '1');
    free(record);
    release(&scene);
}

/* Hidden files of a living run stay, those of a dead one go, and so does nothing else. */
static void only_leftovers_of_dead_runs_are_removed(void **state)
{
    struct lq_error err = {0};
    struct scene scene = prepare(&situations[2], *state, 1);
    static const char *const foreign[] = {".l.gguf.lq-12345", ".l.gguf.lq-1234567", ".l.gguf.lq-12345g",
                                          ".other.lq-123456", "l.gguf.lq-123456"};
    char *dead = fixture_path(*state, ".l.gguf.lq-0a1b2c"), *other;
    struct lq_output *living = NULL;
    for (int i = 0; i < 5; i++) {
        other = fixture_path(*state, foreign[i]);
        overwrite(other, "x", 1);
        free(other);
    }
    overwrite(dead, "x", 1);
    assert_int_equal(lq_output_open(&living, (const char *[]){scene.path[0]}, 1, false, &err), LQ_OK);
    assert_int_equal(fixture_begin(living, 0, &err), LQ_OK);
    assert_int_equal(fixture_write_one(scene.path[1], false, '2', &err), LQ_OK);
    assert_int_equal(access(dead, F_OK), -1);
    assert_int_equal(fixture_fill(living, 0, '3', &err), LQ_OK);
    assert_int_equal(lq_output_commit(living, FIXTURE_ID, &err), LQ_OK);
    lq_output_close(living);
    assert_state(*state, ".l.gguf.lq-12345:? .l.gguf.lq-1234567:? .l.gguf.lq-12345g:? .other.lq-123456:? "
                         "l.gguf:2 l.gguf.lq-123456:? v.gguf:3");
    free(dead);
    release(&scene);
}

/* Two processes that cannot see each other's reservation: a hidden file that is locked is left alone. */
static void a_locked_hidden_file_is_left_alone(void **state)
{
    struct scene scene = prepare(&situations[2], *state, 1);
    struct lq_stage stage;
    int folder = open(*state, O_RDONLY | O_DIRECTORY);
    assert_true(lq_stage_open(&stage, folder, "l.gguf"));
    open_and_close(&situations[2], &scene);
    assert_int_equal(faccessat(folder, stage.name, F_OK, 0), 0);
    lq_stage_discard(&stage);
    close(folder);
    assert_state(*state, "");
    release(&scene);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_remove)
    const struct CMUnitTest tests[] = {
        TEST(survives_a_kill_at_every_step),
        TEST(survives_a_failing_call_at_every_step),
        TEST(another_target_in_the_folder_finishes_the_work_too),
        TEST(a_damaged_record_is_refused),
        TEST(a_record_whose_file_is_gone_is_refused),
        TEST(only_leftovers_of_dead_runs_are_removed),
        TEST(a_locked_hidden_file_is_left_alone),
    };
    return cmocka_run_group_tests_name("write, interrupted", tests, NULL, NULL);
}
