/* The JSON object described in planned_print.h. */
#include <math.h>
#include <stdlib.h>

#include "json.h"
#include "planned_print.h"
#include "summary.h"

static json_t *outcome_json(const struct lq_plan *plan, const struct lq_strategy_outcome *o)
{
    return json_pack("{s:s,s:I,s:f,s:o,s:o,s:o,s:o,s:o,s:i,s:i}", "recipe", plan->recipe, "bytes", (json_int_t)o->bytes,
                     "bpw", o->bpw, "estimate", cli_json_number(o->estimate), "measured", cli_json_number(o->measured),
                     "error", cli_json_number(o->error), "first", cli_json_number(o->first), "bound",
                     cli_json_number(o->bound), "swaps", (int)o->swaps, "neighbours", (int)o->neighbours);
}

/* Types and divergence of one role. */
static json_t *role_json(const struct lq_plan *plan, enum lq_half half, int role, const struct cli_sum *sum)
{
    json_t *types = json_object();
    bool known = false;
    double divergence = 0;
    for (size_t i = 0; i < plan->n_entries; i++) {
        const struct lq_plan_entry *e = &plan->entries[i];
        if (e->tensor->half != half || (int)e->tensor->role != role) continue;
        const char *name = lq_format_name(e->type);
        json_object_set_new(types, name, json_integer(json_integer_value(json_object_get(types, name)) + 1));
        known |= e->judged.known;
        if (e->judged.known) divergence += e->judged.divergence;
    }
    return json_pack("{s:s,s:I,s:o,s:I,s:I,s:I,s:o}", "role", lq_role_name((enum lq_role)role), "tensors",
                     (json_int_t)sum->tensors, "types", types, "weights", (json_int_t)sum->weights, "bytes_before",
                     (json_int_t)sum->before, "bytes_after", (json_int_t)sum->after, "divergence",
                     cli_json_number(known ? divergence : NAN));
}

static json_t *roles_json(const struct lq_plan *plan)
{
    struct cli_summary *s = cli_summary_new(plan, NULL);
    json_t *list = json_array();
    bool ok = s != NULL && list != NULL;
    for (int h = 0; h < LQ_HALVES && ok; h++)
        for (int role = 0; role < LQ_ROLES && ok; role++)
            if (s->role[h][role].tensors > 0)
                ok = json_array_append_new(list, role_json(plan, (enum lq_half)h, role, &s->role[h][role])) == 0;
    free(s);
    return cli_json_finished(list, ok);
}

static json_t *fit_json(const struct cli_target *target, const struct lq_footprint *f)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "memory", (json_int_t)target->fit, "context", (json_int_t)f->context,
                     "tokens", (json_int_t)f->memory, "language", (json_int_t)f->language, "vision",
                     (json_int_t)f->vision, "output", (json_int_t)f->output);
}

static json_t *curve_json(const struct cli_planned *p)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; i < p->n_curve && ok; i++) {
        const struct lq_curve_point *c = &p->curve[i];
        ok = json_array_append_new(list, json_pack("{s:I,s:f,s:o,s:o,s:o}", "bytes", (json_int_t)c->bytes, "bpw",
                                                   c->bpw, "estimate", cli_json_number(c->estimate), "measured",
                                                   cli_json_number(c->measured), "error", cli_json_number(c->error))) ==
             0;
    }
    return cli_json_finished(list, ok);
}

static json_t *search_json(const struct cli_job *job, const struct lq_strategy_facts *f)
{
    json_t *o =
        json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:I}", "effort", lq_effort_name((enum lq_effort)job->effort),
                  "tensors", (json_int_t)f->tensors, "choices", (json_int_t)f->choices, "groups", (json_int_t)f->groups,
                  "known", (json_int_t)f->known, "smallest", (json_int_t)f->smallest, "original",
                  (json_int_t)f->original, "power", f->power, "checks", (json_int_t)f->checks);
    bool ok = o != NULL;
    ok = ok && cli_json_extend(o, json_pack("{s:o,s:o,s:o}", "ratio", cli_json_number(f->checks > 0 ? f->ratio : NAN),
                                            "ratio_low", cli_json_number(f->checks > 0 ? f->ratio_low : NAN),
                                            "ratio_high", cli_json_number(f->checks > 0 ? f->ratio_high : NAN)));
    ok = ok && cli_json_extend(o, json_pack("{s:I,s:I,s:I,s:I,s:I,s:f}", "questions", (json_int_t)f->questions,
                                            "pictures", (json_int_t)f->pictures, "tokens", (json_int_t)f->tokens,
                                            "answer_tokens", (json_int_t)f->answer_tokens, "measurements",
                                            (json_int_t)f->measurements, "seconds", f->seconds));
    return cli_json_finished(o, ok);
}

enum lq_status cli_planned_json(const struct cli_job *job, const struct lq_model *model, const struct lq_plan *plan,
                                const struct cli_planned *planned, struct lq_error *err)
{
    json_t *o = json_pack("{s:s,s:s,s:o}", "command", job->command, "version", lq_version(), "model",
                          cli_json_text(model->name));
    bool ok = o != NULL;
    if (plan != NULL)
        ok = ok && cli_json_extend(o, json_pack("{s:o,s:o}", "plan", outcome_json(plan, &planned->outcome), "roles",
                                                roles_json(plan)));
    if (job->target.fit > 0)
        ok = ok && cli_json_extend(o, json_pack("{s:o}", "fit", fit_json(&job->target, &planned->footprint)));
    if (planned->n_curve > 0) ok = ok && cli_json_extend(o, json_pack("{s:o}", "curve", curve_json(planned)));
    ok = ok && cli_json_extend(o, json_pack("{s:o}", "search", search_json(job, &planned->facts)));
    return cli_json_put(cli_json_finished(o, ok), err);
}
