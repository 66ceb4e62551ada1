#include "write/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "write/record.h"
#include "write/reserve.h"
#include "write/stage.h"
#include "write/write.h"

static const char *first_path(const struct lq_place *place)
{
    return place->files[0].path;
}

enum lq_status lq_place_error(const struct lq_place *place, const char *what, struct lq_error *err)
{
    static const struct {
        int error;
        const char *remedy;
    } remedies[] = {
        {ENOSPC, "; free some space or choose another folder"},
        {EDQUOT, "; free some of your quota or choose another folder"},
        {EACCES, "; choose a folder that you may write to"},
        {EPERM, "; choose a folder that you may write to"},
        {EROFS, "; choose a folder that can be written to"},
    };
    int error = errno;
    const char *remedy = "";
    for (size_t i = 0; i < sizeof remedies / sizeof *remedies; i++)
        if (remedies[i].error == error) remedy = remedies[i].remedy;
    return lq_error_set(err, LQ_ERR_IO, "%s: cannot %s '%s': %s%s", first_path(place), what, place->folder_path,
                        strerror(error), remedy);
}

static enum lq_status no_memory(const char *path, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for the path", path);
}

/* Splits "a/b//c" into "a/b", to be freed, and "c", which points into `path`. "c" lies in "." and "/c" in "/". */
static char *split(const char *path, const char **name)
{
    const char *slash = strrchr(path, '/');
    *name = slash == NULL ? path : slash + 1;
    if (slash == NULL) return strdup(".");
    while (slash > path && slash[-1] == '/') slash--;
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

static enum lq_status check_name(const char *path, const char *name, struct lq_error *err)
{
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: is the path of a folder, expected that of a file", path);
    if (strlen(name) > NAME_MAX - LQ_HIDDEN_EXTRA)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: a file name of %zu bytes, expected at most %d", path, strlen(name),
                            NAME_MAX - LQ_HIDDEN_EXTRA);
    for (const char *c = name; *c != '\0'; c++)
        if ((unsigned char)*c < ' ')
            return lq_error_set(err, LQ_ERR_USAGE, "%s: control character %d in the file name", path, *c);
    return LQ_OK;
}

static enum lq_status take_path(struct lq_place *place, const char *path, struct lq_error *err)
{
    const char *name;
    char *folder = split(path, &name);
    struct lq_place_file *file = &place->files[place->n++];
    *file = (struct lq_place_file){strdup(path), strdup(name), -1};
    enum lq_status status = check_name(path, name, err);
    if (folder == NULL || file->path == NULL || file->name == NULL) status = no_memory(path, err);
    if (place->folder_path == NULL) {
        place->folder_path = folder;
        return status;
    }
    if (status == LQ_OK && strcmp(folder, place->folder_path) != 0)
        status = lq_error_set(err, LQ_ERR_USAGE, "%s: all files go into one folder, but others go into '%s'", path,
                              place->folder_path);
    for (size_t i = 0; i + 1 < place->n && status == LQ_OK; i++)
        if (strcmp(place->files[i].name, name) == 0)
            status = lq_error_set(err, LQ_ERR_USAGE, "%s: two files have this name", path);
    free(folder);
    return status;
}

static enum lq_status take_paths(struct lq_place *place, const char *const *paths, size_t n, struct lq_error *err)
{
    if (n == 0) return lq_error_set(err, LQ_ERR_USAGE, "no output path was given");
    if (n > LQ_OUTPUT_FILES)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: %zu files, expected at most %d", paths[0], n, LQ_OUTPUT_FILES);
    place->files = calloc(n, sizeof *place->files);
    enum lq_status status = place->files != NULL ? LQ_OK : no_memory(paths[0], err);
    for (size_t i = 0; i < n && status == LQ_OK; i++) status = take_path(place, paths[i], err);
    return status;
}

