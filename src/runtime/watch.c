#include "runtime/watch.h"

#include <ggml-backend.h>
#include <stdlib.h>
#include <string.h>

/* A matrix, in the order of first use: its number stands for its place in the graphs. */
struct matrix {
    struct ggml_tensor *tensor;
    size_t first; /* the matrix that is shown this one's input; itself, unless they share one */
};

/* An input of the graph in hand. Those of one block are close together: q, k, v; gate, up; all of them where
 * attention and feed-forward are side by side. */
struct input {
    const struct ggml_tensor *tensor, *experts;
    size_t first;
};
enum { INPUTS = 16 };

struct buffer {
    void *data;
    size_t size;
};

struct lq_watch {
    struct lq_observer observer;
    struct matrix *matrices;
    size_t n_matrices, n_room;
    size_t at; /* the latest matrix asked about */
    struct input inputs[INPUTS];
    size_t n_inputs; /* of this graph so far; the latest INPUTS of them are kept */
    struct buffer raw, ids, rows, experts, tokens;
    struct lq_substitutes substitutes;
    bool failed;
};

enum lq_status lq_watch_new(struct lq_watch **out, const struct lq_observer *observer, struct lq_error *err)
{
    struct lq_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for an observer");
    if (observer != NULL) watch->observer = *observer;
    *out = watch;
    return LQ_OK;
}

void lq_watch_free(struct lq_watch *watch)
{
    if (watch == NULL) return;
    free(watch->matrices);
    free(watch->raw.data);
    free(watch->ids.data);
    free(watch->rows.data);
    free(watch->experts.data);
    free(watch->tokens.data);
    lq_substitutes_release(&watch->substitutes);
    free(watch);
}

bool lq_watch_is_mapped(const struct lq_watch *watch)
{
    return watch->observer.mapped;
}

struct lq_substitutes *lq_watch_substitutes(struct lq_watch *watch)
{
    return &watch->substitutes;
}

struct ggml_tensor *lq_watch_find(const struct lq_watch *watch, const char *weight)
{
    for (size_t i = 0; i < watch->n_matrices; i++)
        if (strcmp(watch->matrices[i].tensor->name, weight) == 0) return watch->matrices[i].tensor;
    return NULL;
}

enum lq_status lq_watch_check(const struct lq_watch *watch, struct lq_error *err)
{
    if (watch == NULL || !watch->failed) return LQ_OK;
    return lq_error_set(err, LQ_ERR_MEMORY, "no memory to show the inputs of a matrix");
}

/* Room for `size` bytes, or NULL. */
static void *reserve(struct lq_watch *watch, struct buffer *buffer, size_t size)
{
    if (size <= buffer->size) return buffer->data;
    void *data = realloc(buffer->data, size);
    if (data == NULL) {
        watch->failed = true;
        return NULL;
    }
    *buffer = (struct buffer){.data = data, .size = size};
    return data;
}

/* Graphs use the matrices in the same order each time, so the one behind the latest is the likeliest. */
static size_t find(const struct lq_watch *watch, const struct ggml_tensor *weight)
{
    size_t next = watch->at + 1;
    if (next < watch->n_matrices && watch->matrices[next].tensor == weight) return next;
    for (size_t i = 0; i < watch->n_matrices; i++)
        if (watch->matrices[i].tensor == weight) return i;
    return watch->n_matrices;
}

static const struct input *find_input(const struct lq_watch *watch, const struct ggml_tensor *node)
{
    for (size_t i = 0; i < watch->n_inputs && i < INPUTS; i++)
        if (watch->inputs[i].tensor == node->src[1] && watch->inputs[i].experts == node->src[2])
            return &watch->inputs[i];
    return NULL;
}

static bool add_matrix(struct lq_watch *watch, struct ggml_tensor *weight)
{
    if (watch->n_matrices == watch->n_room) {
        size_t room = watch->n_room == 0 ? 256 : 2 * watch->n_room;
        struct matrix *matrices = realloc(watch->matrices, room * sizeof *matrices);
        if (matrices == NULL) {
            watch->failed = true;
            return false;
        }
        watch->matrices = matrices;
        watch->n_room = room;
    }
    watch->matrices[watch->n_matrices] = (struct matrix){.tensor = weight, .first = watch->n_matrices};
    watch->n_matrices++;
    return true;
}

