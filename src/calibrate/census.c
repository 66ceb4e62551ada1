#include "calibrate/census.h"

#include <stdlib.h>
#include <string.h>

struct lq_share {
    const struct lq_tensor *member, *first;
};

static enum lq_status no_memory(struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the list of inputs");
}

/* ---- what may be counted ---- */

static int by_tensor_name(const void *a, const void *b)
{
    return strcmp((*(const struct lq_tensor *const *)a)->name, (*(const struct lq_tensor *const *)b)->name);
}

static const struct lq_tensor *find_known(const struct lq_census *census, const char *name)
{
    const struct lq_tensor key = {.name = name}, *wanted = &key;
    const struct lq_tensor **found =
        bsearch(&wanted, census->known, census->n_known, sizeof *census->known, by_tensor_name);
    return found == NULL ? NULL : *found;
}

enum lq_status lq_census_init(struct lq_census *census, const struct lq_model *model, struct lq_error *err)
{
    size_t n = 0;
    *census = (struct lq_census){0};
    for (int h = 0; h < LQ_HALVES; h++) n += model->half[h] == NULL ? 0 : model->half[h]->n_tensors;
    census->known = calloc(n + 1, sizeof *census->known);
    census->inputs = calloc(n + 1, sizeof *census->inputs);
    census->shares = calloc(n + 1, sizeof *census->shares);
    census->by_name = calloc(n + 1, sizeof *census->by_name);
    if (census->known == NULL || census->inputs == NULL || census->shares == NULL || census->by_name == NULL)
        return no_memory(err);
    for (int h = 0; h < LQ_HALVES; h++) {
        const struct lq_model_half *half = model->half[h];
        for (size_t i = 0; half != NULL && i < half->n_tensors; i++)
            if (half->tensors[i].quantisable) census->known[census->n_known++] = &half->tensors[i];
    }
    qsort(census->known, census->n_known, sizeof *census->known, by_tensor_name);
    return LQ_OK;
}

void lq_census_release(struct lq_census *census)
{
    for (size_t i = 0; i < census->n; i++) free(census->inputs[i].members);
    free(census->known);
    free(census->inputs);
    free(census->shares);
    free(census->by_name);
    *census = (struct lq_census){0};
}

/* ---- looking on ---- */

bool lq_census_wants(void *data, const char *weight)
{
    return find_known(data, weight) != NULL;
}

static struct lq_input *find_input(struct lq_census *census, const struct lq_tensor *first)
{
    for (size_t i = 0; i < census->n; i++)
        if (census->inputs[i].first == first) return &census->inputs[i];
    return NULL;
}

void lq_census_sees(void *data, const struct lq_observation *observation)
{
    struct lq_census *census = data;
    const struct lq_tensor *first = find_known(census, observation->weight);
    if (first == NULL || census->err.status != LQ_OK) return;
    struct lq_input *input = find_input(census, first);
    if (input != NULL) input->n_rows += observation->n_rows;
    if (input != NULL) return;
    if (observation->n_columns != first->ne[0] || observation->n_experts != first->ne[2] || first->ne[3] != 1)
        lq_error_set(&census->err, LQ_ERR_RUNTIME,
                     "tensor '%s': llama.cpp multiplies %zu columns and %zu experts, the file has %llu and %llu",
                     first->name, observation->n_columns, observation->n_experts, (unsigned long long)first->ne[0],
                     (unsigned long long)(first->ne[2] * first->ne[3]));
    else census->inputs[census->n++] = (struct lq_input){.first = first, .n_rows = observation->n_rows};
}

static bool is_told(const struct lq_census *census, const struct lq_tensor *member)
{
    for (size_t i = 0; i < census->n_shares; i++)
        if (census->shares[i].member == member) return true;
    return false;
}

void lq_census_shares(void *data, const char *weight, const char *first)
{
    struct lq_census *census = data;
    struct lq_share share = {find_known(census, weight), find_known(census, first)};
    if (share.member != NULL && share.first != NULL && !is_told(census, share.member))
        census->shares[census->n_shares++] = share;
}

/* ---- afterwards ---- */

static enum lq_status add_member(struct lq_input *input, const struct lq_tensor *member, struct lq_error *err)
{
    const struct lq_tensor **grown = realloc(input->members, (input->n_members + 1) * sizeof *grown);
    if (grown == NULL) return no_memory(err);
    input->members = grown;
    input->members[input->n_members++] = member;
    return LQ_OK;
}

static int by_first_name(const void *a, const void *b, void *inputs)
{
    const struct lq_input *all = inputs;
    return strcmp(all[*(const size_t *)a].first->name, all[*(const size_t *)b].first->name);
}

enum lq_status lq_census_finish(struct lq_census *census, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    if (census->err.status != LQ_OK) return lq_error_set(err, census->err.status, "%s", census->err.message);
    for (size_t i = 0; i < census->n_shares && status == LQ_OK; i++) {
        struct lq_input *input = find_input(census, census->shares[i].first);
        if (input != NULL && find_input(census, census->shares[i].member) == NULL)
            status = add_member(input, census->shares[i].member, err);
    }
    for (size_t i = 0; i < census->n; i++) census->by_name[i] = i;
    qsort_r(census->by_name, census->n, sizeof *census->by_name, by_first_name, census->inputs);
    return status;
}

const struct lq_input *lq_census_find(const struct lq_census *census, const char *weight)
{
    size_t low = 0, high = census->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct lq_input *input = &census->inputs[census->by_name[middle]];
        int order = strcmp(weight, input->first->name);
        if (order == 0) return input;
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return NULL;
}