static int open_folder(const char *path)
{
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static enum lq_status check_missing(const struct lq_place *place, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (const char *p = place->missing; status == LQ_OK && *p != '\0'; p += strspn(p, "/")) {
        size_t n = strcspn(p, "/");
        char *name = strndup(p, n);
        p += n;
        if (name == NULL) status = no_memory(place->folder_path, err);
        else if (strcmp(name, "..") == 0)
            status =
                lq_error_set(err, LQ_ERR_IO, "%s: '%s' goes up from a folder that is missing; write it without '..'",
                             first_path(place), place->folder_path);
        else if (strcmp(name, ".") != 0) status = check_name(place->folder_path, name, err);
        free(name);
    }
    return status;
}

/* `path`, which begins the folder's path, is missing: opens the nearest folder above it. */
static enum lq_status open_above(struct lq_place *place, const char *path, struct lq_error *err)
{
    struct stat st;
    if (lstat(path, &st) == 0)
        return lq_error_set(err, LQ_ERR_IO, "%s: '%s' is a symbolic link to nothing", first_path(place), path);
    const char *name;
    char *above = split(path, &name);
    if (above == NULL) return no_memory(path, err);
    enum lq_status status = LQ_OK;
    place->parent = open_folder(above);
    if (place->parent >= 0) {
        place->folder_name = strdup(name);
        place->missing = strdup(place->folder_path + (name - path));
        if (place->folder_name == NULL || place->missing == NULL) status = no_memory(path, err);
        else status = check_missing(place, err);
    } else if (errno == ENOENT && name != path) status = open_above(place, above, err);
    else
        status =
            lq_error_set(err, LQ_ERR_IO, "%s: cannot open folder '%s': %s", first_path(place), above, strerror(errno));
    free(above);
    return status;
}

static enum lq_status open_place(struct lq_place *place, struct lq_error *err)
{
    place->folder = open_folder(place->folder_path);
    if (place->folder >= 0) return LQ_OK;
    if (errno == ENOENT) return open_above(place, place->folder_path, err);
    if (errno == ENOTDIR)
        return lq_error_set(err, LQ_ERR_IO, "%s: '%s' is not a folder", first_path(place), place->folder_path);
    return lq_place_error(place, "open folder", err);
}

static enum lq_status reserve_name(const struct lq_place *place, int *out, const char *name, const char *path,
                                   struct lq_error *err)
{
    if (lq_reserve(out, lq_place_stage_folder(place), name)) return LQ_OK;
    return lq_error_set(err, LQ_ERR_IO, "%s: another run is writing there; wait for it to end or choose another output",
                        path);
}

/* Reserves the final names, or the name of the folder that is to be made. */
static enum lq_status reserve(struct lq_place *place, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    if (place->folder_name != NULL)
        return reserve_name(place, &place->folder_reservation, place->folder_name, place->folder_path, err);
    for (size_t i = 0; i < place->n && status == LQ_OK; i++)
        status = reserve_name(place, &place->files[i].reservation, place->files[i].name, place->files[i].path, err);
    return status;
}

static enum lq_status try_writing(const struct lq_place *place, struct lq_error *err)
{
    struct lq_stage stage;
    if (!lq_stage_open(&stage, lq_place_stage_folder(place), lq_place_label(place, 0)))
        return lq_place_error(place, place->folder >= 0 ? "write into folder" : "make folder", err);
    lq_stage_discard(&stage);
    return LQ_OK;
}

void lq_place_remove_folder(int parent, int folder, const char *name)
{
    DIR *dir = fdopendir(folder);
    if (dir == NULL) {
        close(folder);
        return;
    }
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        int below = openat(folder, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below >= 0) lq_place_remove_folder(folder, below, e->d_name);
        else unlinkat(folder, e->d_name, 0);
    }
    closedir(dir);
    unlinkat(parent, name, AT_REMOVEDIR);
}

/* Removes a hidden file or folder unless a living run holds its lock. */
static void remove_if_stale(int parent, const char *name)
{
    struct stat st;
    int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return;
    if (fstat(fd, &st) == 0 && lq_lock_open_file(fd)) {
        if (S_ISDIR(st.st_mode)) {
            lq_place_remove_folder(parent, fd, name);
            return;
        }
        if (S_ISREG(st.st_mode)) unlinkat(parent, name, 0);
    }
    close(fd);
}

static bool is_ours(const struct lq_place *place, const char *name)
{
    if (place->folder_name != NULL) return lq_is_hidden_name(name, place->folder_name);
    for (size_t i = 0; i < place->n; i++)
        if (lq_is_hidden_name(name, place->files[i].name)) return true;
    return false;
}

static void remove_leftovers(const struct lq_place *place)
{
    int folder = lq_place_stage_folder(place);
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        if (fd >= 0) close(fd);
        return;
    }
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        if (is_ours(place, e->d_name)) remove_if_stale(folder, e->d_name);
    closedir(dir);
}

static enum lq_status check_path(int folder, const char *path, const char *name, bool force, struct lq_error *err)
{
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return LQ_OK;
    if (S_ISDIR(st.st_mode))
        return lq_error_set(err, LQ_ERR_USAGE, "%s: is a folder, expected the path of a file", path);
    if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
        return lq_error_set(err, LQ_ERR_USAGE, "%s: not a regular file", path);
    if (!force) return lq_error_set(err, LQ_ERR_USAGE, "%s: already exists; --force replaces it", path);
    return LQ_OK;
}

enum lq_status lq_place_check(const struct lq_place *place, bool force, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t i = 0; place->folder >= 0 && i < place->n && status == LQ_OK; i++)
        status = check_path(place->folder, place->files[i].path, place->files[i].name, force, err);
    return status;
}

static const struct lq_place closed = {.folder_reservation = -1, .folder = -1, .parent = -1};

enum lq_status lq_place_open(struct lq_place *out, const char *const *paths, size_t n, bool force, struct lq_error *err)
{
    struct lq_place place = closed;
    enum lq_status status = take_paths(&place, paths, n, err);
    if (status == LQ_OK) status = open_place(&place, err);
    if (status == LQ_OK) status = reserve(&place, err);
    if (status == LQ_OK) status = try_writing(&place, err);
    if (status == LQ_OK && place.folder >= 0) status = lq_record_recover(place.folder, place.folder_path, err);
    if (status == LQ_OK) remove_leftovers(&place);
    if (status == LQ_OK) status = lq_place_check(&place, force, err);
    if (status == LQ_OK) *out = place;
    else lq_place_close(&place);
    return status;
}

static void close_if_open(int fd)
{
    if (fd >= 0) close(fd);
}

void lq_place_close(struct lq_place *place)
{
    for (size_t i = 0; i < place->n; i++) {
        free(place->files[i].path);
        free(place->files[i].name);
        close_if_open(place->files[i].reservation);
    }
    free(place->files);
    free(place->folder_path);
    free(place->folder_name);
    free(place->missing);
    close_if_open(place->folder_reservation);
    close_if_open(place->folder);
    close_if_open(place->parent);
    *place = closed;
}

int lq_place_stage_folder(const struct lq_place *place)
{
    return place->folder_name != NULL ? place->parent : place->folder;
}

const char *lq_place_label(const struct lq_place *place, size_t file)
{
    return place->folder_name != NULL ? place->folder_name : place->files[file].name;
}

void lq_place_refresh(struct lq_place *place)
{
    if (place->folder < 0) place->folder = openat(place->parent, place->missing, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}
