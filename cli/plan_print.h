/* A plan as text: one line per tensor, and the totals. */
#ifndef LQ_CLI_PLAN_PRINT_H
#define LQ_CLI_PLAN_PRINT_H

#include <stdio.h>

#include "llava_quantize/plan.h"

/* Column widths that fit every tensor of a plan. */
struct cli_plan_widths {
    int index, name, shape;
};
struct cli_plan_widths cli_plan_widths(const struct lq_plan *plan);

/* "[ 12/199] v.blk.0.ffn_up.weight  256 x 1024  f16 -> q4_k  0.50 MiB -> 0.14 MiB  (reason)" */
void cli_plan_put_entry(FILE *out, const struct lq_plan *plan, size_t entry, const struct cli_plan_widths *widths);
/* Every tensor, then a line for each half and for both. Errors: LQ_ERR_MEMORY. */
enum lq_status cli_plan_put(FILE *out, const struct lq_plan *plan, struct lq_error *err);

#endif
