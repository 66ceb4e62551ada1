#include "calibrate/measurements.h"

#include "base/hash.h"
#include "calibrate/gathering.h"
#include "calibrate/stats.h"
#include "write/write.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBERS = 3, PIECE = 1 << 20, MOST = 1 << 20, LONGEST_NAME = 1 << 16 };

/* What is measured of one kind, by name. */
struct table {
    struct lq_measured *items; /* names are owned */
    size_t n, room;
    char *terms;
    bool changed; /* what stands in the file is another */
};

struct lq_measurements {
    char *path;
    XXH128_hash_t other; /* of what the file holds beside them */
    struct table tables[LQ_MEASURED_KINDS];
};

static const struct keys {
    const char *what, *terms, *names, *values;
} keys[LQ_MEASURED_KINDS] = {
    [LQ_MEASURED_ERRORS] = {"errors of types", LQ_STATS_KEY_ERRORS ".terms", LQ_STATS_KEY_ERRORS ".names",
                            LQ_STATS_KEY_ERRORS ".values"},
    [LQ_MEASURED_DIVERGENCES] = {"divergences", LQ_STATS_KEY_DIVERGENCES ".terms", LQ_STATS_KEY_DIVERGENCES ".names",
                                 LQ_STATS_KEY_DIVERGENCES ".values"},
};

/* ---- in memory ---- */

static enum lq_status no_memory(const char *path, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for measurements", path);
}

static void clear(struct table *t)
{
    for (size_t i = 0; i < t->n; i++) free((char *)t->items[i].name);
    t->n = 0;
}

/* Where a name stands, or belongs. */
static size_t place_of(const struct table *t, const char *name)
{
    size_t low = 0, high = t->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(t->items[middle].name, name) < 0) low = middle + 1;
        else high = middle;
    }
    return low;
}

static bool stands_at(const struct table *t, size_t at, const char *name)
{
    return at < t->n && strcmp(t->items[at].name, name) == 0;
}

static bool reserve(struct table *t)
{
    if (t->n < t->room) return true;
    size_t room = t->room > 0 ? 2 * t->room : 64;
    struct lq_measured *items = realloc(t->items, room * sizeof *items);
    if (items == NULL) return false;
    t->items = items;
    t->room = room;
    return true;
}

/* Takes over item->name, unless it fails. */
static bool insert(struct table *t, size_t at, const struct lq_measured *item)
{
    if (!reserve(t)) return false;
    memmove(&t->items[at + 1], &t->items[at], (t->n - at) * sizeof *t->items);
    t->items[at] = *item;
    t->n++;
    return true;
}

static bool is_number(double v)
{
    return isfinite(v) && v >= 0;
}

const struct lq_measured *lq_measurements_find(const struct lq_measurements *m, enum lq_measured_kind kind,
                                               const char *name)
{
    const struct table *t = &m->tables[kind];
    size_t at = place_of(t, name);
    return stands_at(t, at, name) ? &t->items[at] : NULL;
}

enum lq_status lq_measurements_add(struct lq_measurements *m, enum lq_measured_kind kind,
                                   const struct lq_measured *measured, struct lq_error *err)
{
    struct table *t = &m->tables[kind];
    struct lq_measured item = *measured;
    size_t length = strlen(item.name), at = place_of(t, item.name);
    if (length >= LONGEST_NAME || !lq_name_is_plain(item.name, length))
        return lq_error_set(err, LQ_ERR_USAGE, "%s: no name for a measurement", m->path);
    if (!is_number(item.value) || !is_number(item.spread) || !is_number(item.agreement))
        return lq_error_set(err, LQ_ERR_USAGE, "%s: '%s' measured as %g, %g, %g", m->path, item.name, item.value,
                            item.spread, item.agreement);
    t->changed = true;
    if (stands_at(t, at, item.name)) {
        item.name = t->items[at].name;
        t->items[at] = item;
        return LQ_OK;
    }
    item.name = strdup(measured->name);
    if (item.name != NULL && insert(t, at, &item)) return LQ_OK;
    free((char *)item.name);
    return no_memory(m->path, err);
}

/* ---- from a file ---- */

static enum lq_status damaged(const struct lq_source *s, const char *key, const char *what, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_FORMAT, "%s: key '%s' %s: no measurements of this program", s->path, key, what);
}

