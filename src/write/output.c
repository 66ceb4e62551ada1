#include "write/write.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "write/commit.h"
#include "write/layout.h"
#include "write/place.h"
#include "write/stage.h"
#include "write/verify.h"

enum {
    LARGE_PIECE = 64 * 1024, /* these start on their way to disk as soon as they are written, for the sync at the end */
    STRETCH = 2 << 20,       /* bytes whose blocks are taken by one write */
};

struct output_file {
    bool begun;
    struct lq_layout layout;
    struct lq_kvs kvs; /* what the file is meant to say */
    struct lq_stage stage;
    _Atomic uint64_t *written; /* bytes of each tensor */
};

struct lq_output {
    struct lq_place place;
    bool force;
    struct output_file *files; /* place.n of them */
    _Atomic uint64_t taken;    /* their space so far, in whole stretches, each file's rounded up to some */
};

static void release_file(struct output_file *f)
{
    lq_stage_discard(&f->stage);
    lq_layout_release(&f->layout);
    lq_kvs_release(&f->kvs);
    free(f->written);
    memset(f, 0, sizeof *f); /* one compound literal in another: GCC 11 warns of fields that it thinks missing */
    f->stage = LQ_STAGE_NONE;
}

enum lq_status lq_output_open(struct lq_output **out, const char *const *paths, size_t n, bool force,
                              struct lq_error *err)
{
    struct lq_output *o = calloc(1, sizeof *o);
    struct output_file *files = calloc(n + 1, sizeof *files);
    enum lq_status status = LQ_OK;
    if (o == NULL || files == NULL) status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for the output");
    if (status == LQ_OK) status = lq_place_open(&o->place, paths, n, force, err);
    if (status != LQ_OK) {
        free(files);
        free(o);
        return status;
    }
    for (size_t i = 0; i < n; i++) files[i].stage = LQ_STAGE_NONE;
    o->force = force;
    o->files = files;
    *out = o;
    return LQ_OK;
}

void lq_output_close(struct lq_output *o)
{
    if (o == NULL) return;
    for (size_t i = 0; i < o->place.n; i++) release_file(&o->files[i]);
    lq_place_close(&o->place);
    free(o->files);
    free(o);
}

static void format_size(char text[32], uint64_t bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    int unit = 0;
    for (; value >= 999.5 && unit < 4; unit++) value /= 1024;
    snprintf(text, 32, "%.3g %s", value, units[unit]);
}

static enum lq_status no_space(const char *path, uint64_t need, uint64_t available, struct lq_error *err)
{
    char needed[32], left[32];
    format_size(needed, need);
    format_size(left, available);
    return lq_error_set(err, LQ_ERR_IO,
                        "%s: needs %s, but only %s are free there; free some space or choose another folder", path,
                        needed, left);
}

/* Bytes that the begun files will still take from the file system. */
static uint64_t bytes_to_come(const struct lq_output *o)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < o->place.n; i++) {
        struct stat st;
        const struct output_file *f = &o->files[i];
        if (f->stage.fd < 0 || fstat(f->stage.fd, &st) != 0) continue;
        uint64_t allocated = (uint64_t)st.st_blocks * 512;
        if (allocated < f->layout.file_bytes) bytes += f->layout.file_bytes - allocated;
    }
    return bytes;
}

static enum lq_status check_space(const struct lq_output *o, const char *path, struct lq_error *err)
{
    struct statvfs fs;
    uint64_t need = bytes_to_come(o);
    if (fstatvfs(lq_place_stage_folder(&o->place), &fs) != 0 || fs.f_blocks == 0) return LQ_OK;
    uint64_t available = (uint64_t)fs.f_bavail * fs.f_frsize;
    return need <= available ? LQ_OK : no_space(path, need, available, err);
}

