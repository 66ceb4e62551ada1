#include "write/commit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "write/record.h"

/* A failed naming, by errno. */
static enum lq_status naming_error(const struct lq_place *place, struct lq_error *err)
{
    int error = errno;
    if (error == EEXIST && lq_place_check(place, false, err) != LQ_OK) return LQ_ERR_USAGE;
    errno = error;
    return lq_place_error(place, "give the files their names in", err);
}

/* Makes, opens and locks the hidden sibling of a missing folder. */
static int make_hidden_folder(const struct lq_place *place, char name[NAME_MAX + 1])
{
    if (!lq_hidden_name(name, place->folder_name) || mkdirat(place->parent, name, 0777) != 0) return -1;
    int folder = openat(place->parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int error = errno;
    if (folder >= 0) lq_lock_open_file(folder);
    else unlinkat(place->parent, name, AT_REMOVEDIR);
    errno = error;
    return folder;
}

/* Makes the folders of `path` ("b/c") in an open one. Returns the last, or `top` itself where the path is empty. */
static int make_folders(int top, const char *path)
{
    int folder = top;
    for (path += strspn(path, "/"); *path != '\0' && folder >= 0; path += strspn(path, "/")) {
        char name[NAME_MAX + 1];
        size_t n = strcspn(path, "/");
        int above = folder;
        snprintf(name, sizeof name, "%.*s", (int)n, path);
        path += n;
        bool made = (mkdirat(above, name, 0777) == 0 || errno == EEXIST) && lq_sync_folder(above);
        folder = made ? openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
        if (above != top) close(above);
    }
    return folder;
}

static bool name_all(const struct lq_place *place, struct lq_stage *stage, int top)
{
    int folder = make_folders(top, place->missing + strlen(place->folder_name));
    bool ok = folder >= 0;
    for (size_t i = 0; i < place->n && ok; i++) ok = lq_stage_name(&stage[i], folder, place->files[i].name);
    ok = ok && lq_sync_folder(folder);
    int error = errno;
    if (folder >= 0 && folder != top) close(folder);
    errno = error;
    return ok;
}

static enum lq_status commit_new_folder(const struct lq_place *place, struct lq_stage *stage, struct lq_error *err)
{
    char hidden[NAME_MAX + 1];
    int folder = make_hidden_folder(place, hidden);
    if (folder < 0) return lq_place_error(place, "make folder", err);
    if (!name_all(place, stage, folder) || renameat(place->parent, hidden, place->parent, place->folder_name) != 0) {
        enum lq_status status = lq_place_error(place, "make folder", err);
        lq_place_remove_folder(place->parent, folder, hidden);
        return status;
    }
    close(folder);
    return lq_sync_folder(place->parent) ? LQ_OK : lq_place_error(place, "sync the folder that holds", err);
}

static enum lq_status commit_single(const struct lq_place *place, struct lq_stage *stage, bool force,
                                    struct lq_error *err)
{
    const char *name = place->files[0].name;
    bool ok = force ? lq_stage_replace(stage, place->folder, name) : lq_stage_name(stage, place->folder, name);
    if (!ok) return naming_error(place, err);
    return lq_sync_folder(place->folder) ? LQ_OK : lq_place_error(place, "sync folder", err);
}

/* Hides the files and describes them. */
static bool prepare(struct lq_record *record, const struct lq_place *place, struct lq_stage *stage)
{
    for (size_t i = 0; i < place->n; i++) {
        struct lq_record_entry *e = &record->entries[i];
        const char *name = place->files[i].name;
        struct stat st;
        if (!lq_stage_hide(&stage[i], place->folder, name) || fstat(stage[i].fd, &st) != 0) return false;
        e->inode = st.st_ino;
        memcpy(e->hidden, stage[i].name, sizeof e->hidden);
        strcpy(e->final, name);
    }
    return lq_sync_folder(place->folder);
}

/* Makes the record appear with its content synced. The caller discards *stage, which also unlocks it. */
static bool publish(const struct lq_record *record, const struct lq_place *place, struct lq_stage *stage,
                    const char *name)
{
    size_t size;
    char *text = lq_record_format(record, &size);
    bool ok = text != NULL && lq_stage_open(stage, place->folder, place->files[place->n - 1].name) &&
              lq_file_write(stage->fd, name, 0, text, size, NULL) == LQ_OK && fsync(stage->fd) == 0;
    free(text);
    return ok && lq_stage_name(stage, place->folder, name);
}

static void leave_to_record(const struct lq_place *place, struct lq_stage *stage)
{
    for (size_t i = 0; i < place->n; i++) stage[i].name[0] = '\0';
}

/* Once the record itself is on disk the renames follow. What fails before a file was replaced is taken back. */
static enum lq_status rename_recorded(const struct lq_record *record, const struct lq_place *place,
                                      struct lq_stage *stage, const char *name, struct lq_error *err)
{
    int folder = place->folder;
    if (lq_sync_folder(folder) && lq_record_apply(record, folder) && lq_sync_folder(folder)) {
        leave_to_record(place, stage);
        unlinkat(folder, name, 0);
        return LQ_OK;
    }
    enum lq_status status = naming_error(place, err);
    if (lq_record_undo(record, folder) && unlinkat(folder, name, 0) == 0) return status;
    leave_to_record(place, stage);
    return lq_error_prefix(err, "%s: the new files are kept, and the next run with this output finishes the work",
                           place->files[place->n - 1].path);
}

static enum lq_status commit_together(const struct lq_place *place, struct lq_stage *stage, bool force,
                                      struct lq_error *err)
{
    enum lq_status status;
    struct lq_stage record_stage = LQ_STAGE_NONE;
    struct lq_record record;
    char name[NAME_MAX + 1];
    if (!lq_record_init(&record, force, place->n))
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the record of %zu files", place->n);
    if (!prepare(&record, place, stage)) {
        status = naming_error(place, err);
        goto done;
    }
    lq_record_name(&record, name);
    if (publish(&record, place, &record_stage, name)) status = rename_recorded(&record, place, stage, name, err);
    else status = lq_place_error(place, "record the commit in", err);
    lq_stage_discard(&record_stage);
done:
    lq_record_release(&record);
    return status;
}

enum lq_status lq_commit(struct lq_place *place, struct lq_stage *stage, bool force, struct lq_error *err)
{
    lq_place_refresh(place);
    enum lq_status status = lq_place_check(place, force, err);
    if (status != LQ_OK) return status;
    if (place->folder < 0) return commit_new_folder(place, stage, err);
    if (place->n == 1) return commit_single(place, stage, force, err);
    return commit_together(place, stage, force, err);
}