/* The node's matrix, NULL when memory is short. Whose input a matrix shares is learned when it is met first. A graph
 * begins where the order of matrices begins again: only then may tensors of an earlier graph, whose memory is used
 * again, be forgotten. */
static const struct matrix *note(struct lq_watch *watch, const struct ggml_tensor *node, struct ggml_tensor *weight)
{
    size_t i = find(watch, weight);
    bool new = i == watch->n_matrices;
    if (new && !add_matrix(watch, weight)) return NULL;
    if (i <= watch->at) watch->n_inputs = 0;
    watch->at = i;
    const struct input *input = find_input(watch, node);
    if (input == NULL) {
        watch->inputs[watch->n_inputs++ % INPUTS] = (struct input){node->src[1], node->src[2], i};
    } else if (new) {
        watch->matrices[i].first = input->first;
        if (watch->observer.shares != NULL)
            watch->observer.shares(watch->observer.data, weight->name, watch->matrices[input->first].tensor->name);
    }
    return &watch->matrices[i];
}

static bool wants(const struct lq_watch *watch, const struct ggml_tensor *node)
{
    const struct lq_observer *o = &watch->observer;
    return o->wants != NULL && node->ne[1] > 0 && o->wants(o->data, node->src[0]->name);
}

static bool asked(struct lq_watch *watch, const struct ggml_tensor *node, struct ggml_tensor *weight)
{
    const struct matrix *matrix = note(watch, node, weight);
    if (matrix == NULL) return false;
    bool first = &watch->matrices[matrix->first] == matrix;
    return ((first && watch->observer.sees != NULL) || watch->observer.changes != NULL) && wants(watch, node);
}

/* The tensor's bytes from first to last, gaps of a view included, wherever they lie. */
static const char *fetch(struct lq_watch *watch, struct buffer *buffer, const struct ggml_tensor *tensor)
{
    size_t size = ggml_nbytes(tensor);
    char *data = reserve(watch, buffer, size);
    if (data != NULL) ggml_backend_tensor_get(tensor, data, 0, size);
    return data;
}

/* Rows of f32, one behind the other at nb[1], need not be moved. */
static bool is_plain(const struct ggml_tensor *input)
{
    return input->type == GGML_TYPE_F32 && input->nb[1] % sizeof(float) == 0 &&
           input->nb[2] == input->nb[1] * (size_t)input->ne[1] && input->nb[3] == input->nb[2] * (size_t)input->ne[2];
}

static void unpack(float *to, const struct ggml_tensor *input, const char *row)
{
    if (input->type == GGML_TYPE_F32) memcpy(to, row, (size_t)input->ne[0] * sizeof *to);
    else ggml_get_type_traits(input->type)->to_float(row, to, input->ne[0]);
}

/* Where a row of a product goes: which of the tensor's matrices it meets, and which token it belongs to. */
struct place {
    int64_t i[3]; /* of the input: along ne[1], ne[2], ne[3] */
    int64_t expert, token;
};

/* Row r of MUL_MAT_ID: slot r % used of token r / used; an input with one row a token serves all its slots. */
static struct place routed(const struct ggml_tensor *node, const char *ids, int64_t r)
{
    const struct ggml_tensor *input = node->src[1], *experts = node->src[2];
    int64_t slot = r % experts->ne[0], token = r / experts->ne[0];
    int32_t id = 0;
    memcpy(&id, ids + (size_t)slot * experts->nb[0] + (size_t)token * experts->nb[1], sizeof id);
    return (struct place){.i = {slot % input->ne[1], token, 0}, .expert = id, .token = token};
}

/* Row r of MUL_MAT: consecutive matrices of the input share one of the weight's. */
static struct place stacked(const struct ggml_tensor *node, int64_t r)
{
    const struct ggml_tensor *weight = node->src[0], *input = node->src[1];
    struct place p = {.i = {r % input->ne[1], r / input->ne[1] % input->ne[2], r / input->ne[1] / input->ne[2]}};
    int64_t share2 = input->ne[2] / weight->ne[2], share3 = input->ne[3] / weight->ne[3];
    p.expert = p.i[2] / share3 * weight->ne[2] + p.i[1] / share2;
    p.token = p.i[0] + input->ne[1] * (p.i[1] % share2 + share2 * (p.i[2] % share3));
    return p;
}

