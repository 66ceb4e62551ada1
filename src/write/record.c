#include "write/record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/file.h"
#include "write/stage.h"
#include "write/write.h"

#define TITLE "llava-quantize commit 1 "
#define SUFFIX ".lq-commit"

static const char *const modes[] = {"new", "replace"};

/* A line is shorter than this: two numbers, a name, and what stands between them. */
enum { LINE_BYTES = NAME_MAX + 48, LARGEST = (LQ_OUTPUT_FILES + 2) * LINE_BYTES };

bool lq_record_init(struct lq_record *record, bool replace, size_t n)
{
    *record = (struct lq_record){.replace = replace, .entries = calloc(n, sizeof *record->entries)};
    if (record->entries != NULL) record->n = n;
    return record->entries != NULL;
}

void lq_record_release(struct lq_record *record)
{
    free(record->entries);
    *record = (struct lq_record){0};
}

char *lq_record_format(const struct lq_record *record, size_t *size)
{
    size_t room = (record->n + 2) * LINE_BYTES;
    char *text = malloc(room);
    if (text == NULL) return NULL;
    size_t n = (size_t)snprintf(text, room, TITLE "%s\n", modes[record->replace]);
    for (size_t i = 0; i < record->n; i++) {
        const struct lq_record_entry *e = &record->entries[i];
        const char *digits = e->hidden + strlen(e->hidden) - LQ_HIDDEN_DIGITS;
        n += (size_t)snprintf(text + n, room - n, "%" PRIu64 " %s %s\n", e->inode, digits, e->final);
    }
    uint64_t check = XXH3_64bits(text, n);
    *size = n + (size_t)snprintf(text + n, room - n, "check %016" PRIx64 "\n", check);
    return text;
}

static bool is_file_name(const char *name)
{
    return name[0] != '\0' && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strchr(name, '/') == NULL &&
           strlen(name) <= NAME_MAX - LQ_HIDDEN_EXTRA;
}

/* "INODE DIGITS NAME\n"; returns what follows the line, NULL when it is not of that form. */
static const char *parse_entry(struct lq_record_entry *entry, const char *line)
{
    char *end;
    entry->inode = strtoull(line, &end, 10);
    const char *stop = strchr(line, '\n');
    if (stop == NULL || stop - end < LQ_HIDDEN_DIGITS + 3 || *end != ' ') return NULL;
    const char *digits = end + 1, *name = digits + LQ_HIDDEN_DIGITS + 1;
    if (stop - name > NAME_MAX - LQ_HIDDEN_EXTRA) return NULL;
    snprintf(entry->final, sizeof entry->final, "%.*s", (int)(stop - name), name);
    if (!is_file_name(entry->final)) return NULL;
    snprintf(entry->hidden, sizeof entry->hidden, ".%.*s" LQ_HIDDEN_MARK "%.*s", NAME_MAX - LQ_HIDDEN_EXTRA,
             entry->final, LQ_HIDDEN_DIGITS, digits);
    return lq_is_hidden_name(entry->hidden, entry->final) ? stop + 1 : NULL;
}

/* Reads every line between the title and the check; false when one is malformed or a name stands twice. */
static bool parse_entries(struct lq_record *record, const char *line)
{
    for (size_t i = 0; i < record->n; i++) {
        struct lq_record_entry *e = &record->entries[i];
        line = parse_entry(e, line);
        if (line == NULL) return false;
        for (size_t k = 0; k < i; k++)
            if (strcmp(e->final, record->entries[k].final) == 0) return false;
    }
    return true;
}

static size_t count_lines(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++) n += *text == '\n';
    return n;
}

static bool is_written_as(const struct lq_record *record, const char *text, size_t size)
{
    size_t n = 0;
    char *again = lq_record_format(record, &n);
    bool same = again != NULL && n == size && memcmp(again, text, size) == 0;
    free(again);
    return same;
}

bool lq_record_parse(struct lq_record *out, const char *text, size_t size)
{
    struct lq_record record;
    size_t lines = count_lines(text);
    if (lines < 3 || lines > LQ_OUTPUT_FILES + 2 || strncmp(text, TITLE, strlen(TITLE)) != 0) return false;
    if (!lq_record_init(&record, text[strlen(TITLE)] == modes[1][0], lines - 2)) return false;
    if (parse_entries(&record, strchr(text, '\n') + 1) && is_written_as(&record, text, size)) {
        *out = record;
        return true;
    }
    lq_record_release(&record);
    return false;
}

void lq_record_name(const struct lq_record *record, char name[NAME_MAX + 1])
{
    const char *last = record->entries[record->n - 1].final;
    snprintf(name, NAME_MAX + 1, ".%.*s" SUFFIX, NAME_MAX - LQ_HIDDEN_EXTRA, last);
}

