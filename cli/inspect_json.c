/* The JSON object described in inspect_print.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "inspect_print.h"
#include "json.h"
#include "summary.h"

enum { MOST_ELEMENTS = 16 };

/* Sets a member and takes `value` over; false when either is missing. */
static bool set(json_t *object, const char *name, json_t *value)
{
    return json_object_set_new(object, name, value) == 0;
}

static json_t *text_to_json(const char *text, size_t length)
{
    char *copy = strndup(text, length);
    json_t *json = copy == NULL ? NULL : cli_json_text(copy);
    free(copy);
    return json;
}

static json_t *value_to_json(const struct lq_value *v)
{
    switch (v->kind) {
    case LQ_VALUE_INTEGER: return json_integer((json_int_t)v->integer);
    case LQ_VALUE_NATURAL:
        return v->natural <= INT64_MAX ? json_integer((json_int_t)v->natural) : json_sprintf("%" PRIu64, v->natural);
    case LQ_VALUE_REAL: return cli_json_number(v->real);
    case LQ_VALUE_TRUTH: return json_boolean(v->truth);
    case LQ_VALUE_TEXT: return text_to_json(v->text, v->length);
    }
    return NULL;
}

static json_t *elements_to_json(const struct lq_key *key)
{
    json_t *list = json_array();
    struct lq_value v;
    uint64_t at = 0;
    bool ok = list != NULL;
    for (int i = 0; ok && i < MOST_ELEMENTS && lq_key_next(key, &at, &v); i++)
        ok = json_array_append_new(list, value_to_json(&v)) == 0;
    return cli_json_finished(list, ok);
}

static json_t *key_to_json(const struct lq_key *key)
{
    struct lq_value v;
    uint64_t at = 0;
    if (!key->array) return lq_key_next(key, &at, &v) ? value_to_json(&v) : json_null();
    if (key->count <= MOST_ELEMENTS) return elements_to_json(key);
    return json_pack("{s:s,s:o,s:o}", "type", key->type, "count", json_integer((json_int_t)key->count), "first",
                     elements_to_json(key));
}

static json_t *keys_to_json(const struct lq_model_half *half, bool all)
{
    json_t *o = json_object();
    bool ok = o != NULL;
    for (size_t i = 0; ok && i < lq_key_count(half); i++) {
        struct lq_key key = lq_key_at(half, i);
        if (all || cli_key_is_short(&key)) ok = set(o, key.name, key_to_json(&key));
    }
    return cli_json_finished(o, ok);
}

static double bpw(uint64_t bytes, uint64_t weights)
{
    return weights == 0 ? 0 : (double)bytes * 8 / (double)weights;
}

static json_t *sum_to_json(const struct lq_role_sum *sum)
{
    return json_pack("{s:I,s:I,s:I,s:f}", "tensors", (json_int_t)sum->tensors, "weights", (json_int_t)sum->weights,
                     "bytes", (json_int_t)sum->bytes, "bpw", bpw(sum->bytes, sum->weights));
}

static json_t *types_to_json(uint64_t types)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (int t = 0; ok && t < LQ_TYPE_COUNT; t++)
        if (types >> t & 1) ok = json_array_append_new(list, json_string(lq_format_name(t))) == 0;
    return cli_json_finished(list, ok);
}

static json_t *role_to_json(int role, const struct lq_role_sum *sum)
{
    json_t *o = json_pack("{s:s}", "role", lq_role_name((enum lq_role)role));
    return cli_json_finished(o, cli_json_extend(o, sum_to_json(sum)) && set(o, "types", types_to_json(sum->types)));
}

static json_t *roles_to_json(const struct lq_role_sum *roles)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (int role = 0; ok && role < LQ_ROLES; role++)
        if (roles[role].tensors > 0) ok = json_array_append_new(list, role_to_json(role, &roles[role])) == 0;
    return cli_json_finished(list, ok);
}

/* Of a half from Hugging Face: none, its folder is the path. */
static json_t *paths_to_json(const struct lq_model_half *half)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < half->n_files; i++)
        ok = json_array_append_new(list, cli_json_text(half->files[i].path)) == 0;
    return cli_json_finished(list, ok);
}

static json_t *half_to_json(const struct lq_inspection *seen, const struct lq_model_half *half, bool all)
{
    json_t *o =
        json_pack("{s:o,s:o}", "path", cli_json_text(half->path), "architecture", cli_json_text(half->architecture));
    bool ok = set(o, "paths", paths_to_json(half)) && cli_json_extend(o, sum_to_json(&seen->half[half->half])) &&
              set(o, "roles", roles_to_json(seen->role[half->half])) && set(o, "metadata", keys_to_json(half, all));
    return cli_json_finished(o, ok);
}