static enum lq_status check_shape(const struct lq_source *s, const struct keys *k, const struct lq_kv *names,
                                  const struct lq_kv *values, struct lq_error *err)
{
    const char *text;
    size_t length;
    if (!lq_kvs_get_string(&s->kvs, k->terms, &text, &length)) return damaged(s, k->terms, "is no text", err);
    if (names == NULL || names->type != LQ_KV_ARRAY || names->element != LQ_KV_STRING || names->count > MOST)
        return damaged(s, k->names, "holds no names", err);
    if (values == NULL || values->type != LQ_KV_ARRAY || values->element != LQ_KV_F64 ||
        values->count != NUMBERS * names->count)
        return damaged(s, k->values, "holds no numbers for them", err);
    return LQ_OK;
}

/* One measurement after another; names must ascend, as they are written. */
static enum lq_status read_items(const struct lq_source *s, const struct keys *k, const struct lq_kv *names,
                                 const uint8_t *values, struct table *t, struct lq_error *err)
{
    const char *text;
    size_t length;
    for (uint64_t at = 0; lq_kv_next_string(names, &at, &text, &length); values += NUMBERS * sizeof(double)) {
        double v[NUMBERS];
        memcpy(v, values, sizeof v);
        if (length >= LONGEST_NAME || !lq_name_is_plain(text, length))
            return damaged(s, k->names, "holds what is no name", err);
        if (!is_number(v[0]) || !is_number(v[1]) || !is_number(v[2]))
            return damaged(s, k->values, "holds a number that is negative or not finite", err);
        struct lq_measured item = {strndup(text, length), v[0], v[1], v[2]};
        if (item.name == NULL) return no_memory(s->path, err);
        bool ascends = t->n == 0 || strcmp(t->items[t->n - 1].name, item.name) < 0;
        if (ascends && insert(t, t->n, &item)) continue;
        free((char *)item.name);
        return ascends ? no_memory(s->path, err) : damaged(s, k->names, "is not in order", err);
    }
    return LQ_OK;
}

/* *terms: as they stand in the file, to free(); NULL where it has nothing of the kind. */
static enum lq_status read_table(const struct lq_source *s, enum lq_measured_kind kind, struct table *t, char **terms,
                                 struct lq_error *err)
{
    const struct keys *k = &keys[kind];
    const struct lq_kv *names = lq_kvs_find(&s->kvs, k->names), *values = lq_kvs_find(&s->kvs, k->values);
    const char *text;
    size_t length;
    if (names == NULL && values == NULL && lq_kvs_find(&s->kvs, k->terms) == NULL) return LQ_OK;
    enum lq_status status = check_shape(s, k, names, values, err);
    if (status == LQ_OK) status = read_items(s, k, names, values->raw, t, err);
    if (status != LQ_OK) return status;
    lq_kvs_get_string(&s->kvs, k->terms, &text, &length);
    *terms = strndup(text, length);
    return *terms != NULL ? LQ_OK : no_memory(s->path, err);
}

static enum lq_status load_table(const struct lq_source *s, enum lq_measured_kind kind, struct table *t,
                                 struct lq_error *stale, struct lq_error *err)
{
    char *found = NULL, difference[512];
    enum lq_status status = read_table(s, kind, t, &found, err);
    if (status == LQ_OK && found != NULL && lq_terms_differ(found, t->terms, difference, sizeof difference)) {
        lq_error_set(stale, LQ_OK, "%s: its %s were measured with other settings (%s) and do not count", s->path,
                     keys[kind].what, difference);
        clear(t);
    }
    free(found);
    return status;
}

static bool is_ours(const char *key)
{
    for (int k = 0; k < LQ_MEASURED_KINDS; k++)
        if (strcmp(key, keys[k].terms) == 0 || strcmp(key, keys[k].names) == 0 || strcmp(key, keys[k].values) == 0)
            return true;
    return false;
}

