#include "quantize/items.h"

#include <inttypes.h>
#include <stdlib.h>

/* Rows that share their importance data. What is never quantised has none: its many small matrices count as one. */
static uint64_t rows_together(const struct lq_plan_entry *entry)
{
    return entry->tensor->quantisable ? entry->ne[1] : entry->rows;
}

static uint64_t rows_per_item(const struct lq_plan_entry *entry)
{
    uint64_t rows = LQ_ITEM_WEIGHTS / entry->ne[0], together = rows_together(entry);
    if (rows < LQ_ITEM_ROWS) rows = LQ_ITEM_ROWS;
    rows -= rows % LQ_ITEM_ROWS;
    if (entry->ne[0] > LQ_WIDE_ROW) rows = 1;
    return rows < together ? rows : together;
}

static bool is_empty(const struct lq_plan_entry *entry)
{
    return entry->rows == 0 || entry->ne[0] == 0;
}

static uint64_t count_items(const struct lq_plan_entry *entry)
{
    if (is_empty(entry)) return 0;
    uint64_t step = rows_per_item(entry), together = rows_together(entry);
    return entry->rows / together * ((together + step - 1) / step);
}

static struct lq_item *cut(struct lq_item *item, const struct lq_plan_entry *entry, size_t index)
{
    if (is_empty(entry)) return item;
    uint64_t step = rows_per_item(entry), together = rows_together(entry);
    for (uint64_t row = 0; row < entry->rows;) {
        uint64_t left = together - row % together, n = left < step ? left : step;
        *item++ = (struct lq_item){.entry = index, .first_row = row, .n_rows = n};
        row += n;
    }
    return item;
}

enum lq_status lq_items_build(struct lq_items *out, const char *path, const struct lq_plan_entry *entries,
                              size_t n_entries, struct lq_error *err)
{
    uint64_t n = 0;
    for (size_t i = 0; i < n_entries; i++) {
        const struct lq_plan_entry *e = &entries[i];
        if (e->ne[0] > LQ_LONGEST_ROW)
            return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                                "%s: tensor '%s': a row of %" PRIu64 " weights, expected at most %d", path,
                                e->tensor->name, e->ne[0], LQ_LONGEST_ROW);
        n += count_items(e);
    }
    struct lq_item *items = n > SIZE_MAX / sizeof *items ? NULL : malloc((n > 0 ? n : 1) * sizeof *items);
    if (items == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %" PRIu64 " work items", n);
    struct lq_item *next = items;
    for (size_t i = 0; i < n_entries; i++) next = cut(next, &entries[i], i);
    *out = (struct lq_items){items, (size_t)n};
    return LQ_OK;
}
