#include "plan/entry.h"

#include "base/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From small to large; of two types of the same size the one with the larger blocks first. */
static const enum lq_type ladder[] = {
    LQ_TYPE_Q3_K, LQ_TYPE_Q4_K, LQ_TYPE_IQ4_NL, LQ_TYPE_Q5_K, LQ_TYPE_Q5_0,
    LQ_TYPE_Q6_K, LQ_TYPE_Q8_0, LQ_TYPE_F16,    LQ_TYPE_F32,
};
enum { RUNGS = sizeof ladder / sizeof ladder[0] };

/* What llama.cpp calls a file whose weights are mostly of this type. */
static const int file_types[LQ_TYPE_COUNT] = {
    [LQ_TYPE_F32] = 0,    [LQ_TYPE_F16] = 1,     [LQ_TYPE_Q4_0] = 2,     [LQ_TYPE_Q4_1] = 3,    [LQ_TYPE_Q5_0] = 8,
    [LQ_TYPE_Q5_1] = 9,   [LQ_TYPE_Q8_0] = 7,    [LQ_TYPE_Q2_K] = 10,    [LQ_TYPE_Q3_K] = 12,   [LQ_TYPE_Q4_K] = 15,
    [LQ_TYPE_Q5_K] = 17,  [LQ_TYPE_Q6_K] = 18,   [LQ_TYPE_IQ2_XXS] = 19, [LQ_TYPE_IQ2_XS] = 20, [LQ_TYPE_IQ3_XXS] = 23,
    [LQ_TYPE_IQ1_S] = 24, [LQ_TYPE_IQ4_NL] = 25, [LQ_TYPE_IQ3_S] = 26,   [LQ_TYPE_IQ2_S] = 28,  [LQ_TYPE_IQ4_XS] = 30,
    [LQ_TYPE_IQ1_M] = 31, [LQ_TYPE_BF16] = 32,   [LQ_TYPE_TQ1_0] = 36,   [LQ_TYPE_TQ2_0] = 37,  [LQ_TYPE_MXFP4] = 38,
    [LQ_TYPE_NVFP4] = 39, [LQ_TYPE_Q1_0] = 40,   [LQ_TYPE_Q2_0] = 41,
};

static size_t count_tensors(const struct lq_model *model)
{
    size_t n = 0;
    for (int h = 0; h < LQ_HALVES; h++)
        if (model->half[h] != NULL) n += model->half[h]->n_tensors;
    return n;
}

struct lq_plan_entry lq_entry_of(const struct lq_tensor *tensor)
{
    struct lq_plan_entry entry = {.tensor = tensor, .type = tensor->type, .rows = tensor->rows, .bytes = tensor->bytes};
    memcpy(entry.ne, tensor->ne, sizeof entry.ne);
    return entry;
}

struct lq_plan_entry lq_entry_kept(const struct lq_tensor *tensor)
{
    struct lq_plan_entry entry = lq_entry_of(tensor);
    entry.type = tensor->keep;
    snprintf(entry.reason, sizeof entry.reason, "never quantised");
    return entry;
}

enum lq_status lq_plan_new(struct lq_plan **out, const struct lq_model *model, struct lq_error *err)
{
    size_t n = count_tensors(model);
    struct lq_plan *plan = calloc(1, sizeof *plan);
    if (plan != NULL) plan->entries = calloc(n > 0 ? n : 1, sizeof *plan->entries);
    if (plan == NULL || plan->entries == NULL) {
        lq_plan_free(plan);
        return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for a plan of %zu tensors", model->path, n);
    }
    for (int h = 0; h < LQ_HALVES; h++)
        for (size_t i = 0; model->half[h] != NULL && i < model->half[h]->n_tensors; i++)
            plan->entries[plan->n_entries++] = lq_entry_kept(&model->half[h]->tensors[i]);
    *out = plan;
    return LQ_OK;
}

