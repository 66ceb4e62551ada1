#include "write/verify.h"

#include <inttypes.h>
#include <string.h>

#include "source/source.h"

static enum lq_status differs(const char *path, const char *kind, const char *name, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_IO, "%s: reading back finds another %s '%s' than was written; check the disk", path,
                        kind, name);
}

static enum lq_status compare_counts(const char *path, const char *what, uint64_t found, uint64_t expected,
                                     struct lq_error *err)
{
    if (found == expected) return LQ_OK;
    return lq_error_set(err, LQ_ERR_IO, "%s: reading back finds %" PRIu64 " %s, expected %" PRIu64 "; check the disk",
                        path, found, what, expected);
}

static bool same_kv(const struct lq_kv *a, const struct lq_kv *b)
{
    return strcmp(a->key, b->key) == 0 && a->type == b->type && a->element == b->element && a->count == b->count &&
           a->raw_size == b->raw_size && (a->raw_size == 0 || memcmp(a->raw, b->raw, a->raw_size) == 0);
}

static bool same_tensor(const struct lq_source_tensor *a, const struct lq_layout_tensor *b)
{
    return strcmp(a->name, b->name) == 0 && a->type == b->type && a->n_dims == b->n_dims &&
           memcmp(a->ne, b->ne, sizeof a->ne) == 0 && a->offset == b->offset && a->bytes == b->bytes;
}

static enum lq_status compare(const struct lq_source *found, const char *path, const struct lq_layout *layout,
                              const struct lq_kvs *kvs, struct lq_error *err)
{
    enum lq_status status = compare_counts(path, "bytes", found->file_bytes, layout->file_bytes, err);
    if (status == LQ_OK) status = compare_counts(path, "keys", found->kvs.n, kvs->n, err);
    if (status == LQ_OK) status = compare_counts(path, "tensors", found->n_tensors, layout->n_tensors, err);
    for (size_t i = 0; i < kvs->n && status == LQ_OK; i++)
        if (!same_kv(&found->kvs.items[i], &kvs->items[i])) status = differs(path, "key", kvs->items[i].key, err);
    for (size_t i = 0; i < layout->n_tensors && status == LQ_OK; i++)
        if (!same_tensor(&found->tensors[i], &layout->tensors[i]))
            status = differs(path, "tensor", layout->tensors[i].name, err);
    return status;
}

enum lq_status lq_verify(int fd, const char *path, const struct lq_layout *layout, const struct lq_kvs *kvs,
                         struct lq_error *err)
{
    struct lq_source *found = NULL;
    enum lq_status status = lq_source_open_fd(&found, fd, path, err);
    if (status != LQ_OK) return status;
    status = compare(found, path, layout, kvs, err);
    lq_source_close(found);
    return status;
}
