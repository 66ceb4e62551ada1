/* Reading keys of a parsed JSON file with errors that name file, section, key, what was found and what was expected.
 *
 * Enters: a `struct lq_json_at` (an object, its file and its place in it). Leaves: checked values.
 * Invariants: a key that is absent or null takes the default; anything of another kind is an error.
 *
 *     struct lq_json_at at = {text_config, "folder/config.json", "text_config."};
 *     lq_json_u32(&at, "hidden_size", 1, 1 << 20, 4096, &hidden, err);
 */
#ifndef LQ_MODEL_JSON_KEYS_H
#define LQ_MODEL_JSON_KEYS_H

#include <jansson.h>

#include "llava_quantize/base.h"

struct lq_json_at {
    const json_t *object; /* NULL: every key is absent */
    const char *file;
    const char *section; /* "" or "text_config." */
};

/* Parses a file of at most 64 MiB. LQ_ERR_IO where it cannot be read, LQ_ERR_FORMAT where it is no JSON object. The
 * reference is the caller's. */
enum lq_status lq_json_load(const char *path, json_t **out, struct lq_error *err);
/* The same for a text already in memory. */
enum lq_status lq_json_parse(const char *text, size_t size, const char *path, json_t **out, struct lq_error *err);

/* NULL where the key is absent or null. */
const json_t *lq_json_get(const struct lq_json_at *at, const char *key);
enum lq_status lq_json_u32(const struct lq_json_at *at, const char *key, uint32_t min, uint32_t max, uint32_t fallback,
                           uint32_t *out, struct lq_error *err);
/* Finite and greater than 0. */
enum lq_status lq_json_positive(const struct lq_json_at *at, const char *key, double fallback, double *out,
                                struct lq_error *err);
enum lq_status lq_json_bool(const struct lq_json_at *at, const char *key, bool fallback, bool *out,
                            struct lq_error *err);
/* Borrowed from the JSON value; `fallback` may be NULL. */
enum lq_status lq_json_string(const struct lq_json_at *at, const char *key, const char *fallback, const char **out,
                              struct lq_error *err);
/* "FILE: key 'text_config.rope_theta' is 7, expected WHAT" */
enum lq_status lq_json_unexpected(const struct lq_json_at *at, const char *key, enum lq_status status,
                                  const char *expected, struct lq_error *err);

#endif