static json_t *halves_to_json(const struct lq_inspection *seen, bool all)
{
    json_t *o = json_object();
    bool ok = o != NULL;
    for (int h = 0; ok && h < LQ_HALVES; h++)
        if (seen->model->half[h] != NULL) ok = set(o, cli_half_name(h), half_to_json(seen, seen->model->half[h], all));
    return cli_json_finished(o, ok);
}

static json_t *token_to_json(int64_t id)
{
    return id < 0 ? json_null() : json_integer((json_int_t)id);
}

static json_t *tokenizer_to_json(const struct lq_tokenizer_facts *t)
{
    return json_pack("{s:o,s:I,s:o,s:o,s:b}", "model", cli_json_text(t->model), "tokens", (json_int_t)t->tokens, "bos",
                     token_to_json(t->bos), "eos", token_to_json(t->eos), "chat_template", (int)t->chat_template);
}

static json_t *finding_to_json(const struct lq_finding *f)
{
    json_t *o = json_pack("{s:s,s:s}", "id", f->id, "half", f->half == LQ_HALVES ? "pair" : cli_half_name(f->half));
    bool ok = o != NULL;
    if (f->tensor != NULL)
        ok =
            ok && set(o, "tensor", cli_json_text(f->tensor)) && set(o, "tensors", json_integer((json_int_t)f->tensors));
    return cli_json_finished(o, ok && set(o, "text", cli_json_text(f->text)) &&
                                    set(o, "remedy", cli_json_text(f->remedy)));
}

static json_t *findings_to_json(const struct lq_inspection *seen)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < seen->n_findings; i++)
        ok = json_array_append_new(list, finding_to_json(&seen->findings[i])) == 0;
    return cli_json_finished(list, ok);
}

static json_t *stats_to_json(const struct lq_weight_stats *s)
{
    double share = s->weights == 0 ? 0 : (double)s->outliers / (double)s->weights;
    return json_pack("{s:f,s:f,s:f,s:I,s:f,s:I,s:I,s:I}", "min", (double)s->min, "max", (double)s->max, "rms", s->rms,
                     "outliers", (json_int_t)s->outliers, "outlier_share", share, "nan", (json_int_t)s->nan, "infinite",
                     (json_int_t)s->infinite, "dead_rows", (json_int_t)s->dead_rows);
}

static json_t *shape_to_json(const struct lq_tensor *t)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (uint32_t i = 0; ok && i < t->n_dims && i < 4; i++)
        ok = json_array_append_new(list, json_integer((json_int_t)t->ne[i])) == 0;
    return cli_json_finished(list, ok);
}

static json_t *tensor_to_json(const struct lq_tensor *t, const struct lq_weight_stats *stats)
{
    json_t *o =
        json_pack("{s:o,s:s,s:s,s:i,s:s,s:o,s:I,s:f}", "name", cli_json_text(t->name), "half", cli_half_name(t->half),
                  "role", lq_role_name(t->role), "block", t->block, "type", lq_format_name(t->type), "shape",
                  shape_to_json(t), "bytes", (json_int_t)t->bytes, "bpw", bpw(t->bytes, t->ne[0] * t->rows));
    bool ok = o != NULL;
    if (stats != NULL && stats->measured) ok = ok && set(o, "weights", stats_to_json(stats));
    return cli_json_finished(o, ok);
}

static json_t *tensors_to_json(const struct lq_inspection *seen)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (int h = 0; h < LQ_HALVES; h++) {
        const struct lq_model_half *half = seen->model->half[h];
        const struct lq_weight_stats *stats = seen->stats[h];
        for (size_t i = 0; ok && half != NULL && i < half->n_tensors; i++) {
            json_t *tensor = tensor_to_json(&half->tensors[i], stats == NULL ? NULL : &stats[i]);
            ok = json_array_append_new(list, tensor) == 0;
        }
    }
    return cli_json_finished(list, ok);
}

enum lq_status cli_inspect_json(const struct lq_inspection *seen, bool all, struct lq_error *err)
{
    const struct lq_model *m = seen->model;
    bool stats = seen->stats[LQ_VISION] != NULL || seen->stats[LQ_LANGUAGE] != NULL;
    json_t *o = json_pack("{s:s,s:s,s:o,s:o,s:s}", "command", "inspect", "version", lq_version(), "path",
                          cli_json_text(m->path), "name", cli_json_text(m->name), "format",
                          m->hugging_face ? "hugging-face" : "gguf");
    bool ok = o != NULL && set(o, "halves", halves_to_json(seen, all));
    if (seen->tokenizer.present) ok = ok && set(o, "tokenizer", tokenizer_to_json(&seen->tokenizer));
    ok = ok && set(o, "findings", findings_to_json(seen));
    if (all || stats) ok = ok && set(o, "tensors", tensors_to_json(seen));
    return cli_json_put(cli_json_finished(o, ok), err);
}