static bool is_file(int folder, const char *name, uint64_t inode)
{
    struct stat st;
    return fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && st.st_ino == inode;
}

static bool is_done(const struct lq_record_entry *e, int folder)
{
    return is_file(folder, e->final, e->inode);
}

static bool can_apply(const struct lq_record *record, int folder)
{
    for (size_t i = 0; i < record->n; i++) {
        const struct lq_record_entry *e = &record->entries[i];
        if (is_done(e, folder)) continue;
        errno = ENOENT;
        if (!is_file(folder, e->hidden, e->inode)) return false;
        errno = EEXIST;
        if (!record->replace && faccessat(folder, e->final, F_OK, AT_SYMLINK_NOFOLLOW) == 0) return false;
    }
    return true;
}

bool lq_record_apply(const struct lq_record *record, int folder)
{
    if (!can_apply(record, folder)) return false;
    for (size_t i = 0; i < record->n; i++) {
        const struct lq_record_entry *e = &record->entries[i];
        if (is_done(e, folder)) continue;
        if (record->replace ? renameat(folder, e->hidden, folder, e->final) != 0
                            : !lq_rename_new(folder, e->hidden, folder, e->final))
            return false;
    }
    return true;
}

bool lq_record_undo(const struct lq_record *record, int folder)
{
    for (size_t i = 0; i < record->n; i++) {
        const struct lq_record_entry *e = &record->entries[i];
        if (is_done(e, folder) && (record->replace || !lq_rename_new(folder, e->final, folder, e->hidden)))
            return false;
    }
    return true;
}

/* Reads, and checks that the record stands under the name it would have. */
static enum lq_status read_record(struct lq_record *out, int fd, const char *folder_path, const char *name,
                                  struct lq_error *err)
{
    struct stat st;
    char path[sizeof err->message], expected[NAME_MAX + 1], *text = NULL;
    enum lq_status status = LQ_OK;
    snprintf(path, sizeof path, "%s/%s", folder_path, name);
    bool sound = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= LARGEST;
    if (sound && (text = calloc(1, (size_t)st.st_size + 1)) == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "%s: not enough memory", path);
    if (sound) status = lq_file_read(fd, path, 0, text, (uint64_t)st.st_size, err);
    if (status != LQ_OK) goto done;
    struct lq_record record = {0};
    sound = sound && lq_record_parse(&record, text, (size_t)st.st_size);
    if (sound) lq_record_name(&record, expected);
    if (sound && strcmp(name, expected) == 0) {
        *out = record;
    } else {
        lq_record_release(&record);
        status = lq_error_set(err, LQ_ERR_FORMAT,
                              "%s: the record of an interrupted run is damaged; look at the files beside it, then "
                              "delete it",
                              path);
    }
done:
    free(text);
    return status;
}

static enum lq_status finish(const struct lq_record *record, int folder, const char *folder_path, const char *name,
                             struct lq_error *err)
{
    if (lq_record_apply(record, folder) && lq_sync_folder(folder)) {
        unlinkat(folder, name, 0);
        return LQ_OK;
    }
    int error = errno;
    const char *why = error == ENOENT   ? "one of its files is gone"
                      : error == EEXIST ? "another file has taken the name by now"
                                        : strerror(error);
    return lq_error_set(err, LQ_ERR_IO,
                        "%s/%s: an interrupted run was giving %zu files their names, from '%s' to '%s', which cannot "
                        "be finished: %s; look at the files, then delete this record",
                        folder_path, name, record->n, record->entries[0].final, record->entries[record->n - 1].final,
                        why);
}

static enum lq_status recover(int folder, const char *folder_path, const char *name, struct lq_error *err)
{
    struct stat st;
    struct lq_record record;
    enum lq_status status = LQ_OK;
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return LQ_OK;
    /* Once locked it must still be there: another run may have finished it meanwhile. */
    if (lq_lock_open_file(fd) && fstat(fd, &st) == 0 && is_file(folder, name, st.st_ino)) {
        status = read_record(&record, fd, folder_path, name, err);
        if (status == LQ_OK) {
            status = finish(&record, folder, folder_path, name, err);
            lq_record_release(&record);
        }
    }
    close(fd);
    return status;
}

static bool is_record_name(const char *name)
{
    size_t n = strlen(name);
    return name[0] == '.' && n > strlen(SUFFIX) && strcmp(name + n - strlen(SUFFIX), SUFFIX) == 0;
}

enum lq_status lq_record_recover(int folder, const char *folder_path, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        if (fd >= 0) close(fd);
        return lq_error_set(err, LQ_ERR_IO, "%s: cannot list the folder: %s", folder_path, strerror(errno));
    }
    for (struct dirent *e = readdir(dir); e != NULL && status == LQ_OK; e = readdir(dir))
        if (is_record_name(e->d_name)) status = recover(folder, folder_path, e->d_name, err);
    closedir(dir);
    return status;
}
