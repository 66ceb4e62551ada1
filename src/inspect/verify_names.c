#include "inspect/verify_names.h"

#include <stdlib.h>
#include <string.h>

static int compare_names(const void *a, const void *b)
{
    const struct lq_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

const struct lq_tensor **lq_names_sort(const struct lq_model_half *half)
{
    const struct lq_tensor **list = malloc((half->n_tensors + 1) * sizeof *list);
    if (list == NULL) return NULL;
    for (size_t i = 0; i < half->n_tensors; i++) list[i] = &half->tensors[i];
    qsort(list, half->n_tensors, sizeof *list, compare_names);
    return list;
}

const struct lq_tensor *lq_names_find(const struct lq_tensor *const *list, size_t n, const char *name)
{
    const struct lq_tensor wanted = {.name = name}, *key = &wanted;
    const struct lq_tensor *const *found = bsearch(&key, list, n, sizeof *list, compare_names);
    return found == NULL ? NULL : *found;
}
