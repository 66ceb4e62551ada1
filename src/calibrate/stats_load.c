#include "base/file.h"
#include "calibrate/stats.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of one tensor's sums, a hundred times those of any known model: a file may be sparse and claim more than there is. */
static const uint64_t most_bytes = UINT64_C(1) << 30;

void lq_stats_free(struct lq_stats *stats)
{
    if (stats == NULL) return;
    for (size_t i = 0; i < stats->n_entries; i++) {
        free(stats->entries[i].name);
        free(stats->entries[i].means);
    }
    free(stats->entries);
    free(stats->dataset);
    free(stats->pair);
    free(stats->path);
    lq_source_close(stats->source);
    free(stats);
}

enum lq_status lq_stats_no_memory(const struct lq_stats *stats, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory", stats->path);
}

/* ---- GGUF: NAME.in_sum2 [columns, experts] and NAME.counts [1, experts], both f32 ---- */

/* The name without `suffix`; false when it ends otherwise. */
static bool stem_of(const char *name, const char *suffix, char stem[LQ_STATS_NAME])
{
    size_t n = strlen(name), m = strlen(suffix);
    if (n <= m || n >= LQ_STATS_NAME || strcmp(name + n - m, suffix) != 0) return false;
    memcpy(stem, name, n - m);
    stem[n - m] = 0;
    return true;
}

const struct lq_source_tensor *lq_stats_tensor(const struct lq_stats *stats, const char *name, const char *suffix)
{
    char part[2 * LQ_STATS_NAME];
    if (stats->source == NULL || strlen(name) >= LQ_STATS_NAME) return NULL;
    snprintf(part, sizeof part, "%s%s", name, suffix);
    return lq_source_find(stats->source, part);
}

static enum lq_status read_floats(const struct lq_stats *stats, const struct lq_source_tensor *t, float **out,
                                  struct lq_error *err)
{
    if (t->type != LQ_TYPE_F32)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s': type %s, expected f32", stats->path, t->name,
                            lq_format_name(t->type));
    if (t->bytes > most_bytes)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s': %" PRIu64 " bytes, expected at most %" PRIu64,
                            stats->path, t->name, t->bytes, most_bytes);
    float *v = malloc(t->bytes);
    if (v == NULL) return lq_stats_no_memory(stats, err);
    enum lq_status status = lq_source_read(stats->source, t, 0, t->bytes, v, err);
    if (status == LQ_OK) status = lq_stats_check_values(stats, t->name, v, t->bytes / sizeof *v, err);
    if (status == LQ_OK) *out = v;
    else free(v);
    return status;
}

static enum lq_status fill_entry(const struct lq_stats *stats, const struct lq_source_tensor *sums,
                                 struct lq_stats_entry *e, struct lq_error *err)
{
    float *counts = NULL;
    const struct lq_source_tensor *t = lq_stats_tensor(stats, e->name, LQ_STATS_COUNTS);
    if (t == NULL)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s': '%s%s' is missing", stats->path, sums->name, e->name,
                            LQ_STATS_COUNTS);
    enum lq_status status = read_floats(stats, sums, &e->means, err);
    if (status == LQ_OK) status = read_floats(stats, t, &counts, err);
    if (status != LQ_OK) return status;
    e->n = sums->bytes / sizeof *e->means;
    e->rows = t->bytes / sizeof *counts;
    if (e->n % e->rows == 0) lq_stats_clean(e, counts, false);
    else
        status = lq_error_set(err, LQ_ERR_FORMAT,
                              "%s: tensor '%s': %" PRIu64 " values do not divide into %" PRIu64 " counts", stats->path,
                              e->name, e->n, e->rows);
    free(counts);
    return status;
}

static enum lq_status add_tensor(struct lq_stats *stats, const struct lq_source_tensor *t, struct lq_error *err)
{
    char stem[LQ_STATS_NAME];
    if (stem_of(t->name, LQ_STATS_COUNTS, stem) && lq_stats_tensor(stats, stem, LQ_STATS_SUMS) == NULL)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s': its '%s' is missing", stats->path, t->name,
                            LQ_STATS_SUMS);
    if (!stem_of(t->name, LQ_STATS_SUMS, stem)) return LQ_OK;
    struct lq_stats_entry *e = &stats->entries[stats->n_entries++];
    e->name = strdup(stem);
    return e->name != NULL ? fill_entry(stats, t, e, err) : lq_stats_no_memory(stats, err);
}

static bool says_imatrix(const struct lq_source *source)
{
    static const char expected[] = "imatrix";
    const char *type;
    size_t length;
    return lq_kvs_get_string(&source->kvs, "general.type", &type, &length) && length == strlen(expected) &&
           memcmp(type, expected, length) == 0;
}

static enum lq_status check_type(const struct lq_stats *stats, struct lq_error *err)
{
    const char *type = "";
    size_t length = 0;
    if (says_imatrix(stats->source)) return LQ_OK;
    if (!lq_kvs_get_string(&stats->source->kvs, "general.type", &type, &length))
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: no importance matrix: key 'general.type' is missing", stats->path);
    bool plain = length < LQ_STATS_NAME && lq_name_is_plain(type, length);
    return lq_error_set(err, LQ_ERR_FORMAT, "%s: no importance matrix: general.type is '%.*s', expected 'imatrix'",
                        stats->path, plain ? (int)length : 1, plain ? type : "?");
}

