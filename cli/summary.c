#include "summary.h"

#include <math.h>
#include <stdlib.h>

static void add(struct cli_sum *sum, const struct lq_plan_entry *e, double error_sq, double weight_sq)
{
    sum->tensors++;
    sum->weights += e->ne[0] * e->rows;
    sum->weights_before += e->tensor->ne[0] * e->tensor->rows;
    sum->before += e->tensor->bytes;
    sum->after += e->bytes;
    sum->types |= UINT64_C(1) << e->type;
    sum->error_sq += error_sq;
    sum->weight_sq += weight_sq;
}

struct cli_summary *cli_summary_new(const struct lq_plan *plan, const struct lq_quantize_result *result)
{
    struct cli_summary *s = calloc(1, sizeof *s);
    if (s == NULL) return NULL;
    for (size_t i = 0; i < plan->n_entries; i++) {
        const struct lq_plan_entry *e = &plan->entries[i];
        double error_sq = result == NULL ? 0 : result->error_sq[i];
        double weight_sq = result == NULL ? 0 : result->weight_sq[i];
        add(&s->role[e->tensor->half][e->tensor->role], e, error_sq, weight_sq);
        add(&s->half[e->tensor->half], e, error_sq, weight_sq);
        add(&s->total, e, error_sq, weight_sq);
    }
    return s;
}

static double bits_per_weight(uint64_t bytes, uint64_t weights)
{
    return weights == 0 ? 0 : (double)bytes * 8 / (double)weights;
}

double cli_sum_bpw(const struct cli_sum *sum)
{
    return bits_per_weight(sum->after, sum->weights);
}

double cli_sum_bpw_before(const struct cli_sum *sum)
{
    return bits_per_weight(sum->before, sum->weights_before);
}

double cli_relative_error(double error_sq, double weight_sq)
{
    return error_sq > 0 && weight_sq > 0 ? sqrt(error_sq / weight_sq) : 0;
}

double cli_feedback_lowered(const struct lq_quantize_outcome *outcome)
{
    return outcome->plain > 0 ? 1 - outcome->written / outcome->plain : 0;
}

struct cli_feedback cli_feedback_sum(const struct lq_quantize_result *result)
{
    struct cli_feedback sum = {0};
    for (size_t i = 0; result != NULL && i < result->n_entries; i++) {
        if (result->outcome[i].fed == 0) continue;
        sum.tensors++;
        sum.lowered += cli_feedback_lowered(&result->outcome[i]);
    }
    if (sum.tensors > 0) sum.lowered /= (double)sum.tensors;
    return sum;
}

const char *cli_half_name(int half)
{
    return half == LQ_VISION ? "vision" : "language";
}
