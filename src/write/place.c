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

static const char *first_path(const struct lq_place *place)
{
    return place->path[0] != NULL ? place->path[0] : place->path[1];
}

enum lq_status lq_place_error(const struct lq_place *place, const char *what, struct lq_error *err)
{
    static const struct { int error; const char *remedy; } remedies[] = {
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

static enum lq_status take_path(struct lq_place *place, int half, const char *path, struct lq_error *err)
{
    const char *name;
    char *folder = split(path, &name);
    place->path[half] = strdup(path);
    place->name[half] = strdup(name);
    enum lq_status status = check_name(path, name, err);
    if (folder == NULL || place->path[half] == NULL || place->name[half] == NULL) status = no_memory(path, err);
    if (status != LQ_OK || place->folder_path == NULL) {
        place->folder_path = folder;
        return status;
    }
    if (strcmp(folder, place->folder_path) != 0)
        status = lq_error_set(err, LQ_ERR_USAGE, "%s: both files go into one folder, but the other one goes into '%s'",
                              path, place->folder_path);
    else if (strcmp(place->name[0], place->name[1]) == 0)
        status = lq_error_set(err, LQ_ERR_USAGE, "%s: both files have this name", path);
    free(folder);
    return status;
}

static enum lq_status take_paths(struct lq_place *place, const char *const path[LQ_HALVES], struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (int half = 0; half < LQ_HALVES && status == LQ_OK; half++)
        if (path[half] != NULL) status = take_path(place, half, path[half], err);
    if (status == LQ_OK && place->folder_path == NULL)
        status = lq_error_set(err, LQ_ERR_USAGE, "no output path was given");
    return status;
}

static int open_folder(const char *path)
{
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* The folder does not exist: opens its parent instead. */
static enum lq_status open_parent(struct lq_place *place, struct lq_error *err)
{
    struct stat st;
    if (lstat(place->folder_path, &st) == 0)
        return lq_error_set(err, LQ_ERR_IO, "%s: '%s' is a symbolic link to nothing", first_path(place),
                            place->folder_path);
    const char *name;
    char *parent = split(place->folder_path, &name);
    if (parent == NULL) return no_memory(place->folder_path, err);
    enum lq_status status = LQ_OK;
    place->parent = open_folder(parent);
    if (place->parent < 0)
        status = lq_error_set(err, LQ_ERR_IO, "%s: cannot open folder '%s': %s; make it first or choose another one",
                              first_path(place), parent, strerror(errno));
    else if ((place->folder_name = strdup(name)) == NULL) status = no_memory(place->folder_path, err);
    else status = check_name(place->folder_path, name, err);
    free(parent);
    return status;
}

static enum lq_status open_place(struct lq_place *place, struct lq_error *err)
{
    place->folder = open_folder(place->folder_path);
    if (place->folder >= 0) return LQ_OK;
    if (errno == ENOENT) return open_parent(place, err);
    if (errno == ENOTDIR)
        return lq_error_set(err, LQ_ERR_IO, "%s: '%s' is not a folder", first_path(place), place->folder_path);
    return lq_place_error(place, "open folder", err);
}

/* Reserves the final names, or the name of the folder that is to be made. */
static enum lq_status reserve(struct lq_place *place, struct lq_error *err)
{
    for (int half = 0; half < LQ_HALVES; half++) {
        const char *name = place->folder_name != NULL ? place->folder_name : place->name[half];
        bool again = half > 0 && place->folder_name != NULL;
        if (name == NULL || again) continue;
        if (!lq_reserve(&place->reservation[half], lq_place_stage_folder(place), name))
            return lq_error_set(err, LQ_ERR_IO,
                                "%s: another run is writing there; wait for it to end or choose another output",
                                place->folder_name != NULL ? place->folder_path : place->path[half]);
    }
    return LQ_OK;
}

static enum lq_status try_writing(const struct lq_place *place, struct lq_error *err)
{
    struct lq_stage stage;
    enum lq_half half = place->name[LQ_VISION] != NULL ? LQ_VISION : LQ_LANGUAGE;
    if (!lq_stage_open(&stage, lq_place_stage_folder(place), lq_place_label(place, half)))
        return lq_place_error(place, place->folder >= 0 ? "write into folder" : "make folder", err);
    lq_stage_discard(&stage);
    return LQ_OK;
}

/* Empties a hidden folder of a killed run; what is no plain file stays, and with it the folder. */
static void remove_hidden_folder(int parent, int folder, const char *name)
{
    DIR *dir = fdopendir(folder);
    if (dir == NULL) {
        close(folder);
        return;
    }
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        if (e->d_name[0] != '.') unlinkat(folder, e->d_name, 0);
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
            remove_hidden_folder(parent, fd, name);
            return;
        }
        if (S_ISREG(st.st_mode)) unlinkat(parent, name, 0);
    }
    close(fd);
}

static bool is_ours(const struct lq_place *place, const char *name)
{
    if (place->folder_name != NULL) return lq_is_hidden_name(name, place->folder_name);
    for (int half = 0; half < LQ_HALVES; half++)
        if (place->name[half] != NULL && lq_is_hidden_name(name, place->name[half])) return true;
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
    for (int half = 0; half < LQ_HALVES && status == LQ_OK; half++)
        if (place->folder >= 0 && place->name[half] != NULL)
            status = check_path(place->folder, place->path[half], place->name[half], force, err);
    return status;
}

enum lq_status lq_place_open(struct lq_place *out, const char *const path[LQ_HALVES], bool force, struct lq_error *err)
{
    struct lq_place place = {.folder = -1, .parent = -1, .reservation = {-1, -1}};
    enum lq_status status = take_paths(&place, path, err);
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

void lq_place_close(struct lq_place *place)
{
    for (int half = 0; half < LQ_HALVES; half++) {
        free(place->path[half]);
        free(place->name[half]);
        if (place->reservation[half] >= 0) close(place->reservation[half]);
    }
    free(place->folder_path);
    free(place->folder_name);
    if (place->folder >= 0) close(place->folder);
    if (place->parent >= 0) close(place->parent);
    *place = (struct lq_place){.folder = -1, .parent = -1, .reservation = {-1, -1}};
}

int lq_place_stage_folder(const struct lq_place *place)
{
    return place->folder_name != NULL ? place->parent : place->folder;
}

const char *lq_place_label(const struct lq_place *place, enum lq_half half)
{
    return place->folder_name != NULL ? place->folder_name : place->name[half];
}

void lq_place_refresh(struct lq_place *place)
{
    if (place->folder < 0)
        place->folder = openat(place->parent, place->folder_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}
