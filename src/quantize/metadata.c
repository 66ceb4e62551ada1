#include "quantize/metadata.h"

#include "llava_quantize/calibrate.h"
#include "plan/tower.h"
#include "quantize/batches.h"

#include <stdio.h>
#include <string.h>

/* Longest texts, chosen so that all keys together stay below 2 KB. */
enum { SOURCE_BYTES = 200, FILE_BYTES = 128, PLAN_BYTES = 896 };

static const char placeholder[] = "00000000000000000000000000000000"; /* the pair id, known when all is encoded */

/* Keys of an earlier run, written again behind the others. */
static const char *const ours[] = {"general.quantized_by",  "llava_quantize.pair_id", "llava_quantize.source",
                                   "llava_quantize.recipe", "llava_quantize.plan",    "llava_quantize.effort",
                                   "llava_quantize.method"};

void lq_metadata_remove_split(struct lq_kvs *kvs)
{
    for (size_t i = kvs->n; i-- > 0;)
        if (strncmp(kvs->items[i].key, "split.", 6) == 0) lq_kvs_remove(kvs, kvs->items[i].key);
}

static void remove_stale(struct lq_kvs *kvs)
{
    lq_metadata_remove_split(kvs);
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) lq_kvs_remove(kvs, ours[i]);
}

/* Sets at most `limit` bytes of `text`, cut between UTF-8 characters. */
static enum lq_status set_text(struct lq_kvs *kvs, const char *key, const char *text, size_t limit,
                               struct lq_error *err)
{
    char cut[PLAN_BYTES + 1];
    size_t n = strlen(text);
    if (n > limit)
        for (n = limit; n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80;) n--;
    memcpy(cut, text, n);
    cut[n] = '\0';
    return lq_kvs_set_string(kvs, key, cut, err);
}

static bool is_block_type(enum lq_type type)
{
    const struct lq_format *f = lq_format_get(type);
    return f != NULL && (f->flags & LQ_FORMAT_QUANTISED) != 0;
}

static bool quantises(const struct lq_plan *part)
{
    for (size_t i = 0; i < part->n_entries; i++)
        if (is_block_type(part->entries[i].type)) return true;
    return false;
}

/* The most that is made of statistics in any tensor. */
static enum lq_method method_of(const struct lq_plan *part, const struct lq_quantize_options *options)
{
    enum lq_method most = LQ_METHOD_PLAIN;
    for (size_t i = 0; i < part->n_entries; i++) {
        enum lq_method method = lq_use_of(&part->entries[i], options->stats, options->method).method;
        if (method < most) most = method;
    }
    return most;
}

static enum lq_status set_general(struct lq_kvs *kvs, const struct lq_plan *part, enum lq_half half,
                                  struct lq_error *err)
{
    enum lq_status status = lq_kvs_set_u32(kvs, "general.file_type", (uint32_t)part->file_type[half], err);
    if (status == LQ_OK && quantises(part)) status = lq_kvs_set_u32(kvs, "general.quantization_version", 2, err);
    if (status != LQ_OK) return status;
    char by[48];
    snprintf(by, sizeof by, "llava-quantize %s", lq_version());
    return lq_kvs_set_string(kvs, "general.quantized_by", by, err);
}

static enum lq_status set_record(struct lq_kvs *kvs, const struct lq_model *model, const struct lq_plan *part,
                                 enum lq_effort effort, struct lq_error *err)
{
    char summary[PLAN_BYTES + 1];
    lq_plan_summary(part, summary, sizeof summary);
    enum lq_status status = lq_kvs_set_string(kvs, "llava_quantize.pair_id", placeholder, err);
    if (status == LQ_OK) status = set_text(kvs, "llava_quantize.source", model->source, SOURCE_BYTES, err);
    if (status == LQ_OK) status = lq_kvs_set_string(kvs, "llava_quantize.recipe", part->recipe, err);
    if (status == LQ_OK) status = lq_kvs_set_string(kvs, "llava_quantize.plan", summary, err);
    if (status == LQ_OK && quantises(part) && effort != LQ_EFFORT_NORMAL)
        status = lq_kvs_set_string(kvs, "llava_quantize.effort", lq_effort_name(effort), err);
    return status;
}

