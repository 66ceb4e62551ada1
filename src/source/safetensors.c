#include "source/parse.h"

#include "base/checked.h"
#include "base/file.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t longest_header = 100000000; /* as the format's own reader has it */
static const size_t most_values = 1 << 20;        /* JSON values in a header: what a hundred thousand tensors need */
enum { MOST_DIMS = 4 };

/* Every dtype of the format, so that sizes can be checked. Tensors of a type that ggml does not know are listed as
 * LQ_TYPE_NONE: nobody is bothered by them unless they are asked for. */
static const struct dtype {
    const char *name;
    enum lq_type type;
    unsigned bits;
} dtypes[] = {
    {"F32", LQ_TYPE_F32, 32},         {"F16", LQ_TYPE_F16, 16},
    {"BF16", LQ_TYPE_BF16, 16},       {"F64", LQ_TYPE_F64, 64},
    {"I64", LQ_TYPE_I64, 64},         {"I32", LQ_TYPE_I32, 32},
    {"I16", LQ_TYPE_I16, 16},         {"I8", LQ_TYPE_I8, 8},
    {"BOOL", LQ_TYPE_NONE, 8},        {"U8", LQ_TYPE_NONE, 8},
    {"U16", LQ_TYPE_NONE, 16},        {"U32", LQ_TYPE_NONE, 32},
    {"U64", LQ_TYPE_NONE, 64},        {"F8_E5M2", LQ_TYPE_NONE, 8},
    {"F8_E4M3", LQ_TYPE_NONE, 8},     {"F8_E8M0", LQ_TYPE_NONE, 8},
    {"F8_E4M3FNUZ", LQ_TYPE_NONE, 8}, {"F8_E5M2FNUZ", LQ_TYPE_NONE, 8},
    {"F6_E2M3", LQ_TYPE_NONE, 6},     {"F6_E3M2", LQ_TYPE_NONE, 6},
    {"F4", LQ_TYPE_NONE, 4},          {"C64", LQ_TYPE_NONE, 64},
};

static const struct dtype *find_dtype(const char *name)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(dtypes[i].name, name) == 0) return &dtypes[i];
    return NULL;
}

/* A JSON parser's memory grows with the number of values, not of bytes: at most one for each bracket, brace, comma and
 * colon. */
static bool has_too_many_values(const char *text, size_t size)
{
    size_t values = 0;
    bool quoted = false;
    for (size_t i = 0; i < size; i++) {
        if (quoted && text[i] == '\\') i++;
        else if (text[i] == '"') quoted = !quoted;
        else if (!quoted && memchr("[{,:", text[i], 4) != NULL && ++values > most_values) return true;
    }
    return false;
}

/* What a hostile header quotes must not reach a terminal as it is. */
static void make_printable(char *text)
{
    for (; *text != 0; text++)
        if ((unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7f) *text = '?';
}

static enum lq_status parse_json(const struct lq_source *s, const char *text, size_t size, json_t **out,
                                 struct lq_error *err)
{
    json_error_t why;
    if (size == 0 || text[0] != '{')
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: the header does not begin with '{'", s->path);
    if (has_too_many_values(text, size))
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: header of more than %zu JSON values", s->path, most_values);
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    if (root == NULL) {
        make_printable(why.text);
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: bad JSON in the header at byte %d: %s", s->path, 8 + why.position,
                            why.text);
    }
    *out = root;
    return LQ_OK;
}

/* The header as JSON, and s->data_offset behind it. */
static enum lq_status load_header(struct lq_source *s, json_t **out, struct lq_error *err)
{
    uint8_t raw[8];
    uint64_t size = 0;
    if (s->file_bytes < sizeof raw)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: ends inside the header: %zu bytes needed, the file has %" PRIu64,
                            s->path, sizeof raw, s->file_bytes);
    enum lq_status status = lq_file_read(s->fd, s->path, 0, raw, sizeof raw, err);
    if (status != LQ_OK) return status;
    for (int i = 0; i < 8; i++) size |= (uint64_t)raw[i] << (8 * i);
    if (size > longest_header)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: header of %" PRIu64 " bytes, expected at most %" PRIu64, s->path,
                            size, longest_header);
    if (size > s->file_bytes - sizeof raw)
        return lq_error_set(err, LQ_ERR_FORMAT,
                            "%s: ends inside the header: %" PRIu64 " bytes needed at byte 8, the file has %" PRIu64,
                            s->path, size, s->file_bytes);
    char *text = malloc(size + 1);
    if (text == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for a header of %" PRIu64 " bytes", s->path, size);
    status = lq_file_read(s->fd, s->path, sizeof raw, text, size, err);
    if (status == LQ_OK) status = parse_json(s, text, size, out, err);
    s->data_offset = sizeof raw + size;
    free(text);
    return status;
}

static enum lq_status tensor_error(const struct lq_source *s, const struct lq_source_tensor *t, const char *what,
                                   struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s': %s", s->path, t->name, what);
}

/* A non-negative whole number; JSON's integers end at 63 bits. */
static bool get_u64(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static enum lq_status read_shape(const struct lq_source *s, struct lq_source_tensor *t, const json_t *shape,
                                 uint64_t *weights, struct lq_error *err)
{
    size_t n = json_array_size(shape);
    if (!json_is_array(shape)) return tensor_error(s, t, "no 'shape' list", err);
    if (n > MOST_DIMS)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: tensor '%s': %zu dimensions, expected at most %d", s->path,
                            t->name, n, MOST_DIMS);
    t->n_dims = (uint32_t)n;
    *weights = 1;
    for (size_t i = 0; i < MOST_DIMS; i++) t->ne[i] = 1;
    for (size_t i = 0; i < n; i++) {
        uint64_t *ne = &t->ne[n - 1 - i];
        if (!get_u64(json_array_get(shape, i), ne)) return tensor_error(s, t, "a dimension is no whole number", err);
        if (*ne == 0) return tensor_error(s, t, "a dimension is 0", err);
        if (!lq_mul_u64(*weights, *ne, weights) || *weights > INT64_MAX)
            return tensor_error(s, t, "the dimensions overflow", err);
    }
    return LQ_OK;
}

