#include "calibrate_print.h"

#include <math.h>

#include "json.h"
#include "text.h"

static const char *const kinds[] = {"picture", "after picture", "text"};

static void put_time(FILE *out, double seconds)
{
    unsigned long s = (unsigned long)ceil(seconds);
    if (s < 3600) fprintf(out, "%lu:%02lu minutes", s / 60, s % 60);
    else fprintf(out, "%lu:%02lu hours", s / 3600, s / 60 % 60);
}

static void put_tokens(FILE *out, const struct lq_calibration_plan *p)
{
    fputs("tokens   ", out);
    for (int k = 0; k < 3; k++)
        fprintf(out, "%s %llu %s, each counting %.3g", k == 0 ? "" : ";", (unsigned long long)p->tokens[k], kinds[k],
                p->weights[k]);
    putc('\n', out);
}

static void put_memory(FILE *out, const struct lq_calibration_plan *p)
{
    fprintf(out, "memory    %s beside the model: %s of sums", cli_size(p->memory_bytes).s, cli_size(p->sums_bytes).s);
    if (p->hessian_bytes > 0) fprintf(out, ", second moments %s in all", cli_size(p->hessian_bytes).s);
    fprintf(out, "\ndisk      %s for the file", cli_size(p->file_bytes).s);
    if (p->disk_bytes > 0) fprintf(out, ", %s for what does not fit into memory", cli_size(p->disk_bytes).s);
    putc('\n', out);
}

static void put_passes(FILE *out, const struct lq_calibration_plan *p)
{
    fprintf(out, "passes    %u over the data, second moments summed up %s\n", p->passes,
            p->spilled ? "on disk" : "in memory");
    if (p->disk_bytes > 0)
        fprintf(out, "          (one pass in memory takes --memory %lluM)\n",
                (unsigned long long)p->whole_bytes / 1000000 + 1);
}

static void put_rates(FILE *out, const struct lq_calibration_plan *p)
{
    fputs("time      about ", out);
    put_time(out, p->seconds);
    fprintf(out, " with %u thread%s: %.3g ms a token, %.3g ms a picture", p->threads, p->threads == 1 ? "" : "s",
            p->token_seconds * 1e3, p->picture_seconds * 1e3);
    if (p->flops > 0) fprintf(out, ", second moments at %.3g GFLOPS", p->flops / 1e9);
    if (p->disk_rate > 0) fprintf(out, ", disk %.0f MB/s", p->disk_rate / 1e6);
    putc('\n', out);
}

void cli_calibrate_print(FILE *out, const struct lq_calibration_plan *p)
{
    fprintf(out, "data      %llu records", (unsigned long long)p->records);
    if (p->windows > 0) fprintf(out, ", %llu text windows", (unsigned long long)p->windows);
    if (p->broken > 0) fprintf(out, "; %llu records left out", (unsigned long long)p->broken);
    if (p->done > 0) fprintf(out, "; %llu done already", (unsigned long long)p->done);
    putc('\n', out);
    put_tokens(out, p);
    fprintf(out, "inputs    %llu, of %llu matrices\n", (unsigned long long)p->inputs, (unsigned long long)p->matrices);
    put_memory(out, p);
    if (p->hessian_bytes > 0) put_passes(out, p);
    put_rates(out, p);
}

static json_t *by_kind_to_json(const double values[3], bool whole)
{
    static const char *const names[] = {"picture", "after_picture", "text"};
    json_t *o = json_object();
    for (int k = 0; k < 3 && o != NULL; k++) {
        json_t *value = whole ? json_integer((json_int_t)values[k]) : json_real(values[k]);
        if (json_object_set_new(o, names[k], value) == 0) continue;
        json_decref(o);
        o = NULL;
    }
    return o;
}

enum lq_status cli_calibrate_json(const struct lq_calibration_plan *p, const char *output, bool finished,
                                  struct lq_error *err)
{
    double tokens[3];
    for (int k = 0; k < 3; k++) tokens[k] = (double)p->tokens[k];
    json_t *bytes = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "sums", (json_int_t)p->sums_bytes, "second_moments",
                              (json_int_t)p->hessian_bytes, "file", (json_int_t)p->file_bytes, "memory",
                              (json_int_t)p->memory_bytes, "disk", (json_int_t)p->disk_bytes, "one_pass",
                              (json_int_t)p->whole_bytes);
    json_t *measured = json_pack("{s:f,s:f,s:f,s:f}", "token_seconds", p->token_seconds, "picture_seconds",
                                 p->picture_seconds, "flops", p->flops, "disk_bytes_per_second", p->disk_rate);
    json_t *object = json_pack(
        "{s:s,s:s,s:o,s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o,s:o,s:i,s:b,s:f,s:i,s:o}", "command", "calibrate", "version",
        lq_version(), "output", output == NULL ? json_null() : cli_json_text(output), "finished", finished, "records",
        (json_int_t)p->records, "windows", (json_int_t)p->windows, "broken", (json_int_t)p->broken, "resumed",
        (json_int_t)p->done, "inputs", (json_int_t)p->inputs, "matrices", (json_int_t)p->matrices, "tokens",
        by_kind_to_json(tokens, true), "weights", by_kind_to_json(p->weights, false), "bytes", bytes, "passes",
        (int)p->passes, "on_disk", p->spilled, "seconds", p->seconds, "threads", (int)p->threads, "measured", measured);
    return cli_json_put(object, err);
}
