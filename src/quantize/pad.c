#include "quantize/pad.h"

#include <string.h>

bool lq_pad_has(const struct lq_plan_entry *entry)
{
    return memcmp(entry->ne, entry->tensor->ne, sizeof entry->ne) != 0;
}

uint64_t lq_pad_stored_rows(const struct lq_plan_entry *entry, uint64_t first_row, uint64_t n_rows)
{
    uint64_t rows = entry->tensor->rows;
    if (first_row >= rows) return 0;
    return n_rows < rows - first_row ? n_rows : rows - first_row;
}

/* From the last row to the first, since each moves to a place behind its own. */
void lq_pad_spread(const struct lq_plan_entry *entry, uint64_t stored, uint64_t n_rows, float *weights)
{
    uint64_t from = entry->tensor->ne[0], to = entry->ne[0];
    memset(weights + stored * to, 0, (n_rows - stored) * to * sizeof *weights);
    for (uint64_t r = stored; to > from && r-- > 0;) {
        memmove(weights + r * to, weights + r * from, from * sizeof *weights);
        memset(weights + r * to + from, 0, (to - from) * sizeof *weights);
    }
}

const float *lq_pad_importance(const struct lq_plan_entry *entry, const float *importance, float *row)
{
    uint64_t from = entry->tensor->ne[0], to = entry->ne[0];
    if (to == from) return importance;
    memcpy(row, importance, from * sizeof *row);
    memset(row + from, 0, (to - from) * sizeof *row);
    return row;
}