/* Growing beyond the limit would be a signal, SIGXFSZ, that ends the process. */
static enum lq_status check_size_limit(uint64_t size, const char *path, struct lq_error *err)
{
    struct rlimit limit;
    char needed[32], allowed[32];
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || size <= limit.rlim_cur) return LQ_OK;
    format_size(needed, size);
    format_size(allowed, limit.rlim_cur);
    return lq_error_set(err, LQ_ERR_IO,
                        "%s: needs %s, but this process may write files of at most %s; raise the limit (ulimit -f)",
                        path, needed, allowed);
}

/* Gives the file its size, if there is space for it. What is never written, the padding, reads as zeros. */
static enum lq_status set_size(const struct lq_output *o, const struct output_file *f, const char *path,
                               struct lq_error *err)
{
    uint64_t size = f->layout.file_bytes;
    enum lq_status status = check_size_limit(size, path, err);
    if (status == LQ_OK) status = check_space(o, path, err);
    if (status == LQ_OK && ftruncate(f->stage.fd, (off_t)size) != 0)
        status = lq_error_set(err, LQ_ERR_IO, "%s: cannot make a file of %" PRIu64 " bytes: %s", path, size,
                              strerror(errno));
    return status;
}

/* Takes the blocks of the next stretch of all files, where the file system can. A stretch is larger than nearly all that
 * is written at once: so the first few writes take everything, before it can be taken away, and while one thread does
 * so, others encode. */
static enum lq_status take_stretch(struct lq_output *o, struct lq_error *err)
{
    uint64_t first = atomic_fetch_add_explicit(&o->taken, STRETCH, memory_order_relaxed), size = 0;
    size_t i = 0;
    for (; i < o->place.n && first >= (size = o->files[i].layout.file_bytes); i++)
        first -= (size + STRETCH - 1) / STRETCH * STRETCH;
    if (i == o->place.n) return LQ_OK;
    uint64_t n = size - first < STRETCH ? size - first : STRETCH;
    if (fallocate(o->files[i].stage.fd, 0, (off_t)first, (off_t)n) == 0) return LQ_OK;
    if (errno != ENOSPC && errno != EDQUOT && errno != EFBIG && errno != EIO) return LQ_OK;
    return lq_error_set(err, LQ_ERR_IO, "%s: cannot reserve %" PRIu64 " bytes: %s", o->place.files[i].path, size,
                        strerror(errno));
}

