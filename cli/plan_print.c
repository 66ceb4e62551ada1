#include "plan_print.h"

#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "summary.h"
#include "text.h"

static int longer(int width, const char *text)
{
    int length = (int)strlen(text);
    return length > width ? length : width;
}

struct cli_plan_widths cli_plan_widths(const struct lq_plan *plan)
{
    struct cli_plan_widths w = {.index = snprintf(NULL, 0, "%zu", plan->n_entries)};
    for (size_t i = 0; i < plan->n_entries; i++) {
        w.name = longer(w.name, plan->entries[i].tensor->name);
        w.shape = longer(w.shape, cli_shape(plan->entries[i].tensor->n_dims, plan->entries[i].ne).s);
    }
    return w;
}

void cli_plan_put_entry(FILE *out, const struct lq_plan *plan, size_t entry, const struct cli_plan_widths *w)
{
    const struct lq_plan_entry *e = &plan->entries[entry];
    const struct lq_tensor *t = e->tensor;
    char line[512];
    int used = snprintf(line, sizeof line, "[%*zu/%zu] %-*s  %*s  %4s -> %-7s  %10s -> %10s", w->index, entry + 1,
                        plan->n_entries, w->name, t->name, w->shape, cli_shape(t->n_dims, e->ne).s,
                        lq_format_name(t->type), lq_format_name(e->type), cli_size(t->bytes).s, cli_size(e->bytes).s);
    if (e->reason[0] != '\0' && used > 0 && (size_t)used < sizeof line)
        snprintf(line + used, sizeof line - (size_t)used, "  (%s)", e->reason);
    cli_put_clean(out, line);
    putc('\n', out);
}

static void put_sum(FILE *out, const char *name, const struct cli_sum *sum)
{
    if (sum->tensors == 0) return;
    fprintf(out, "%-8s  %4zu tensors  %10s -> %10s  %5.2f -> %5.2f bits per weight\n", name, sum->tensors,
            cli_size(sum->before).s, cli_size(sum->after).s, cli_sum_bpw_before(sum), cli_sum_bpw(sum));
}

enum lq_status cli_plan_put(FILE *out, const struct lq_plan *plan, struct lq_error *err)
{
    struct cli_summary *s = cli_summary_new(plan, NULL);
    if (s == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "out of memory");
    struct cli_plan_widths widths = cli_plan_widths(plan);
    for (size_t i = 0; i < plan->n_entries; i++) cli_plan_put_entry(out, plan, i, &widths);
    putc('\n', out);
    for (int h = 0; h < LQ_HALVES; h++) put_sum(out, cli_half_name(h), &s->half[h]);
    put_sum(out, "total", &s->total);
    free(s);
    return LQ_OK;
}
