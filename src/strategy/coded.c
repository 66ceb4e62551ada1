#include "strategy/coded.h"

#include "base/checked.h"

#include <stdlib.h>

enum lq_status lq_coded_make(struct lq_coded *out, struct lq_matrix *matrix, const struct lq_tensor *tensor,
                             enum lq_type type, uint64_t columns, struct lq_error *err)
{
    bool padded = columns != tensor->ne[0];
    struct lq_coded coded = {.type = padded ? LQ_TYPE_F32 : type};
    uint64_t bytes = lq_format_row_bytes(coded.type, tensor->ne[0]);
    if (!lq_mul_u64(bytes, tensor->rows, &bytes) || bytes > SIZE_MAX || (coded.data = malloc(bytes)) == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for tensor '%s' as %s", tensor->name, lq_format_name(type));
    enum lq_status status = padded ? lq_matrix_round_trip(matrix, type, columns, coded.data, err)
                                   : lq_matrix_encode(matrix, type, coded.data, err);
    if (status == LQ_OK) *out = coded;
    else free(coded.data);
    return status;
}

void lq_coded_release(struct lq_coded *coded)
{
    free(coded->data);
    *coded = (struct lq_coded){.type = LQ_TYPE_NONE};
}

enum lq_status lq_coded_error(struct lq_matrix *matrix, const struct lq_tensor *tensor, enum lq_type type,
                              uint64_t columns, double *error, struct lq_error *err)
{
    if (columns != tensor->ne[0]) return lq_matrix_error_padded(matrix, type, columns, error, err);
    return lq_matrix_error(matrix, type, error, err);
}
