/* The table at the end of a run: halves and roles, then the files and the commands to try next. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "report.h"
#include "summary.h"
#include "text.h"

static void put_row(const char *name, const char *types, const struct cli_sum *sum)
{
    printf("%-24s %7zu  %-12s %10s %10s %6.2f %10s\n", name, sum->tensors, types, cli_size(sum->before).s,
           cli_size(sum->after).s, cli_sum_bpw(sum), cli_percent(cli_relative_error(sum->error_sq, sum->weight_sq)).s);
}

static void put_half(const struct cli_summary *s, int half)
{
    for (int role = 0; role < LQ_ROLES; role++) {
        const struct cli_sum *sum = &s->role[half][role];
        char name[64];
        snprintf(name, sizeof name, "  %s", lq_role_name((enum lq_role)role));
        if (sum->tensors > 0) put_row(name, cli_type_names(sum->types).s, sum);
    }
}

static void put_table(const struct cli_summary *s)
{
    printf("%-24s %7s  %-12s %10s %10s %6s %10s\n", "role", "tensors", "type", "before", "after", "bpw", "error");
    for (int h = 0; h < LQ_HALVES; h++) {
        if (s->half[h].tensors == 0) continue;
        put_row(cli_half_name(h), "", &s->half[h]);
        put_half(s, h);
    }
    put_row("total", "", &s->total);
}

static void put_tensors(const struct cli_report *r)
{
    printf("\n%-40s %10s %10s %8s %10s\n", "error feedback", "output", "without", "lower by", "rows kept");
    for (size_t i = 0; i < r->plan->n_entries; i++) {
        const struct lq_quantize_outcome *x = &r->result->outcome[i];
        char name[64];
        if (x->fed == 0) continue;
        snprintf(name, sizeof name, "  %s", r->plan->entries[i].tensor->name);
        printf("%-40s %10.3g %10.3g %6.1f %% %10" PRIu64 "\n", name, x->written, x->plain,
               100 * cli_feedback_lowered(x), x->kept);
    }
}

static void put_feedback(const struct cli_report *r)
{
    struct cli_feedback f = cli_feedback_sum(r->result);
    if (f.tensors == 0) return;
    if (r->verbose) put_tensors(r);
    printf("\nerror feedback lowered the output error by %.0f %% on %zu tensors\n", 100 * f.lowered, f.tensors);
}

void cli_report_files(const struct cli_report *r, const char *title)
{
    printf("\n%s:\n", title);
    for (int h = LQ_HALVES - 1; h >= 0; h--) {
        for (size_t i = 0; i < r->n_files; i++) {
            if (r->files[i].half != (enum lq_half)h) continue;
            printf("  %10s  ", cli_size(r->files[i].bytes).s);
            cli_put_clean(stdout, r->files[i].path);
            putc('\n', stdout);
        }
    }
}

/* What PAIR is in `llava-quantize ask PAIR ...`: the folder, or the language file. */
static const char *pair_name(const struct cli_report *r)
{
    size_t length = strlen(r->output);
    bool file = length > 5 && strcmp(r->output + length - 5, ".gguf") == 0;
    return file ? r->result->path[LQ_LANGUAGE] : r->output;
}

/* llama-mtmd-cli refuses a model without a chat template unless one is named; LLaVA-1.5 was trained with Vicuna's. */
static void put_next_commands(const struct cli_report *r)
{
    const char *const *path = r->result->path;
    if (path[LQ_VISION] == NULL || path[LQ_LANGUAGE] == NULL) return;
    fputs("\nTry it:\n  llava-quantize ask ", stdout);
    cli_put_shell_word(stdout, pair_name(r));
    fputs(" IMAGE \"QUESTION\"\n  llama-mtmd-cli -m ", stdout);
    cli_put_shell_word(stdout, path[LQ_LANGUAGE]);
    fputs(" --mmproj ", stdout);
    cli_put_shell_word(stdout, path[LQ_VISION]);
    fputs(lq_model_has_key(r->model->half[LQ_LANGUAGE], "tokenizer.chat_template") ? "" : " --chat-template vicuna",
          stdout);
    fputs(" --image IMAGE -p \"QUESTION\"\n", stdout);
}

enum lq_status cli_report_table(const struct cli_report *report, struct lq_error *err)
{
    struct cli_summary *s = cli_summary_new(report->plan, report->result);
    if (s == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "out of memory");
    put_table(s);
    put_feedback(report);
    cli_report_files(report, "Written");
    put_next_commands(report);
    free(s);
    return LQ_OK;
}
