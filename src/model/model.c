#include "llava_quantize/model.h"

#include <fcntl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "model/gguf_pair.h"
#include "model/hf_import.h"
#include "model/names.h"
#include "model/store.h"

static enum lq_status open_by_kind(struct lq_model_store *store, const char *path,
                                   const struct lq_model_options *options, struct lq_error *err)
{
    struct stat st;
    if (stat(path, &st) != 0) return lq_error_set(err, LQ_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode)) return lq_gguf_open_file(store, path, options, err);
    if (!lq_hf_is_folder(path)) return lq_gguf_open_folder(store, path, options, err);
    store->pub.hugging_face = true;
    return lq_hf_open(store, path, options, err);
}

/* The half that gives the model its name. */
static const struct lq_model_half *leading_half(const struct lq_model *m)
{
    return m->half[m->half[LQ_LANGUAGE] != NULL ? LQ_LANGUAGE : LQ_VISION];
}

static enum lq_status set_names(struct lq_model_store *store, const char *path, struct lq_error *err)
{
    char name[256];
    const char *text;
    size_t length;
    const struct lq_model_half *half = leading_half(&store->pub);
    if (store->pub.hugging_face) lq_name_of_folder(path, name, sizeof name);
    else lq_name_of_file(half->path, name, sizeof name);
    enum lq_status status = lq_store_text(store, path, &store->pub.path, err);
    if (status == LQ_OK) status = lq_store_text(store, name, &store->pub.name, err);
    if (status != LQ_OK) return status;
    store->pub.source = store->pub.name;
    if (!lq_kvs_get_string(half->kvs, "llava_quantize.source", &text, &length)) return LQ_OK;
    char *copy = strndup(text, length);
    if (copy == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: not enough memory", path);
    status = lq_store_text(store, copy, &store->pub.source, err);
    free(copy);
    return status;
}

enum lq_status lq_model_open(struct lq_model **out, const char *path, const struct lq_model_options *options,
                             struct lq_error *err)
{
    static const struct lq_model_options whole = {.mmproj = NULL, .only = -1};
    struct lq_model_store *store = NULL;
    enum lq_status status = lq_store_new(&store, err);
    if (status == LQ_OK) status = open_by_kind(store, path, options == NULL ? &whole : options, err);
    if (status == LQ_OK) status = set_names(store, path, err);
    if (status == LQ_OK) *out = &store->pub;
    else lq_store_free(store);
    return status;
}

void lq_model_free(struct lq_model *model)
{
    lq_store_free((struct lq_model_store *)model);
}

bool lq_model_has_key(const struct lq_model_half *half, const char *key)
{
    return lq_kvs_find(half->kvs, key) != NULL;
}

/* Hugging Face keeps a head's rows as two halves, llama.cpp as pairs of one row from each: row 2i + s of a head is
 * stored as row i of its half s. This reads those of rows [lo, hi) of the head at `head` that come from half `s`, all
 * at once. */
static enum lq_status read_half_head(const struct lq_origin *o, uint64_t unit, uint64_t head, uint64_t lo, uint64_t hi,
                                     uint64_t s, char *scratch, char *dst, struct lq_error *err)
{
    uint64_t first = (lo + 1 - s) / 2, end = (hi + 1 - s) / 2;
    if (first >= end) return LQ_OK;
    uint64_t stored = head + s * (o->head_rows / 2) + first;
    enum lq_status status = lq_source_read(o->source, o->tensor, stored * unit, (end - first) * unit, scratch, err);
    for (uint64_t i = first; i < end && status == LQ_OK; i++)
        memcpy(dst + (2 * i + s - lo) * unit, scratch + (i - first) * unit, unit);
    return status;
}

/* `unit` is the size of a row of a matrix, of an entry of a bias. */
static enum lq_status read_permuted(const struct lq_origin *o, uint64_t unit, uint64_t first, uint64_t n, char *dst,
                                    struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    uint64_t most = n / 2 + 1 < o->head_rows / 2 ? n / 2 + 1 : o->head_rows / 2;
    char *scratch = malloc(most * unit);
    if (scratch == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: not enough memory", o->source->path);
    for (uint64_t at = first, end = first + n; at < end && status == LQ_OK;) {
        uint64_t lo = at % o->head_rows, head = at - lo;
        uint64_t hi = end - head < o->head_rows ? end - head : o->head_rows;
        char *to = dst + (at - first) * unit;
        status = read_half_head(o, unit, head, lo, hi, 0, scratch, to, err);
        if (status == LQ_OK) status = read_half_head(o, unit, head, lo, hi, 1, scratch, to, err);
        at = head + hi;
    }
    free(scratch);
    return status;
}

bool lq_model_is_cached(const struct lq_tensor *tensor, uint64_t first_row, uint64_t n_rows)
{
    const struct lq_origin *o = tensor->origin;
    if (tensor->rows == 0 || o->head_rows != 0) return true;
    uint64_t row_bytes = tensor->bytes / tensor->rows;
    return lq_source_is_cached(o->source, o->tensor, first_row * row_bytes, n_rows * row_bytes);
}

static void advise(const struct lq_tensor *tensor, uint64_t first_row, uint64_t n_rows, int advice)
{
    const struct lq_origin *o = tensor->origin;
    uint64_t row_bytes = tensor->bytes / tensor->rows;
    lq_source_advise(o->source, o->tensor, first_row * row_bytes, n_rows * row_bytes, advice);
}

void lq_model_prefetch(const struct lq_tensor *tensor, uint64_t first_row, uint64_t n_rows)
{
    advise(tensor, first_row, n_rows, POSIX_FADV_WILLNEED);
}

void lq_model_forget(const struct lq_tensor *tensor, uint64_t first_row, uint64_t n_rows)
{
    advise(tensor, first_row, n_rows, POSIX_FADV_DONTNEED);
}

enum lq_status lq_model_read(const struct lq_model *model, const struct lq_tensor *tensor, uint64_t first_row,
                             uint64_t n_rows, void *dst, struct lq_error *err)
{
    (void)model;
    const struct lq_origin *o = tensor->origin;
    if (tensor->rows == 0 || n_rows == 0) return LQ_OK;
    uint64_t row_bytes = tensor->bytes / tensor->rows;
    if (first_row > tensor->rows || n_rows > tensor->rows - first_row)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: tensor '%s' has no such rows", o->source->path, tensor->name);
    if (o->head_rows == 0)
        return lq_source_read(o->source, o->tensor, first_row * row_bytes, n_rows * row_bytes, dst, err);
    if (tensor->n_dims > 1) return read_permuted(o, row_bytes, first_row, n_rows, dst, err);
    return read_permuted(o, row_bytes / tensor->ne[0], 0, tensor->ne[0], dst, err);
}
