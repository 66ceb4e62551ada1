#include "write/layout.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

enum { GGUF_VERSION = 3, DEFAULT_ALIGNMENT = 32, MAX_NAME = 63, MAX_DIMS = 4 };

/* Header bytes go through here twice: once to be counted (`at` NULL), once to be stored. */
struct sink {
    uint8_t *at;
    uint64_t size;
};

static void put(struct sink *sink, const void *data, uint64_t n)
{
    if (sink->at != NULL && n > 0) memcpy(sink->at + sink->size, data, n);
    sink->size += n;
}

static void put_integer(struct sink *sink, uint64_t value, unsigned bytes)
{
    uint8_t little_endian[8];
    for (unsigned i = 0; i < bytes; i++) little_endian[i] = (uint8_t)(value >> 8 * i);
    put(sink, little_endian, bytes);
}

static void put_string(struct sink *sink, const char *s)
{
    size_t n = strlen(s);
    put_integer(sink, n, 8);
    put(sink, s, n);
}

static bool is_pair_id(const struct lq_kv *kv)
{
    return strcmp(kv->key, LQ_PAIR_ID_KEY) == 0 && kv->type == LQ_KV_STRING && kv->raw_size == 8 + LQ_PAIR_ID_LENGTH;
}

static void put_kv(struct sink *sink, const struct lq_kv *kv, uint64_t *pair_id_offset)
{
    put_string(sink, kv->key);
    put_integer(sink, kv->type, 4);
    if (kv->type == LQ_KV_ARRAY) {
        put_integer(sink, kv->element, 4);
        put_integer(sink, kv->count, 8);
    }
    if (is_pair_id(kv)) *pair_id_offset = sink->size + 8;
    put(sink, kv->raw, kv->raw_size);
}

static void put_tensor(struct sink *sink, const struct lq_layout_tensor *t, uint64_t data_offset)
{
    put_string(sink, t->name);
    put_integer(sink, t->n_dims, 4);
    for (uint32_t d = 0; d < t->n_dims; d++) put_integer(sink, t->ne[d], 8);
    put_integer(sink, t->type, 4);
    put_integer(sink, t->offset - data_offset, 8);
}

static void put_header(struct sink *sink, struct lq_layout *layout, const struct lq_kvs *kvs)
{
    put(sink, "GGUF", 4);
    put_integer(sink, GGUF_VERSION, 4);
    put_integer(sink, layout->n_tensors, 8);
    put_integer(sink, kvs->n, 8);
    for (size_t i = 0; i < kvs->n; i++) put_kv(sink, &kvs->items[i], &layout->pair_id_offset);
    for (size_t i = 0; i < layout->n_tensors; i++) put_tensor(sink, &layout->tensors[i], layout->header_bytes);
}

static enum lq_status tensor_bytes(struct lq_layout_tensor *t, const char *path, struct lq_error *err)
{
    if (t->n_dims < 1 || t->n_dims > MAX_DIMS || t->name[0] == '\0' || strlen(t->name) > MAX_NAME)
        return lq_error_set(
            err, LQ_ERR_USAGE,
            "%s: tensor '%s': a GGUF file holds names of 1 to %d bytes and 1 to %d dimensions, found %u", path, t->name,
            MAX_NAME, MAX_DIMS, t->n_dims);
    t->bytes = lq_format_row_bytes(t->type, t->ne[0]);
    if (t->bytes == 0)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: tensor '%s': rows of %llu columns do not fit type %s", path,
                            t->name, (unsigned long long)t->ne[0], lq_format_name(t->type));
    for (int d = 1; d < MAX_DIMS; d++)
        if (t->ne[d] == 0 || !lq_mul_u64(t->bytes, t->ne[d], &t->bytes))
            return lq_error_set(err, LQ_ERR_USAGE, "%s: tensor '%s': dimension %d of %llu is out of range", path,
                                t->name, d, (unsigned long long)t->ne[d]);
    return LQ_OK;
}

