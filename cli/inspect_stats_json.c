/* The JSON object described in inspect_stats.h. */
#include "inspect_stats.h"
#include "json.h"
#include "summary.h"

static json_t *kinds_to_json(const double kind[3])
{
    return json_pack("{s:f,s:f,s:f}", "picture", kind[0], "after", kind[1], "text", kind[2]);
}

static json_t *datasets_to_json(const struct lq_stats_inspection *seen)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < seen->n_datasets; i++)
        ok = json_array_append_new(list, cli_json_text(seen->datasets[i])) == 0;
    return cli_json_finished(list, ok);
}

static json_t *missing_to_json(const struct lq_stats_inspection *seen)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < seen->n_missing; i++)
        ok = json_array_append_new(list, cli_json_text(seen->missing[i]->name)) == 0;
    return cli_json_finished(list, ok);
}

static json_t *worst_to_json(const struct lq_stats_matrix *m)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < m->n_worst; i++)
        ok = json_array_append_new(list, json_pack("{s:I,s:I,s:f}", "expert", (json_int_t)m->worst[i].expert, "column",
                                                   (json_int_t)m->worst[i].column, "ratio", m->worst[i].ratio)) == 0;
    return cli_json_finished(list, ok);
}

static json_t *matrix_to_json(const struct lq_stats_inspection *seen, const struct lq_stats_matrix *m)
{
    json_t *o = json_pack("{s:o,s:s,s:o,s:I,s:I,s:f,s:f}", "name", cli_json_text(m->name), "half",
                          cli_half_name(m->half), "input", cli_json_text(m->input), "columns", (json_int_t)m->columns,
                          "experts", (json_int_t)m->experts, "tokens", m->tokens, "fewest_tokens", m->fewest);
    bool ok = o != NULL;
    if (seen->ours) ok = ok && cli_json_extend(o, json_pack("{s:o}", "kinds", kinds_to_json(m->kind)));
    ok = ok && cli_json_extend(o, json_pack("{s:I,s:I,s:I,s:f,s:o,s:I}", "few", (json_int_t)m->few, "dead",
                                            (json_int_t)m->dead, "outliers", (json_int_t)m->outliers, "ratio", m->ratio,
                                            "worst", worst_to_json(m), "moment_bytes", (json_int_t)m->moment_bytes));
    return cli_json_finished(o, ok);
}

static json_t *matrices_to_json(const struct lq_stats_inspection *seen)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < seen->n_matrices; i++)
        ok = json_array_append_new(list, matrix_to_json(seen, &seen->matrices[i])) == 0;
    return cli_json_finished(list, ok);
}

static json_t *ours_to_json(const struct lq_stats_inspection *seen)
{
    return json_pack("{s:o,s:I,s:I,s:o}", "pair_id", cli_json_text(seen->pair), "done", (json_int_t)seen->done, "total",
                     (json_int_t)seen->total, "weights", kinds_to_json(seen->weights));
}

enum lq_status cli_stats_json(const struct lq_stats_inspection *seen, struct lq_error *err)
{
    json_t *o = json_pack("{s:s,s:s,s:o,s:s,s:o,s:I}", "command", "inspect", "version", lq_version(), "path",
                          cli_json_text(lq_stats_path(seen->stats)), "format",
                          seen->ours     ? "statistics"
                          : seen->legacy ? "imatrix-legacy"
                                         : "imatrix",
                          "datasets", datasets_to_json(seen), "chunks", (json_int_t)seen->chunks);
    bool ok = o != NULL;
    if (seen->ours) ok = ok && cli_json_extend(o, ours_to_json(seen));
    ok = ok && cli_json_extend(o, json_pack("{s:I,s:b}", "moment_bytes", (json_int_t)seen->moment_bytes,
                                            "moments_count", (int)!seen->uneven));
    ok = ok && cli_json_extend(o, json_pack("{s:{s:I,s:I}}", "measured", "errors", (json_int_t)seen->measured[0],
                                            "divergences", (json_int_t)seen->measured[1]));
    if (seen->model != NULL)
        ok = ok && cli_json_extend(o, json_pack("{s:o,s:o}", "model", cli_json_text(seen->model->path), "missing",
                                                missing_to_json(seen)));
    ok = ok && cli_json_extend(o, json_pack("{s:o}", "tensors", matrices_to_json(seen)));
    return cli_json_put(cli_json_finished(o, ok), err);
}
