#include "source/source.h"

#include "base/file.h"
#include "source/parse.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char gguf_magic[4] = "GGUF";

/* Bytes that a UTF-8 sequence beginning with `first` takes; 0 when none begins so. *lowest: the smallest code it may
 * hold. */
static size_t utf8_length(unsigned char first, uint32_t *lowest)
{
    static const struct {
        unsigned char mask, value;
        uint32_t lowest;
    } forms[] = {
        {0x80, 0x00, 0x20},
        {0xe0, 0xc0, 0x80},
        {0xf0, 0xe0, 0x800},
        {0xf8, 0xf0, 0x10000},
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if ((first & forms[i].mask) != forms[i].value) continue;
        *lowest = forms[i].lowest;
        return i + 1;
    }
    return 0;
}

static bool is_printable_code(uint32_t code, uint32_t lowest)
{
    bool control = code >= 0x7f && code < 0xa0, surrogate = code >= 0xd800 && code < 0xe000;
    return code >= lowest && code <= 0x10ffff && !control && !surrogate;
}

bool lq_name_is_plain(const char *name, size_t length)
{
    for (size_t at = 0; at < length;) {
        uint32_t lowest = 0;
        unsigned char first = (unsigned char)name[at];
        size_t n = utf8_length(first, &lowest);
        if (n == 0 || n > length - at) return false;
        uint32_t code = n == 1 ? first : first & (0x7fu >> n);
        for (size_t i = 1; i < n; i++) {
            unsigned char next = (unsigned char)name[at + i];
            if ((next & 0xc0) != 0x80) return false;
            code = code << 6 | (next & 0x3f);
        }
        if (!is_printable_code(code, lowest)) return false;
        at += n;
    }
    return length > 0;
}