static enum lq_status unknown_dtype(const struct lq_source *s, const struct lq_source_tensor *t, const char *found,
                                    struct lq_error *err)
{
    char text[32];
    snprintf(text, sizeof text, "%s", found);
    make_printable(text);
    return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: unknown dtype '%s' in tensor '%s'", s->path, text, t->name);
}

static enum lq_status read_dtype(const struct lq_source *s, struct lq_source_tensor *t, const json_t *value,
                                 uint64_t weights, struct lq_error *err)
{
    uint64_t bits = 0;
    if (!json_is_string(value)) return tensor_error(s, t, "no 'dtype' text", err);
    const struct dtype *dtype = find_dtype(json_string_value(value));
    if (dtype == NULL) return unknown_dtype(s, t, json_string_value(value), err);
    if (!lq_mul_u64(weights, dtype->bits, &bits)) return tensor_error(s, t, "the size in bytes overflows", err);
    if (bits % 8 != 0) return tensor_error(s, t, "the size is no whole number of bytes", err);
    t->type = dtype->type;
    t->dtype = dtype->name;
    t->bytes = bits / 8;
    return LQ_OK;
}

static enum lq_status read_offsets(const struct lq_source *s, struct lq_source_tensor *t, const json_t *offsets,
                                   struct lq_error *err)
{
    uint64_t begin = 0, end = 0, data = s->file_bytes - s->data_offset;
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 || !get_u64(json_array_get(offsets, 0), &begin) ||
        !get_u64(json_array_get(offsets, 1), &end))
        return tensor_error(s, t, "'data_offsets' is no pair of whole numbers", err);
    if (begin > end || end - begin != t->bytes)
        return lq_error_set(err, LQ_ERR_FORMAT,
                            "%s: tensor '%s': data_offsets [%" PRIu64 ", %" PRIu64 "], but shape and dtype "
                            "need %" PRIu64 " bytes",
                            s->path, t->name, begin, end, t->bytes);
    if (end > data)
        return lq_error_set(err, LQ_ERR_FORMAT,
                            "%s: tensor '%s': data beyond the end of the file: %" PRIu64 " bytes needed, "
                            "the file has %" PRIu64,
                            s->path, t->name, s->data_offset + end, s->file_bytes);
    t->offset = s->data_offset + begin;
    return LQ_OK;
}

static enum lq_status read_tensor(const struct lq_source *s, struct lq_source_tensor *t, const char *name,
                                  const json_t *entry, struct lq_error *err)
{
    uint64_t weights = 0;
    if (!lq_name_is_plain(name, strlen(name)))
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: a tensor's name is empty or holds control characters", s->path);
    t->name = strdup(name);
    if (t->name == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory", s->path);
    if (!json_is_object(entry)) return tensor_error(s, t, "the entry is no JSON object", err);
    enum lq_status status = read_shape(s, t, json_object_get(entry, "shape"), &weights, err);
    if (status == LQ_OK) status = read_dtype(s, t, json_object_get(entry, "dtype"), weights, err);
    return status == LQ_OK ? read_offsets(s, t, json_object_get(entry, "data_offsets"), err) : status;
}

static int compare_offsets(const void *a, const void *b)
{
    const struct lq_source_tensor *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Sorted by offset, tensors must cover the data section exactly: nothing hidden between them, nothing read twice. */
static enum lq_status check_cover(const struct lq_source *s, struct lq_error *err)
{
    uint64_t at = s->data_offset;
    for (size_t i = 0; i < s->n_tensors; i++) {
        const struct lq_source_tensor *t = &s->tensors[i];
        if (t->offset != at)
            return lq_error_set(
                err, LQ_ERR_FORMAT, "%s: tensor '%s': data %s: begin at byte %" PRIu64 ", expected %" PRIu64, s->path,
                t->name, t->offset < at ? "overlap the tensor before" : "leave a hole before them", t->offset, at);
        at += t->bytes;
    }
    if (at != s->file_bytes)
        return lq_error_set(err, LQ_ERR_FORMAT,
                            "%s: the tensors end at byte %" PRIu64 ", the file has %" PRIu64 " bytes", s->path, at,
                            s->file_bytes);
    return LQ_OK;
}

static enum lq_status read_tensors(struct lq_source *s, json_t *root, struct lq_error *err)
{
    const char *name;
    json_t *entry;
    s->tensors = calloc(json_object_size(root) + 1, sizeof *s->tensors);
    if (s->tensors == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory to list the tensors", s->path);
    json_object_foreach(root, name, entry)
    {
        enum lq_status status = LQ_OK;
        if (strcmp(name, "__metadata__") != 0) status = read_tensor(s, &s->tensors[s->n_tensors++], name, entry, err);
        else if (!json_is_object(entry))
            status = lq_error_set(err, LQ_ERR_FORMAT, "%s: '__metadata__' is no JSON object", s->path);
        if (status != LQ_OK) return status;
    }
    qsort(s->tensors, s->n_tensors, sizeof *s->tensors, compare_offsets);
    return check_cover(s, err);
}

enum lq_status lq_safetensors_parse(struct lq_source *s, struct lq_error *err)
{
    json_t *root = NULL;
    enum lq_status status = load_header(s, &root, err);
    if (status == LQ_OK) status = read_tensors(s, root, err);
    json_decref(root);
    return status;
}
