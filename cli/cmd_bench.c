/* llava-quantize bench */
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "command.h"
#include "json.h"

#define AT(member) offsetof(struct cli_bench_job, member)

static const struct cli_positional positionals[] = {{NULL, false, NULL, 0}};

static const struct cli_option options[] = {
    {"types", 0, "LIST",
     "types separated by commas; default: all block types whose encoder is ours and that fit the rows", CLI_TEXT,
     AT(types), 0, 0},
    {"effort", 0, "normal|fast|best", "how long to search; default: normal", CLI_CHOICE, AT(effort), 0, 0},
    {"rows", 0, "normal|heavy|outlier|MODEL",
     "weights that are normal, heavy-tailed (t with 4 degrees of freedom), normal with a few columns much larger, or a "
     "model's: a folder or a GGUF file, of whose matrices some rows are read; default: normal",
     CLI_TEXT, AT(rows), 0, 0},
    {"columns", 0, "N", "weights in a made-up row; default: 4096", CLI_NUMBER, AT(columns), 32, 1 << 20},
    {"importance", 0, NULL, "give columns an importance, made up over several orders of magnitude", CLI_FLAG,
     AT(importance), 0, 0},
    {"seconds", 0, "S", "time to spend on each speed; 0 measures errors alone; default: 0.25", CLI_REAL, AT(seconds), 0,
     60},
    {"threads", 't', "N", "threads to work with; default: 1", CLI_NUMBER, AT(threads), 1, 1024},
    {"json", 0, NULL, "print the result as one JSON object", CLI_FLAG, AT(json), 0, 0},
    CLI_OPTION_HELP,
    CLI_OPTION_END,
};

static void put_details(FILE *out)
{
    fputs("\nColumns:\n", out);
    cli_usage_row(out, "error",
                  "relative: root of the weighted sum of squares; weighted by importance, without it by "
                  "what ggml's encoder of the type goes by");
    cli_usage_row(out, "against ggml", "the same sum of squares, ours against that of ggml's encoder on the same rows");
    cli_usage_row(out, "MB/s",
                  "millions of bytes of f32 weights, read by encoding or written by decoding: the best of nine rounds");
    cli_usage_row(
        out, "of copy",
        "encoding's speed to that of memcpy on buffers of 256 MiB: the median of the rounds, in which they take turns");
}

/* What goes from type to type. */
struct session {
    const struct cli_bench_job *job;
    struct cli_bench_rows rows;
    bool wanted[LQ_TYPE_COUNT];
    const struct lq_bench_matrix *timed; /* whose rows fill `bench` */
    struct lq_bench *bench;
    json_t *types;
};

static enum lq_status measure_speed(struct session *s, const struct lq_bench_matrix *matrix,
                                    struct cli_bench_result *result, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    if (s->timed != matrix) {
        lq_bench_free(s->bench);
        s->bench = NULL;
        s->timed = matrix;
        status = lq_bench_new(&s->bench, matrix, s->job->threads, (double)s->job->seconds, err);
    }
    if (status != LQ_OK) return status;
    return lq_bench_time(s->bench, result->type, (enum lq_effort)s->job->effort, &result->speed, err);
}

/* Errors over all matrices that fit, speed on the largest of them. */
static enum lq_status measure(struct session *s, struct cli_bench_result *result, struct lq_error *err)
{
    const struct lq_bench_matrix *largest = NULL;
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < s->rows.n && status == LQ_OK; i++) {
        const struct lq_bench_matrix *m = &s->rows.matrices[i];
        if (!cli_bench_fits(m, result->type)) continue;
        if (largest == NULL || m->rows * m->columns > largest->rows * largest->columns) largest = m;
        result->weights += m->rows * m->columns;
        status = lq_bench_compare(result->type, (enum lq_effort)s->job->effort, m, &result->error, err);
    }
    if (status == LQ_OK && s->job->seconds > 0) status = measure_speed(s, largest, result, err);
    return status == LQ_OK ? status : lq_error_prefix(err, "%s", s->job->rows);
}