void lq_plan_free(struct lq_plan *plan)
{
    if (plan == NULL) return;
    free(plan->entries);
    free(plan);
}

void lq_entry_set_hidden(struct lq_plan_entry *entry, const struct lq_tower *tower, uint64_t hidden)
{
    if (lq_tower_shape(tower, entry->tensor, hidden, entry->ne)) entry->rows = entry->ne[1];
}

/* "padded 4304 -> 4352", or "" for an entry of its tensor's shape. */
static void describe_padding(const struct lq_plan_entry *entry, char *dst, size_t size)
{
    const uint64_t *from = entry->tensor->ne, *to = entry->ne;
    int d = from[0] != to[0] ? 0 : 1;
    dst[0] = '\0';
    if (from[d] != to[d]) snprintf(dst, size, "padded %" PRIu64 " -> %" PRIu64, from[d], to[d]);
}

void lq_entry_say_padding(struct lq_plan_entry *entry, enum lq_type type)
{
    char padding[64], reason[sizeof entry->reason];
    describe_padding(entry, padding, sizeof padding);
    if (padding[0] == '\0') return;
    snprintf(reason, sizeof reason, "%s", entry->reason);
    snprintf(entry->reason, sizeof entry->reason, "%s%s%s, exact; %.60s", padding, type == LQ_TYPE_NONE ? "" : " for ",
             type == LQ_TYPE_NONE ? "" : lq_format_name(type), reason);
}

bool lq_entry_tells_padding(const struct lq_plan_entry *entry)
{
    char padding[64];
    describe_padding(entry, padding, sizeof padding);
    if (padding[0] == '\0') return strncmp(entry->reason, "padded ", strlen("padded ")) != 0;
    size_t n = strlen(padding);
    return strncmp(entry->reason, padding, n) == 0 && (entry->reason[n] == ',' || entry->reason[n] == ' ');
}

static bool is_smaller(const struct lq_format *a, const struct lq_format *b)
{
    return (uint64_t)a->bytes * b->block < (uint64_t)b->bytes * a->block;
}

enum lq_type lq_entry_fit(enum lq_type wanted, uint64_t columns)
{
    if (lq_format_row_bytes(wanted, columns) != 0) return wanted;
    for (size_t i = 0; i < RUNGS; i++)
        if (!is_smaller(lq_format_get(ladder[i]), lq_format_get(wanted)) &&
            lq_format_row_bytes(ladder[i], columns) != 0)
            return ladder[i];
    return LQ_TYPE_F32;
}

bool lq_plan_widen(struct lq_plan *plan, size_t i, const char *reason)
{
    struct lq_plan_entry *entry = &plan->entries[i];
    for (size_t rung = 0; rung < RUNGS; rung++) {
        uint64_t bytes = lq_format_row_bytes(ladder[rung], entry->ne[0]);
        if (bytes <= lq_format_row_bytes(entry->type, entry->ne[0]) || !lq_mul_u64(bytes, entry->rows, &bytes))
            continue;
        entry->type = ladder[rung];
        entry->bytes = bytes;
        snprintf(entry->reason, sizeof entry->reason, "%s", reason);
        lq_entry_say_padding(entry, LQ_TYPE_NONE);
        return true;
    }
    return false;
}

static enum lq_status check_importance(const struct lq_plan_entry *entry, const char *path,
                                       const struct lq_stats *stats, struct lq_error *err)
{
    const struct lq_tensor *t = entry->tensor;
    const char *type = lq_format_name(entry->type);
    if (stats != NULL && lq_stats_importance(stats, t) != NULL) return LQ_OK;
    if (t->half == LQ_VISION)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                            "%s: tensor '%s': %s needs importance data%s%s; llama-imatrix gathers it "
                            "for the language model only: give the vision half another type, such as --vision q4_k",
                            path, t->name, type, stats != NULL ? ", and there is none for it in " : "",
                            stats != NULL ? lq_stats_path(stats) : "");
    if (stats != NULL)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                            "%s: tensor '%s': %s needs importance data, and %s has none for it: give "
                            "it another type with --type '%s=q4_k'",
                            path, t->name, type, lq_stats_path(stats), t->name);
    return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                        "%s: tensor '%s': %s needs importance data: run llama-imatrix on the "
                        "full-precision language model and pass its file with --imatrix FILE",
                        path, t->name, type);
}

