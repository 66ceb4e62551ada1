/* The JSON object described in verify_report.h. */
#include <math.h>
#include <stdlib.h>

#include "json.h"
#include "summary.h"
#include "verify_report.h"
#include "verify_sums.h"

static json_t *worst_to_json(const struct lq_tensor *t, const struct lq_verify_tensor *v)
{
    if (t == NULL || v->worst <= 0) return json_null();
    json_t *error = isinf(v->worst) ? json_null() : json_real(v->worst);
    return json_pack("{s:o,s:o,s:I,s:I}", "relative_error", error, "tensor", cli_json_text(t->name), "row",
                     (json_int_t)v->worst_row, "column", (json_int_t)v->worst_column);
}

static json_t *sum_to_json(const struct cli_verify_sum *sum)
{
    return json_pack("{s:I,s:I,s:f,s:o}", "tensors", (json_int_t)sum->tensors, "weights", (json_int_t)sum->weights,
                     "relative_error", cli_relative_error(sum->error_sq, sum->weight_sq), "worst_block",
                     worst_to_json(sum->worst, sum->worst_seen));
}

static json_t *roles_to_json(const struct cli_verify_sum roles[LQ_ROLES])
{
    json_t *o = json_object();
    bool ok = o != NULL;
    for (int role = 0; role < LQ_ROLES && ok; role++)
        if (roles[role].tensors > 0)
            ok = json_object_set_new(o, lq_role_name((enum lq_role)role), sum_to_json(&roles[role])) == 0;
    return cli_json_finished(o, ok);
}

static json_t *half_to_json(const struct cli_verify_report *r, const struct cli_verify_sums *s, int half)
{
    json_t *o = sum_to_json(&s->half[half]);
    bool ok = o != NULL;
    ok = ok && json_object_set_new(o, "path", cli_json_text(r->seen->model->half[half]->path)) == 0;
    ok = ok && json_object_set_new(o, "original", cli_json_text(r->original->half[half]->path)) == 0;
    ok = ok && json_object_set_new(o, "roles", roles_to_json(s->role[half])) == 0;
    return cli_json_finished(o, ok);
}

static json_t *halves_to_json(const struct cli_verify_report *r)
{
    struct cli_verify_sums *s = cli_verify_sums_new(r->seen);
    json_t *o = json_object();
    bool ok = s != NULL && o != NULL;
    for (int h = 0; h < LQ_HALVES && ok; h++)
        if (s->half[h].tensors > 0) ok = json_object_set_new(o, cli_half_name(h), half_to_json(r, s, h)) == 0;
    free(s);
    return cli_json_finished(o, ok);
}

static json_t *tensor_to_json(const struct lq_tensor *t, const struct lq_verify_tensor *v)
{
    return json_pack("{s:o,s:s,s:s,s:s,s:s,s:f,s:o}", "name", cli_json_text(t->name), "half", cli_half_name(t->half),
                     "role", lq_role_name(t->role), "from", lq_format_name(v->original->type), "to",
                     lq_format_name(t->type), "relative_error", cli_relative_error(v->error_sq, v->weight_sq),
                     "worst_block", worst_to_json(t, v));
}

static json_t *tensors_to_json(const struct lq_verification *v)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (int h = 0; h < LQ_HALVES; h++) {
        const struct lq_model_half *half = v->model->half[h];
        for (size_t i = 0; half != NULL && i < half->n_tensors && ok; i++)
            if (v->tensors[h][i].original != NULL)
                ok = json_array_append_new(list, tensor_to_json(&half->tensors[i], &v->tensors[h][i])) == 0;
    }
    return cli_json_finished(list, ok);
}

static json_t *keys_to_json(const struct lq_verification *v)
{
    static const char *const changes[] = {"added", "removed", "changed"};
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; i < v->n_keys && ok; i++) {
        const struct lq_verify_key *k = &v->keys[i];
        json_t *row = json_pack("{s:s,s:o,s:s,s:b}", "half", cli_half_name(k->half), "key", cli_json_text(k->key),
                                "change", changes[k->change], "expected", k->expected);
        ok = json_array_append_new(list, row) == 0;
    }
    return cli_json_finished(list, ok);
}

static json_t *checks_to_json(const struct lq_verification *v)
{
    static const char *const states[] = {"skipped", "passed", "failed"};
    json_t *list = json_array();
    bool ok = list != NULL;
    for (int c = 0; c < LQ_CHECKS && ok; c++) {
        json_t *row = json_pack("{s:s,s:s,s:o}", "name", lq_check_name((enum lq_check)c), "state",
                                states[v->check[c].state], "note", cli_json_text(v->check[c].note));
        ok = json_array_append_new(list, row) == 0;
    }
    return cli_json_finished(list, ok);
}

static json_t *findings_to_json(const struct lq_verification *v)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; i < v->n_findings && ok; i++) {
        json_t *row = json_pack("{s:s,s:o}", "check", lq_check_name(v->findings[i].check), "text",
                                cli_json_text(v->findings[i].text));
        ok = json_array_append_new(list, row) == 0;
    }
    return cli_json_finished(list, ok);
}

static bool set_comparison(json_t *o, const struct cli_verify_report *r)
{
    return json_object_set_new(o, "against", cli_json_text(r->against)) == 0 &&
           json_object_set_new(o, "halves", halves_to_json(r)) == 0 &&
           json_object_set_new(o, "tensors", tensors_to_json(r->seen)) == 0 &&
           json_object_set_new(o, "keys", keys_to_json(r->seen)) == 0;
}

enum lq_status cli_verify_json(const struct cli_verify_report *r, struct lq_error *err)
{
    json_t *o = json_pack("{s:s,s:s,s:o,s:b,s:o,s:o}", "command", "verify", "version", lq_version(), "pair",
                          cli_json_text(r->pair), "fine", r->seen->n_findings == 0, "checks", checks_to_json(r->seen),
                          "findings", findings_to_json(r->seen));
    bool ok = o != NULL && (r->against == NULL || set_comparison(o, r));
    return cli_json_put(cli_json_finished(o, ok), err);
}