static uint32_t saturated(uint64_t n)
{
    return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static enum lq_status set_statistics(struct lq_kvs *kvs, const struct lq_quantize_options *options,
                                     enum lq_method method, struct lq_error *err)
{
    const struct lq_stats *stats = options->stats;
    if (method == LQ_METHOD_PLAIN) return LQ_OK;
    const char *file = base_name(lq_stats_path(stats)), *dataset = base_name(lq_stats_dataset(stats));
    const char *name =
        method == LQ_METHOD_FEEDBACK && options->sequential != NULL ? "sequential" : lq_method_name(method);
    enum lq_status status = lq_kvs_set_string(kvs, "llava_quantize.method", name, err);
    if (status == LQ_OK) status = set_text(kvs, "quantize.imatrix.file", file, FILE_BYTES, err);
    if (status == LQ_OK && *dataset != '\0')
        status = set_text(kvs, "quantize.imatrix.dataset", dataset, FILE_BYTES, err);
    if (status == LQ_OK)
        status = lq_kvs_set_u32(kvs, "quantize.imatrix.entries_count", saturated(lq_stats_count(stats)), err);
    uint32_t chunks = saturated(lq_stats_chunks(stats));
    if (status == LQ_OK && chunks > 0) status = lq_kvs_set_u32(kvs, "quantize.imatrix.chunks_count", chunks, err);
    return status;
}

/* The hidden size of a tower that is written wider than it was. */
static enum lq_status set_hidden(struct lq_kvs *kvs, const struct lq_plan *part, struct lq_error *err)
{
    for (size_t i = 0; i < part->n_entries; i++) {
        const struct lq_plan_entry *e = &part->entries[i];
        if (e->tensor->role == LQ_ROLE_VISION_FFN_DOWN && e->ne[0] != e->tensor->ne[0])
            return lq_kvs_set_u32(kvs, LQ_TOWER_HIDDEN_KEY, (uint32_t)e->ne[0], err);
    }
    return LQ_OK;
}

enum lq_status lq_metadata_build(struct lq_kvs *out, const struct lq_model *model, const struct lq_model_half *half,
                                 const struct lq_plan *part, const struct lq_quantize_options *options,
                                 struct lq_error *err)
{
    struct lq_kvs kvs = {0};
    enum lq_status status = lq_kvs_copy(&kvs, half->kvs, err);
    if (status != LQ_OK) goto done;
    remove_stale(&kvs);
    status = set_general(&kvs, part, half->half, err);
    if (status == LQ_OK) status = set_hidden(&kvs, part, err);
    if (status == LQ_OK) status = set_record(&kvs, model, part, options->effort, err);
    if (status == LQ_OK) status = set_statistics(&kvs, options, method_of(part, options), err);
    if (status != LQ_OK) goto done;
    *out = kvs;
    kvs = (struct lq_kvs){0};
done:
    lq_kvs_release(&kvs);
    return status;
}

enum lq_status lq_metadata_set_shard(struct lq_kvs *kvs, uint32_t number, uint32_t count, size_t n_tensors,
                                     struct lq_error *err)
{
    uint16_t no = (uint16_t)(number - 1), of = (uint16_t)count;
    int32_t tensors = (int32_t)n_tensors;
    enum lq_status status = lq_kvs_set_raw(kvs, "split.no", LQ_KV_U16, LQ_KV_U16, 1, &no, sizeof no, err);
    if (status == LQ_OK) status = lq_kvs_set_raw(kvs, "split.count", LQ_KV_U16, LQ_KV_U16, 1, &of, sizeof of, err);
    if (status == LQ_OK)
        status = lq_kvs_set_raw(kvs, "split.tensors.count", LQ_KV_I32, LQ_KV_I32, 1, &tensors, sizeof tensors, err);
    return status;
}

enum lq_status lq_metadata_build_shard(struct lq_kvs *out, uint32_t number, uint32_t count, size_t n_tensors,
                                       struct lq_error *err)
{
    struct lq_kvs kvs = {0};
    enum lq_status status = lq_metadata_set_shard(&kvs, number, count, n_tensors, err);
    if (status == LQ_OK) status = lq_kvs_set_string(&kvs, "llava_quantize.pair_id", placeholder, err);
    if (status == LQ_OK) *out = kvs;
    else lq_kvs_release(&kvs);
    return status;
}
