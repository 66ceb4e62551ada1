/* Rows of a tensor as numbers. */
#include "codec/encode.h"
#include "llava_quantize/model.h"

#include <stdlib.h>

enum lq_status lq_model_weights(const struct lq_model *model, const struct lq_tensor *tensor, uint64_t first_row,
                                uint64_t n_rows, float *dst, struct lq_error *err)
{
    if (tensor->rows == 0 || n_rows == 0) return LQ_OK;
    uint64_t row_bytes = tensor->bytes / tensor->rows;
    void *raw = n_rows > SIZE_MAX / row_bytes ? NULL : malloc(n_rows * row_bytes);
    if (raw == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "tensor '%s': no memory for its rows", tensor->name);
    enum lq_status status = lq_model_read(model, tensor, first_row, n_rows, raw, err);
    if (status == LQ_OK) {
        status = lq_codec_decode(tensor->type, raw, dst, n_rows * tensor->ne[0], err);
        if (status != LQ_OK) lq_error_prefix(err, "tensor '%s'", tensor->name);
    }
    free(raw);
    return status;
}
