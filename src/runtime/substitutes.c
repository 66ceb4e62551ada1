#include "runtime/substitutes.h"

#include <ggml-backend.h>
#include <stdlib.h>
#include <string.h>

struct lq_substitute {
    const struct lq_tensor *of;
    struct ggml_tensor tensor;  /* what graphs get; `data` NULL: they get the weight */
    struct ggml_tensor *weight; /* NULL until a graph with it has come by */
};

void lq_substitutes_release(struct lq_substitutes *substitutes)
{
    for (size_t i = 0; i < substitutes->n; i++) free(substitutes->items[i]);
    free(substitutes->items);
}

bool lq_is_weight(const struct ggml_tensor *tensor)
{
    return tensor->op == GGML_OP_NONE && tensor->view_src == NULL && tensor->buffer != NULL &&
           ggml_backend_buffer_get_usage(tensor->buffer) == GGML_BACKEND_BUFFER_USAGE_WEIGHTS;
}

static struct lq_substitute *find_set(const struct lq_substitutes *substitutes, const struct lq_tensor *weight)
{
    for (size_t i = 0; i < substitutes->n; i++)
        if (substitutes->items[i]->of == weight) return substitutes->items[i];
    return NULL;
}

static enum lq_status add(struct lq_substitute **out, struct lq_substitutes *substitutes,
                          const struct lq_tensor *weight, struct lq_error *err)
{
    if (substitutes->n == substitutes->n_room) {
        size_t room = 2 * substitutes->n_room + 64;
        struct lq_substitute **items = realloc(substitutes->items, room * sizeof(struct lq_substitute *));
        if (items == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for recoding tensors");
        substitutes->items = items;
        substitutes->n_room = room;
    }
    struct lq_substitute *substitute = calloc(1, sizeof *substitute);
    if (substitute == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for recoding tensors");
    substitute->of = weight;
    ggml_set_name(&substitute->tensor, weight->name);
    *out = substitutes->items[substitutes->n++] = substitute;
    return LQ_OK;
}

static void shape(struct ggml_tensor *tensor, const struct lq_tensor *weight, enum lq_type type, void *data)
{
    tensor->type = (enum ggml_type)type;
    for (int i = 0; i < 4; i++) tensor->ne[i] = (int64_t)weight->ne[i];
    tensor->nb[0] = ggml_type_size(tensor->type);
    tensor->nb[1] = ggml_row_size(tensor->type, tensor->ne[0]);
    for (int i = 2; i < 4; i++) tensor->nb[i] = tensor->nb[i - 1] * (size_t)tensor->ne[i - 1];
    tensor->data = data;
}

enum lq_status lq_substitutes_set(struct lq_substitutes *substitutes, const struct lq_tensor *weight, enum lq_type type,
                                  const void *data, struct lq_error *err)
{
    struct lq_substitute *substitute = find_set(substitutes, weight);
    enum lq_status status = LQ_OK;
    if (data == NULL) {
        if (substitute != NULL) substitute->tensor.data = NULL;
        return LQ_OK;
    }
    if (substitute == NULL) status = add(&substitute, substitutes, weight, err);
    if (status == LQ_OK) shape(&substitute->tensor, weight, type, (void *)data); /* first operands are only read */
    return status;
}

void lq_substitutes_reset(struct lq_substitutes *substitutes)
{
    for (size_t i = 0; i < substitutes->n; i++) substitutes->items[i]->tensor.data = NULL;
}

bool lq_substitutes_any(const struct lq_substitutes *substitutes, enum lq_half half)
{
    for (size_t i = 0; i < substitutes->n; i++)
        if (substitutes->items[i]->of->half == half && substitutes->items[i]->tensor.data != NULL) return true;
    return false;
}

/* One that has not met its weight yet meets it here. */
static bool serves(struct lq_substitute *substitute, struct ggml_tensor *operand)
{
    if (substitute->weight != NULL) return operand == substitute->weight || operand == &substitute->tensor;
    if (strcmp(substitute->tensor.name, operand->name) != 0 || !lq_is_weight(operand)) return false;
    substitute->weight = operand;
    return true;
}

/* Graphs use weights in one order, often that in which they were recoded: this one again, or the next, is likeliest. */
static struct lq_substitute *find(struct lq_substitutes *substitutes, struct ggml_tensor *operand)
{
    for (size_t i = 0; i < substitutes->n; i++) {
        size_t k = (substitutes->at + i) % substitutes->n;
        if (!serves(substitutes->items[k], operand)) continue;
        substitutes->at = k;
        return substitutes->items[k];
    }
    return NULL;
}

struct ggml_tensor *lq_substitutes_put(struct lq_substitutes *substitutes, struct ggml_tensor *node)
{
    struct lq_substitute *substitute = find(substitutes, node->src[0]);
    if (substitute == NULL) return node->src[0];
    node->src[0] = substitute->tensor.data != NULL ? &substitute->tensor : substitute->weight;
    return substitute->weight;
}
