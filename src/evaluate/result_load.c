#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "evaluate/evaluation.h"
#include "evaluate/result.h"
#include "evaluate/result_fields.h"
#include "model/json_keys.h"

static const uint64_t largest_file = UINT64_C(128) << 20; /* parsed it takes many times as much */

/* Reads the member `f` of the object `at` into the struct at `base`. */
typedef enum lq_status reader(const struct lq_json_at *at, const struct lq_field *f, void *base, struct lq_error *err);

static enum lq_status unexpected(const struct lq_json_at *at, const struct lq_field *f, const char *expected,
                                 struct lq_error *err)
{
    return lq_json_unexpected(at, f->name, LQ_ERR_FORMAT, expected, err);
}

static enum lq_status out_of_memory(const struct lq_json_at *at, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for what it holds", at->file);
}

static enum lq_status read_number(const struct lq_json_at *at, const struct lq_field *f, void *base,
                                  struct lq_error *err)
{
    const json_t *v = lq_json_get(at, f->name);
    double x = json_number_value(v);
    char expected[96];
    snprintf(expected, sizeof expected, "null or a number from %g to %g", f->low, f->high);
    if (v != NULL && (!json_is_number(v) || !isfinite(x) || x < f->low || x > f->high))
        return unexpected(at, f, expected, err);
    if (v != NULL) *(double *)((char *)base + f->offset) = x;
    return LQ_OK;
}

/* A whole number from low to high; absent: `*out` is left as it is. */
static enum lq_status read_whole(const struct lq_json_at *at, const struct lq_field *f, json_int_t low, json_int_t high,
                                 json_int_t *out, struct lq_error *err)
{
    const json_t *v = lq_json_get(at, f->name);
    char expected[96];
    snprintf(expected, sizeof expected, "a whole number from %" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT, low,
             high);
    if (v != NULL && (!json_is_integer(v) || json_integer_value(v) < low || json_integer_value(v) > high))
        return unexpected(at, f, expected, err);
    if (v != NULL) *out = json_integer_value(v);
    return LQ_OK;
}

static enum lq_status read_count(const struct lq_json_at *at, const struct lq_field *f, void *base,
                                 struct lq_error *err)
{
    json_int_t n = 0;
    enum lq_status status = read_whole(at, f, 0, INT64_MAX, &n, err);
    *(uint64_t *)((char *)base + f->offset) = (uint64_t)n;
    return status;
}

static enum lq_status read_threads(const struct lq_json_at *at, const struct lq_field *f, void *base,
                                   struct lq_error *err)
{
    json_int_t n = 0;
    enum lq_status status = read_whole(at, f, 0, UINT16_MAX, &n, err);
    *(unsigned *)((char *)base + f->offset) = (unsigned)n;
    return status;
}

static enum lq_status read_block(const struct lq_json_at *at, const struct lq_field *f, void *base,
                                 struct lq_error *err)
{
    json_int_t n = -1;
    enum lq_status status = read_whole(at, f, -1, UINT16_MAX, &n, err);
    *(int *)((char *)base + f->offset) = (int)n;
    return status;
}

static enum lq_status read_flag(const struct lq_json_at *at, const struct lq_field *f, void *base, struct lq_error *err)
{
    return lq_json_bool(at, f->name, false, (bool *)((char *)base + f->offset), err);
}

/* Borrowed; `fallback` where it is absent. */
static enum lq_status get_text(const struct lq_json_at *at, const struct lq_field *f, const char *fallback,
                               const char **out, struct lq_error *err)
{
    enum lq_status status = lq_json_string(at, f->name, fallback, out, err);
    const json_t *v = lq_json_get(at, f->name);
    if (status == LQ_OK && v != NULL && json_string_length(v) != strlen(*out))
        return unexpected(at, f, "a text without the character 0", err);
    return status;
}

static enum lq_status copy_text(const struct lq_json_at *at, const struct lq_field *f, const char *fallback, void *base,
                                struct lq_error *err)
{
    const char *text = NULL;
    enum lq_status status = get_text(at, f, fallback, &text, err);
    if (status != LQ_OK || text == NULL) return status;
    char *copy = strdup(text);
    if (copy == NULL) return out_of_memory(at, err);
    *(char **)((char *)base + f->offset) = copy;
    return LQ_OK;
}

