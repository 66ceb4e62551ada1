#include "plan/plan_judged.h"

#include "model/json_keys.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct member {
    const char *key;
    size_t offset; /* of a double */
    bool demanded;
};

static const struct member judgement[] = {{"error", offsetof(struct lq_plan_judgement, error), true},
                                          {"sensitivity", offsetof(struct lq_plan_judgement, sensitivity), false},
                                          {"divergence", offsetof(struct lq_plan_judgement, divergence), true}};
static const struct member quality[] = {{"estimate", offsetof(struct lq_plan_quality, estimate), false},
                                        {"measured", offsetof(struct lq_plan_quality, measured), false},
                                        {"error", offsetof(struct lq_plan_quality, error), false}};

static void put_numbers(json_t *object, const void *values, const struct member *members, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double value;
        memcpy(&value, (const char *)values + members[i].offset, sizeof value);
        if (isfinite(value)) json_object_set_new(object, members[i].key, json_real(value));
    }
}

json_t *lq_judgement_to_json(const struct lq_plan_judgement *judged)
{
    bool sayable = judged->known && isfinite(judged->error) && isfinite(judged->divergence);
    json_t *object = sayable ? json_object() : NULL;
    if (object == NULL) return NULL;
    put_numbers(object, judged, judgement, sizeof judgement / sizeof judgement[0]);
    if (judged->next == LQ_TYPE_NONE) return object;
    json_object_set_new(object, "next", json_string(lq_format_name(judged->next)));
    json_object_set_new(object, "next_bytes", json_integer((json_int_t)judged->next_bytes));
    json_object_set_new(object, "next_gain", json_real(judged->next_gain));
    return object;
}

json_t *lq_quality_to_json(const struct lq_plan_quality *q)
{
    json_t *object = q->goal[0] != '\0' ? json_pack("{ss}", "goal", q->goal) : NULL;
    if (object == NULL) return NULL;
    put_numbers(object, q, quality, sizeof quality / sizeof quality[0]);
    if (q->data[0] != '\0') json_object_set_new(object, "data", json_string(q->data));
    return object;
}

/* ---- reading ---- */

/* Only such keys, and an object at all. */
static enum lq_status check_object(const struct lq_json_at *at, const char *const *known, struct lq_error *err)
{
    const char *key;
    json_t *value;
    int n = (int)strlen(at->section) - 1; /* without its dot */
    if (!json_is_object(at->object))
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: '%.*s' is no object", at->file, n, at->section);
    json_object_foreach((json_t *)at->object, key, value)
    {
        const char *const *k = known;
        while (*k != NULL && strcmp(*k, key) != 0) k++;
        if (*k == NULL)
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: unknown key '%.160s%.64s'", at->file, at->section, key);
    }
    return LQ_OK;
}

static enum lq_status get_number(const struct lq_json_at *at, const char *key, double *out, struct lq_error *err)
{
    const json_t *value = json_object_get(at->object, key);
    double number = json_number_value(value);
    if (!json_is_number(value) || !isfinite(number) || number < 0)
        return lq_json_unexpected(at, key, LQ_ERR_FORMAT, "a number that is not negative", err);
    *out = number;
    return LQ_OK;
}

static enum lq_status get_numbers(const struct lq_json_at *at, void *values, const struct member *members, size_t n,
                                  struct lq_error *err)
{
    for (size_t i = 0; i < n; i++) {
        double value = NAN;
        bool there = json_object_get(at->object, members[i].key) != NULL;
        enum lq_status status = there || members[i].demanded ? get_number(at, members[i].key, &value, err) : LQ_OK;
        if (status != LQ_OK) return status;
        memcpy((char *)values + members[i].offset, &value, sizeof value);
    }
    return LQ_OK;
}

static enum lq_status get_text(const struct lq_json_at *at, const char *key, char *dst, size_t size,
                               struct lq_error *err)
{
    const char *text = "";
    enum lq_status status = lq_json_string(at, key, "", &text, err);
    if (status != LQ_OK) return status;
    if (strlen(text) >= size)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: key '%s%s' is longer than %zu bytes", at->file, at->section, key,
                            size - 1);
    memcpy(dst, text, strlen(text) + 1);
    return LQ_OK;
}

/* The next type, where there is one, with what it costs and saves. */
static enum lq_status get_next(const struct lq_json_at *at, struct lq_plan_judgement *out, struct lq_error *err)
{
    char name[32];
    out->next = LQ_TYPE_NONE;
    if (json_object_get(at->object, "next") == NULL) return LQ_OK;
    enum lq_status status = get_text(at, "next", name, sizeof name, err);
    if (status != LQ_OK) return status;
    const struct lq_format *format = lq_format_find(name);
    if (format == NULL || (format->flags & LQ_FORMAT_TARGET) == 0)
        return lq_json_unexpected(at, "next", LQ_ERR_FORMAT, "a ggml type such as q8_0", err);
    const json_t *bytes = json_object_get(at->object, "next_bytes");
    if (!json_is_integer(bytes) || json_integer_value(bytes) < 0)
        return lq_json_unexpected(at, "next_bytes", LQ_ERR_FORMAT, "a number of bytes", err);
    out->next = format->type;
    out->next_bytes = (uint64_t)json_integer_value(bytes);
    return get_number(at, "next_gain", &out->next_gain, err);
}

enum lq_status lq_judgement_from_json(struct lq_plan_judgement *out, const json_t *object, const char *file,
                                      const char *where, struct lq_error *err)
{
    static const char *const known[] = {"error", "sensitivity", "divergence", "next", "next_bytes", "next_gain", NULL};
    struct lq_plan_judgement judged = {.known = true};
    char section[192];
    snprintf(section, sizeof section, "%.160s.judged.", where);
    struct lq_json_at at = {object, file, section};
    enum lq_status status = check_object(&at, known, err);
    if (status == LQ_OK) status = get_numbers(&at, &judged, judgement, sizeof judgement / sizeof judgement[0], err);
    if (status == LQ_OK) status = get_next(&at, &judged, err);
    if (status == LQ_OK) *out = judged;
    return status;
}

enum lq_status lq_quality_from_json(struct lq_plan_quality *out, const json_t *object, const char *file,
                                    struct lq_error *err)
{
    static const char *const known[] = {"goal", "estimate", "measured", "error", "data", NULL};
    struct lq_plan_quality q = {0};
    struct lq_json_at at = {object, file, "quality."};
    enum lq_status status = check_object(&at, known, err);
    if (status == LQ_OK) status = get_text(&at, "goal", q.goal, sizeof q.goal, err);
    if (status == LQ_OK) status = get_text(&at, "data", q.data, sizeof q.data, err);
    if (status == LQ_OK) status = get_numbers(&at, &q, quality, sizeof quality / sizeof quality[0], err);
    if (status == LQ_OK && q.goal[0] == '\0')
        status = lq_json_unexpected(&at, "goal", LQ_ERR_FORMAT, "what the plan was made for, such as auto-4.2G", err);
    if (status == LQ_OK) *out = q;
    return status;
}
