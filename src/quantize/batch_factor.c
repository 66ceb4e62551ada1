/* What the second moments of a batch become. */
#include "quantize/batches.h"
#include "quantize/feedback.h"
#include "quantize/sequential.h"

#include <stdlib.h>

static enum lq_status factor(struct lq_factor **out, const struct lq_batch *batch, const float *hessian,
                             const struct lq_stats_moments *moments, unsigned threads, const struct lq_meter *meter,
                             struct lq_error *err)
{
    const struct lq_factor_terms terms = {.n = batch->tensor->ne[0],
                                          .columns = batch->columns,
                                          .tokens = moments->tokens,
                                          .spread = moments->spread,
                                          .damping = -1,
                                          .block = batch->block,
                                          .threads = threads,
                                          .meter = meter};
    return lq_factor_make(out, hessian, &terms, err);
}

enum lq_status lq_batch_factor(struct lq_factor **out, bool *anew, const struct lq_batch *batch,
                               const struct lq_stats *stats, const struct lq_sequential *sequential, unsigned threads,
                               const struct lq_meter *meter, struct lq_error *useless, struct lq_error *err)
{
    uint64_t n = batch->tensor->ne[0];
    struct lq_stats_moments moments = {0};
    struct lq_error why = {0};
    enum lq_status status = LQ_OK;
    float *hessian = malloc(n * (n + 1) / 2 * sizeof *hessian);
    if (hessian == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "%s: tensor '%s': no memory for its second moments",
                            lq_stats_path(stats), batch->tensor->name);
    *out = NULL;
    *anew = sequential != NULL && lq_sequential_hessian(sequential, batch->input, hessian, &moments);
    if (!*anew) status = lq_stats_hessian(stats, batch->tensor, batch->expert, hessian, &moments, err);
    if (status == LQ_OK && (status = factor(out, batch, hessian, &moments, threads, meter, &why)) != LQ_OK) {
        if (status != LQ_ERR_CANCELLED)
            lq_error_prefix(&why, "%s: tensor '%s'", lq_stats_path(stats), batch->tensor->name);
        if (status == LQ_ERR_FORMAT) *useless = why, status = LQ_OK;
        else lq_error_set(err, status, "%s", why.message);
    }
    free(hessian);
    return status;
}
