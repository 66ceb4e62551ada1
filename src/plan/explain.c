#include "llava_quantize/plan.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Text that grows within its bounds. */
struct text {
    char *at;
    size_t used, size;
};

LQ_PRINTF(2, 3)
static void say(struct text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->at + t->used, t->size - t->used, format, args);
    va_end(args);
    if (n > 0) t->used += (size_t)n < t->size - t->used ? (size_t)n : t->size - t->used - 1;
}

static void say_shape(struct text *t, const struct lq_plan_entry *entry)
{
    for (uint32_t d = 0; d < entry->tensor->n_dims; d++) say(t, "%s%" PRIu64, d > 0 ? " x " : "", entry->ne[d]);
}

/* "blk.0.ffn_up.weight (language.ffn.up, 256 x 768) becomes q4_k: ..." */
static void say_type(struct text *t, const struct lq_plan_entry *entry)
{
    const struct lq_tensor *tensor = entry->tensor;
    double weights = (double)entry->rows * (double)entry->ne[0];
    say(t, "%s (%s, ", tensor->name, lq_role_name(tensor->role));
    say_shape(t, entry);
    say(t, ") %s %s: %" PRIu64 " bytes, %.4g bits per weight", entry->type == tensor->type ? "stays" : "becomes",
        lq_format_name(entry->type), entry->bytes, weights > 0 ? 8 * (double)entry->bytes / weights : 0);
    if (entry->type != tensor->type) say(t, "; %s took %" PRIu64, lq_format_name(tensor->type), tensor->bytes);
    say(t, ".\nReason: %s.\n", entry->reason);
}

static double divergence_of(const struct lq_plan *plan)
{
    double sum = 0;
    for (size_t i = 0; i < plan->n_entries; i++)
        if (plan->entries[i].judged.known) sum += plan->entries[i].judged.divergence;
    return sum;
}

static void say_cost(struct text *t, const struct lq_plan_judgement *judged, double all)
{
    say(t, "Its outputs are off by %.3g %% (root mean square)", 100 * sqrt(judged->error));
    if (isnan(judged->sensitivity)) say(t, "; how much the answers depend on them was not measured");
    else
        say(t, ", a squared error of %.3g; at %.3g nats for each unit of it, the answers diverge by %.3g nats",
            judged->error, judged->sensitivity, judged->divergence);
    if (all > 0) say(t, ". That is %.3g %% of what all tensors cost", 100 * judged->divergence / all);
    say(t, ".\n");
}

static void say_next(struct text *t, const struct lq_plan_judgement *judged)
{
    if (judged->next == LQ_TYPE_NONE) {
        say(t, "No larger type that it may take would make it better.\n");
        return;
    }
    say(t, "%" PRIu64 " bytes more would buy %s and take away ", judged->next_bytes, lq_format_name(judged->next));
    if (judged->divergence > 0) say(t, "%.3g %% of that", 100 * judged->next_gain / judged->divergence);
    if (!isnan(judged->sensitivity))
        say(t, ": %.3g nats, %.3g for each megabyte", judged->next_gain,
            judged->next_bytes > 0 ? judged->next_gain / (double)judged->next_bytes * 1e6 : 0);
    say(t, ".\n");
}

size_t lq_plan_explain(const struct lq_plan *plan, size_t i, char *dst, size_t size)
{
    const struct lq_plan_entry *entry = &plan->entries[i];
    struct text t = {dst, 0, size};
    if (size == 0) return 0;
    dst[0] = '\0';
    say_type(&t, entry);
    if (entry->judged.known) {
        say_cost(&t, &entry->judged, divergence_of(plan));
        say_next(&t, &entry->judged);
    } else if (entry->tensor->quantisable) {
        say(&t, "What it costs is not known: the plan is no automatic one, or this entry was edited.\n");
    }
    return t.used;
}