static enum lq_status copy_tensors(struct lq_layout *layout, const char *path, const struct lq_output_tensor *tensors,
                                   struct lq_error *err)
{
    layout->tensors = calloc(layout->n_tensors + 1, sizeof *layout->tensors);
    if (layout->tensors == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for the tensor table", path);
    for (size_t i = 0; i < layout->n_tensors; i++) {
        struct lq_layout_tensor *t = &layout->tensors[i];
        t->type = tensors[i].type;
        t->n_dims = tensors[i].n_dims;
        for (uint32_t d = 0; d < MAX_DIMS; d++) t->ne[d] = d < t->n_dims ? tensors[i].ne[d] : 1;
        t->name = strdup(tensors[i].name);
        if (t->name == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for the tensor table", path);
        enum lq_status status = tensor_bytes(t, path, err);
        if (status != LQ_OK) return status;
    }
    return LQ_OK;
}

/* Puts the data one after another behind a header of `header` bytes. Offsets must fit a signed file offset. */
static bool place_data(struct lq_layout *layout, uint64_t header, uint32_t alignment)
{
    if (!lq_align_u64(header, alignment, &layout->header_bytes)) return false;
    uint64_t end = layout->header_bytes;
    for (size_t i = 0; i < layout->n_tensors; i++) {
        layout->tensors[i].offset = end;
        if (!lq_add_u64(end, layout->tensors[i].bytes, &end) || !lq_align_u64(end, alignment, &end)) return false;
    }
    layout->file_bytes = end;
    return end <= INT64_MAX;
}

static enum lq_status check_alignment(const char *path, const struct lq_kvs *kvs, uint32_t alignment,
                                      struct lq_error *err)
{
    uint64_t told = DEFAULT_ALIGNMENT;
    lq_kvs_get_u64(kvs, "general.alignment", &told);
    if (alignment != 0 && (alignment & (alignment - 1)) == 0 && told == alignment) return LQ_OK;
    return lq_error_set(err, LQ_ERR_USAGE,
                        "%s: alignment of %u, but the metadata say %llu (a power of two is expected)", path, alignment,
                        (unsigned long long)told);
}

static enum lq_status build_header(struct lq_layout *layout, const char *path, const struct lq_kvs *kvs,
                                   uint32_t alignment, struct lq_error *err)
{
    struct sink count = {0};
    put_header(&count, layout, kvs);
    if (!place_data(layout, count.size, alignment))
        return lq_error_set(err, LQ_ERR_USAGE, "%s: %zu tensors are more than a file can hold", path,
                            layout->n_tensors);
    struct sink store = {.at = calloc(1, layout->header_bytes)};
    if (store.at == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for a header of %llu bytes", path,
                            (unsigned long long)layout->header_bytes);
    put_header(&store, layout, kvs);
    layout->header = store.at;
    return LQ_OK;
}

void lq_layout_size_begin(struct lq_layout_size *size, const struct lq_kvs *kvs, uint32_t alignment)
{
    struct lq_layout empty = {0};
    struct sink count = {0};
    put_header(&count, &empty, kvs);
    *size = (struct lq_layout_size){.header = count.size, .alignment = alignment};
}

void lq_layout_size_add(struct lq_layout_size *size, const char *name, uint32_t n_dims, uint64_t bytes)
{
    struct sink count = {0};
    put_tensor(&count, &(struct lq_layout_tensor){.name = (char *)(uintptr_t)name, .n_dims = n_dims}, 0);
    size->header += count.size;
    if (!lq_align_u64(bytes, size->alignment, &bytes) || !lq_add_u64(size->data, bytes, &size->data))
        size->data = UINT64_MAX;
}

uint64_t lq_layout_size_file(const struct lq_layout_size *size)
{
    uint64_t header, total;
    if (!lq_align_u64(size->header, size->alignment, &header) || !lq_add_u64(header, size->data, &total))
        return UINT64_MAX;
    return total;
}

enum lq_status lq_layout_init(struct lq_layout *out, const char *path, const struct lq_kvs *kvs,
                              const struct lq_output_tensor *tensors, size_t n_tensors, uint32_t alignment,
                              struct lq_error *err)
{
    struct lq_layout layout = {.n_tensors = n_tensors};
    enum lq_status status = check_alignment(path, kvs, alignment, err);
    if (status == LQ_OK) status = copy_tensors(&layout, path, tensors, err);
    if (status == LQ_OK) status = build_header(&layout, path, kvs, alignment, err);
    if (status == LQ_OK) *out = layout;
    else lq_layout_release(&layout);
    return status;
}

void lq_layout_release(struct lq_layout *layout)
{
    for (size_t i = 0; layout->tensors != NULL && i < layout->n_tensors; i++) free(layout->tensors[i].name);
    free(layout->tensors);
    free(layout->header);
    *layout = (struct lq_layout){0};
}
