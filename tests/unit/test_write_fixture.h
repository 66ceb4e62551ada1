/* A small pair to write, and a folder whose whole state can be compared. Shared by the test_write programs. */
#ifndef LQ_TEST_WRITE_FIXTURE_H
#define LQ_TEST_WRITE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "source/source.h"
#include "write/write.h"

enum { FIXTURE_COLUMNS = 64, FIXTURE_ROWS = 3, STATE_SIZE = 4096 };

#define FIXTURE_ID "00112233445566778899aabbccddeeff"

static const struct lq_output_tensor fixture_tensors[] = {
    {"a.weight", LQ_TYPE_Q8_0, 2, {FIXTURE_COLUMNS, FIXTURE_ROWS}},
    {"a.bias", LQ_TYPE_F32, 1, {FIXTURE_ROWS}},
};

static inline char *fixture_path(const char *folder, const char *name)
{
    char *path = NULL;
    assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
    return path;
}

/* A new empty folder, as the state of a test. */
static inline int fixture_make(void **state)
{
    const char *base = getenv("TMPDIR");
    char *folder = fixture_path(base != NULL ? base : "/tmp", "lq-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    *state = folder;
    return 0;
}

static inline void fixture_empty(const char *folder)
{
    DIR *dir = opendir(folder);
    if (dir == NULL) return;
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        char *path = fixture_path(folder, e->d_name);
        if (unlink(path) != 0) {
            fixture_empty(path);
            rmdir(path);
        }
        free(path);
    }
    closedir(dir);
}

static inline int fixture_remove(void **state)
{
    fixture_empty(*state);
    rmdir(*state);
    free(*state);
    return 0;
}

static inline enum lq_status fixture_begin(struct lq_output *o, size_t file, struct lq_error *err)
{
    struct lq_kvs kvs = {0};
    assert_int_equal(lq_kvs_set_string(&kvs, "general.architecture", file == 0 ? "clip" : "llama", err), LQ_OK);
    assert_int_equal(lq_kvs_set_string(&kvs, "llava_quantize.pair_id", "................................", err), LQ_OK);
    enum lq_status status = lq_output_begin(o, file, &kvs, fixture_tensors, 2, 32, err);
    lq_kvs_release(&kvs);
    return status;
}

/* Fills both tensors of one file with `fill`. */
static inline enum lq_status fixture_fill(struct lq_output *o, size_t file, char fill, struct lq_error *err)
{
    char data[FIXTURE_ROWS * FIXTURE_COLUMNS / 32 * 34];
    memset(data, fill, sizeof data);
    enum lq_status status = lq_output_write(o, file, 0, 0, data, sizeof data, err);
    if (status == LQ_OK) status = lq_output_write(o, file, 1, 0, data, FIXTURE_ROWS * 4, err);
    return status;
}

/* Writes the files from open to close. */
static inline enum lq_status fixture_write_all(const char *const *paths, size_t n, bool force, char fill,
                                               struct lq_error *err)
{
    struct lq_output *o = NULL;
    enum lq_status status = lq_output_open(&o, paths, n, force, err);
    for (size_t i = 0; i < n && status == LQ_OK; i++) {
        status = fixture_begin(o, i, err);
        if (status == LQ_OK) status = fixture_fill(o, i, fill, err);
    }
    if (status == LQ_OK) status = lq_output_commit(o, FIXTURE_ID, err);
    lq_output_close(o);
    return status;
}

static inline enum lq_status fixture_write(const char *vision, const char *language, bool force, char fill,
                                           struct lq_error *err)
{
    return fixture_write_all((const char *[]){vision, language}, 2, force, fill, err);
}

static inline enum lq_status fixture_write_one(const char *path, bool force, char fill, struct lq_error *err)
{
    return fixture_write_all(&path, 1, force, fill, err);
}

/* The byte that the file's first tensor is filled with; 0 when the file is not one of ours. */
static inline char fixture_read(const char *path)
{
    struct lq_source *s = NULL;
    struct lq_error err = {0};
    char fill = 0, last = 0;
    if (lq_source_open(&s, path, &err) != LQ_OK) return 0;
    const struct lq_source_tensor *t = lq_source_find(s, "a.weight");
    if (t != NULL && lq_source_read(s, t, 0, 1, &fill, &err) == LQ_OK)
        assert_int_equal(lq_source_read(s, t, t->bytes - 1, 1, &last, &err), LQ_OK);
    lq_source_close(s);
    return fill == last ? fill : 0;
}

static inline int is_no_dot(const struct dirent *e)
{
    return strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
}

/* The whole state of a folder in one line, hidden files included: "NAME:FILL NAME:FILL ...", in order of names; a
 * folder within shows as "NAME/(...)". */
static inline void fixture_state(const char *folder, char state[STATE_SIZE])
{
    struct dirent **entries;
    int n = scandir(folder, &entries, is_no_dot, alphasort);
    state[0] = '\0';
    for (int i = 0; i < n; i++) {
        struct stat st;
        char inner[STATE_SIZE], *path = fixture_path(folder, entries[i]->d_name);
        size_t used = strlen(state);
        assert_int_equal(lstat(path, &st), 0);
        if (S_ISDIR(st.st_mode)) fixture_state(path, inner);
        else snprintf(inner, sizeof inner, "%c", fixture_read(path) ? fixture_read(path) : '?');
        snprintf(state + used, STATE_SIZE - used, S_ISDIR(st.st_mode) ? "%s%s/(%s)" : "%s%s:%s", i > 0 ? " " : "",
                 entries[i]->d_name, inner);
        free(path);
        free(entries[i]);
    }
    if (n >= 0) free(entries);
}

static inline void assert_state(const char *folder, const char *expected)
{
    char state[STATE_SIZE];
    fixture_state(folder, state);
    assert_string_equal(state, expected);
}

#endif