static enum lq_status check_source(const struct lq_plan_entry *entry, const char *path, bool allow_requantize,
                                   struct lq_error *err)
{
    const struct lq_tensor *t = entry->tensor;
    const struct lq_format *from = lq_format_get(t->type);
    if (from == NULL || (from->flags & (LQ_FORMAT_FLOAT | LQ_FORMAT_QUANTISED)) == 0)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: tensor '%s': %s data cannot become %s", path, t->name,
                            lq_format_name(t->type), lq_format_name(entry->type));
    if ((from->flags & LQ_FORMAT_QUANTISED) != 0 && !allow_requantize)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                            "%s: tensor '%s' is already quantised (%s), and %s is asked for: start from "
                            "the full-precision model, pass --allow-requantize, or keep it with the type 'copy'",
                            path, t->name, from->name, lq_format_name(entry->type));
    return LQ_OK;
}

static enum lq_status set_bytes(struct lq_plan_entry *entry, const char *path, struct lq_error *err)
{
    const struct lq_tensor *t = entry->tensor;
    const struct lq_format *f = lq_format_get(entry->type);
    uint64_t row = lq_format_row_bytes(entry->type, entry->ne[0]);
    if (f == NULL || (row == 0 && entry->ne[0] % f->block != 0))
        return lq_error_set(err, LQ_ERR_USAGE, "%s: tensor '%s': %llu columns do not divide into %s blocks of %u", path,
                            t->name, (unsigned long long)entry->ne[0], lq_format_name(entry->type),
                            f == NULL ? 0 : f->block);
    if (!lq_mul_u64(row, entry->rows, &entry->bytes))
        return lq_error_set(err, LQ_ERR_MEMORY, "%s: tensor '%s': its size in %s exceeds 64 bits", path, t->name,
                            f->name);
    return LQ_OK;
}

enum lq_status lq_entry_finish(struct lq_plan_entry *entry, const char *path, const struct lq_plan_request *request,
                               bool demanding, struct lq_error *err)
{
    const struct lq_tensor *t = entry->tensor;
    if (!t->quantisable && entry->type != t->keep)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: tensor '%s' (%s) is never quantised: it stays %s, not %s", path,
                            t->name, lq_role_name(t->role), lq_format_name(t->keep), lq_format_name(entry->type));
    enum lq_status status = set_bytes(entry, path, err);
    bool copy = entry->type == t->type && memcmp(entry->ne, t->ne, sizeof entry->ne) == 0;
    if (status != LQ_OK || !t->quantisable || copy) return status;
    status = check_source(entry, path, request->allow_requantize, err);
    demanding |= (lq_format_get(entry->type)->flags & LQ_FORMAT_NEEDS_IMPORTANCE) != 0;
    if (status == LQ_OK && demanding) status = check_importance(entry, path, request->stats, err);
    return status;
}

int lq_plan_file_type(const struct lq_plan *plan, enum lq_half half)
{
    uint64_t weights[LQ_TYPE_COUNT] = {0};
    size_t most = LQ_TYPE_F32;
    for (size_t i = 0; i < plan->n_entries; i++) {
        const struct lq_plan_entry *entry = &plan->entries[i];
        if (entry->tensor->half == half) weights[entry->type] += entry->rows * entry->ne[0];
    }
    for (size_t type = 0; type < LQ_TYPE_COUNT; type++)
        if (weights[type] > weights[most]) most = type;
    return file_types[most];
}
