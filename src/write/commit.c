#include "write/commit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
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

static bool name_all(const struct lq_place *place, struct lq_stage stage[LQ_HALVES], int folder)
{
    for (int half = 0; half < LQ_HALVES; half++)
        if (place->name[half] != NULL && !lq_stage_name(&stage[half], folder, place->name[half])) return false;
    return lq_sync_folder(folder);
}

static enum lq_status commit_new_folder(const struct lq_place *place, struct lq_stage stage[LQ_HALVES],
                                        struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    char hidden[NAME_MAX + 1];
    int folder = make_hidden_folder(place, hidden);
    if (folder < 0) return lq_place_error(place, "make folder", err);
    if (!name_all(place, stage, folder) || renameat(place->parent, hidden, place->parent, place->folder_name) != 0) {
        status = lq_place_error(place, "make folder", err);
        for (int half = 0; half < LQ_HALVES; half++)
            if (place->name[half] != NULL) unlinkat(folder, place->name[half], 0);
        unlinkat(place->parent, hidden, AT_REMOVEDIR);
    } else if (!lq_sync_folder(place->parent)) status = lq_place_error(place, "sync the folder that holds", err);
    close(folder);
    return status;
}

static enum lq_status commit_single(const struct lq_place *place, struct lq_stage stage[LQ_HALVES], bool force,
                                    struct lq_error *err)
{
    enum lq_half half = place->name[LQ_VISION] != NULL ? LQ_VISION : LQ_LANGUAGE;
    bool ok = force ? lq_stage_replace(&stage[half], place->folder, place->name[half])
                    : lq_stage_name(&stage[half], place->folder, place->name[half]);
    if (!ok) return naming_error(place, err);
    return lq_sync_folder(place->folder) ? LQ_OK : lq_place_error(place, "sync folder", err);
}

/* Hides both files and describes them. */
static bool prepare(struct lq_record *record, const struct lq_place *place, struct lq_stage stage[LQ_HALVES])
{
    for (int half = 0; half < LQ_HALVES; half++) {
        struct lq_record_entry *e = &record->entries[half];
        struct stat st;
        if (!lq_stage_hide(&stage[half], place->folder, place->name[half]) || fstat(stage[half].fd, &st) != 0)
            return false;
        e->inode = st.st_ino;
        memcpy(e->hidden, stage[half].name, sizeof e->hidden);
        strcpy(e->final, place->name[half]);
    }
    return lq_sync_folder(place->folder);
}

/* Makes the record appear with its content synced. The caller discards *stage, which also unlocks it. */
static bool publish(const struct lq_record *record, const struct lq_place *place, struct lq_stage *stage,
                    const char *name)
{
    char text[LQ_RECORD_MAX];
    size_t size = lq_record_format(record, text);
    if (!lq_stage_open(stage, place->folder, place->name[LQ_LANGUAGE])) return false;
    if (lq_file_write(stage->fd, name, 0, text, size, NULL) != LQ_OK || fsync(stage->fd) != 0) return false;
    return lq_stage_name(stage, place->folder, name);
}

static void leave_to_record(struct lq_stage stage[LQ_HALVES])
{
    for (int half = 0; half < LQ_HALVES; half++) stage[half].name[0] = '\0';
}

/* Once the record itself is on disk the renames follow. What fails before a file was replaced is taken back. */
static enum lq_status rename_recorded(const struct lq_record *record, const struct lq_place *place,
                                      struct lq_stage stage[LQ_HALVES], const char *name, struct lq_error *err)
{
    int folder = place->folder;
    if (lq_sync_folder(folder) && lq_record_apply(record, folder) && lq_sync_folder(folder)) {
        leave_to_record(stage);
        unlinkat(folder, name, 0);
        return LQ_OK;
    }
    enum lq_status status = naming_error(place, err);
    if (lq_record_undo(record, folder) && unlinkat(folder, name, 0) == 0) return status;
    leave_to_record(stage);
    return lq_error_prefix(err, "%s: the new files are kept, and the next run with this output finishes the work",
                           place->path[LQ_LANGUAGE]);
}

static enum lq_status commit_pair(const struct lq_place *place, struct lq_stage stage[LQ_HALVES], bool force,
                                  struct lq_error *err)
{
    enum lq_status status;
    struct lq_stage record_stage = LQ_STAGE_NONE;
    struct lq_record record = {.replace = force};
    char name[NAME_MAX + 1];
    if (!prepare(&record, place, stage)) return naming_error(place, err);
    lq_record_name(&record, name);
    if (publish(&record, place, &record_stage, name)) status = rename_recorded(&record, place, stage, name, err);
    else status = lq_place_error(place, "record the commit in", err);
    lq_stage_discard(&record_stage);
    return status;
}

enum lq_status lq_commit(struct lq_place *place, struct lq_stage stage[LQ_HALVES], bool force, struct lq_error *err)
{
    lq_place_refresh(place);
    enum lq_status status = lq_place_check(place, force, err);
    if (status != LQ_OK) return status;
    if (place->folder < 0) return commit_new_folder(place, stage, err);
    if (place->name[LQ_VISION] == NULL || place->name[LQ_LANGUAGE] == NULL)
        return commit_single(place, stage, force, err);
    return commit_pair(place, stage, force, err);
}
