/* What our form adds to llama.cpp's: which matrices share an input, and shapes of everything beside the sums. */
#include "calibrate/stats.h"
#include "calibrate/stats_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static enum lq_status check_part(const struct lq_stats *stats, const struct lq_stats_entry *e, enum lq_stats_part part,
                                 struct lq_error *err)
{
    const struct lq_stats_part_form *form = &lq_stats_parts[part];
    const struct lq_source_tensor *t = lq_stats_tensor(stats, e->name, form->suffix);
    uint64_t ne[4];
    uint32_t n_dims;
    if (t == NULL) return LQ_OK;
    if (t->type != form->type)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s': type %s, expected %s", stats->path, t->name,
                            lq_format_name(t->type), lq_format_name(form->type));
    uint64_t found = t->bytes / lq_format_get(form->type)->bytes;
    uint64_t expected = lq_stats_part_shape(part, e->n / e->rows, e->rows, ne, &n_dims);
    if (expected > 0 && found == expected) return LQ_OK;
    return lq_error_set(err, LQ_ERR_FORMAT,
                        "%s: tensor '%s': %" PRIu64 " values, expected %" PRIu64 " for %" PRIu64 " columns and %" PRIu64
                        " expert%s",
                        stats->path, t->name, found, expected, e->n / e->rows, e->rows, e->rows == 1 ? "" : "s");
}

/* Where second moments are, their weight must be known. */
static enum lq_status check_parts(const struct lq_stats *stats, const struct lq_stats_entry *e, struct lq_error *err)
{
    static const char *const needed[] = {LQ_STATS_WEIGHTED, LQ_STATS_SPREAD};
    enum lq_status status = LQ_OK;
    for (int part = 0; part < LQ_PARTS && status == LQ_OK; part++)
        status = check_part(stats, e, (enum lq_stats_part)part, err);
    if (status != LQ_OK || lq_stats_tensor(stats, e->name, LQ_STATS_HESSIAN) == NULL) return status;
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (lq_stats_tensor(stats, e->name, needed[i]) == NULL)
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s%s': '%s%s' is missing", stats->path, e->name,
                                LQ_STATS_HESSIAN, e->name, needed[i]);
    return LQ_OK;
}

/* The entry of a name from the lists of members, which need not be text. */
static enum lq_status find_named(const struct lq_stats *stats, const char *key, const char *text, size_t length,
                                 struct lq_stats_entry **out, struct lq_error *err)
{
    char name[LQ_STATS_NAME] = "";
    if (length < sizeof name && lq_name_is_plain(text, length)) memcpy(name, text, length);
    *out = (struct lq_stats_entry *)lq_stats_find(stats, name);
    if (*out != NULL) return LQ_OK;
    return lq_error_set(err, LQ_ERR_FORMAT, "%s: key '%s': no tensor '%s%s'", stats->path, key,
                        name[0] != '\0' ? name : "?", LQ_STATS_SUMS);
}

static enum lq_status link_member(const struct lq_stats *stats, struct lq_stats_entry *member,
                                  const struct lq_stats_entry *first, struct lq_error *err)
{
    if (member->n == first->n && member->rows == first->rows) {
        member->first = first;
        return LQ_OK;
    }
    return lq_error_set(err, LQ_ERR_FORMAT,
                        "%s: tensor '%s': %" PRIu64 " values, but '%s', whose input it shares, has %" PRIu64,
                        stats->path, member->name, member->n, first->name, first->n);
}

static enum lq_status link_members(const struct lq_stats *stats, const struct lq_kv *members,
                                   const struct lq_kv *firsts, struct lq_error *err)
{
    uint64_t at[2] = {0, 0};
    const char *text[2];
    size_t length[2];
    struct lq_stats_entry *member = NULL, *first = NULL;
    enum lq_status status = LQ_OK;
    while (status == LQ_OK && lq_kv_next_string(members, &at[0], &text[0], &length[0]) &&
           lq_kv_next_string(firsts, &at[1], &text[1], &length[1])) {
        status = find_named(stats, LQ_STATS_KEY_MEMBERS, text[0], length[0], &member, err);
        if (status == LQ_OK) status = find_named(stats, LQ_STATS_KEY_FIRSTS, text[1], length[1], &first, err);
        if (status == LQ_OK) status = link_member(stats, member, first, err);
    }
    return status;
}

/* A first one stands for itself. */
static enum lq_status check_firsts(const struct lq_stats *stats, struct lq_error *err)
{
    for (size_t i = 0; i < stats->n_entries; i++) {
        const struct lq_stats_entry *e = &stats->entries[i];
        if (e->first->first != e->first)
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s' shares the input of '%s', which shares another's",
                                stats->path, e->name, e->first->name);
    }
    return LQ_OK;
}

/* Whether the sums of an unfinished run have come to different places. */
static bool is_uneven(const struct lq_kvs *kvs)
{
    const struct lq_kv *reached = lq_kvs_find(kvs, LQ_STATS_KEY_REACHED);
    if (reached == NULL) return false;
    uint64_t size = lq_kv_element_size(reached->element);
    for (uint64_t i = 1; size > 0 && i < reached->count; i++)
        if (memcmp(reached->raw, reached->raw + i * size, size) != 0) return true;
    return size == 0;
}

static enum lq_status check_version(const struct lq_stats *stats, uint64_t version, struct lq_error *err)
{
    if (version == LQ_STATS_VERSION) return LQ_OK;
    return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                        "%s: statistics of version %" PRIu64 ", expected %d: another version of this program wrote "
                        "them",
                        stats->path, version, LQ_STATS_VERSION);
}

enum lq_status lq_stats_link(struct lq_stats *stats, struct lq_error *err)
{
    uint64_t version = 0;
    for (size_t i = 0; i < stats->n_entries; i++) stats->entries[i].first = &stats->entries[i];
    if (stats->source == NULL || !lq_kvs_get_u64(&stats->source->kvs, LQ_STATS_KEY_VERSION, &version)) return LQ_OK;
    const struct lq_kv *members = lq_kvs_find(&stats->source->kvs, LQ_STATS_KEY_MEMBERS);
    const struct lq_kv *firsts = lq_kvs_find(&stats->source->kvs, LQ_STATS_KEY_FIRSTS);
    enum lq_status status = check_version(stats, version, err);
    stats->ours = true;
    lq_kvs_get_u64(&stats->source->kvs, LQ_STATS_KEY_DONE, &stats->done);
    lq_kvs_get_u64(&stats->source->kvs, LQ_STATS_KEY_TOTAL, &stats->total);
    stats->uneven = is_uneven(&stats->source->kvs);
    for (size_t i = 0; status == LQ_OK && i < stats->n_entries; i++)
        status = check_parts(stats, &stats->entries[i], err);
    if (status == LQ_OK && (members == NULL) != (firsts == NULL))
        status = lq_error_set(err, LQ_ERR_FORMAT, "%s: of '%s' and '%s' one is missing", stats->path,
                              LQ_STATS_KEY_MEMBERS, LQ_STATS_KEY_FIRSTS);
    if (status == LQ_OK && members != NULL && members->count != firsts->count)
        status = lq_error_set(err, LQ_ERR_FORMAT, "%s: '%s' has %" PRIu64 " entries, '%s' %" PRIu64, stats->path,
                              LQ_STATS_KEY_MEMBERS, members->count, LQ_STATS_KEY_FIRSTS, firsts->count);
    if (status == LQ_OK && members != NULL) status = link_members(stats, members, firsts, err);
    return status == LQ_OK ? check_firsts(stats, err) : status;
}
