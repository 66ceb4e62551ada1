#include "calibrate/stats_tensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_NAME = 63 }; /* that llama.cpp reads */

double *lq_stats_part_sums(const struct lq_input_sums *sums, enum lq_stats_part part, size_t *n)
{
    double *const from[LQ_PARTS] = {[LQ_PART_MOMENTS] = sums->moments,
                                    [LQ_PART_TOKENS] = sums->tokens,
                                    [LQ_PART_WEIGHTED] = sums->weighted,
                                    [LQ_PART_SPREAD] = sums->spread};
    uint64_t ne[4];
    uint32_t n_dims;
    *n = lq_stats_part_shape(part, sums->n, sums->n_experts, ne, &n_dims);
    return from[part];
}

static enum lq_status add(struct lq_stats_tensors *list, size_t input, const struct lq_tensor *matrix,
                          enum lq_stats_part part, struct lq_error *err)
{
    size_t i = list->n;
    if (asprintf(&list->names[i], "%s%s", matrix->name, lq_stats_parts[part].suffix) < 0) {
        list->names[i] = NULL;
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for names of statistics");
    }
    list->n++;
    if (strlen(list->names[i]) > LONGEST_NAME)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED, "tensor '%s': a statistics file has no room for names so long",
                            matrix->name);
    struct lq_output_tensor *t = &list->items[i];
    t->name = list->names[i];
    t->type = lq_stats_parts[part].type;
    list->inputs[i] = input;
    list->parts[i] = part;
    if (lq_stats_part_shape(part, matrix->ne[0], matrix->ne[2], t->ne, &t->n_dims) > 0) return LQ_OK;
    return lq_error_set(err, LQ_ERR_UNSUPPORTED, "tensor '%s': %" PRIu64 " columns are too many for statistics",
                        matrix->name, matrix->ne[0]);
}

static enum lq_status add_input(struct lq_stats_tensors *list, const struct lq_calibration *c, size_t input,
                                bool everything, struct lq_error *err)
{
    const struct lq_input *in = &c->census.inputs[input];
    enum lq_status status = LQ_OK;
    for (int part = 0; part < LQ_PARTS && status == LQ_OK; part++) {
        bool begun = everything || part != LQ_PART_HESSIAN || c->moments_done[input] > 0;
        if (!begun || (lq_stats_parts[part].hessian && !c->options.hessian)) continue;
        status = add(list, input, in->first, (enum lq_stats_part)part, err);
        for (size_t m = 0; lq_stats_parts[part].of_all && m < in->n_members && status == LQ_OK; m++)
            status = add(list, input, in->members[m], (enum lq_stats_part)part, err);
    }
    return status;
}

static size_t count(const struct lq_calibration *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->census.n; i++) n += LQ_PARTS + 2 * c->census.inputs[i].n_members;
    return n;
}

enum lq_status lq_stats_tensors_list(struct lq_stats_tensors *out, const struct lq_calibration *c, bool everything,
                                     struct lq_error *err)
{
    size_t most = count(c) + 1;
    struct lq_stats_tensors list = {.items = calloc(most, sizeof *list.items)};
    list.names = calloc(most, sizeof *list.names);
    list.inputs = calloc(most, sizeof *list.inputs);
    list.parts = calloc(most, sizeof *list.parts);
    enum lq_status status = LQ_OK;
    if (list.items == NULL || list.names == NULL || list.inputs == NULL || list.parts == NULL)
        status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu statistics", most);
    for (size_t i = 0; i < c->census.n && status == LQ_OK; i++) status = add_input(&list, c, i, everything, err);
    if (status == LQ_OK) *out = list;
    else lq_stats_tensors_release(&list);
    return status;
}

void lq_stats_tensors_release(struct lq_stats_tensors *list)
{
    for (size_t i = 0; i < list->n; i++) free(list->names[i]);
    free(list->names);
    free(list->items);
    free(list->inputs);
    free(list->parts);
    *list = (struct lq_stats_tensors){0};
}
