#include "evaluate/facts.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "llava_quantize/verify.h"

enum { LARGEST_PLAN = 16 << 20 };

static double relative_error(const struct lq_verify_tensor *t)
{
    if (t->original == NULL) return NAN;
    if (t->error_sq == 0) return 0;
    return t->weight_sq > 0 ? sqrt(t->error_sq / t->weight_sq) : NAN;
}

/* `seen` may be NULL: nothing was compared. */
static enum lq_status list_tensors(struct lq_evaluation *e, const struct lq_model *pair,
                                   const struct lq_verification *seen, struct lq_error *err)
{
    size_t total = pair->half[LQ_VISION]->n_tensors + pair->half[LQ_LANGUAGE]->n_tensors;
    e->tensors = calloc(total, sizeof *e->tensors);
    if (e->tensors == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu tensors", total);
    for (int h = 0; h < LQ_HALVES; h++) {
        const struct lq_model_half *half = pair->half[h];
        for (size_t i = 0; i < half->n_tensors; i++) {
            const struct lq_tensor *t = &half->tensors[i];
            char *name = strdup(t->name);
            if (name == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu tensors", total);
            double error = seen == NULL ? NAN : relative_error(&seen->tensors[h][i]);
            e->tensors[e->n_tensors++] =
                (struct lq_tensor_result){name, t->half, t->role, t->block, t->type, error, NULL};
        }
    }
    return LQ_OK;
}

/* ---- reasons ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct lq_tensor_result *const *)a)->name, (*(struct lq_tensor_result *const *)b)->name);
}

static int name_against(const void *name, const void *tensor)
{
    return strcmp(name, (*(struct lq_tensor_result *const *)tensor)->name);
}

/* A reason in a plan file begins with the type that it explains. */
static const char *without_type(const char *reason, enum lq_type type)
{
    const char *name = lq_format_name(type);
    size_t n = strlen(name);
    return strncmp(reason, name, n) == 0 && strncmp(reason + n, ": ", 2) == 0 ? reason + n + 2 : reason;
}

static enum lq_status take_reason(struct lq_tensor_result **sorted, size_t n, const json_t *entry, struct lq_error *err)
{
    const char *name = json_string_value(json_object_get(entry, "name"));
    const char *reason = json_string_value(json_object_get(entry, "reason"));
    if (name == NULL || reason == NULL) return LQ_OK;
    struct lq_tensor_result **found = bsearch(name, sorted, n, sizeof *sorted, name_against);
    if (found == NULL || (*found)->reason != NULL) return LQ_OK;
    (*found)->reason = strdup(without_type(reason, (*found)->type));
    return (*found)->reason != NULL ? LQ_OK : lq_error_set(err, LQ_ERR_MEMORY, "no memory for the plan's reasons");
}

static enum lq_status take_reasons(struct lq_evaluation *e, const json_t *list, struct lq_error *err)
{
    struct lq_tensor_result **sorted = calloc(e->n_tensors + 1, sizeof *sorted);
    if (sorted == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the plan's reasons");
    for (size_t i = 0; i < e->n_tensors; i++) sorted[i] = &e->tensors[i];
    qsort(sorted, e->n_tensors, sizeof *sorted, by_name);
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < json_array_size(list) && status == LQ_OK; i++)
        status = take_reason(sorted, e->n_tensors, json_array_get(list, i), err);
    free(sorted);
    return status;
}

/* Not lq_plan_load: that wants the model that was quantised and the importance data that its types took, and here the
 * reasons alone are wanted. */
static enum lq_status read_reasons(struct lq_evaluation *e, const char *path, struct lq_error *err)
{
    char *text = NULL;
    size_t size = 0;
    json_error_t where;
    enum lq_status status = lq_file_load(path, LARGEST_PLAN, &text, &size, err);
    if (status != LQ_OK) return status;
    json_t *root = json_loadb(text, size, 0, &where), *list = json_object_get(root, "tensors");
    if (root == NULL)
        status =
            lq_error_set(err, LQ_ERR_FORMAT, "%s: line %d, column %d: %s", path, where.line, where.column, where.text);
    else if (!json_is_array(list))
        status = lq_error_set(err, LQ_ERR_FORMAT,
                              "%s: not a plan: there is no array 'tensors'; 'quantize --save-plan' "
                              "writes one",
                              path);
    else status = take_reasons(e, list, err);
    json_decref(root);
    free(text);
    return status;
}

enum lq_status lq_facts_of_tensors(struct lq_evaluation *evaluation, const struct lq_model *pair,
                                   const struct lq_model *original, const char *plan, unsigned threads,
                                   const struct lq_hooks *hooks, struct lq_error *err)
{
    struct lq_verification *seen = NULL;
    struct lq_verify_options options = {.original = original, .threads = threads, .hooks = hooks};
    enum lq_status status = original == NULL ? LQ_OK : lq_verify_model(&seen, pair, &options, err);
    if (status == LQ_OK) status = list_tensors(evaluation, pair, seen, err);
    if (status == LQ_OK && plan != NULL) status = read_reasons(evaluation, plan, err);
    lq_verification_free(seen);
    return status;
}