/* Of metadata and tensors: what tells whether a file is still the one that was opened. */
static bool hash_others(const struct lq_source *s, XXH128_hash_t *out)
{
    XXH3_state_t *hash = XXH3_createState();
    if (hash == NULL) return false;
    XXH3_128bits_reset(hash);
    for (size_t i = 0; i < s->kvs.n; i++) {
        const struct lq_kv *kv = &s->kvs.items[i];
        if (is_ours(kv->key)) continue;
        const uint64_t form[] = {kv->type, kv->element, kv->raw_size};
        XXH3_128bits_update(hash, kv->key, strlen(kv->key) + 1);
        XXH3_128bits_update(hash, form, sizeof form);
        XXH3_128bits_update(hash, kv->raw, kv->raw_size);
    }
    for (size_t i = 0; i < s->n_tensors; i++) {
        const struct lq_source_tensor *t = &s->tensors[i];
        const uint64_t form[] = {(uint64_t)t->type, t->n_dims, t->ne[0], t->ne[1], t->ne[2], t->ne[3]};
        XXH3_128bits_update(hash, t->name, strlen(t->name) + 1);
        XXH3_128bits_update(hash, form, sizeof form);
    }
    *out = XXH3_128bits_digest(hash);
    XXH3_freeState(hash);
    return true;
}

static enum lq_status open_gguf(struct lq_source **out, const char *path, struct lq_error *err)
{
    if (!lq_source_is_gguf(path))
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: no GGUF file: it has no room for measurements", path);
    return lq_source_open(out, path, err);
}

enum lq_status lq_measurements_open(struct lq_measurements **out, const char *path,
                                    const char *const terms[LQ_MEASURED_KINDS], struct lq_error *stale,
                                    struct lq_error *err)
{
    struct lq_source *s = NULL;
    struct lq_measurements *m = calloc(1, sizeof *m);
    if (m == NULL) return no_memory(path, err);
    bool complete = (m->path = strdup(path)) != NULL;
    for (int k = 0; k < LQ_MEASURED_KINDS; k++) complete = (m->tables[k].terms = strdup(terms[k])) != NULL && complete;
    enum lq_status status = complete ? open_gguf(&s, path, err) : no_memory(path, err);
    if (status == LQ_OK && !hash_others(s, &m->other)) status = no_memory(path, err);
    *stale = (struct lq_error){0};
    for (int k = 0; k < LQ_MEASURED_KINDS && status == LQ_OK; k++)
        status = load_table(s, (enum lq_measured_kind)k, &m->tables[k], stale, err);
    lq_source_close(s);
    if (status == LQ_OK) *out = m;
    else lq_measurements_free(m);
    return status;
}

void lq_measurements_free(struct lq_measurements *m)
{
    if (m == NULL) return;
    for (int k = 0; k < LQ_MEASURED_KINDS; k++) {
        clear(&m->tables[k]);
        free(m->tables[k].items);
        free(m->tables[k].terms);
    }
    free(m->path);
    free(m);
}

enum lq_status lq_measured_counts(const struct lq_stats *stats, size_t counts[LQ_MEASURED_KINDS], struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (int k = 0; k < LQ_MEASURED_KINDS && status == LQ_OK; k++) {
        struct table t = {0};
        char *terms = NULL;
        if (stats->source != NULL) status = read_table(stats->source, (enum lq_measured_kind)k, &t, &terms, err);
        if (status == LQ_OK) counts[k] = t.n;
        clear(&t);
        free(t.items);
        free(terms);
    }
    return status;
}

/* ---- into the file ---- */

static enum lq_status set_table(struct lq_kvs *kvs, const struct keys *k, const struct table *t, struct lq_error *err)
{
    enum lq_status status = lq_kvs_set_string(kvs, k->terms, t->terms, err);
    const char **names = calloc(t->n + 1, sizeof *names);
    size_t *lengths = calloc(t->n + 1, sizeof *lengths);
    double(*values)[NUMBERS] = calloc(t->n + 1, sizeof *values);
    if (names == NULL || lengths == NULL || values == NULL) status = no_memory(k->names, err);
    for (size_t i = 0; i < t->n && status == LQ_OK; i++) {
        const struct lq_measured *item = &t->items[i];
        names[i] = item->name;
        lengths[i] = strlen(item->name);
        memcpy(values[i], (const double[NUMBERS]){item->value, item->spread, item->agreement}, sizeof values[i]);
    }
    if (status == LQ_OK) status = lq_kvs_set_strings(kvs, k->names, names, lengths, t->n, err);
    if (status == LQ_OK) status = lq_kvs_set_array(kvs, k->values, LQ_KV_F64, NUMBERS * t->n, values, err);
    free(names);
    free(lengths);
    free(values);
    return status;
}

