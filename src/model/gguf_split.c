#include "model/gguf_split.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/names.h"

#define COUNT_KEY "split.count"
#define NUMBER_KEY "split.no"
#define TENSORS_KEY "split.tensors.count"

static enum lq_status no_memory(const char *path, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "%s: not enough memory for the list of shards", path);
}

const struct lq_source *lq_gguf_files_at(const struct lq_model_store *store, const struct lq_gguf_files *files,
                                         size_t i)
{
    return store->sources[files->first + i];
}

const struct lq_source_tensor *lq_gguf_files_find(const struct lq_model_store *store, const struct lq_gguf_files *files,
                                                  const char *name, size_t *place)
{
    size_t before = 0;
    for (size_t i = 0; i < files->n; i++) {
        const struct lq_source *s = lq_gguf_files_at(store, files, i);
        const struct lq_source_tensor *t = lq_source_find(s, name);
        if (t != NULL) {
            *place = before + (size_t)(t - s->tensors);
            return t;
        }
        before += s->n_tensors;
    }
    return NULL;
}

/* The name that a shard must have, from what it says of itself. */
static enum lq_status check_name(const struct lq_source *s, uint64_t count, struct lq_shard_name *out,
                                 struct lq_error *err)
{
    uint64_t number;
    if (!lq_kvs_get_u64(&s->kvs, NUMBER_KEY, &number))
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: one of %" PRIu64 " shards, but key '" NUMBER_KEY "' is missing",
                            s->path, count);
    if (number >= count)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: " NUMBER_KEY " is %" PRIu64 ", but " COUNT_KEY " is %" PRIu64,
                            s->path, number, count);
    if (lq_name_shard(s->path, out) && out->number == number + 1 && out->count == count) return LQ_OK;
    return lq_error_set(err, LQ_ERR_FORMAT,
                        "%s: shard %" PRIu64 " of %" PRIu64 " by its metadata, so its name must end in -%05" PRIu64
                        "-of-%05" PRIu64 ".gguf",
                        s->path, number + 1, count, number + 1, count);
}

/* `other` is a shard whose claims are taken for true. */
static enum lq_status check_number(const struct lq_source *s, const char *key, uint64_t expected,
                                   const struct lq_source *other, struct lq_error *err)
{
    uint64_t found;
    if (!lq_kvs_get_u64(&s->kvs, key, &found))
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: foreign to %s: key '%s' is missing", s->path, other->path, key);
    if (found == expected) return LQ_OK;
    return lq_error_set(err, LQ_ERR_FORMAT, "%s: foreign to %s: %s is %" PRIu64 ", expected %" PRIu64, s->path,
                        other->path, key, found, expected);
}

/* What shards other than the first need not say, but may not say differently. */
static enum lq_status check_identity(const struct lq_source *s, const struct lq_source *other, struct lq_error *err)
{
    static const char *const keys[] = {TENSORS_KEY, "general.architecture", "llava_quantize.pair_id"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const struct lq_kv *a = lq_kvs_find(&s->kvs, keys[i]), *b = lq_kvs_find(&other->kvs, keys[i]);
        if (a == NULL || b == NULL) continue;
        if (a->type != b->type || a->raw_size != b->raw_size || memcmp(a->raw, b->raw, a->raw_size) != 0)
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: foreign to %s: %s differs", s->path, other->path, keys[i]);
    }
    return LQ_OK;
}

static enum lq_status check_member(const struct lq_source *s, const struct lq_source *other, uint32_t number,
                                   uint32_t count, struct lq_error *err)
{
    if (s->kind != LQ_SOURCE_GGUF)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: foreign to %s: not a GGUF file", s->path, other->path);
    enum lq_status status = check_number(s, COUNT_KEY, count, other, err);
    if (status == LQ_OK) status = check_number(s, NUMBER_KEY, number - 1, other, err);
    return status == LQ_OK ? check_identity(s, other, err) : status;
}

/* `given` is a shard's path, `name` its parts: opens the shard of another number. */
static enum lq_status open_shard(struct lq_model_store *store, const char *given, const struct lq_shard_name *name,
                                 uint32_t number, struct lq_error *err)
{
    const struct lq_source *s;
    enum lq_status status;
    char *path = NULL;
    if (asprintf(&path, "%.*s-%05" PRIu32 "-of-%05" PRIu32 ".gguf", (int)name->stem, given, number, name->count) < 0)
        return no_memory(given, err);
    if (access(path, F_OK) != 0)
        status =
            lq_error_set(err, LQ_ERR_IO, "%s: this shard is missing: %s is one of %" PRIu32, path, given, name->count);
    else status = lq_store_open(store, path, &s, err);
    free(path);
    return status;
}