/* Copies each row to its place in f32; where a tensor holds several matrices, with the row's matrix and token. */
static bool gather(struct lq_watch *watch, struct lq_observation *seen, const struct ggml_tensor *node,
                   const char *bytes)
{
    const struct ggml_tensor *input = node->src[1];
    bool by_id = node->op == GGML_OP_MUL_MAT_ID;
    const char *ids = by_id ? fetch(watch, &watch->ids, node->src[2]) : NULL;
    float *rows = reserve(watch, &watch->rows, seen->n_rows * seen->n_columns * sizeof *rows);
    int32_t *experts = reserve(watch, &watch->experts, seen->n_rows * sizeof *experts);
    uint32_t *tokens = reserve(watch, &watch->tokens, seen->n_rows * sizeof *tokens);
    if ((by_id && ids == NULL) || rows == NULL || experts == NULL || tokens == NULL) return false;
    for (size_t r = 0; r < seen->n_rows; r++) {
        struct place p = by_id ? routed(node, ids, (int64_t)r) : stacked(node, (int64_t)r);
        unpack(rows + r * seen->n_columns, input,
               bytes + (size_t)p.i[0] * input->nb[1] + (size_t)p.i[1] * input->nb[2] + (size_t)p.i[2] * input->nb[3]);
        experts[r] = (int32_t)p.expert;
        tokens[r] = (uint32_t)p.token;
    }
    seen->rows = rows;
    seen->stride = seen->n_columns;
    if (by_id || seen->n_experts > 1) {
        seen->experts = experts;
        seen->tokens = tokens;
    }
    return true;
}

static void show(struct lq_watch *watch, const struct ggml_tensor *node)
{
    const struct ggml_tensor *weight = node->src[0], *input = node->src[1];
    bool by_id = node->op == GGML_OP_MUL_MAT_ID;
    struct lq_observation seen = {
        .weight = weight->name,
        .n_columns = (size_t)input->ne[0],
        .n_rows = (size_t)(by_id ? ggml_nelements(node->src[2]) : ggml_nrows(input)),
        .n_experts = (size_t)(weight->ne[2] * weight->ne[3]),
    };
    const char *bytes = fetch(watch, &watch->raw, input);
    if (bytes == NULL) return;
    if (!by_id && seen.n_experts == 1 && is_plain(input)) {
        seen.rows = (const float *)(const void *)bytes;
        seen.stride = input->nb[1] / sizeof(float);
    } else if (!gather(watch, &seen, node, bytes)) {
        return;
    }
    watch->observer.sees(watch->observer.data, &seen);
}

/* Hands the product to the observer and puts what it made of it in its place. */
static void change(struct lq_watch *watch, struct ggml_tensor *node)
{
    float *rows = reserve(watch, &watch->rows, ggml_nbytes(node));
    if (rows == NULL) return;
    ggml_backend_tensor_get(node, rows, 0, ggml_nbytes(node));
    watch->observer.changes(watch->observer.data, node->src[0]->name, rows, (size_t)node->ne[0],
                            (size_t)ggml_nrows(node));
    ggml_backend_tensor_set(node, rows, 0, ggml_nbytes(node));
}

/* Products, and the look-up of embeddings. */
static bool takes_weight(enum ggml_op op)
{
    return op == GGML_OP_MUL_MAT || op == GGML_OP_MUL_MAT_ID || op == GGML_OP_GET_ROWS;
}

bool lq_watch_node(struct ggml_tensor *node, bool ask, void *data)
{
    struct lq_watch *watch = data;
    if (!takes_weight(node->op)) return !ask;
    struct ggml_tensor *weight = lq_substitutes_put(&watch->substitutes, node);
    if (node->op == GGML_OP_GET_ROWS || !lq_is_weight(weight)) return !ask;
    if (ask) return asked(watch, node, weight);
    if (watch->observer.sees != NULL && watch->matrices[watch->matrices[watch->at].first].tensor == weight)
        show(watch, node);
    if (watch->observer.changes != NULL) change(watch, node);
    return true;
}
