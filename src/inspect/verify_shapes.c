#include "inspect/verify_run.h"

#include "model/store.h"
#include "runtime/check.h"

/* The runtime's rules end at the first one broken: that is the finding. */
static enum lq_status judge(struct lq_verify_run *run, enum lq_status verdict, const struct lq_error *why,
                            struct lq_error *err)
{
    if (verdict == LQ_OK) return LQ_OK;
    if (verdict == LQ_ERR_MEMORY) return lq_error_set(err, verdict, "%s", why->message);
    return lq_run_find(run, LQ_CHECK_SHAPES, err, "%s", why->message);
}

/* Of a tower alone, the language model's width is taken from its projector. */
static uint64_t projector_width(const struct lq_source *vision)
{
    const struct lq_source_tensor *last = lq_source_find(vision, "mm.2.weight");
    if (last == NULL) last = lq_source_find(vision, "mm.0.weight");
    return last == NULL ? 0 : last->ne[1];
}

static enum lq_status check_language(struct lq_verify_run *run, const struct lq_model_half *half, uint64_t *width,
                                     struct lq_error *err)
{
    /* A view of the first shard: only keys are looked at, and it may hold no tensor. */
    const struct lq_source keys = {.path = (char *)half->path, .kvs = *half->kvs};
    struct lq_error why = {0};
    enum lq_status status = judge(run, lq_check_language(&keys, width, &why), &why, err);
    return status == LQ_OK ? lq_verify_llama_shapes(run, half, err) : status;
}

static enum lq_status check_vision(struct lq_verify_run *run, const struct lq_model_half *half, uint64_t width,
                                   struct lq_error *err)
{
    const struct lq_origin *origin = half->tensors[0].origin;
    struct lq_error why = {0};
    bool llava;
    if (half->n_files > 1)
        return lq_run_find(run, LQ_CHECK_SHAPES, err, "%s: one of %zu shards, but llama.cpp loads no split mmproj",
                           half->path, half->n_files);
    if (width == 0) width = projector_width(origin->source);
    return judge(run, lq_check_vision(origin->source, width, &llava, &why), &why, err);
}

enum lq_status lq_verify_shapes(struct lq_verify_run *run, struct lq_error *err)
{
    const struct lq_model_half *vision = run->model->half[LQ_VISION], *language = run->model->half[LQ_LANGUAGE];
    uint64_t width = 0;
    enum lq_status status = LQ_OK;
    if (language != NULL) status = check_language(run, language, &width, err);
    if (status == LQ_OK && vision != NULL) status = check_vision(run, vision, width, err);
    if (status == LQ_OK) lq_run_pass(run, LQ_CHECK_SHAPES, "as the metadata say");
    return status;
}
