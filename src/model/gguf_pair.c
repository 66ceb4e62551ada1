#include "model/gguf_pair.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf_split.h"
#include "model/names.h"
#include "model/roles.h"

/* One GGUF file, or the shards of one, that may become a half. */
struct candidate {
    struct lq_gguf_files files;
    const struct lq_source *source; /* the first of them, which has the metadata */
    const char *architecture;       /* in the store */
    enum lq_half half;              /* LQ_HALVES: no model at all (importance data, an adapter) */
};

/* A terminated copy of a string key, in the store; NULL where the key is absent. */
static enum lq_status key_text(struct lq_model_store *store, const struct lq_kvs *kvs, const char *key,
                               const char **out, struct lq_error *err)
{
    const char *text;
    size_t length;
    *out = NULL;
    if (!lq_kvs_get_string(kvs, key, &text, &length)) return LQ_OK;
    char *copy = strndup(text, length);
    if (copy == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: not enough memory", key);
    enum lq_status status = lq_store_text(store, copy, out, err);
    free(copy);
    return status;
}

/* general.type and general.architecture decide which half a file is. */
static enum lq_status classify(struct lq_model_store *store, struct candidate *c, struct lq_error *err)
{
    const struct lq_kvs *kvs = &c->source->kvs;
    const char *type = NULL;
    enum lq_status status = key_text(store, kvs, "general.type", &type, err);
    if (status == LQ_OK) status = key_text(store, kvs, "general.architecture", &c->architecture, err);
    if (status != LQ_OK) return status;
    bool mmproj = (type != NULL && strcmp(type, "mmproj") == 0) ||
                  (c->architecture != NULL && strcmp(c->architecture, "clip") == 0);
    bool model = type == NULL || strcmp(type, "model") == 0;
    c->half = mmproj ? LQ_VISION : model ? LQ_LANGUAGE : LQ_HALVES;
    if (c->half != LQ_HALVES && c->architecture == NULL)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: key 'general.architecture' is missing", c->source->path);
    return LQ_OK;
}

static enum lq_status look_at(struct lq_model_store *store, const char *path, struct candidate *out,
                              struct lq_error *err)
{
    struct candidate c = {0};
    enum lq_status status = lq_gguf_files_open(&c.files, store, path, err);
    if (status != LQ_OK) return status;
    c.source = lq_gguf_files_at(store, &c.files, 0);
    if (c.source->kind != LQ_SOURCE_GGUF)
        return lq_error_set(
            err, LQ_ERR_UNSUPPORTED,
            "%s: a safetensors file alone is no model: name its folder, with config.json and tokenizer.model", path);
    status = classify(store, &c, err);
    if (status == LQ_OK) *out = c;
    return status;
}

/* Older towers name fc1 ffn_down; llama.cpp sees it by the row length and swaps them, so their roles swap here. */
static void swap_old_ffn_roles(struct lq_model_store *store, const struct candidate *c)
{
    struct lq_half_store *half = &store->halves[c->half];
    const char *text;
    size_t length, other;
    uint64_t width;
    char projector[32], up[80];
    if (!lq_kvs_get_string(&c->source->kvs, "clip.projector_type", &text, &length)) return;
    snprintf(projector, sizeof projector, "%.*s", (int)(length < 31 ? length : 31), text);
    if (!lq_role_ffn_may_be_swapped(projector)) return;
    if (!lq_kvs_get_u64(&c->source->kvs, "clip.vision.embedding_length", &width)) return;
    for (size_t i = 0; i < half->pub.n_tensors; i++) {
        struct lq_tensor *down = &half->tensors[i];
        if (!lq_name_has_suffix(down->name, ".ffn_down.weight") || down->ne[0] != width) continue;
        snprintf(up, sizeof up, "%.*sup.weight", (int)(strlen(down->name) - strlen("down.weight")), down->name);
        if (lq_gguf_files_find(store, &c->files, up, &other) == NULL) continue;
        down->role = LQ_ROLE_VISION_FFN_UP;
        half->tensors[other].role = LQ_ROLE_VISION_FFN_DOWN;
    }
}

static void add_file(struct lq_half_store *half, const struct lq_source *s)
{
    half->files[half->pub.n_files++] = (struct lq_model_file){s->path, s->n_tensors};
    for (size_t i = 0; i < s->n_tensors; i++)
        lq_store_add_tensor(half, s->tensors[i].name, (struct lq_origin){.source = s, .tensor = &s->tensors[i]});
}

static enum lq_status use(struct lq_model_store *store, const struct candidate *c, struct lq_error *err)
{
    const struct lq_source *s = c->source;
    if (c->files.n_tensors == 0) return lq_error_set(err, LQ_ERR_FORMAT, "%s: holds no tensors", s->path);
    enum lq_status status = lq_store_begin_half(store, c->half, c->files.n_tensors, err);
    if (status != LQ_OK) return status;
    struct lq_half_store *half = &store->halves[c->half];
    half->files = calloc(c->files.n, sizeof *half->files);
    if (half->files == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: not enough memory", s->path);
    half->pub.path = s->path;
    half->pub.architecture = c->architecture;
    half->pub.kvs = &s->kvs;
    half->pub.alignment = s->alignment;
    half->pub.files = half->files;
    for (size_t i = 0; i < c->files.n; i++) add_file(half, lq_gguf_files_at(store, &c->files, i));
    if (c->half == LQ_VISION) swap_old_ffn_roles(store, c);
    return LQ_OK;
}

/* Where llama.cpp reads the projector's output width: the rows of this matrix. Only families where it is certain. */
static const struct width_rule {
    const char *projector, *tensor;
} width_rules[] = {
    {"mlp", "mm.2.weight"},           {"pixtral", "mm.2.weight"},         {"kimivl", "mm.2.weight"},
    {"lfm2", "mm.2.weight"},          {"idefics3", "mm.model.fc.weight"}, {"internvl", "mm.3.weight"},
    {"llama4", "mm.model.fc.weight"},
};

const char *lq_projector_last_matrix(const struct lq_kvs *vision)
{
    const char *type;
    size_t length;
    if (!lq_kvs_get_string(vision, "clip.projector_type", &type, &length)) return NULL;
    for (size_t i = 0; i < sizeof width_rules / sizeof width_rules[0]; i++) {
        const struct width_rule *rule = &width_rules[i];
        if (strlen(rule->projector) == length && memcmp(rule->projector, type, length) == 0) return rule->tensor;
    }
    return NULL;
}

/* 0 where the projector's width is not certain. */
static uint64_t projector_width(const struct lq_model_store *store, const struct candidate *vision)
{
    size_t place;
    const char *name = lq_projector_last_matrix(&vision->source->kvs);
    const struct lq_source_tensor *t = name == NULL ? NULL : lq_gguf_files_find(store, &vision->files, name, &place);
    return t == NULL ? 0 : t->ne[1];
}

static uint64_t language_width(const struct candidate *language)
{
    char key[128];
    uint64_t width = 0;
    snprintf(key, sizeof key, "%s.embedding_length", language->architecture);
    return lq_kvs_get_u64(&language->source->kvs, key, &width) ? width : 0;
}

static enum lq_status check_widths(const struct lq_model_store *store, const struct candidate *language,
                                   const struct candidate *vision, struct lq_error *err)
{
    uint64_t to = language_width(language), from = projector_width(store, vision);
    if (to == 0 || from == 0 || to == from) return LQ_OK;
    return lq_error_set(err, LQ_ERR_FORMAT,
                        "%s: its projector is %" PRIu64 " wide, but the language model %s is %" PRIu64
                        " wide: they are not a pair",
                        vision->source->path, from, language->source->path, to);
}

/* Two different ids show files of two runs. Naming the mmproj is how a user says that it is meant. */
static enum lq_status check_pair_ids(const struct candidate *language, const struct candidate *vision,
                                     struct lq_error *err)
{
    const char *a, *b;
    size_t n, m;
    if (!lq_kvs_get_string(&language->source->kvs, "llava_quantize.pair_id", &a, &n)) return LQ_OK;
    if (!lq_kvs_get_string(&vision->source->kvs, "llava_quantize.pair_id", &b, &m)) return LQ_OK;
    if (n == m && memcmp(a, b, n) == 0) return LQ_OK;
    return lq_error_set(err, LQ_ERR_USAGE,
                        "%s: llava_quantize.pair_id differs from that of %s: the files come from two runs; if they are "
                        "meant for each other, name it with --mmproj",
                        vision->source->path, language->source->path);
}

static enum lq_status use_pair(struct lq_model_store *store, const struct candidate *language,
                               const struct candidate *vision, const struct lq_model_options *options,
                               struct lq_error *err)
{
    enum lq_status status = options->lenient ? LQ_OK : check_widths(store, language, vision, err);
    if (status == LQ_OK && !options->lenient && options->mmproj == NULL) status = check_pair_ids(language, vision, err);
    if (status == LQ_OK && options->only != LQ_LANGUAGE) status = use(store, vision, err);
    if (status == LQ_OK && options->only != LQ_VISION) status = use(store, language, err);
    return status;
}

static enum lq_status look_at_mmproj(struct lq_model_store *store, const char *path, struct candidate *out,
                                     struct lq_error *err)
{
    enum lq_status status = look_at(store, path, out, err);
    if (status == LQ_OK && out->half != LQ_VISION)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: not a vision half: general.architecture is '%s', expected 'clip'",
                            path, out->architecture == NULL ? "" : out->architecture);
    return status;
}

/* The one of `names` that belongs to the language file: `mmproj-` and its name, or the only one; NULL when undecided.
 */
static const char *pick_mmproj(const struct lq_names *names, const char *language_path)
{
    size_t n, m;
    const char *wanted = lq_name_stem(language_path, &n);
    for (size_t i = 0; i < names->n; i++) {
        const char *stem = lq_name_stem(names->items[i], &m);
        if (m == n + 7 && strncmp(stem, "mmproj-", 7) == 0 && strncmp(stem + 7, wanted, n) == 0) return stem;
    }
    return names->n == 1 ? names->items[0] : NULL;
}

/* Leaves one name of each split file: its first shard's, or that of the first one there is. */
static void merge_shards(struct lq_names *names)
{
    size_t kept = 0;
    for (size_t i = 0; i < names->n; i++) {
        struct lq_shard_name a, b;
        bool again = false, shard = lq_name_shard(names->items[i], &a);
        for (size_t k = 0; shard && k < kept && !again; k++)
            again = lq_name_shard(names->items[k], &b) && a.stem == b.stem && a.count == b.count &&
                    strncmp(names->items[i], names->items[k], a.stem) == 0;
        if (again) free(names->items[i]);
        else names->items[kept++] = names->items[i];
    }
    names->n = kept;
}

static enum lq_status several(const char *where, const char *what, const struct lq_names *names, const char *remedy,
                              struct lq_error *err)
{
    char list[600];
    lq_names_join(names, list, sizeof list);
    return lq_error_set(err, LQ_ERR_USAGE, "%s: several %s: %s; %s", where, what, list, remedy);
}

/* Path of the mmproj that goes with a language file, to be freed; NULL where there is none. */
static enum lq_status find_mmproj(const char *language_path, char **out, struct lq_error *err)
{
    struct lq_names names = {0};
    const char *picked;
    enum lq_status status = LQ_OK;
    char *folder = lq_path_folder(language_path);
    if (folder == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: not enough memory", language_path);
    *out = NULL;
    status = lq_names_list(&names, folder, "mmproj-", ".gguf", err);
    merge_shards(&names);
    if (status != LQ_OK || names.n == 0) goto done;
    picked = pick_mmproj(&names, language_path);
    if (picked == NULL)
        status = several(language_path, "mmproj files stand beside it", &names, "name one with --mmproj FILE", err);
    else if ((*out = lq_path_join(folder, picked)) == NULL)
        status = lq_error_set(err, LQ_ERR_MEMORY, "%s: not enough memory", language_path);
done:
    lq_names_release(&names);
    free(folder);
    return status;
}

/* A language file, with the mmproj that the options name or that stands beside it, or alone. */
static enum lq_status open_language(struct lq_model_store *store, const struct candidate *language,
                                    const struct lq_model_options *options, struct lq_error *err)
{
    struct candidate vision = {0};
    char *found = NULL;
    const char *path = options->mmproj;
    enum lq_status status = LQ_OK;
    if (path == NULL && options->only != LQ_LANGUAGE) {
        status = find_mmproj(language->source->path, &found, err);
        path = found;
    }
    if (status == LQ_OK && path == NULL && options->only == LQ_VISION)
        status = lq_error_set(err, LQ_ERR_USAGE,
                              "%s: no vision half: no mmproj-*.gguf stands beside it; name one with --mmproj FILE",
                              language->source->path);
    if (status == LQ_OK && path != NULL) status = look_at_mmproj(store, path, &vision, err);
    if (status == LQ_OK && path != NULL) status = use_pair(store, language, &vision, options, err);
    if (status == LQ_OK && path == NULL) status = use(store, language, err);
    free(found);
    return status;
}

static enum lq_status open_vision(struct lq_model_store *store, const struct candidate *vision,
                                  const struct lq_model_options *options, struct lq_error *err)
{
    const char *path = vision->source->path;
    if (options->mmproj != NULL)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: already a vision half; --mmproj goes with a language model", path);
    if (options->only == LQ_LANGUAGE)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: a vision half alone; name the language model's file", path);
    return use(store, vision, err);
}

enum lq_status lq_gguf_open_file(struct lq_model_store *store, const char *path, const struct lq_model_options *options,
                                 struct lq_error *err)
{
    struct candidate c = {0};
    enum lq_status status = look_at(store, path, &c, err);
    if (status != LQ_OK) return status;
    if (c.half == LQ_VISION) return open_vision(store, &c, options, err);
    if (c.half == LQ_LANGUAGE) return open_language(store, &c, options, err);
    return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: not a model (see its key general.type)", path);
}

/* What a folder holds: per half the names found and the last one looked at. */
struct folder {
    struct lq_names names[LQ_HALVES];
    struct candidate last[LQ_HALVES];
};

static enum lq_status note(struct folder *f, const struct candidate *c, char **name, struct lq_error *err)
{
    struct lq_names *names = &f->names[c->half];
    char **items = realloc(names->items, (names->n + 1) * sizeof *items);
    if (items == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: not enough memory", c->source->path);
    names->items = items;
    names->items[names->n++] = *name;
    *name = NULL;
    f->last[c->half] = *c;
    return LQ_OK;
}

static enum lq_status scan(struct lq_model_store *store, const char *path, struct folder *f, struct lq_error *err)
{
    struct lq_names files = {0};
    enum lq_status status = lq_names_list(&files, path, "", ".gguf", err);
    merge_shards(&files);
    for (size_t i = 0; status == LQ_OK && i < files.n; i++) {
        struct candidate c = {0};
        char *file = lq_path_join(path, files.items[i]);
        status = file == NULL ? lq_error_set(err, LQ_ERR_MEMORY, "%s: not enough memory", path)
                              : look_at(store, file, &c, err);
        if (status == LQ_OK && c.half != LQ_HALVES) status = note(f, &c, &files.items[i], err);
        free(file);
    }
    lq_names_release(&files);
    return status;
}

/* The folder's language model with that one of its vision halves which belongs to it. */
static enum lq_status open_scanned_pair(struct lq_model_store *store, const char *path, struct folder *f,
                                        const struct lq_model_options *options, struct lq_error *err)
{
    const struct candidate *language = &f->last[LQ_LANGUAGE];
    struct candidate vision = f->last[LQ_VISION];
    const struct lq_names *names = &f->names[LQ_VISION];
    const char *picked = pick_mmproj(names, language->source->path);
    if (picked == NULL) return several(path, "vision halves", names, "name one with --mmproj FILE", err);
    if (names->n > 1) {
        char *file = lq_path_join(path, picked);
        if (file == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: not enough memory", path);
        enum lq_status status = look_at(store, file, &vision, err);
        free(file);
        if (status != LQ_OK) return status;
    }
    return use_pair(store, language, &vision, options, err);
}

static enum lq_status open_scanned(struct lq_model_store *store, const char *path, struct folder *f,
                                   const struct lq_model_options *options, struct lq_error *err)
{
    struct candidate *language = &f->last[LQ_LANGUAGE], *vision = &f->last[LQ_VISION];
    size_t languages = f->names[LQ_LANGUAGE].n, visions = f->names[LQ_VISION].n;
    if (languages == 0 && visions == 0)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                            "%s: holds no model: neither config.json with safetensors nor GGUF files", path);
    if (languages > 1 && !(options->only == LQ_VISION && visions == 1))
        return several(path, "language models", &f->names[LQ_LANGUAGE], "name the file", err);
    if (languages == 0 && visions > 1)
        return several(path, "vision halves", &f->names[LQ_VISION], "name the file", err);
    if (languages == 0) return open_vision(store, vision, options, err);
    if (options->mmproj != NULL || options->only == LQ_LANGUAGE || visions == 0)
        return open_language(store, language, options, err);
    return open_scanned_pair(store, path, f, options, err);
}

enum lq_status lq_gguf_open_folder(struct lq_model_store *store, const char *path,
                                   const struct lq_model_options *options, struct lq_error *err)
{
    struct folder f = {0};
    enum lq_status status = scan(store, path, &f, err);
    if (status == LQ_OK) status = open_scanned(store, path, &f, options, err);
    for (int h = 0; h < LQ_HALVES; h++) lq_names_release(&f.names[h]);
    return status;
}