static enum lq_status read_text(const struct lq_json_at *at, const struct lq_field *f, void *base, struct lq_error *err)
{
    return copy_text(at, f, "", base, err);
}

static enum lq_status read_optional(const struct lq_json_at *at, const struct lq_field *f, void *base,
                                    struct lq_error *err)
{
    return copy_text(at, f, NULL, base, err);
}

static enum lq_status read_sha256(const struct lq_json_at *at, const struct lq_field *f, void *base,
                                  struct lq_error *err)
{
    const char *text = NULL;
    enum lq_status status = get_text(at, f, NULL, &text, err);
    if (status != LQ_OK || text == NULL) return status;
    if (strlen(text) != 64 || strspn(text, "0123456789abcdef") != 64)
        return unexpected(at, f, "null or 64 hexadecimal digits", err);
    memcpy((char *)base + f->offset, text, 65);
    return LQ_OK;
}

static enum lq_status read_half(const struct lq_json_at *at, const struct lq_field *f, void *base, struct lq_error *err)
{
    const char *text = NULL;
    enum lq_status status = get_text(at, f, "", &text, err);
    if (status != LQ_OK) return status;
    for (int h = 0; h < LQ_HALVES; h++)
        if (strcmp(text, lq_result_halves[h]) == 0) {
            *(enum lq_half *)((char *)base + f->offset) = (enum lq_half)h;
            return LQ_OK;
        }
    return unexpected(at, f, "vision or language", err);
}

static enum lq_status read_role(const struct lq_json_at *at, const struct lq_field *f, void *base, struct lq_error *err)
{
    const char *text = NULL;
    enum lq_status status = get_text(at, f, "", &text, err);
    if (status != LQ_OK) return status;
    for (int r = 0; r < LQ_ROLES; r++)
        if (strcmp(text, lq_role_name((enum lq_role)r)) == 0) {
            *(enum lq_role *)((char *)base + f->offset) = (enum lq_role)r;
            return LQ_OK;
        }
    return unexpected(at, f, "a role such as language.ffn.up", err);
}

static enum lq_status read_type(const struct lq_json_at *at, const struct lq_field *f, void *base, struct lq_error *err)
{
    const char *text = NULL;
    enum lq_status status = get_text(at, f, "", &text, err);
    if (status != LQ_OK) return status;
    const struct lq_format *format = lq_format_find(text);
    if (format == NULL) return unexpected(at, f, "a type such as q4_k", err);
    *(enum lq_type *)((char *)base + f->offset) = format->type;
    return LQ_OK;
}

static enum lq_status read_fields(const struct lq_json_at *at, const struct lq_fields *table, void *base,
                                  struct lq_error *err);

static enum lq_status read_object(const struct lq_json_at *at, const struct lq_field *f, void *base,
                                  struct lq_error *err)
{
    const json_t *v = lq_json_get(at, f->name);
    char section[160];
    snprintf(section, sizeof section, "%s%s.", at->section, f->name);
    if (v != NULL && !json_is_object(v)) return unexpected(at, f, "null or an object", err);
    return read_fields(&(struct lq_json_at){v, at->file, section}, f->inner, (char *)base + f->offset, err);
}

static enum lq_status read_if_true(const struct lq_json_at *at, const struct lq_field *f, void *base,
                                   struct lq_error *err)
{
    bool there = lq_json_get(at, f->name) != NULL;
    *(bool *)((char *)base + f->guard) = there;
    return there ? read_object(at, f, base, err) : LQ_OK;
}

static enum lq_status read_if_text(const struct lq_json_at *at, const struct lq_field *f, void *base,
                                   struct lq_error *err)
{
    return lq_json_get(at, f->name) != NULL ? read_object(at, f, base, err) : LQ_OK;
}

static enum lq_status read_element(const struct lq_json_at *at, const struct lq_field *f, size_t i, void *element,
                                   struct lq_error *err)
{
    const json_t *v = json_array_get(lq_json_get(at, f->name), i);
    char section[160];
    snprintf(section, sizeof section, "%s%s[%zu].", at->section, f->name, i);
    if (!json_is_object(v))
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: '%s%s[%zu]' is no object", at->file, at->section, f->name, i);
    return read_fields(&(struct lq_json_at){v, at->file, section}, f->inner, element, err);
}

