#include "write/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

enum { MAX_TRIES = 100 };

bool lq_hidden_name(char name[NAME_MAX + 1], const char *label)
{
    uint32_t random = 0;
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) return false;
    int n = snprintf(name, NAME_MAX + 1, ".%s" LQ_HIDDEN_MARK "%06x", label, (unsigned)(random & 0xffffff));
    if (n <= NAME_MAX) return true;
    errno = ENAMETOOLONG;
    return false;
}

bool lq_is_hidden_name(const char *name, const char *label)
{
    size_t n = strlen(label);
    if (strlen(name) != n + LQ_HIDDEN_EXTRA || name[0] != '.' || memcmp(name + 1, label, n) != 0) return false;
    const char *mark = name + 1 + n;
    return memcmp(mark, LQ_HIDDEN_MARK, strlen(LQ_HIDDEN_MARK)) == 0 &&
           strspn(mark + strlen(LQ_HIDDEN_MARK), "0123456789abcdef") == LQ_HIDDEN_DIGITS;
}

bool lq_lock_open_file(int fd)
{
    return flock(fd, LOCK_EX | LOCK_NB) == 0;
}

bool lq_sync_folder(int folder)
{
    return fsync(folder) == 0 || errno == EINVAL || errno == EOPNOTSUPP;
}

/* Naming an unnamed file goes through /proc, which a chroot may lack. */
static int open_unnamed(int folder)
{
    if (access("/proc/self/fd", X_OK) != 0) return -1;
    return openat(folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
}

static int open_hidden(int folder, const char *label, char name[NAME_MAX + 1])
{
    for (int i = 0; i < MAX_TRIES; i++) {
        if (!lq_hidden_name(name, label)) return -1;
        int fd = openat(folder, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST) return fd;
    }
    return -1;
}

bool lq_stage_open(struct lq_stage *out, int folder, const char *label)
{
    struct lq_stage stage = {.fd = open_unnamed(folder), .folder = folder};
    if (stage.fd < 0) stage.fd = open_hidden(folder, label, stage.name);
    if (stage.fd < 0) return false;
    lq_lock_open_file(stage.fd);
    *out = stage;
    return true;
}

/* For file systems without RENAME_NOREPLACE: a second link is refused when the name is taken. Where links are unknown
 * too (FAT) nothing atomic is left, and a look must do. */
static bool rename_by_link(int from_folder, const char *from, int to_folder, const char *to)
{
    if (linkat(from_folder, from, to_folder, to, 0) == 0) {
        if (unlinkat(from_folder, from, 0) == 0) return true;
        int error = errno;
        unlinkat(to_folder, to, 0);
        errno = error;
        return false;
    }
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS) return false;
    if (faccessat(to_folder, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        errno = EEXIST;
        return false;
    }
    return renameat(from_folder, from, to_folder, to) == 0;
}

bool lq_rename_new(int from_folder, const char *from, int to_folder, const char *to)
{
    if (renameat2(from_folder, from, to_folder, to, RENAME_NOREPLACE) == 0) return true;
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) return false;
    return rename_by_link(from_folder, from, to_folder, to);
}

static bool link_unnamed(int fd, int folder, const char *name)
{
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, self, folder, name, AT_SYMLINK_FOLLOW) == 0;
}

static bool move_to(struct lq_stage *stage, int folder, const char *name)
{
    if (stage->name[0] == '\0') return link_unnamed(stage->fd, folder, name);
    return lq_rename_new(stage->folder, stage->name, folder, name);
}

bool lq_stage_hide(struct lq_stage *stage, int folder, const char *label)
{
    if (stage->name[0] != '\0' && stage->folder == folder) return true;
    for (int i = 0; i < MAX_TRIES; i++) {
        char name[NAME_MAX + 1];
        if (!lq_hidden_name(name, label)) return false;
        if (move_to(stage, folder, name)) {
            memcpy(stage->name, name, sizeof name);
            stage->folder = folder;
            return true;
        }
        if (errno != EEXIST) return false;
    }
    return false;
}

bool lq_stage_name(struct lq_stage *stage, int folder, const char *name)
{
    if (!move_to(stage, folder, name)) return false;
    stage->name[0] = '\0';
    return true;
}

bool lq_stage_replace(struct lq_stage *stage, int folder, const char *name)
{
    if (!lq_stage_hide(stage, folder, name) || renameat(folder, stage->name, folder, name) != 0) return false;
    stage->name[0] = '\0';
    return true;
}

void lq_stage_discard(struct lq_stage *stage)
{
    if (stage->fd < 0) return;
    if (stage->name[0] != '\0') unlinkat(stage->folder, stage->name, 0);
    close(stage->fd);
    *stage = LQ_STAGE_NONE;
}