static enum lq_status begin(struct lq_output *o, size_t file, const struct lq_kvs *kvs,
                            const struct lq_output_tensor *tensors, size_t n_tensors, uint32_t alignment,
                            struct lq_error *err)
{
    struct output_file *f = &o->files[file];
    const char *path = o->place.files[file].path;
    enum lq_status status = lq_layout_init(&f->layout, path, kvs, tensors, n_tensors, alignment, err);
    if (status == LQ_OK) status = lq_kvs_copy(&f->kvs, kvs, err);
    if (status != LQ_OK) return status;
    f->written = calloc(n_tensors + 1, sizeof *f->written);
    if (f->written == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for %zu tensors", path, n_tensors);
    if (!lq_stage_open(&f->stage, lq_place_stage_folder(&o->place), lq_place_label(&o->place, file)))
        return lq_place_error(&o->place, "write into folder", err);
    status = set_size(o, f, path, err);
    if (status == LQ_OK) status = lq_file_write(f->stage.fd, path, 0, f->layout.header, f->layout.header_bytes, err);
    return status;
}

enum lq_status lq_output_begin(struct lq_output *o, size_t file, const struct lq_kvs *kvs,
                               const struct lq_output_tensor *tensors, size_t n_tensors, uint32_t alignment,
                               struct lq_error *err)
{
    if (file >= o->place.n) return lq_error_set(err, LQ_ERR_USAGE, "no path was given for file %zu", file);
    struct output_file *f = &o->files[file];
    if (f->begun) return lq_error_set(err, LQ_ERR_USAGE, "%s: was begun already", o->place.files[file].path);
    enum lq_status status = begin(o, file, kvs, tensors, n_tensors, alignment, err);
    if (status == LQ_OK) f->begun = true;
    else release_file(f);
    return status;
}

enum lq_status lq_output_write(struct lq_output *o, size_t file, size_t tensor, uint64_t offset, const void *data,
                               uint64_t size, struct lq_error *err)
{
    if (file >= o->place.n || !o->files[file].begun || tensor >= o->files[file].layout.n_tensors)
        return lq_error_set(err, LQ_ERR_USAGE, "tensor %zu was never laid out", tensor);
    struct output_file *f = &o->files[file];
    const char *path = o->place.files[file].path;
    const struct lq_layout_tensor *t = &f->layout.tensors[tensor];
    if (offset > t->bytes || size > t->bytes - offset)
        return lq_error_set(err, LQ_ERR_USAGE,
                            "%s: tensor '%s': %" PRIu64 " bytes at %" PRIu64 " reach beyond its %" PRIu64, path,
                            t->name, size, offset, t->bytes);
    enum lq_status status = take_stretch(o, err);
    if (status == LQ_OK) status = lq_file_write(f->stage.fd, path, t->offset + offset, data, size, err);
    if (status != LQ_OK) return status;
    if (size >= LARGE_PIECE)
        sync_file_range(f->stage.fd, (off_t)(t->offset + offset), (off_t)size, SYNC_FILE_RANGE_WRITE);
    atomic_fetch_add_explicit(&f->written[tensor], size, memory_order_relaxed);
    return LQ_OK;
}

static enum lq_status check_complete(const struct output_file *f, const char *path, struct lq_error *err)
{
    if (!f->begun) return lq_error_set(err, LQ_ERR_USAGE, "%s: was never begun", path);
    for (size_t i = 0; i < f->layout.n_tensors; i++) {
        const struct lq_layout_tensor *t = &f->layout.tensors[i];
        uint64_t written = atomic_load_explicit(&f->written[i], memory_order_relaxed);
        if (written != t->bytes)
            return lq_error_set(err, LQ_ERR_USAGE, "%s: tensor '%s': %" PRIu64 " of %" PRIu64 " bytes were written",
                                path, t->name, written, t->bytes);
    }
    return LQ_OK;
}

static enum lq_status put_pair_id(struct output_file *f, const char *path, const char *pair_id, struct lq_error *err)
{
    if (f->layout.pair_id_offset == 0) return LQ_OK;
    if (pair_id == NULL || strlen(pair_id) != LQ_PAIR_ID_LENGTH)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: the pair id has not %d characters", path, LQ_PAIR_ID_LENGTH);
    enum lq_status status = lq_kvs_set_string(&f->kvs, LQ_PAIR_ID_KEY, pair_id, err);
    if (status != LQ_OK) return status;
    return lq_file_write(f->stage.fd, path, f->layout.pair_id_offset, pair_id, LQ_PAIR_ID_LENGTH, err);
}

static enum lq_status finish_file(struct output_file *f, const char *path, const char *pair_id, struct lq_error *err)
{
    enum lq_status status = check_complete(f, path, err);
    if (status == LQ_OK) status = put_pair_id(f, path, pair_id, err);
    if (status == LQ_OK && fsync(f->stage.fd) != 0)
        status = lq_error_set(err, LQ_ERR_IO, "%s: cannot bring the file safely to disk: %s", path, strerror(errno));
    if (status == LQ_OK) status = lq_verify(f->stage.fd, path, &f->layout, &f->kvs, err);
    return status;
}

enum lq_status lq_output_commit(struct lq_output *o, const char *pair_id, struct lq_error *err)
{
    size_t n = o->place.n;
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < n && status == LQ_OK; i++)
        status = finish_file(&o->files[i], o->place.files[i].path, pair_id, err);
    if (status != LQ_OK) return status;
    struct lq_stage *stage = calloc(n, sizeof *stage);
    if (stage == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu files", n);
    for (size_t i = 0; i < n; i++) stage[i] = o->files[i].stage;
    status = lq_commit(&o->place, stage, o->force, err);
    for (size_t i = 0; i < n; i++) o->files[i].stage = stage[i];
    free(stage);
    return status;
}
