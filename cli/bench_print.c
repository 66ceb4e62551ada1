#include <math.h>

#include "bench.h"
#include "json.h"
#include "message.h"
#include "text.h"

static double relative(double error, const struct lq_bench_error *sums)
{
    return sums->weights > 0 ? sqrt(error / sums->weights) : 0;
}

static double bits_per_weight(enum lq_type type)
{
    const struct lq_format *f = lq_format_get(type);
    return 8.0 * f->bytes / f->block;
}

/* Of our squares to ggml's; false when there is none. */
static bool ratio_of(const struct lq_bench_error *error, double *ratio)
{
    *ratio = error->ggml > 0 ? error->ours / error->ggml : 1;
    return isfinite(*ratio) && (error->ggml > 0 || error->ours == 0);
}

void cli_bench_head(const struct cli_bench_job *job, const struct cli_bench_rows *rows)
{
    if (rows->model) {
        fputs("rows of ", stdout);
        cli_put_clean(stdout, job->rows);
    } else printf("%s rows of %u weights", job->rows, job->columns);
    printf(", %s importance, effort %s, %u thread%s, %s kernels\n", job->importance ? "with" : "without",
           lq_effort_name((enum lq_effort)job->effort), job->threads, job->threads == 1 ? "" : "s", lq_bench_kernels());
    printf("%-8s %6s %10s %13s", "type", "bpw", "error", "against ggml");
    if (job->seconds > 0)
        printf(" %11s %12s %9s %11s %11s", "encode MB/s", "M weights/s", "of copy", "decode MB/s", "copy MB/s");
    putchar('\n');
}

void cli_bench_line(const struct cli_bench_result *r)
{
    double ratio;
    char against[32] = "-";
    if (ratio_of(&r->error, &ratio)) snprintf(against, sizeof against, "%+.2f %%", 100 * (ratio - 1));
    printf("%-8s %6.4g %10s %13s", lq_format_name(r->type), bits_per_weight(r->type),
           cli_percent(relative(r->error.ours, &r->error)).s, against);
    const struct lq_bench_speed *s = &r->speed;
    if (s->copy > 0)
        printf(" %11.0f %12.1f %7.1f %% %11.0f %11.0f", s->encode / 1e6, s->encode / sizeof(float) / 1e6,
               100 * s->encode_share, s->decode / 1e6, s->copy / 1e6);
    putchar('\n');
    fflush(stdout);
}

static bool set_speed(json_t *o, const struct lq_bench_speed *s)
{
    if (s->copy <= 0) return true;
    return json_object_set_new(o, "encode", json_real(s->encode)) == 0 &&
           json_object_set_new(o, "decode", json_real(s->decode)) == 0 &&
           json_object_set_new(o, "copy", json_real(s->copy)) == 0 &&
           json_object_set_new(o, "encode_share", json_real(s->encode_share)) == 0;
}

json_t *cli_bench_type_to_json(const struct cli_bench_result *r)
{
    double ratio;
    bool known = ratio_of(&r->error, &ratio);
    json_t *o = json_pack("{s:s,s:f,s:I,s:o,s:o,s:o}", "type", lq_format_name(r->type), "bpw", bits_per_weight(r->type),
                          "weights", (json_int_t)r->weights, "relative_error",
                          cli_json_number(relative(r->error.ours, &r->error)), "ggml_relative_error",
                          cli_json_number(relative(r->error.ggml, &r->error)), "error_ratio",
                          known ? json_real(ratio) : json_null());
    if (o != NULL && set_speed(o, &r->speed)) return o;
    json_decref(o);
    return NULL;
}

json_t *cli_bench_to_json(const struct cli_bench_job *job, const struct cli_bench_rows *rows, json_t *types)
{
    json_t *o =
        json_pack("{s:s,s:s,s:s,s:o,s:b,s:s,s:i,s:o}", "command", "bench", "version", lq_version(), "kernels",
                  lq_bench_kernels(), "rows", cli_json_text(job->rows), "importance", (int)job->importance, "effort",
                  lq_effort_name((enum lq_effort)job->effort), "threads", (int)job->threads, "types", types);
    if (o == NULL || rows->model || json_object_set_new(o, "columns", json_integer(job->columns)) == 0) return o;
    json_decref(o);
    return NULL;
}