static int compare_names(const void *a, const void *b)
{
    const struct lq_source_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* A list of the tensors sorted by name: look-ups, and the proof that no name stands twice. */
static enum lq_status build_index(struct lq_source *source, struct lq_error *err)
{
    if (source->n_tensors == 0) return LQ_OK;
    const struct lq_source_tensor **index = calloc(source->n_tensors, sizeof *index);
    source->private_data = index;
    if (index == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory to list %zu tensors", source->path, source->n_tensors);
    for (size_t i = 0; i < source->n_tensors; i++) index[i] = &source->tensors[i];
    qsort(index, source->n_tensors, sizeof *index, compare_names);
    for (size_t i = 1; i < source->n_tensors; i++)
        if (strcmp(index[i - 1]->name, index[i]->name) == 0)
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor name '%s' stands twice", source->path, index[i]->name);
    return LQ_OK;
}

static bool ends_in(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* The content decides; the name only where the content says nothing, so that the message fits what the user meant. */
static enum lq_status choose_kind(struct lq_source *source, struct lq_error *err)
{
    char head[9] = {0};
    uint64_t n = source->file_bytes < sizeof head ? source->file_bytes : sizeof head;
    enum lq_status status = lq_file_read(source->fd, source->path, 0, head, n, err);
    if (status != LQ_OK) return status;
    if (n == 0) return lq_error_set(err, LQ_ERR_FORMAT, "%s: the file is empty", source->path);
    bool gguf = memcmp(head, gguf_magic, sizeof gguf_magic) == 0;
    if (!gguf && (head[8] == '{' || ends_in(source->path, ".safetensors"))) {
        source->kind = LQ_SOURCE_SAFETENSORS;
        return LQ_OK;
    }
    if (!gguf)
        return lq_error_set(err, LQ_ERR_FORMAT,
                            "%s: neither a GGUF nor a safetensors file: begins with %02x %02x %02x %02x, "
                            "expected 'GGUF'",
                            source->path, (unsigned char)head[0], (unsigned char)head[1], (unsigned char)head[2],
                            (unsigned char)head[3]);
    source->kind = LQ_SOURCE_GGUF;
    return LQ_OK;
}

static enum lq_status take_size(struct lq_source *source, struct lq_error *err)
{
    struct stat st;
    if (fstat(source->fd, &st) != 0)
        return lq_error_set(err, LQ_ERR_IO, "%s: cannot stat: %s", source->path, strerror(errno));
    if (!S_ISREG(st.st_mode)) return lq_error_set(err, LQ_ERR_IO, "%s: not a regular file", source->path);
    source->file_bytes = (uint64_t)st.st_size;
    return LQ_OK;
}

/* Takes over `fd`, also on failure. */
static enum lq_status open_owned(struct lq_source **out, int fd, const char *name, struct lq_error *err)
{
    struct lq_source *source = calloc(1, sizeof *source);
    if (source == NULL) {
        close(fd);
        return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory", name);
    }
    source->fd = fd;
    source->path = strdup(name);
    enum lq_status status = source->path != NULL ? LQ_OK : lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory", name);
    if (status == LQ_OK) status = take_size(source, err);
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM); /* reading the header brings in no weights */
    if (status == LQ_OK) status = choose_kind(source, err);
    if (status == LQ_OK)
        status = source->kind == LQ_SOURCE_GGUF ? lq_gguf_parse(source, err) : lq_safetensors_parse(source, err);
    if (status == LQ_OK) status = build_index(source, err);
    posix_fadvise(fd, 0, 0, POSIX_FADV_NORMAL);
    if (status == LQ_OK) *out = source;
    else lq_source_close(source);
    return status;
}

enum lq_status lq_source_open(struct lq_source **out, const char *path, struct lq_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return lq_error_set(err, LQ_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    return open_owned(out, fd, path, err);
}

enum lq_status lq_source_open_fd(struct lq_source **out, int fd, const char *name, struct lq_error *err)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return lq_error_set(err, LQ_ERR_IO, "%s: cannot open: %s", name, strerror(errno));
    return open_owned(out, copy, name, err);
}

void lq_source_close(struct lq_source *source)
{
    if (source == NULL) return;
    for (size_t i = 0; i < source->n_tensors; i++) free((char *)source->tensors[i].name);
    free(source->tensors);
    free(source->private_data);
    lq_kvs_release(&source->kvs);
    free(source->path);
    close(source->fd);
    free(source);
}

const struct lq_source_tensor *lq_source_find(const struct lq_source *source, const char *name)
{
    if (source->n_tensors == 0) return NULL;
    const struct lq_source_tensor wanted = {.name = name}, *key = &wanted;
    const struct lq_source_tensor **found =
        bsearch(&key, source->private_data, source->n_tensors, sizeof key, compare_names);
    return found == NULL ? NULL : *found;
}

enum lq_status lq_source_read(const struct lq_source *source, const struct lq_source_tensor *tensor, uint64_t offset,
                              uint64_t n, void *dst, struct lq_error *err)
{
    if (offset > tensor->bytes || n > tensor->bytes - offset)
        return lq_error_set(err, LQ_ERR_USAGE,
                            "%s: tensor '%s': bytes %" PRIu64 " and %" PRIu64 " more asked of %" PRIu64, source->path,
                            tensor->name, offset, n, tensor->bytes);
    return lq_file_read(source->fd, source->path, tensor->offset + offset, dst, n, err);
}

bool lq_source_is_cached(const struct lq_source *source, const struct lq_source_tensor *tensor, uint64_t offset,
                         uint64_t n)
{
    enum { PAGES = 1024 };
    unsigned char resident[PAGES];
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), end = tensor->offset + offset + n;
    bool all = n > 0;
    for (uint64_t at = (tensor->offset + offset) / page * page; at < end && all; at += PAGES * page) {
        uint64_t bytes = end - at < PAGES * page ? end - at : PAGES * page;
        void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, source->fd, (off_t)at);
        if (map == MAP_FAILED) return false;
        all = mincore(map, bytes, resident) == 0;
        for (uint64_t i = 0; i * page < bytes && all; i++) all = (resident[i] & 1) != 0;
        munmap(map, bytes);
    }
    return all;
}

void lq_source_advise(const struct lq_source *source, const struct lq_source_tensor *tensor, uint64_t offset,
                      uint64_t n, int advice)
{
    if (n > 0) posix_fadvise(source->fd, (off_t)(tensor->offset + offset), (off_t)n, advice); /* 0: all the rest */
}

bool lq_source_is_gguf(const char *path)
{
    char head[sizeof gguf_magic];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return false;
    bool gguf =
        lq_file_read(fd, path, 0, head, sizeof head, NULL) == LQ_OK && memcmp(head, gguf_magic, sizeof head) == 0;
    close(fd);
    return gguf;
}
