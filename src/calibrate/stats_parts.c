#include "calibrate/stats_parts.h"

#include "base/checked.h"

const struct lq_stats_part_form lq_stats_parts[LQ_PARTS] = {
    [LQ_PART_SUMS] = {LQ_STATS_SUMS, LQ_TYPE_F32, .of_all = true, .columns = 1},
    [LQ_PART_COUNTS] = {LQ_STATS_COUNTS, LQ_TYPE_F32, .of_all = true, .constant = 1},
    [LQ_PART_MOMENTS] = {LQ_STATS_MOMENTS, LQ_TYPE_F64, .columns = 1, .more = {2, LQ_KINDS}},
    [LQ_PART_TOKENS] = {LQ_STATS_TOKENS, LQ_TYPE_F64, .constant = LQ_KINDS},
    [LQ_PART_WEIGHTED] = {LQ_STATS_WEIGHTED, LQ_TYPE_F64, .columns = 1, .constant = 1},
    [LQ_PART_SPREAD] = {LQ_STATS_SPREAD, LQ_TYPE_F64, .hessian = true, .constant = 2},
    [LQ_PART_HESSIAN] = {LQ_STATS_HESSIAN, LQ_TYPE_F32, .hessian = true, .triangle = true},
};

static bool row_of(const struct lq_stats_part_form *part, uint64_t n, uint64_t *out)
{
    uint64_t square = 0, each = 0;
    if (part->triangle && !lq_mul_u64(n, n + 1, &square)) return false;
    return lq_mul_u64(n, part->columns, &each) && lq_add_u64(each, square / 2 + part->constant, out);
}

uint64_t lq_stats_part_shape(enum lq_stats_part part, uint64_t n, uint64_t experts, uint64_t ne[4], uint32_t *n_dims)
{
    const struct lq_stats_part_form *form = &lq_stats_parts[part];
    uint64_t values = 0;
    *n_dims = 0;
    for (int d = 0; d < 4; d++) ne[d] = 1;
    if (!row_of(form, n, &ne[(*n_dims)++])) return 0;
    for (int d = 0; d < 2 && form->more[d] != 0; d++) ne[(*n_dims)++] = form->more[d];
    ne[(*n_dims)++] = experts;
    values = ne[0];
    for (int d = 1; d < 4; d++)
        if (!lq_mul_u64(values, ne[d], &values)) return 0;
    return values;
}
