/* The older form: number of entries; name, calls and values of each; then calls in all and data set, if any. */
#include "base/file.h"
#include "calibrate/stats.h"

#include <stdlib.h>
#include <string.h>

static const uint64_t largest = UINT64_C(1) << 32; /* bytes; the file is read as a whole */
enum { SMALLEST_ENTRY = 4 + 1 + 4 + 4 + 4 };       /* length, name, calls, number of values, one value */

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

static enum lq_status malformed(const struct lq_stats *stats, size_t entry, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_FORMAT,
                        "%s: neither a GGUF nor an older importance matrix: entry %zu is cut off or malformed",
                        stats->path, entry);
}

/* A name that a GGUF tensor could have. */
static bool is_name_next(struct cursor c)
{
    int32_t length = 0;
    return take_i32(&c, 1, &length) && length < LQ_STATS_NAME && (size_t)length <= c.left &&
           lq_name_is_plain(c.at, (size_t)length);
}

static char *take_name(struct cursor *c)
{
    return is_name_next(*c) ? take_text(c, 1) : NULL;
}

/* Values are means times calls; without calls they are taken as they stand, as llama-quantize does. */
static enum lq_status take_entry(struct lq_stats *stats, struct cursor *c, struct lq_error *err)
{
    int32_t calls = 0, n = 0;
    size_t number = stats->n_entries;
    struct lq_stats_entry *e = &stats->entries[stats->n_entries++];
    e->name = take_name(c);
    if (e->name == NULL || !take_i32(c, INT32_MIN, &calls) || !take_i32(c, 1, &n) ||
        (size_t)n > c->left / sizeof *e->means)
        return malformed(stats, number, err);
    e->n = (uint64_t)n;
    e->rows = 1;
    e->means = malloc(e->n * sizeof *e->means);
    if (e->means == NULL) return lq_stats_no_memory(stats, err);
    if (!take(c, e->means, e->n * sizeof *e->means)) return malformed(stats, number, err);
    enum lq_status status = lq_stats_check_values(stats, e->name, e->means, e->n, err);
    if (status == LQ_OK) lq_stats_clean(e, &(float){calls > 0 ? (float)calls : 1}, true);
    return status;
}

/* A plausible number of entries, and the first one's name. */
bool lq_stats_is_legacy(const char *head, size_t n)
{
    struct cursor c = {head, n};
    int32_t entries = 0;
    return take_i32(&c, 1, &entries) && is_name_next(c);
}

static enum lq_status parse(struct lq_stats *stats, struct cursor c, struct lq_error *err)
{
    int32_t n = 0, chunks = 0;
    enum lq_status status = LQ_OK;
    if (!take_i32(&c, 1, &n) || (size_t)n > c.left / SMALLEST_ENTRY) return malformed(stats, 0, err);
    stats->entries = calloc((size_t)n, sizeof *stats->entries);
    if (stats->entries == NULL) return lq_stats_no_memory(stats, err);
    for (int32_t i = 0; i < n && status == LQ_OK; i++) status = take_entry(stats, &c, err);
    if (status != LQ_OK || !take_i32(&c, 0, &chunks)) return status;
    stats->chunks = (uint64_t)chunks;
    char *dataset = take_text(&c, 0);
    if (dataset == NULL) return LQ_OK;
    free(stats->dataset);
    stats->dataset = dataset;
    return LQ_OK;
}

enum lq_status lq_stats_load_legacy(struct lq_stats *stats, struct lq_error *err)
{
    char *text = NULL;
    size_t size = 0;
    enum lq_status status = lq_file_load(stats->path, largest, &text, &size, err);
    if (status == LQ_OK) status = parse(stats, (struct cursor){text, size}, err);
    free(text);
    return status;
}