static enum lq_status put_result(const struct session *s, const struct cli_bench_result *result, struct lq_error *err)
{
    if (!s->job->json) cli_bench_line(result);
    else if (json_array_append_new(s->types, cli_bench_type_to_json(result)) != 0)
        return lq_error_set(err, LQ_ERR_MEMORY, "out of memory");
    return LQ_OK;
}

static bool fits_any(const struct session *s, enum lq_type type)
{
    bool fits = false;
    for (size_t i = 0; i < s->rows.n; i++) fits = fits || cli_bench_fits(&s->rows.matrices[i], type);
    return fits;
}

/* The type called by the first n characters of `name`. */
static enum lq_status add_type(struct session *s, const char *name, size_t n, struct lq_error *err)
{
    char text[32];
    snprintf(text, sizeof text, "%.*s", (int)n, name);
    const struct lq_format *f = n < sizeof text ? lq_format_find(text) : NULL;
    if (f == NULL || (f->flags & LQ_FORMAT_TARGET) == 0)
        return lq_error_set(err, LQ_ERR_USAGE, "--types: '%.*s' is not a type that can be encoded", (int)n, name);
    if ((f->flags & LQ_FORMAT_NEEDS_IMPORTANCE) != 0 && !s->job->importance)
        return lq_error_set(err, LQ_ERR_USAGE, "--types: %s demands --importance", f->name);
    if (!fits_any(s, f->type))
        return lq_error_set(err, LQ_ERR_USAGE, "%s: no row divides into %s blocks of %u", s->job->rows, f->name,
                            f->block);
    s->wanted[f->type] = true;
    return LQ_OK;
}

static enum lq_status choose_types(struct session *s, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    const char *name = s->job->types;
    for (int type = 0; name == NULL && type < LQ_TYPE_COUNT; type++)
        s->wanted[type] = lq_bench_is_own((enum lq_type)type) && fits_any(s, (enum lq_type)type);
    while (name != NULL && status == LQ_OK) {
        size_t n = strcspn(name, ",");
        status = add_type(s, name, n, err);
        name = name[n] == ',' ? name + n + 1 : NULL;
    }
    return status;
}

static enum lq_status do_types(struct session *s, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    if (!s->job->json) cli_bench_head(s->job, &s->rows);
    for (int type = 0; type < LQ_TYPE_COUNT && status == LQ_OK; type++) {
        struct cli_bench_result result = {.type = (enum lq_type)type};
        if (!s->wanted[type]) continue;
        status = measure(s, &result, err);
        if (status == LQ_OK) status = put_result(s, &result, err);
    }
    if (status == LQ_OK && s->job->json)
        status = cli_json_put(cli_bench_to_json(s->job, &s->rows, json_incref(s->types)), err);
    return status;
}

static int run(int argc, char **argv)
{
    struct cli_bench_job job = {.rows = "normal", .columns = 4096, .threads = 1, .seconds = 0.25f};
    struct session s = {.job = &job};
    struct lq_error err = {0};
    int parsed = cli_parse(&cli_bench, argc, argv, &job);
    if (parsed != CLI_GO) return parsed;
    s.types = json_array();
    enum lq_status status = cli_bench_rows_load(&s.rows, &job, &err);
    if (status == LQ_OK) status = choose_types(&s, &err);
    if (status == LQ_OK) status = do_types(&s, &err);
    json_decref(s.types);
    lq_bench_free(s.bench);
    cli_bench_rows_release(&s.rows);
    return status == LQ_OK ? CLI_DONE : cli_fail(&err);
}

const struct cli_command cli_bench = {
    .name = "bench",
    .summary = "measure how fast and how well weights are encoded",
    .positionals = positionals,
    .options = options,
    .details = put_details,
    .example = "llava-quantize bench --types q8_0,q4_k\n"
               "llava-quantize bench --rows demo/model --seconds 0",
    .run = run,
};
