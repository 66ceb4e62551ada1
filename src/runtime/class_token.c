#include "runtime/class_token.h"

#include <ggml-backend.h>
#include <stdlib.h>
#include <string.h>

/* The concatenation [patches, class token] along the tokens. */
static bool has_class_last(const struct ggml_tensor *node)
{
    return node->op == GGML_OP_CONCAT && strcmp(node->src[1]->name, "v.class_embd") == 0 && node->src[1]->ne[1] == 1 &&
           node->ne[0] == node->src[1]->ne[0] && ggml_is_contiguous(node);
}

bool lq_class_token_first(struct ggml_tensor *node, bool ask, void *data)
{
    (void)data;
    if (!has_class_last(node)) return !ask;
    if (ask) return true;
    size_t size = ggml_nbytes(node), row = node->nb[1];
    char *rows = malloc(size);
    if (rows == NULL) return false;
    ggml_backend_tensor_get(node, rows + row, 0, size - row);
    ggml_backend_tensor_get(node, rows, size - row, row);
    ggml_backend_tensor_set(node, rows, 0, size);
    free(rows);
    return true;
}
