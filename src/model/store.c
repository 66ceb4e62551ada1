#include "model/store.h"

#include <stdlib.h>
#include <string.h>

#include "model/roles.h"

static enum lq_status no_memory(struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "not enough memory for the list of tensors");
}

enum lq_status lq_store_new(struct lq_model_store **out, struct lq_error *err)
{
    struct lq_model_store *store = calloc(1, sizeof *store);
    if (store == NULL) return no_memory(err);
    *out = store;
    return LQ_OK;
}

void lq_store_free(struct lq_model_store *store)
{
    if (store == NULL) return;
    for (int h = 0; h < LQ_HALVES; h++) {
        lq_kvs_release(&store->halves[h].kvs);
        free(store->halves[h].tensors);
        free(store->halves[h].origins);
        free(store->halves[h].files);
    }
    for (size_t i = 0; i < store->n_sources; i++) lq_source_close(store->sources[i]);
    for (size_t i = 0; i < store->n_texts; i++) free(store->texts[i]);
    free(store->sources);
    free(store->texts);
    free(store);
}

/* Grows an array of pointers by doubling: `n` are in use. NULL when memory is short. */
static void *grown(void *items, size_t n)
{
    if (n != 0 && (n & (n - 1)) != 0) return items;
    return realloc(items, (n == 0 ? 1 : 2 * n) * sizeof(void *));
}

enum lq_status lq_store_text(struct lq_model_store *store, const char *text, const char **out, struct lq_error *err)
{
    char *copy = strdup(text);
    char **texts = grown(store->texts, store->n_texts);
    if (texts != NULL) store->texts = texts;
    if (copy == NULL || texts == NULL) {
        free(copy);
        return no_memory(err);
    }
    store->texts[store->n_texts++] = copy;
    *out = copy;
    return LQ_OK;
}

enum lq_status lq_store_source(struct lq_model_store *store, struct lq_source *source, struct lq_error *err)
{
    struct lq_source **sources = grown(store->sources, store->n_sources);
    if (sources == NULL) {
        lq_source_close(source);
        return no_memory(err);
    }
    store->sources = sources;
    store->sources[store->n_sources++] = source;
    return LQ_OK;
}

enum lq_status lq_store_open(struct lq_model_store *store, const char *path, const struct lq_source **out,
                             struct lq_error *err)
{
    struct lq_source *source = NULL;
    enum lq_status status = lq_source_open(&source, path, err);
    if (status == LQ_OK) status = lq_store_source(store, source, err);
    if (status == LQ_OK) *out = source;
    return status;
}

enum lq_status lq_store_begin_half(struct lq_model_store *store, enum lq_half half, size_t capacity,
                                   struct lq_error *err)
{
    struct lq_half_store *h = &store->halves[half];
    h->tensors = calloc(capacity == 0 ? 1 : capacity, sizeof *h->tensors);
    h->origins = calloc(capacity == 0 ? 1 : capacity, sizeof *h->origins);
    if (h->tensors == NULL || h->origins == NULL) return no_memory(err);
    h->capacity = capacity;
    h->pub.half = half;
    h->pub.tensors = h->tensors;
    store->pub.half[half] = &h->pub;
    return LQ_OK;
}

struct lq_tensor *lq_store_add_tensor(struct lq_half_store *half, const char *name, struct lq_origin origin)
{
    const struct lq_source_tensor *from = origin.tensor;
    struct lq_tensor *t = &half->tensors[half->pub.n_tensors];
    half->origins[half->pub.n_tensors] = origin;
    t->name = name;
    t->half = half->pub.half;
    t->type = t->keep = from->type;
    t->n_dims = from->n_dims;
    memcpy(t->ne, from->ne, sizeof t->ne);
    t->rows = t->ne[1] * t->ne[2] * t->ne[3];
    t->bytes = from->bytes;
    t->origin = &half->origins[half->pub.n_tensors];
    lq_role_assign(t, half->pub.architecture);
    half->pub.n_tensors++;
    return t;
}
