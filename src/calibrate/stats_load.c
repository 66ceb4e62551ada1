#include "llava_quantize/calibrate.h"

#include "base/file.h"
#include "source/source.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t largest_legacy = UINT64_C(1) << 32; /* bytes; the file is read as a whole */
enum { SMALLEST_ENTRY = 4 + 1 + 4 + 4 + 4 }; /* of the older form: length, name, calls, number of values, one value */
static const char sums_suffix[] = ".in_sum2", counts_suffix[] = ".counts";

struct entry {
    char *name;
    uint64_t n;    /* values */
    uint64_t rows; /* one for each expert */
    float *values; /* means; NULL when all of them are zero */
};

struct lq_stats {
    char *path, *dataset;
    uint64_t chunks;
    size_t n_entries;
    struct entry *entries; /* sorted by name */
};

void lq_stats_free(struct lq_stats *im)
{
    if (im == NULL) return;
    for (size_t i = 0; i < im->n_entries; i++) {
        free(im->entries[i].name);
        free(im->entries[i].values);
    }
    free(im->entries);
    free(im->dataset);
    free(im->path);
    free(im);
}

static enum lq_status no_memory(const struct lq_stats *im, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory", im->path);
}

static enum lq_status check_values(const struct lq_stats *im, const char *tensor, const float *v, uint64_t n,
                                   struct lq_error *err)
{
    for (uint64_t i = 0; i < n; i++)
        if (!isfinite(v[i]) || v[i] < 0)
            return lq_error_set(err, LQ_ERR_FORMAT,
                                "%s: tensor '%s': value %" PRIu64 " is %g, expected finite and not negative", im->path,
                                tensor, i, (double)v[i]);
    return LQ_OK;
}

/* Sums to means: one count for each row. llama-quantize gives weight 1 to every column of an expert that was never
 * asked; a row of zeros, which says as little, is treated alike. Returns false when no row says anything. */
static bool make_means(struct entry *e, const float *counts)
{
    uint64_t columns = e->n / e->rows;
    bool any = false;
    for (uint64_t r = 0; r < e->rows; r++) {
        float *row = e->values + r * columns, count = roundf(counts[r]);
        bool zero = true;
        for (uint64_t i = 0; i < columns; i++) {
            row[i] = count > 0 ? row[i] / count : 1;
            zero = zero && row[i] == 0;
        }
        for (uint64_t i = 0; zero && i < columns; i++) row[i] = 1;
        any = any || !zero;
    }
    return any;
}

static void finish_entry(struct entry *e, const float *counts)
{
    if (make_means(e, counts)) return;
    free(e->values);
    e->values = NULL;
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static enum lq_status sort_entries(struct lq_stats *im, struct lq_error *err)
{
    if (im->n_entries == 0) return lq_error_set(err, LQ_ERR_FORMAT, "%s: no importance data in the file", im->path);
    qsort(im->entries, im->n_entries, sizeof *im->entries, compare_entries);
    for (size_t i = 1; i < im->n_entries; i++)
        if (strcmp(im->entries[i - 1].name, im->entries[i].name) == 0)
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor name '%s' stands twice", im->path, im->entries[i].name);
    return LQ_OK;
}

/* --- GGUF: NAME.in_sum2 [columns, experts] and NAME.counts [1, experts], both f32 --- */

enum { NAME_SIZE = 64 }; /* a GGUF tensor's name with its terminator */

/* The name without `suffix`; false when it ends otherwise. */
static bool stem_of(const char *name, const char *suffix, char stem[NAME_SIZE])
{
    size_t n = strlen(name), m = strlen(suffix);
    if (n <= m || n >= NAME_SIZE || strcmp(name + n - m, suffix) != 0) return false;
    memcpy(stem, name, n - m);
    stem[n - m] = 0;
    return true;
}

static const struct lq_source_tensor *partner_of(const struct lq_source *s, const char *stem, const char *suffix)
{
    char name[2 * NAME_SIZE];
    snprintf(name, sizeof name, "%s%s", stem, suffix);
    return lq_source_find(s, name);
}

static enum lq_status read_floats(const struct lq_stats *im, const struct lq_source *s,
                                  const struct lq_source_tensor *t, float **out, struct lq_error *err)
{
    if (t->type != LQ_TYPE_F32)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s': type %s, expected f32", im->path, t->name,
                            lq_format_name(t->type));
    float *v = malloc(t->bytes);
    if (v == NULL) return no_memory(im, err);
    enum lq_status status = lq_source_read(s, t, 0, t->bytes, v, err);
    if (status == LQ_OK) status = check_values(im, t->name, v, t->bytes / sizeof *v, err);
    if (status == LQ_OK) *out = v;
    else free(v);
    return status;
}

