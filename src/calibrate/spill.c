#include "calibrate/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

enum { TRIAL_PIECE = 1 << 20, TRIAL_PIECES = 64 };

/* For file systems that know no O_TMPFILE. */
static int open_and_unlink(const char *folder)
{
    char *name = NULL;
    if (asprintf(&name, "%s/.lq-spill-XXXXXX", folder) < 0) return -1;
    int fd = mkostemp(name, O_CLOEXEC);
    int reason = errno;
    if (fd >= 0) unlink(name);
    free(name);
    errno = reason;
    return fd;
}

static enum lq_status reserve(int fd, const char *folder, uint64_t bytes, struct lq_error *err)
{
    int reason = bytes > INT64_MAX ? EFBIG : bytes == 0 ? 0 : posix_fallocate(fd, 0, (off_t)bytes);
    if (reason == 0) return LQ_OK;
    return lq_error_set(err, LQ_ERR_IO,
                        "%s: cannot take %.1f MB for sums that do not fit into memory: %s; name another folder with "
                        "--spill, or give more --memory",
                        folder, (double)bytes / 1e6, strerror(reason));
}

enum lq_status lq_spill_open(struct lq_spill *out, const char *folder, uint64_t bytes, struct lq_error *err)
{
    struct lq_spill spill = {.fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)};
    if (spill.fd < 0) spill.fd = open_and_unlink(folder);
    if (spill.fd < 0)
        return lq_error_set(err, LQ_ERR_IO, "%s: cannot make a file for sums that do not fit into memory: %s", folder,
                            strerror(errno));
    enum lq_status status = lq_spill_check_space(folder, bytes, "sums that do not fit into memory", err);
    if (status == LQ_OK) status = reserve(spill.fd, folder, bytes, err);
    spill.folder = strdup(folder);
    if (status == LQ_OK && spill.folder == NULL) status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for a path");
    if (status == LQ_OK) *out = spill;
    else lq_spill_close(&spill);
    return status;
}

void lq_spill_close(struct lq_spill *spill)
{
    if (spill->fd >= 0) close(spill->fd);
    free(spill->folder);
    *spill = LQ_SPILL_NONE;
}

enum lq_status lq_spill_read(const struct lq_spill *spill, uint64_t offset, void *dst, uint64_t n, struct lq_error *err)
{
    return lq_file_read(spill->fd, spill->folder, offset, dst, n, err);
}

enum lq_status lq_spill_write(const struct lq_spill *spill, uint64_t offset, const void *src, uint64_t n,
                              struct lq_error *err)
{
    return lq_file_write(spill->fd, spill->folder, offset, src, n, err);
}

enum lq_status lq_spill_check_space(const char *folder, uint64_t bytes, const char *what, struct lq_error *err)
{
    struct statvfs fs;
    if (statvfs(folder, &fs) != 0 || fs.f_blocks == 0) return LQ_OK;
    uint64_t available = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (bytes <= available) return LQ_OK;
    return lq_error_set(err, LQ_ERR_IO, "%s: %s take %.1f MB, but only %.1f MB are free there; free some space", folder,
                        what, (double)bytes / 1e6, (double)available / 1e6);
}

enum lq_status lq_spill_rate(double *out, const char *folder, struct lq_error *err)
{
    struct lq_spill spill = LQ_SPILL_NONE;
    char *piece = malloc(TRIAL_PIECE);
    if (piece == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a trial of the disk");
    memset(piece, 1, TRIAL_PIECE);
    enum lq_status status = lq_spill_open(&spill, folder, (uint64_t)TRIAL_PIECES * TRIAL_PIECE, err);
    double start = lq_clock_seconds();
    for (uint64_t i = 0; i < TRIAL_PIECES && status == LQ_OK; i++)
        status = lq_spill_write(&spill, i * TRIAL_PIECE, piece, TRIAL_PIECE, err);
    if (status == LQ_OK && fdatasync(spill.fd) != 0)
        status = lq_error_set(err, LQ_ERR_IO, "%s: cannot write: %s", folder, strerror(errno));
    double seconds = lq_clock_seconds() - start;
    if (status == LQ_OK) *out = (double)TRIAL_PIECES * TRIAL_PIECE / (seconds > 1e-6 ? seconds : 1e-6);
    lq_spill_close(&spill);
    free(piece);
    return status;
}