static bool is_imatrix(const char *path)
{
    struct lq_source *s = NULL;
    bool is = lq_source_open(&s, path, NULL) == LQ_OK && says_imatrix(s);
    lq_source_close(s);
    return is;
}

/* The content decides. A GGUF whose header is damaged counts as a model: that reader says what is wrong with it. */
bool lq_stats_is_file(const char *path)
{
    char head[LQ_STATS_HEAD];
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return false;
    size_t n = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 ? (size_t)st.st_size : 0;
    if (n > sizeof head) n = sizeof head;
    bool legacy = lq_file_read(fd, path, 0, head, n, NULL) == LQ_OK && lq_stats_is_legacy(head, n);
    close(fd);
    return lq_source_is_gguf(path) ? is_imatrix(path) : legacy;
}

/* In place of what stands in *dst; cut at a zero byte. */
static enum lq_status set_text(const struct lq_stats *stats, char **dst, const char *text, size_t length,
                               struct lq_error *err)
{
    char *copy = strndup(text, length);
    if (copy == NULL) return lq_stats_no_memory(stats, err);
    free(*dst);
    *dst = copy;
    return LQ_OK;
}

/* The first of the data sets. */
static enum lq_status read_dataset(struct lq_stats *stats, struct lq_error *err)
{
    const struct lq_kv *kv = lq_kvs_find(&stats->source->kvs, "imatrix.datasets");
    const char *text;
    size_t length;
    uint64_t at = 0;
    if (kv == NULL || !lq_kv_next_string(kv, &at, &text, &length)) return LQ_OK;
    return set_text(stats, &stats->dataset, text, length, err);
}

/* An id goes into messages. */
static enum lq_status read_pair(struct lq_stats *stats, struct lq_error *err)
{
    const char *id;
    size_t length;
    if (!lq_kvs_get_string(&stats->source->kvs, LQ_STATS_KEY_PAIR, &id, &length) || length == 0) return LQ_OK;
    if (length < LQ_STATS_NAME && lq_name_is_plain(id, length)) return set_text(stats, &stats->pair, id, length, err);
    return lq_error_set(err, LQ_ERR_FORMAT, "%s: key '%s' is no pair id", stats->path, LQ_STATS_KEY_PAIR);
}

static enum lq_status read_keys(struct lq_stats *stats, struct lq_error *err)
{
    enum lq_status status = read_dataset(stats, err);
    lq_kvs_get_u64(&stats->source->kvs, "imatrix.chunk_count", &stats->chunks);
    return status == LQ_OK ? read_pair(stats, err) : status;
}

static enum lq_status load_gguf(struct lq_stats *stats, struct lq_error *err)
{
    enum lq_status status = lq_source_open(&stats->source, stats->path, err);
    if (status == LQ_OK) status = check_type(stats, err);
    if (status == LQ_OK) status = read_keys(stats, err);
    if (status != LQ_OK) return status;
    const struct lq_source *s = stats->source;
    stats->entries = calloc(s->n_tensors + 1, sizeof *stats->entries);
    if (stats->entries == NULL) return lq_stats_no_memory(stats, err);
    for (size_t i = 0; i < s->n_tensors && status == LQ_OK; i++) status = add_tensor(stats, &s->tensors[i], err);
    return status;
}

/* ---- the whole ---- */

static int compare_entries(const void *a, const void *b)
{
    const struct lq_stats_entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static enum lq_status sort_entries(struct lq_stats *stats, struct lq_error *err)
{
    struct lq_stats_entry *e = stats->entries;
    if (stats->n_entries == 0)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: no importance data in the file", stats->path);
    qsort(e, stats->n_entries, sizeof *e, compare_entries);
    for (size_t i = 1; i < stats->n_entries; i++)
        if (strcmp(e[i - 1].name, e[i].name) == 0)
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor name '%s' stands twice", stats->path, e[i].name);
    return LQ_OK;
}

enum lq_status lq_stats_load(struct lq_stats **out, const char *path, struct lq_error *err)
{
    struct lq_stats *stats = calloc(1, sizeof *stats);
    if (stats == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory", path);
    stats->path = strdup(path);
    stats->dataset = strdup("");
    stats->pair = strdup("");
    enum lq_status status = LQ_OK;
    if (stats->path == NULL || stats->dataset == NULL || stats->pair == NULL)
        status = lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory", path);
    if (status == LQ_OK) status = lq_source_is_gguf(path) ? load_gguf(stats, err) : lq_stats_load_legacy(stats, err);
    if (status == LQ_OK) status = sort_entries(stats, err);
    if (status == LQ_OK) status = lq_stats_link(stats, err);
    if (status == LQ_OK) *out = stats;
    else lq_stats_free(stats);
    return status;
}

size_t lq_stats_count(const struct lq_stats *stats)
{
    return stats->n_entries;
}

const char *lq_stats_path(const struct lq_stats *stats)
{
    return stats->path;
}

const char *lq_stats_dataset(const struct lq_stats *stats)
{
    return stats->dataset;
}

uint64_t lq_stats_chunks(const struct lq_stats *stats)
{
    return stats->chunks;
}

const struct lq_stats_entry *lq_stats_find(const struct lq_stats *stats, const char *name)
{
    const struct lq_stats_entry wanted = {.name = (char *)name};
    return bsearch(&wanted, stats->entries, stats->n_entries, sizeof wanted, compare_entries);
}
