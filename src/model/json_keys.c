#include "model/json_keys.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"

enum { LARGEST_JSON = 64 << 20 };

enum lq_status lq_json_parse(const char *text, size_t size, const char *path, json_t **out, struct lq_error *err)
{
    json_error_t why;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (root == NULL)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: not valid JSON: line %d: %s", path, why.line, why.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: not a JSON object", path);
    }
    *out = root;
    return LQ_OK;
}

enum lq_status lq_json_load(const char *path, json_t **out, struct lq_error *err)
{
    char *text = NULL;
    size_t size = 0;
    enum lq_status status = lq_file_load(path, LARGEST_JSON, &text, &size, err);
    if (status == LQ_OK) status = lq_json_parse(text, size, path, out, err);
    free(text);
    return status;
}

const json_t *lq_json_get(const struct lq_json_at *at, const char *key)
{
    const json_t *value = at->object == NULL ? NULL : json_object_get(at->object, key);
    return json_is_null(value) ? NULL : value;
}

enum lq_status lq_json_unexpected(const struct lq_json_at *at, const char *key, enum lq_status status,
                                  const char *expected, struct lq_error *err)
{
    char *found = json_dumps(lq_json_get(at, key), JSON_ENCODE_ANY | JSON_COMPACT);
    lq_error_set(err, status, "%s: key '%s%s' is %.200s, expected %s", at->file, at->section, key,
                 found == NULL ? "missing" : found, expected);
    free(found);
    return status;
}

enum lq_status lq_json_u32(const struct lq_json_at *at, const char *key, uint32_t min, uint32_t max, uint32_t fallback,
                           uint32_t *out, struct lq_error *err)
{
    char expected[64];
    const json_t *v = lq_json_get(at, key);
    if (v == NULL) {
        *out = fallback;
        return LQ_OK;
    }
    if (json_is_integer(v) && json_integer_value(v) >= min && json_integer_value(v) <= max) {
        *out = (uint32_t)json_integer_value(v);
        return LQ_OK;
    }
    snprintf(expected, sizeof expected, "a whole number from %u to %u", min, max);
    return lq_json_unexpected(at, key, LQ_ERR_FORMAT, expected, err);
}

enum lq_status lq_json_positive(const struct lq_json_at *at, const char *key, double fallback, double *out,
                                struct lq_error *err)
{
    const json_t *v = lq_json_get(at, key);
    double x = v == NULL ? fallback : json_number_value(v);
    if (v != NULL && (!json_is_number(v) || !isfinite(x) || x <= 0))
        return lq_json_unexpected(at, key, LQ_ERR_FORMAT, "a number above 0", err);
    *out = x;
    return LQ_OK;
}

enum lq_status lq_json_bool(const struct lq_json_at *at, const char *key, bool fallback, bool *out,
                            struct lq_error *err)
{
    const json_t *v = lq_json_get(at, key);
    if (v != NULL && !json_is_boolean(v)) return lq_json_unexpected(at, key, LQ_ERR_FORMAT, "true or false", err);
    *out = v == NULL ? fallback : json_is_true(v);
    return LQ_OK;
}

enum lq_status lq_json_string(const struct lq_json_at *at, const char *key, const char *fallback, const char **out,
                              struct lq_error *err)
{
    const json_t *v = lq_json_get(at, key);
    if (v != NULL && !json_is_string(v)) return lq_json_unexpected(at, key, LQ_ERR_FORMAT, "a text", err);
    *out = v == NULL ? fallback : json_string_value(v);
    return LQ_OK;
}