static enum lq_status set_tables(struct lq_kvs *kvs, const struct lq_measurements *m, const struct lq_source *s,
                                 struct lq_error *err)
{
    enum lq_status status = lq_kvs_copy(kvs, &s->kvs, err);
    for (int k = 0; k < LQ_MEASURED_KINDS && status == LQ_OK; k++)
        if (m->tables[k].changed) status = set_table(kvs, &keys[k], &m->tables[k], err);
    return status;
}

static enum lq_status copy_tensor(struct lq_output *o, const struct lq_source *s, size_t i, void *piece,
                                  struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    const struct lq_source_tensor *t = &s->tensors[i];
    for (uint64_t at = 0; at < t->bytes && status == LQ_OK; at += PIECE) {
        uint64_t n = t->bytes - at < PIECE ? t->bytes - at : PIECE;
        status = lq_source_read(s, t, at, n, piece, err);
        if (status == LQ_OK) status = lq_output_write(o, 0, i, at, piece, n, err);
    }
    return status;
}

static enum lq_status copy_file(struct lq_output *o, const struct lq_source *s, const struct lq_kvs *kvs,
                                struct lq_error *err)
{
    struct lq_output_tensor *tensors = calloc(s->n_tensors + 1, sizeof *tensors);
    void *piece = malloc(PIECE);
    enum lq_status status = tensors != NULL && piece != NULL ? LQ_OK : no_memory(s->path, err);
    for (size_t i = 0; i < s->n_tensors && status == LQ_OK; i++) {
        const struct lq_source_tensor *t = &s->tensors[i];
        tensors[i] = (struct lq_output_tensor){.name = t->name, .type = t->type, .n_dims = t->n_dims};
        memcpy(tensors[i].ne, t->ne, sizeof t->ne);
    }
    if (status == LQ_OK) status = lq_output_begin(o, 0, kvs, tensors, s->n_tensors, s->alignment, err);
    for (size_t i = 0; i < s->n_tensors && status == LQ_OK; i++) status = copy_tensor(o, s, i, piece, err);
    free(tensors);
    free(piece);
    return status;
}

/* With the id that stands in the file, if one does. */
static enum lq_status commit(struct lq_output *o, const struct lq_source *s, struct lq_error *err)
{
    const char *text;
    size_t length = 0;
    char id[LQ_HASH_DIGITS + 1] = "";
    bool has = lq_kvs_get_string(&s->kvs, "llava_quantize.pair_id", &text, &length) && length < sizeof id;
    if (has) memcpy(id, text, length);
    return lq_output_commit(o, has ? id : NULL, err);
}

static enum lq_status check_file(const struct lq_measurements *m, const struct lq_source *s, struct lq_error *err)
{
    XXH128_hash_t now;
    if (!hash_others(s, &now)) return no_memory(m->path, err);
    if (XXH128_isEqual(now, m->other)) return LQ_OK;
    return lq_error_set(err, LQ_ERR_USAGE,
                        "%s: is no longer the file that was read: what was measured is not kept in it", m->path);
}

enum lq_status lq_measurements_save(struct lq_measurements *m, struct lq_error *err)
{
    const char *path = m->path;
    struct lq_source *s = NULL;
    struct lq_output *o = NULL;
    struct lq_kvs kvs = {0};
    bool changed = false;
    for (int k = 0; k < LQ_MEASURED_KINDS; k++) changed = changed || m->tables[k].changed;
    if (!changed) return LQ_OK;
    enum lq_status status = open_gguf(&s, path, err);
    if (status == LQ_OK) status = check_file(m, s, err);
    if (status == LQ_OK) status = set_tables(&kvs, m, s, err);
    if (status == LQ_OK) status = lq_output_open(&o, &path, 1, true, err);
    if (status == LQ_OK) status = copy_file(o, s, &kvs, err);
    if (status == LQ_OK) status = commit(o, s, err);
    for (int k = 0; k < LQ_MEASURED_KINDS && status == LQ_OK; k++) m->tables[k].changed = false;
    lq_output_close(o);
    lq_kvs_release(&kvs);
    lq_source_close(s);
    return status;
}
