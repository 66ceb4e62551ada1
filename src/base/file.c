#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Linux moves at most 2 GiB less a page in one call anyway. */
static const uint64_t longest_call = UINT64_C(1) << 30;

static bool fits_off_t(uint64_t offset, uint64_t n)
{
    return n <= INT64_MAX && offset <= INT64_MAX - n;
}

enum lq_status lq_file_read(int fd, const char *name, uint64_t offset, void *dst, uint64_t n, struct lq_error *err)
{
    if (!fits_off_t(offset, n))
        return lq_error_set(err, LQ_ERR_IO, "%s: cannot read %" PRIu64 " bytes at byte %" PRIu64, name, n, offset);
    for (uint64_t done = 0; done < n;) {
        uint64_t part = n - done < longest_call ? n - done : longest_call;
        ssize_t got = pread(fd, (char *)dst + done, part, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return lq_error_set(err, LQ_ERR_IO, "%s: cannot read: %s", name, strerror(errno));
        if (got == 0)
            return lq_error_set(err, LQ_ERR_IO, "%s: ends at byte %" PRIu64 " of %" PRIu64, name, offset + done,
                                offset + n);
        done += (uint64_t)got;
    }
    return LQ_OK;
}

enum lq_status lq_file_write(int fd, const char *name, uint64_t offset, const void *src, uint64_t n,
                             struct lq_error *err)
{
    if (!fits_off_t(offset, n))
        return lq_error_set(err, LQ_ERR_IO, "%s: cannot write %" PRIu64 " bytes at byte %" PRIu64, name, n, offset);
    for (uint64_t done = 0; done < n;) {
        uint64_t part = n - done < longest_call ? n - done : longest_call;
        ssize_t put = pwrite(fd, (const char *)src + done, part, (off_t)(offset + done));
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0)
            return lq_error_set(err, LQ_ERR_IO, "%s: cannot write at byte %" PRIu64 ": %s", name, offset + done,
                                put < 0 ? strerror(errno) : "nothing was taken");
        done += (uint64_t)put;
    }
    return LQ_OK;
}

static enum lq_status open_regular(const char *path, int *fd, uint64_t *size, struct lq_error *err)
{
    struct stat st;
    int opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (opened < 0) return lq_error_set(err, LQ_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    if (fstat(opened, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(opened);
        return lq_error_set(err, LQ_ERR_IO, "%s: not a regular file", path);
    }
    *fd = opened;
    *size = (uint64_t)st.st_size;
    return LQ_OK;
}

enum lq_status lq_file_load(const char *path, uint64_t limit, char **out, size_t *size, struct lq_error *err)
{
    int fd = -1;
    uint64_t n = 0;
    char *text = NULL;
    enum lq_status status = open_regular(path, &fd, &n, err);
    if (status != LQ_OK) return status;
    if (n > limit) {
        status = lq_error_set(err, LQ_ERR_FORMAT, "%s: %" PRIu64 " bytes, expected at most %" PRIu64, path, n, limit);
        goto done;
    }
    text = malloc(n + 1);
    if (text == NULL) {
        status = lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for %" PRIu64 " bytes", path, n);
        goto done;
    }
    status = lq_file_read(fd, path, 0, text, n, err);
    if (status != LQ_OK) goto done;
    text[n] = 0;
    *out = text;
    *size = n;
    text = NULL;
done:
    free(text);
    close(fd);
    return status;
}

/* Syncs the folder that holds `path`, so that the new name itself survives a loss of power. Folders that cannot be
 * opened or synced (some network file systems) are left alone: the file's data are safe by then. */
static void sync_folder_of(const char *path)
{
    char *folder = strdup(path);
    if (folder == NULL) return;
    char *slash = strrchr(folder, '/');
    if (slash != NULL) slash[slash == folder] = 0;
    int fd = open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(folder);
}

/* Creates a new file beside `path` under a name of its own and puts that name into *temporary (owned by the caller,
 * also on failure; NULL without memory). mkstemp is no use here: its files can be read by their owner alone. */
static int create_beside(const char *path, char **temporary)
{
    int fd = -1;
    for (unsigned i = 0; fd < 0 && i < 1000; i++) {
        free(*temporary);
        *temporary = NULL;
        if (asprintf(temporary, "%s.tmp-%ld-%u", path, (long)getpid(), i) < 0) {
            *temporary = NULL;
            return -1;
        }
        fd = open(*temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST) break;
    }
    return fd;
}

/* A rename would put an ordinary file in a device's or a pipe's place. */
static bool is_special(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
}

enum lq_status lq_file_save(const char *path, const void *data, size_t size, struct lq_error *err)
{
    char *temporary = NULL;
    enum lq_status status;
    if (is_special(path)) return lq_error_set(err, LQ_ERR_IO, "%s: cannot save: not an ordinary file", path);
    int fd = create_beside(path, &temporary);
    if (fd < 0) {
        status = lq_error_set(err, LQ_ERR_IO, "%s: cannot create: %s", path, strerror(errno));
        goto done;
    }
    status = lq_file_write(fd, path, 0, data, size, err);
    if (status == LQ_OK && (fsync(fd) != 0 || rename(temporary, path) != 0))
        status = lq_error_set(err, LQ_ERR_IO, "%s: cannot save: %s", path, strerror(errno));
    if (status != LQ_OK) unlink(temporary);
    else sync_folder_of(path);
done:
    if (fd >= 0) close(fd);
    free(temporary);
    return status;
}