static enum lq_status fill_entry(const struct lq_stats *im, const struct lq_source *s,
                                 const struct lq_source_tensor *sums, struct entry *e, struct lq_error *err)
{
    float *counts = NULL;
    const struct lq_source_tensor *t = partner_of(s, e->name, counts_suffix);
    if (t == NULL)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s': '%s%s' is missing", im->path, sums->name, e->name,
                            counts_suffix);
    enum lq_status status = read_floats(im, s, sums, &e->values, err);
    if (status == LQ_OK) status = read_floats(im, s, t, &counts, err);
    if (status != LQ_OK) return status;
    e->n = sums->bytes / sizeof *e->values;
    e->rows = t->bytes / sizeof *counts;
    if (e->n % e->rows == 0) finish_entry(e, counts);
    else
        status = lq_error_set(err, LQ_ERR_FORMAT,
                              "%s: tensor '%s': %" PRIu64 " values do not divide into %" PRIu64 " counts", im->path,
                              e->name, e->n, e->rows);
    free(counts);
    return status;
}

static enum lq_status add_tensor(struct lq_stats *im, const struct lq_source *s, const struct lq_source_tensor *t,
                                 struct lq_error *err)
{
    char stem[NAME_SIZE];
    if (stem_of(t->name, counts_suffix, stem) && partner_of(s, stem, sums_suffix) == NULL)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s': its '%s' is missing", im->path, t->name, sums_suffix);
    if (!stem_of(t->name, sums_suffix, stem)) return LQ_OK;
    struct entry *e = &im->entries[im->n_entries++];
    e->name = strdup(stem);
    return e->name != NULL ? fill_entry(im, s, t, e, err) : no_memory(im, err);
}

static enum lq_status check_type(const struct lq_stats *im, const struct lq_kvs *kvs, struct lq_error *err)
{
    static const char expected[] = "imatrix";
    const char *type = "";
    size_t length = 0;
    if (!lq_kvs_get_string(kvs, "general.type", &type, &length))
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: no importance matrix: key 'general.type' is missing", im->path);
    if (length == strlen(expected) && memcmp(type, expected, length) == 0) return LQ_OK;
    bool plain = length < NAME_SIZE && lq_name_is_plain(type, length);
    return lq_error_set(err, LQ_ERR_FORMAT, "%s: no importance matrix: general.type is '%.*s', expected '%s'", im->path,
                        plain ? (int)length : 1, plain ? type : "?", expected);
}

/* The first of the data sets, cut at a zero byte. */
static enum lq_status read_dataset(struct lq_stats *im, const struct lq_kvs *kvs, struct lq_error *err)
{
    const struct lq_kv *kv = lq_kvs_find(kvs, "imatrix.datasets");
    uint64_t length = 0;
    if (kv == NULL || kv->type != LQ_KV_ARRAY || kv->element != LQ_KV_STRING || kv->count == 0) return LQ_OK;
    for (int i = 0; i < 8; i++) length |= (uint64_t)kv->raw[i] << (8 * i);
    char *dataset = strndup((const char *)kv->raw + 8, length);
    if (dataset == NULL) return no_memory(im, err);
    free(im->dataset);
    im->dataset = dataset;
    return LQ_OK;
}

static enum lq_status load_gguf(struct lq_stats *im, struct lq_error *err)
{
    struct lq_source *s = NULL;
    enum lq_status status = lq_source_open(&s, im->path, err);
    if (status != LQ_OK) return status;
    status = check_type(im, &s->kvs, err);
    if (status == LQ_OK) status = read_dataset(im, &s->kvs, err);
    if (status != LQ_OK) goto done;
    lq_kvs_get_u64(&s->kvs, "imatrix.chunk_count", &im->chunks);
    im->entries = calloc(s->n_tensors + 1, sizeof *im->entries);
    if (im->entries == NULL) status = no_memory(im, err);
    for (size_t i = 0; i < s->n_tensors && status == LQ_OK; i++) status = add_tensor(im, s, &s->tensors[i], err);
done:
    lq_source_close(s);
    return status;
}

/* --- the older form: number of entries; name, calls and values of each; then calls in all and data set, if any --- */

struct cursor {
    const char *at;
    size_t left;
};

static bool take(struct cursor *c, void *dst, size_t n)
{
    if (n > c->left) return false;
    memcpy(dst, c->at, n);
    c->at += n;
    c->left -= n;
    return true;
}

/* Little-endian, not below `least`. */
static bool take_i32(struct cursor *c, int32_t least, int32_t *out)
{
    uint8_t raw[4];
    if (!take(c, raw, sizeof raw)) return false;
    *out = (int32_t)((uint32_t)raw[3] << 24 | (uint32_t)raw[2] << 16 | (uint32_t)raw[1] << 8 | raw[0]);
    return *out >= least;
}

/* A length and so many bytes, as text owned by the caller; NULL when they are not there. */
static char *take_text(struct cursor *c, int32_t least)
{
    int32_t length = 0;
    if (!take_i32(c, least, &length) || (size_t)length > c->left) return NULL;
    char *text = calloc((size_t)length + 1, 1);
    if (text != NULL) take(c, text, (size_t)length);
    return text;
}

static enum lq_status bad_legacy(const struct lq_stats *im, size_t entry, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_FORMAT,
                        "%s: neither a GGUF nor an older importance matrix: entry %zu is cut off or malformed",
                        im->path, entry);
}