/* Files of the same name whose number lies beyond the count. */
static enum lq_status check_surplus(const struct lq_source *first, const struct lq_shard_name *name,
                                    struct lq_error *err)
{
    struct lq_names names = {0};
    char suffix[32];
    size_t length;
    char *folder = lq_path_folder(first->path);
    const char *base = lq_name_base(first->path, &length);
    char *stem = strndup(base, name->stem - (size_t)(base - first->path));
    enum lq_status status = folder == NULL || stem == NULL ? no_memory(first->path, err) : LQ_OK;
    snprintf(suffix, sizeof suffix, "-of-%05" PRIu32 ".gguf", name->count);
    if (status == LQ_OK) status = lq_names_list(&names, folder, stem, suffix, err);
    for (size_t i = 0; i < names.n && status == LQ_OK; i++) {
        struct lq_shard_name other;
        if (!lq_name_shard(names.items[i], &other) || other.stem != strlen(stem)) continue;
        if (other.number == 0 || other.number > name->count)
            status = lq_error_set(err, LQ_ERR_FORMAT, "%s/%s: a surplus shard: %s is one of %" PRIu32 "; move it away",
                                  folder, names.items[i], first->path, name->count);
    }
    lq_names_release(&names);
    free(stem);
    free(folder);
    return status;
}

struct owned_name {
    const char *name;
    size_t file;
};

static int compare(const void *a, const void *b)
{
    const struct owned_name *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : (x->file > y->file) - (x->file < y->file);
}

static enum lq_status check_unique(const struct lq_model_store *store, const struct lq_gguf_files *files,
                                   struct lq_error *err)
{
    struct owned_name *names = calloc(files->n_tensors + 1, sizeof *names);
    if (names == NULL) return no_memory(lq_gguf_files_at(store, files, 0)->path, err);
    size_t n = 0;
    for (size_t f = 0; f < files->n; f++) {
        const struct lq_source *s = lq_gguf_files_at(store, files, f);
        for (size_t i = 0; i < s->n_tensors; i++) names[n++] = (struct owned_name){s->tensors[i].name, f};
    }
    qsort(names, n, sizeof *names, compare);
    enum lq_status status = LQ_OK;
    for (size_t i = 1; i < n && status == LQ_OK; i++)
        if (strcmp(names[i - 1].name, names[i].name) == 0)
            status = lq_error_set(err, LQ_ERR_FORMAT, "%s: foreign to %s: both hold tensor '%s'",
                                  lq_gguf_files_at(store, files, names[i].file)->path,
                                  lq_gguf_files_at(store, files, names[i - 1].file)->path, names[i].name);
    free(names);
    return status;
}

static enum lq_status check_tensors(const struct lq_model_store *store, struct lq_gguf_files *files,
                                    struct lq_error *err)
{
    uint64_t promised = 0;
    const struct lq_source *first = lq_gguf_files_at(store, files, 0);
    for (size_t i = 0; i < files->n; i++) files->n_tensors += lq_gguf_files_at(store, files, i)->n_tensors;
    if (!lq_kvs_get_u64(&first->kvs, TENSORS_KEY, &promised))
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: key '" TENSORS_KEY "' is missing", first->path);
    enum lq_status status = check_unique(store, files, err);
    if (status != LQ_OK || promised == files->n_tensors) return status;
    return lq_error_set(err, LQ_ERR_FORMAT, "%s: " TENSORS_KEY " is %" PRIu64 ", but its %zu shards hold %zu tensors",
                        first->path, promised, files->n, files->n_tensors);
}

/* All shards behind one another in the store. One that was given but is not the first is opened a second time. */
static enum lq_status open_shards(struct lq_gguf_files *files, struct lq_model_store *store,
                                  const struct lq_source *given, const struct lq_shard_name *name, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    files->first = store->n_sources - (name->number == 1);
    for (files->n = 0; files->n < name->count && status == LQ_OK; files->n++) {
        uint32_t number = (uint32_t)files->n + 1;
        if (files->first + files->n == store->n_sources) status = open_shard(store, given->path, name, number, err);
        if (status != LQ_OK) break;
        const struct lq_source *other = number == 1 ? given : lq_gguf_files_at(store, files, 0);
        status = check_member(lq_gguf_files_at(store, files, files->n), other, number, name->count, err);
    }
    if (status == LQ_OK) status = check_surplus(lq_gguf_files_at(store, files, 0), name, err);
    return status == LQ_OK ? check_tensors(store, files, err) : status;
}

/* A file that is no shard, whatever it is called. */
static enum lq_status check_single(const struct lq_source *s, struct lq_error *err)
{
    struct lq_shard_name name;
    if (s->kind != LQ_SOURCE_GGUF || !lq_name_shard(s->path, &name) || name.count <= 1) return LQ_OK;
    return lq_error_set(err, LQ_ERR_FORMAT,
                        "%s: named as shard %" PRIu32 " of %" PRIu32 ", but its metadata speak of no shards (" COUNT_KEY
                        ")",
                        s->path, name.number, name.count);
}

enum lq_status lq_gguf_files_open(struct lq_gguf_files *out, struct lq_model_store *store, const char *path,
                                  struct lq_error *err)
{
    const struct lq_source *s;
    struct lq_shard_name name;
    uint64_t count = 0;
    enum lq_status status = lq_store_open(store, path, &s, err);
    if (status != LQ_OK) return status;
    struct lq_gguf_files files = {store->n_sources - 1, 1, s->n_tensors};
    if (!lq_kvs_get_u64(&s->kvs, COUNT_KEY, &count) || count <= 1) {
        status = check_single(s, err);
    } else {
        files = (struct lq_gguf_files){0};
        status = check_name(s, count, &name, err);
        if (status == LQ_OK) status = open_shards(&files, store, s, &name, err);
    }
    if (status == LQ_OK) *out = files;
    return status;
}
