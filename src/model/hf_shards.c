#include "model/hf_shards.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/json_keys.h"
#include "model/names.h"

/* Prefixes of the three layouts; the longer one of two that fit comes first. */
static const struct prefix {
    const char *raw, *canonical;
} prefixes[] = {
    {"language_model.model.", "text."},
    {"language_model.lm_head.", "head."},
    {"model.language_model.", "text."},
    {"lm_head.", "head."},
    {"vision_tower.vision_model.", "tower."},
    {"model.vision_tower.vision_model.", "tower."},
    {"vision_tower.", "tower."},
    {"model.vision_tower.", "tower."},
    {"multi_modal_projector.", "projector."},
    {"model.multi_modal_projector.", "projector."},
};

static const struct prefix *prefix_of(const char *raw)
{
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (strncmp(raw, prefixes[i].raw, strlen(prefixes[i].raw)) == 0) return &prefixes[i];
    return NULL;
}

static char *canonical_name(const char *raw)
{
    const struct prefix *p = prefix_of(raw);
    const char *start = p == NULL ? "?" : p->canonical, *rest = p == NULL ? raw : raw + strlen(p->raw);
    size_t size = strlen(start) + strlen(rest) + 1;
    char *name = malloc(size);
    if (name != NULL) snprintf(name, size, "%s%s", start, rest);
    return name;
}

static enum lq_status add_all(struct lq_hf_shards *shards, const struct lq_source *s, struct lq_error *err)
{
    if (s->n_tensors == 0) return LQ_OK;
    struct lq_hf_tensor *items = realloc(shards->items, (shards->n + s->n_tensors) * sizeof *items);
    if (items == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "%s: not enough memory for the list of tensors", s->path);
    shards->items = items;
    for (size_t i = 0; i < s->n_tensors; i++) {
        char *name = canonical_name(s->tensors[i].name);
        if (name == NULL)
            return lq_error_set(err, LQ_ERR_MEMORY, "%s: not enough memory for the list of tensors", s->path);
        shards->items[shards->n++] = (struct lq_hf_tensor){name, s, &s->tensors[i], false};
    }
    return LQ_OK;
}

static enum lq_status open_shard(struct lq_hf_shards *shards, struct lq_model_store *store, const char *folder,
                                 const char *file, struct lq_error *err)
{
    const struct lq_source *s = NULL;
    enum lq_status status = LQ_OK;
    char *path = lq_path_join(folder, file);
    if (path == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: not enough memory", folder);
    if (strchr(file, '/') != NULL)
        status =
            lq_error_set(err, LQ_ERR_FORMAT, "%s: the index names a shard outside the folder: '%.200s'", folder, file);
    else if (access(path, F_OK) != 0) status = lq_error_set(err, LQ_ERR_IO, "%s: this shard is missing", path);
    if (status == LQ_OK) status = lq_store_open(store, path, &s, err);
    if (status == LQ_OK && s->kind != LQ_SOURCE_SAFETENSORS)
        status = lq_error_set(err, LQ_ERR_FORMAT, "%s: not a safetensors file", path);
    if (status == LQ_OK) status = add_all(shards, s, err);
    free(path);
    return status;
}

static const struct lq_source *source_of(const struct lq_model_store *store, const char *file)
{
    size_t length;
    for (size_t i = 0; i < store->n_sources; i++)
        if (strcmp(lq_name_base(store->sources[i]->path, &length), file) == 0) return store->sources[i];
    return NULL;
}

/* Every shard that the index names, and every tensor where it says. */
static enum lq_status open_indexed(struct lq_hf_shards *shards, struct lq_model_store *store, const char *folder,
                                   const json_t *root, const char *index, struct lq_error *err)
{
    const char *tensor;
    json_t *file, *map = json_object_get(root, "weight_map");
    enum lq_status status = LQ_OK;
    if (json_object_size(map) == 0)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: key 'weight_map' is missing or empty", index);
    json_object_foreach(map, tensor, file)
    {
        if (!json_is_string(file))
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%.200s' has no file", index, tensor);
        const struct lq_source *s = source_of(store, json_string_value(file));
        if (s == NULL) status = open_shard(shards, store, folder, json_string_value(file), err);
        if (status != LQ_OK) return status;
        if (s == NULL) s = store->sources[store->n_sources - 1];
        if (lq_source_find(s, tensor) == NULL)
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%.200s' is not in %.200s", index, tensor,
                                json_string_value(file));
    }
    return LQ_OK;
}

/* "model-00001-of-00003.safetensors" promises three files; true when `file` is such a name. */
static bool parse_part(const char *file, unsigned *count, int *digits, char stem[128])
{
    unsigned part;
    int used = 0, at_count = 0;
    const char *of = strstr(file, "-of-");
    if (of == NULL || of - file < 6 || of - file > 100) return false;
    if (sscanf(of - 6, "-%5u-of-%n%5u.safetensors%n", &part, &at_count, count, &used) != 2 || used == 0) return false;
    *digits = 5;
    snprintf(stem, 128, "%.*s", (int)(of - 6 - file), file);
    return of[-6] == '-' && *count > 0;
}