/* Values are means times calls; without calls they are taken as they stand, as llama-quantize does. */
static enum lq_status take_entry(struct lq_stats *im, struct cursor *c, struct lq_error *err)
{
    int32_t calls = 0, n = 0;
    size_t number = im->n_entries;
    struct entry *e = &im->entries[im->n_entries++];
    e->name = take_text(c, 1);
    if (e->name == NULL || !lq_name_is_plain(e->name, strlen(e->name)) || !take_i32(c, INT32_MIN, &calls) ||
        !take_i32(c, 1, &n) || (size_t)n > c->left / sizeof *e->values)
        return bad_legacy(im, number, err);
    e->n = (uint64_t)n;
    e->rows = 1;
    e->values = malloc(e->n * sizeof *e->values);
    if (e->values == NULL) return no_memory(im, err);
    if (!take(c, e->values, e->n * sizeof *e->values)) return bad_legacy(im, number, err);
    enum lq_status status = check_values(im, e->name, e->values, e->n, err);
    if (status == LQ_OK) finish_entry(e, &(float){calls > 0 ? (float)calls : 1});
    return status;
}

static enum lq_status parse_legacy(struct lq_stats *im, struct cursor c, struct lq_error *err)
{
    int32_t n = 0, chunks = 0;
    enum lq_status status = LQ_OK;
    if (!take_i32(&c, 1, &n) || (size_t)n > c.left / SMALLEST_ENTRY) return bad_legacy(im, 0, err);
    im->entries = calloc((size_t)n, sizeof *im->entries);
    if (im->entries == NULL) return no_memory(im, err);
    for (int32_t i = 0; i < n && status == LQ_OK; i++) status = take_entry(im, &c, err);
    if (status != LQ_OK || !take_i32(&c, 0, &chunks)) return status;
    im->chunks = (uint64_t)chunks;
    char *dataset = take_text(&c, 0);
    if (dataset == NULL) return LQ_OK;
    free(im->dataset);
    im->dataset = dataset;
    return LQ_OK;
}

static enum lq_status load_legacy(struct lq_stats *im, struct lq_error *err)
{
    char *text = NULL;
    size_t size = 0;
    enum lq_status status = lq_file_load(im->path, largest_legacy, &text, &size, err);
    if (status == LQ_OK) status = parse_legacy(im, (struct cursor){text, size}, err);
    free(text);
    return status;
}

/* --- the whole --- */

enum lq_status lq_stats_load(struct lq_stats **out, const char *path, struct lq_error *err)
{
    struct lq_stats *im = calloc(1, sizeof *im);
    if (im == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory", path);
    im->path = strdup(path);
    im->dataset = strdup("");
    enum lq_status status = LQ_OK;
    if (im->path == NULL || im->dataset == NULL) status = lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory", path);
    if (status == LQ_OK) status = lq_source_is_gguf(path) ? load_gguf(im, err) : load_legacy(im, err);
    if (status == LQ_OK) status = sort_entries(im, err);
    if (status == LQ_OK) *out = im;
    else lq_stats_free(im);
    return status;
}

size_t lq_stats_count(const struct lq_stats *im)
{
    return im->n_entries;
}

const char *lq_stats_path(const struct lq_stats *im)
{
    return im->path;
}

const char *lq_stats_dataset(const struct lq_stats *im)
{
    return im->dataset;
}

uint64_t lq_stats_chunks(const struct lq_stats *im)
{
    return im->chunks;
}

static const struct entry *find_entry(const struct lq_stats *im, const char *name)
{
    const struct entry wanted = {.name = (char *)name};
    return bsearch(&wanted, im->entries, im->n_entries, sizeof wanted, compare_entries);
}

static uint64_t expected_values(const struct lq_tensor *t)
{
    return t->ne[0] * t->ne[2] * t->ne[3];
}

/* The token embedding is exempt: its data, where there are any, belong to its other use as output matrix. */
static enum lq_status check_tensor(const struct lq_stats *im, const struct lq_tensor *t, struct lq_error *err)
{
    const struct entry *e = find_entry(im, t->name);
    if (e == NULL || e->n == expected_values(t) || t->role == LQ_ROLE_LANGUAGE_EMBEDDING) return LQ_OK;
    return lq_error_set(err, LQ_ERR_FORMAT,
                        "%s: tensor '%s': %" PRIu64 " values, expected %" PRIu64 ": importance data of another model",
                        im->path, t->name, e->n, expected_values(t));
}

enum lq_status lq_stats_check(const struct lq_stats *im, const struct lq_model *model, struct lq_error *err)
{
    for (int h = 0; h < LQ_HALVES; h++) {
        const struct lq_model_half *half = model->half[h];
        for (size_t i = 0; half != NULL && i < half->n_tensors; i++) {
            enum lq_status status = check_tensor(im, &half->tensors[i], err);
            if (status != LQ_OK) return status;
        }
    }
    return LQ_OK;
}

const float *lq_stats_importance(const struct lq_stats *im, const struct lq_tensor *tensor)
{
    const struct entry *e = find_entry(im, tensor->name);
    return e != NULL && e->n == expected_values(tensor) ? e->values : NULL;
}
