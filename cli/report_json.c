/* The JSON object described in report.h. */
#include <stdlib.h>

#include "json.h"
#include "report.h"
#include "summary.h"

static json_t *paths_to_json(const struct cli_report *r, int half)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; i < r->n_files && ok; i++)
        if (r->files[i].half == (enum lq_half)half)
            ok = json_array_append_new(list, cli_json_text(r->files[i].path)) == 0;
    return cli_json_finished(list, ok);
}

static json_t *half_to_json(const struct cli_report *r, const struct cli_sum *sum, int half)
{
    json_t *o = json_object();
    bool ok = o != NULL && cli_json_extend(o, json_pack("{s:o}", "paths", paths_to_json(r, half)));
    if (r->result != NULL)
        ok = ok && cli_json_extend(o, json_pack("{s:o,s:I}", "path", cli_json_text(r->result->path[half]), "bytes",
                                                (json_int_t)r->result->file_bytes[half]));
    ok = ok && cli_json_extend(o, json_pack("{s:I,s:I,s:I,s:I,s:f}", "tensors", (json_int_t)sum->tensors, "weights",
                                            (json_int_t)sum->weights, "bytes_before", (json_int_t)sum->before,
                                            "bytes_after", (json_int_t)sum->after, "bpw", cli_sum_bpw(sum)));
    if (r->result != NULL)
        ok = ok && cli_json_extend(
                       o, json_pack("{s:f}", "relative_error", cli_relative_error(sum->error_sq, sum->weight_sq)));
    return cli_json_finished(o, ok);
}

static json_t *halves_to_json(const struct cli_report *r)
{
    struct cli_summary *s = cli_summary_new(r->plan, r->result);
    json_t *o = json_object();
    bool ok = s != NULL && o != NULL;
    for (int h = 0; h < LQ_HALVES && ok; h++)
        if (s->half[h].tensors > 0) ok = json_object_set_new(o, cli_half_name(h), half_to_json(r, &s->half[h], h)) == 0;
    free(s);
    return cli_json_finished(o, ok);
}

static json_t *outcome_to_json(const struct lq_quantize_outcome *x)
{
    json_t *o = json_pack("{s:s}", "method", lq_method_name(x->method));
    bool ok = o != NULL;
    if (x->method == LQ_METHOD_FEEDBACK)
        ok = ok && cli_json_extend(o, json_pack("{s:f,s:f,s:I,s:I,s:I}", "output_error_plain", x->plain, "output_error",
                                                x->written, "rows_fed", (json_int_t)x->fed, "rows_kept",
                                                (json_int_t)x->kept, "rows_alone", (json_int_t)x->alone));
    return cli_json_finished(o, ok);
}

static json_t *entry_to_json(const struct cli_report *r, size_t i)
{
    const struct lq_plan_entry *e = &r->plan->entries[i];
    const struct lq_tensor *t = e->tensor;
    json_t *o =
        json_pack("{s:o,s:s,s:s,s:s,s:s,s:I,s:I}", "name", cli_json_text(t->name), "half", cli_half_name(t->half),
                  "role", lq_role_name(t->role), "from", lq_format_name(t->type), "to", lq_format_name(e->type),
                  "bytes_before", (json_int_t)t->bytes, "bytes_after", (json_int_t)e->bytes);
    bool ok = o != NULL;
    if (r->result != NULL)
        ok = ok && cli_json_extend(o, json_pack("{s:f}", "relative_error",
                                                cli_relative_error(r->result->error_sq[i], r->result->weight_sq[i])));
    if (r->result != NULL) ok = ok && cli_json_extend(o, outcome_to_json(&r->result->outcome[i]));
    ok = ok && cli_json_extend(o, json_pack("{s:o}", "reason", cli_json_text(e->reason)));
    return cli_json_finished(o, ok);
}

static json_t *plan_to_json(const struct cli_report *r)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; i < r->plan->n_entries && ok; i++) ok = json_array_append_new(list, entry_to_json(r, i)) == 0;
    return cli_json_finished(list, ok);
}

enum lq_status cli_report_json(const struct cli_report *r, struct lq_error *err)
{
    json_t *o = json_pack("{s:s,s:s,s:o,s:s}", "command", r->command, "version", lq_version(), "recipe",
                          cli_json_text(r->plan->recipe), "effort", lq_effort_name(r->effort));
    bool ok = o != NULL;
    if (r->result != NULL) ok = ok && cli_json_extend(o, json_pack("{s:s}", "pair_id", r->result->pair_id));
    struct cli_feedback f = cli_feedback_sum(r->result);
    if (r->result != NULL)
        ok = ok && cli_json_extend(o, json_pack("{s:{s:I,s:f}}", "feedback", "tensors", (json_int_t)f.tensors,
                                                "lowered", f.lowered));
    ok = ok && cli_json_extend(o, json_pack("{s:o,s:o}", "halves", halves_to_json(r), "plan", plan_to_json(r)));
    return cli_json_put(cli_json_finished(o, ok), err);
}