static enum lq_status read_list(const struct lq_json_at *at, const struct lq_field *f, void *base, struct lq_error *err)
{
    const json_t *v = lq_json_get(at, f->name);
    if (v == NULL || json_array_size(v) == 0)
        return v == NULL || json_is_array(v) ? LQ_OK : unexpected(at, f, "null or an array", err);
    size_t n = json_array_size(v);
    char *list = calloc(n, f->size);
    if (list == NULL) return out_of_memory(at, err);
    memcpy((char *)base + f->offset, &list, sizeof list);
    *(size_t *)((char *)base + f->guard) = n;
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < n && status == LQ_OK; i++) {
        lq_fields_clear(f->inner, list + i * f->size);
        status = read_element(at, f, i, list + i * f->size, err);
    }
    return status;
}

static enum lq_status read_fields(const struct lq_json_at *at, const struct lq_fields *table, void *base,
                                  struct lq_error *err)
{
    static reader *const readers[LQ_FIELD_KINDS] = {
        [LQ_FIELD_NUMBER] = read_number,     [LQ_FIELD_COUNT] = read_count,     [LQ_FIELD_THREADS] = read_threads,
        [LQ_FIELD_BLOCK] = read_block,       [LQ_FIELD_FLAG] = read_flag,       [LQ_FIELD_TEXT] = read_text,
        [LQ_FIELD_OPTIONAL] = read_optional, [LQ_FIELD_SHA256] = read_sha256,   [LQ_FIELD_HALF] = read_half,
        [LQ_FIELD_ROLE] = read_role,         [LQ_FIELD_TYPE] = read_type,       [LQ_FIELD_OBJECT] = read_object,
        [LQ_FIELD_IF_TRUE] = read_if_true,   [LQ_FIELD_IF_TEXT] = read_if_text, [LQ_FIELD_LIST] = read_list,
    };
    enum lq_status status = LQ_OK;
    for (const struct lq_field *f = table->fields; f < table->fields + table->n && status == LQ_OK; f++)
        status = readers[f->kind](at, f, base, err);
    return status;
}

/* Is it such a document at all? */
static enum lq_status check_format(const struct lq_json_at *at, const struct lq_document *document,
                                   struct lq_error *err)
{
    const char *format = "";
    uint32_t version = 0;
    if (!json_is_string(lq_json_get(at, "format")) || lq_json_string(at, "format", "", &format, NULL) != LQ_OK ||
        strcmp(format, document->format) != 0)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: not %s: the key 'format' does not say '%s'", at->file,
                            document->what, document->format);
    enum lq_status status = lq_json_u32(at, "version", 1, UINT32_MAX, 0, &version, err);
    if (status == LQ_OK && version != document->version)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                            "%s: version %u of the format, expected %u: write it again with "
                            "this program's %s",
                            at->file, version, document->version, document->writer);
    return status;
}

enum lq_status lq_document_read(const struct lq_document *document, const char *text, size_t size, const char *name,
                                void *base, struct lq_error *err)
{
    json_t *json = NULL;
    enum lq_status status = lq_json_parse(text, size, name, &json, err);
    if (status != LQ_OK) return status;
    struct lq_json_at at = {json, name, ""};
    status = check_format(&at, document, err);
    if (status == LQ_OK) status = read_fields(&at, document->fields, base, err);
    json_decref(json);
    return status;
}

enum lq_status lq_evaluation_parse(struct lq_evaluation **out, const char *text, size_t size, const char *name,
                                   struct lq_error *err)
{
    static const struct lq_document document = {LQ_RESULT_FORMAT, "the result of an evaluation", "eval",
                                                LQ_RESULT_VERSION, &lq_result_fields};
    struct lq_evaluation *e = lq_evaluation_new();
    if (e == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for an evaluation", name);
    enum lq_status status = lq_document_read(&document, text, size, name, e, err);
    if (status == LQ_OK) *out = e;
    else lq_evaluation_free(e);
    return status;
}

enum lq_status lq_evaluation_load(struct lq_evaluation **out, const char *path, struct lq_error *err)
{
    char *text = NULL;
    size_t size = 0;
    enum lq_status status = lq_file_load(path, largest_file, &text, &size, err);
    if (status == LQ_OK) status = lq_evaluation_parse(out, text, size, path, err);
    free(text);
    return status;
}