static bool listed(const struct lq_names *names, const char *file)
{
    for (size_t i = 0; i < names->n; i++)
        if (strcmp(names->items[i], file) == 0) return true;
    return false;
}

/* Without an index the file names themselves tell how many there must be. */
static enum lq_status check_parts(const struct lq_names *names, const char *folder, struct lq_error *err)
{
    char stem[128], file[192];
    unsigned count;
    int digits;
    for (size_t i = 0; i < names->n; i++) {
        if (!parse_part(names->items[i], &count, &digits, stem)) continue;
        for (unsigned k = 1; k <= count; k++) {
            snprintf(file, sizeof file, "%s-%0*u-of-%0*u.safetensors", stem, digits, k, digits, count);
            if (!listed(names, file)) return lq_error_set(err, LQ_ERR_IO, "%s/%s: this shard is missing", folder, file);
        }
    }
    return LQ_OK;
}

static enum lq_status open_listed(struct lq_hf_shards *shards, struct lq_model_store *store, const char *folder,
                                  struct lq_error *err)
{
    struct lq_names names = {0};
    enum lq_status status = lq_names_list(&names, folder, "", ".safetensors", err);
    if (status == LQ_OK && names.n == 0)
        status = lq_error_set(
            err, LQ_ERR_IO,
            "%s: no *.safetensors beside config.json (a model in another form must be saved as safetensors first)",
            folder);
    if (status == LQ_OK) status = check_parts(&names, folder, err);
    for (size_t i = 0; i < names.n && status == LQ_OK; i++)
        status = open_shard(shards, store, folder, names.items[i], err);
    lq_names_release(&names);
    return status;
}

/* An adapter beside the weights would be lost without a word. */
static enum lq_status check_adapter(const char *folder, struct lq_error *err)
{
    static const char *const files[] = {"adapter_config.json", "adapter_model.safetensors"};
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < sizeof files / sizeof files[0] && status == LQ_OK; i++) {
        char *path = lq_path_join(folder, files[i]);
        if (path == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: not enough memory", folder);
        if (access(path, F_OK) == 0)
            status = lq_error_set(err, LQ_ERR_UNSUPPORTED,
                                  "%s: an adapter (LoRA) stands beside the weights: merge it into them first", path);
        free(path);
    }
    return status;
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct lq_hf_tensor *)a)->name, ((const struct lq_hf_tensor *)b)->name);
}

static enum lq_status sort(struct lq_hf_shards *shards, struct lq_error *err)
{
    if (shards->n > 1) qsort(shards->items, shards->n, sizeof *shards->items, compare);
    for (size_t i = 1; i < shards->n; i++) {
        const struct lq_hf_tensor *a = &shards->items[i - 1], *b = &shards->items[i];
        if (strcmp(a->name, b->name) == 0)
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%.200s' stands in %s too (as '%.200s')",
                                b->source->path, b->tensor->name, a->source->path, a->tensor->name);
    }
    return LQ_OK;
}

enum lq_status lq_hf_shards_open(struct lq_hf_shards *out, struct lq_model_store *store, const char *folder,
                                 struct lq_error *err)
{
    struct lq_hf_shards shards = {0};
    json_t *root = NULL;
    char *index = lq_path_join(folder, "model.safetensors.index.json");
    enum lq_status status = check_adapter(folder, err);
    if (index == NULL) status = lq_error_set(err, LQ_ERR_MEMORY, "%s: not enough memory", folder);
    bool indexed = status == LQ_OK && access(index, F_OK) == 0;
    if (indexed) status = lq_json_load(index, &root, err);
    if (indexed && status == LQ_OK) status = open_indexed(&shards, store, folder, root, index, err);
    if (!indexed && status == LQ_OK) status = open_listed(&shards, store, folder, err);
    if (status == LQ_OK) status = sort(&shards, err);
    json_decref(root);
    free(index);
    if (status == LQ_OK) *out = shards;
    else lq_hf_shards_release(&shards);
    return status;
}

void lq_hf_shards_release(struct lq_hf_shards *shards)
{
    for (size_t i = 0; i < shards->n; i++) free(shards->items[i].name);
    free(shards->items);
    *shards = (struct lq_hf_shards){0};
}

struct lq_hf_tensor *lq_hf_shards_find(const struct lq_hf_shards *shards, const char *canonical)
{
    struct lq_hf_tensor key = {.name = (char *)(uintptr_t)canonical};
    return shards->n == 0 ? NULL : bsearch(&key, shards->items, shards->n, sizeof key, compare);
}

void lq_hf_shards_spell(const struct lq_hf_shards *shards, const char *canonical, char *out, size_t size)
{
    size_t part = strcspn(canonical, ".") + 1;
    for (size_t i = 0; i < shards->n; i++) {
        const struct lq_hf_tensor *t = &shards->items[i];
        if (strncmp(t->name, canonical, part) != 0) continue;
        const char *raw = t->tensor->name;
        snprintf(out, size, "%.*s%s", (int)(strlen(raw) - strlen(t->name + part)), raw, canonical + part);
        return;
    }
    snprintf(out, size, "%s", canonical);
}
