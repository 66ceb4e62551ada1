#include "quantize/batches.h"

#include "codec/levels.h"
#include "llava_quantize/calibrate.h"
#include "quantize/pad.h"
#include "quantize/sequential.h"

#include <stdlib.h>
#include <string.h>

const char *lq_method_name(enum lq_method method)
{
    static const char *const names[] = {
        [LQ_METHOD_FEEDBACK] = "feedback", [LQ_METHOD_IMATRIX] = "imatrix", [LQ_METHOD_PLAIN] = "plain"};
    return names[method];
}

static bool is_quantised(const struct lq_plan_entry *entry)
{
    return (lq_format_get(entry->type)->flags & LQ_FORMAT_QUANTISED) != 0 && entry->tensor->quantisable;
}

/* A token embedding is looked up, too, where second moments of its other use, as output matrix, mean nothing. */
static const char *input_of(const struct lq_plan_entry *entry, const struct lq_stats *stats)
{
    if (lq_grid_find(entry->type) == NULL || entry->tensor->role == LQ_ROLE_LANGUAGE_EMBEDDING) return NULL;
    return lq_stats_input(stats, entry->tensor);
}

struct lq_use lq_use_of(const struct lq_plan_entry *entry, const struct lq_stats *stats, enum lq_method method)
{
    struct lq_use use = {.method = LQ_METHOD_PLAIN};
    bool copied = entry->type == entry->tensor->type && memcmp(entry->ne, entry->tensor->ne, sizeof entry->ne) == 0;
    if (stats == NULL || copied || !is_quantised(entry)) return use;
    if (method == LQ_METHOD_FEEDBACK) use.input = input_of(entry, stats);
    bool demanded = (lq_format_get(entry->type)->flags & LQ_FORMAT_NEEDS_IMPORTANCE) != 0;
    if (use.input != NULL) use.method = LQ_METHOD_FEEDBACK;
    else if ((method != LQ_METHOD_PLAIN || demanded) && lq_stats_importance(stats, entry->tensor) != NULL)
        use.method = LQ_METHOD_IMATRIX;
    return use;
}

const float *lq_use_importance(const struct lq_use *use, const struct lq_plan_entry *entry,
                               const struct lq_stats *stats, uint64_t first_row, float *row)
{
    if (use->method == LQ_METHOD_PLAIN) return NULL;
    const float *importance = lq_stats_importance(stats, entry->tensor);
    if (importance == NULL) return NULL;
    return lq_pad_importance(entry, importance + first_row / entry->ne[1] * entry->tensor->ne[0], row);
}

struct build {
    const struct lq_plan_entry *entries;
    const struct lq_use *uses;
    const struct lq_items *items;
    struct lq_batches out;
    size_t *batch_of; /* one per item */
    size_t room;      /* for batches */
};

static bool add_batch(struct build *b, const struct lq_batch *batch)
{
    if (b->out.n == b->room) {
        size_t room = b->room > 0 ? b->room * 2 : 64;
        struct lq_batch *batches = realloc(b->out.batches, room * sizeof *batches);
        if (batches == NULL) return false;
        b->out.batches = batches;
        b->room = room;
    }
    b->out.batches[b->out.n++] = *batch;
    return true;
}

static struct lq_batch batch_for(const struct build *b, const struct lq_item *item)
{
    const struct lq_plan_entry *entry = &b->entries[item->entry];
    const char *input = b->uses[item->entry].input;
    if (input == NULL) return (struct lq_batch){0};
    return (struct lq_batch){.input = input,
                             .tensor = entry->tensor,
                             .expert = item->first_row / entry->ne[1],
                             .columns = entry->ne[0],
                             .group = lq_sequential_group(entry->tensor),
                             .block = lq_format_get(entry->type)->block};
}

static bool same(const struct lq_batch *a, const struct lq_batch *b)
{
    if (a->input == NULL || b->input == NULL) return a->input == b->input;
    return a->expert == b->expert && a->columns == b->columns && strcmp(a->input, b->input) == 0;
}

/* Into the latest batch that it belongs to, or a new one. */
static bool place(struct build *b, size_t item)
{
    struct lq_batch wanted = batch_for(b, &b->items->items[item]);
    size_t at = b->out.n;
    while (at > 0 && !same(&b->out.batches[at - 1], &wanted)) at--;
    if (at == 0) {
        if (!add_batch(b, &wanted)) return false;
        at = b->out.n;
    }
    struct lq_batch *batch = &b->out.batches[at - 1];
    batch->n++;
    if (wanted.block > batch->block) batch->block = wanted.block;
    b->batch_of[item] = at - 1;
    return true;
}

int lq_batches_next_group(const struct lq_batches *batches, int group)
{
    int next = 0;
    for (size_t i = 0; i < batches->n; i++) {
        int own = batches->batches[i].group;
        if (own > group && (next == 0 || own < next)) next = own;
    }
    return next;
}

static void put_in_order(struct build *b)
{
    struct lq_batch *batches = b->out.batches;
    size_t next = 0;
    int group = 0;
    do
        for (size_t i = 0; i < b->out.n; i++) {
            if (batches[i].group != group) continue;
            batches[i].first = next;
            next += batches[i].n;
            batches[i].n = 0;
        }
    while ((group = lq_batches_next_group(&b->out, group)) != 0);
    for (size_t i = 0; i < b->items->n; i++) {
        struct lq_batch *batch = &batches[b->batch_of[i]];
        b->out.order[batch->first + batch->n++] = i;
    }
}

static bool build(struct build *b)
{
    b->out.order = calloc(b->items->n + 1, sizeof *b->out.order);
    b->batch_of = calloc(b->items->n + 1, sizeof *b->batch_of);
    if (b->out.order == NULL || b->batch_of == NULL) return false;
    if (!add_batch(b, &(struct lq_batch){0})) return false; /* what needs no second moments comes first */
    for (size_t i = 0; i < b->items->n; i++)
        if (!place(b, i)) return false;
    put_in_order(b);
    return true;
}

enum lq_status lq_batches_build(struct lq_batches *out, const struct lq_plan_entry *entries, const struct lq_use *uses,
                                const struct lq_items *items, struct lq_error *err)
{
    struct build b = {.entries = entries, .uses = uses, .items = items};
    bool built = build(&b);
    free(b.batch_of);
    if (built) {
        *out = b.out;
        return LQ_OK;
    }
    lq_batches_release(&b.out);
    return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the order of %zu work items", items->n);
}

void lq_batches_release(struct lq_batches *batches)
{
    free(batches->order);
    free(batches->batches);
    *batches = (struct lq_batches){0};
}
