#include "runtime/observe.h"

#include "runtime/state.h"
#include "runtime/watch.h"

#include <ggml-backend.h>
#include <inttypes.h>
#include <stdlib.h>

static enum lq_status check(const struct ggml_tensor *tensor, const char *weight, uint64_t first_row, uint64_t n_rows,
                            struct lq_error *err)
{
    if (tensor == NULL)
        return lq_error_set(err, LQ_ERR_USAGE, "tensor '%s': no product with such a matrix has been computed", weight);
    if (tensor->type != GGML_TYPE_F32 && tensor->type != GGML_TYPE_F16 && tensor->type != GGML_TYPE_BF16)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                            "tensor '%s': rows of %s cannot be replaced, only those of f32, f16 and bf16", weight,
                            ggml_type_name(tensor->type));
    uint64_t all = (uint64_t)ggml_nrows(tensor);
    if (first_row > all || n_rows > all - first_row)
        return lq_error_set(err, LQ_ERR_USAGE,
                            "tensor '%s': %" PRIu64 " rows from %" PRIu64 " on in a matrix of %" PRIu64, weight, n_rows,
                            first_row, all);
    return LQ_OK;
}

enum lq_status lq_runtime_replace(struct lq_runtime *rt, const char *weight, uint64_t first_row, uint64_t n_rows,
                                  const float *rows, struct lq_error *err)
{
    if (rt->watch == NULL || lq_watch_is_mapped(rt->watch))
        return lq_error_set(err, LQ_ERR_USAGE, "%s: opened without weights that may be replaced", rt->language);
    struct ggml_tensor *tensor = lq_watch_find(rt->watch, weight);
    enum lq_status status = check(tensor, weight, first_row, n_rows, err);
    if (status != LQ_OK) return status;
    size_t size = ggml_row_size(tensor->type, tensor->ne[0]);
    char *row = malloc(size);
    if (row == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "tensor '%s': no memory for a row", weight);
    for (uint64_t i = 0; i < n_rows; i++) {
        ggml_quantize_chunk(tensor->type, rows + i * (uint64_t)tensor->ne[0], row, 0, 1, tensor->ne[0], NULL);
        ggml_backend_tensor_set(tensor, row, (first_row + i) * size, size);
    }
    free(row);
    lq_view_free(rt->view); /* of asking: seen with the old weights */
    rt->view = NULL;
    return LQ_OK;
}
