#include "runtime/recode.h"

#include "llava_quantize/model.h"
#include "runtime/state.h"
#include "runtime/view.h"
#include "runtime/watch.h"

#include <inttypes.h>
#include <string.h>

/* The headers of both files, read when a first tensor is recoded. */
static enum lq_status open_files(struct lq_runtime *rt, struct lq_error *err)
{
    const struct lq_model_options options = {.mmproj = rt->mmproj, .only = -1, .lenient = true};
    if (rt->watch == NULL)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: opened without an observer, which recoding takes", rt->language);
    return rt->files != NULL ? LQ_OK : lq_model_open(&rt->files, rt->language, &options, err);
}

static const struct lq_tensor *find(const struct lq_model_half *half, const char *weight)
{
    for (size_t i = 0; i < half->n_tensors; i++)
        if (strcmp(half->tensors[i].name, weight) == 0) return &half->tensors[i];
    return NULL;
}

static enum lq_status find_weight(const struct lq_tensor **out, const struct lq_runtime *rt, const char *weight,
                                  struct lq_error *err)
{
    const struct lq_tensor *tensor = find(rt->files->half[LQ_LANGUAGE], weight);
    if (tensor == NULL) tensor = find(rt->files->half[LQ_VISION], weight);
    if (tensor == NULL)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: neither it nor %s has a tensor '%s'", rt->language, rt->mmproj,
                            weight);
    if (!tensor->quantisable)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: tensor '%s': its role, %s, is never quantised",
                            rt->files->half[tensor->half]->path, weight, lq_role_name(tensor->role));
    *out = tensor;
    return LQ_OK;
}

static enum lq_status check_type(const struct lq_runtime *rt, const struct lq_tensor *tensor, enum lq_type type,
                                 struct lq_error *err)
{
    const struct lq_format *format = lq_format_get(type);
    const char *path = rt->files->half[tensor->half]->path;
    if (format == NULL || !(format->flags & LQ_FORMAT_TARGET))
        return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: tensor '%s': %s is no type of weights", path, tensor->name,
                            lq_format_name(type));
    if (lq_format_row_bytes(type, tensor->ne[0]) == 0)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                            "%s: tensor '%s': %" PRIu64 " columns do not divide into %s blocks of %" PRIu32, path,
                            tensor->name, tensor->ne[0], format->name, format->block);
    return LQ_OK;
}

/* Asking keeps the latest picture's embeddings. */
static void change_sight(struct lq_runtime *rt)
{
    rt->sight++;
    lq_view_free(rt->view);
    rt->view = NULL;
}

enum lq_status lq_runtime_recode(struct lq_runtime *rt, const char *weight, enum lq_type type, const void *data,
                                 struct lq_error *err)
{
    const struct lq_tensor *tensor = NULL;
    enum lq_status status = open_files(rt, err);
    if (status == LQ_OK) status = find_weight(&tensor, rt, weight, err);
    if (status == LQ_OK && data != NULL) status = check_type(rt, tensor, type, err);
    if (status == LQ_OK) status = lq_substitutes_set(lq_watch_substitutes(rt->watch), tensor, type, data, err);
    if (status == LQ_OK && tensor->half == LQ_VISION) change_sight(rt);
    return status;
}

void lq_runtime_recode_none(struct lq_runtime *rt)
{
    if (rt->watch == NULL) return;
    lq_substitutes_reset(lq_watch_substitutes(rt->watch));
    change_sight(rt);
}

uint64_t lq_runtime_sight(const struct lq_runtime *rt)
{
    return rt->watch != NULL && lq_substitutes_any(lq_watch_substitutes(rt->watch), LQ_VISION) ? rt->sight : 0;
}
