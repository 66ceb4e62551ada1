#include "llava_quantize/inspect.h"

#include <stdlib.h>
#include <string.h>

#include "inspect/inspect_findings.h"
#include "inspect/inspect_weights.h"
#include "source/kv.h"

static void add(struct lq_role_sum *sum, const struct lq_tensor *t)
{
    sum->tensors++;
    sum->weights += t->ne[0] * t->rows;
    sum->bytes += t->bytes;
    sum->types |= UINT64_C(1) << t->type;
}

static void sum_up(struct lq_inspection *out)
{
    for (int h = 0; h < LQ_HALVES; h++) {
        const struct lq_model_half *half = out->model->half[h];
        for (size_t i = 0; half != NULL && i < half->n_tensors; i++) {
            add(&out->role[h][half->tensors[i].role], &half->tensors[i]);
            add(&out->half[h], &half->tensors[i]);
            add(&out->total, &half->tensors[i]);
        }
    }
}

static int64_t token_id(const struct lq_kvs *kvs, const char *key)
{
    uint64_t id = 0;
    return lq_kvs_get_u64(kvs, key, &id) && id <= INT64_MAX ? (int64_t)id : -1;
}

static void look_at_tokenizer(struct lq_inspection *out)
{
    const struct lq_model_half *half = out->model->half[LQ_LANGUAGE];
    struct lq_tokenizer_facts *facts = &out->tokenizer;
    const char *model;
    size_t length;
    if (half == NULL || !lq_kvs_get_string(half->kvs, "tokenizer.ggml.model", &model, &length)) return;
    if (length >= sizeof facts->model) length = sizeof facts->model - 1;
    memcpy(facts->model, model, length);
    const struct lq_kv *tokens = lq_kvs_find(half->kvs, "tokenizer.ggml.tokens");
    facts->present = true;
    facts->tokens = tokens == NULL ? 0 : tokens->count;
    facts->bos = token_id(half->kvs, "tokenizer.ggml.bos_token_id");
    facts->eos = token_id(half->kvs, "tokenizer.ggml.eos_token_id");
    facts->chat_template = lq_model_has_key(half, "tokenizer.chat_template");
}

static enum lq_status read_weights(struct lq_inspection *out, const struct lq_inspect_options *options,
                                   struct lq_error *err)
{
    for (int h = 0; h < LQ_HALVES; h++) {
        const struct lq_model_half *half = out->model->half[h];
        if (half == NULL) continue;
        out->stats[h] = calloc(half->n_tensors + 1, sizeof *out->stats[h]);
        if (out->stats[h] == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for statistics", half->path);
    }
    return lq_inspect_weights(out->model, options, out->stats, err);
}

enum lq_status lq_inspect(struct lq_inspection **out, const struct lq_model *model,
                          const struct lq_inspect_options *options, struct lq_error *err)
{
    struct lq_inspection *seen = calloc(1, sizeof *seen);
    if (seen == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory", model->path);
    seen->model = model;
    sum_up(seen);
    look_at_tokenizer(seen);
    enum lq_status status = options->weights ? read_weights(seen, options, err) : LQ_OK;
    if (status == LQ_OK) status = lq_inspect_findings(model, options->backend, seen, err);
    if (status == LQ_OK) *out = seen;
    else lq_inspection_free(seen);
    return status;
}

void lq_inspection_free(struct lq_inspection *inspection)
{
    if (inspection == NULL) return;
    for (int h = 0; h < LQ_HALVES; h++) free(inspection->stats[h]);
    free(inspection->findings);
    free(inspection);
}
