#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "summary.h"
#include "text.h"
#include "verify_report.h"
#include "verify_sums.h"

static void put_checks(const struct lq_verification *v)
{
    static const char *const states[] = {"skipped", "ok", "FAILED"};
    for (int c = 0; c < LQ_CHECKS; c++) {
        const struct lq_check_result *r = &v->check[c];
        if (r->state == LQ_CHECK_SKIPPED && r->note[0] == '\0') continue;
        printf(r->note[0] == '\0' ? "%-10s %s" : "%-10s %-7s  ", lq_check_name((enum lq_check)c), states[r->state]);
        cli_put_clean(stdout, r->note);
        putchar('\n');
    }
}

static struct cli_text worst_text(double worst)
{
    struct cli_text text = {"infinite"};
    return isinf(worst) ? text : cli_percent(worst);
}

static void put_place(const struct lq_tensor *t, const struct lq_verify_tensor *v)
{
    printf("  %s row %llu column %llu", t->name, (unsigned long long)v->worst_row, (unsigned long long)v->worst_column);
}

static void put_row(const char *name, const char *types, const struct cli_verify_sum *sum)
{
    printf("%-24s %7zu  %-12s %10s %11s", name, sum->tensors, types,
           cli_percent(cli_relative_error(sum->error_sq, sum->weight_sq)).s,
           worst_text(sum->worst == NULL ? 0 : sum->worst_seen->worst).s);
    if (sum->worst != NULL) put_place(sum->worst, sum->worst_seen);
    putchar('\n');
}

static void put_half(const struct cli_verify_sums *s, int half)
{
    for (int role = 0; role < LQ_ROLES; role++) {
        const struct cli_verify_sum *sum = &s->role[half][role];
        char name[64];
        snprintf(name, sizeof name, "  %s", lq_role_name((enum lq_role)role));
        if (sum->tensors > 0) put_row(name, cli_type_names(sum->types).s, sum);
    }
}

static void put_roles(const struct cli_verify_sums *s)
{
    printf("\n%-24s %7s  %-12s %10s %11s  %s\n", "role", "tensors", "type", "error", "worst block", "where");
    for (int h = 0; h < LQ_HALVES; h++) {
        if (s->half[h].tensors == 0) continue;
        put_row(cli_half_name(h), "", &s->half[h]);
        put_half(s, h);
    }
    put_row("total", "", &s->total);
}

static void put_tensor(const struct lq_tensor *t, const struct lq_verify_tensor *v, int width)
{
    printf("%-*s  %4s -> %-7s %10s %11s", width, t->name, lq_format_name(v->original->type), lq_format_name(t->type),
           cli_percent(cli_relative_error(v->error_sq, v->weight_sq)).s, worst_text(v->worst).s);
    if (v->worst > 0)
        printf("  row %llu column %llu", (unsigned long long)v->worst_row, (unsigned long long)v->worst_column);
    putchar('\n');
}

static void put_tensors(const struct lq_verification *v)
{
    int width = 6;
    for (int h = 0; h < LQ_HALVES; h++)
        for (size_t i = 0; v->model->half[h] != NULL && i < v->model->half[h]->n_tensors; i++) {
            int length = (int)strlen(v->model->half[h]->tensors[i].name);
            if (length > width) width = length;
        }
    printf("\n%-*s  %15s %10s %11s  %s\n", width, "tensor", "type      ", "error", "worst block", "where");
    for (int h = 0; h < LQ_HALVES; h++)
        for (size_t i = 0; v->model->half[h] != NULL && i < v->model->half[h]->n_tensors; i++)
            if (v->tensors[h][i].original != NULL) put_tensor(&v->model->half[h]->tensors[i], &v->tensors[h][i], width);
}

static void put_keys(const struct lq_verification *v)
{
    static const char *const changes[] = {"added", "removed", "changed"};
    if (v->n_keys > 0) fputs("\nMetadata that differ from the original's:\n", stdout);
    for (size_t i = 0; i < v->n_keys; i++) {
        const struct lq_verify_key *k = &v->keys[i];
        printf("  %-8s  %-7s  ", cli_half_name(k->half), changes[k->change]);
        cli_put_clean(stdout, k->key);
        puts(k->expected ? "" : "  (no quantisation writes it)");
    }
}

void cli_verify_findings(const struct lq_verification *v)
{
    for (size_t i = 0; i < v->n_findings; i++) {
        printf("%s: ", lq_check_name(v->findings[i].check));
        cli_put_clean(stdout, v->findings[i].text);
        putchar('\n');
    }
}

enum lq_status cli_verify_table(const struct cli_verify_report *r, struct lq_error *err)
{
    struct cli_verify_sums *s = cli_verify_sums_new(r->seen);
    if (s == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "out of memory");
    put_checks(r->seen);
    if (r->against != NULL) put_roles(s);
    if (r->against != NULL && r->all) put_tensors(r->seen);
    if (r->all) put_keys(r->seen);
    if (r->seen->n_findings > 0) puts("\nFound:");
    cli_verify_findings(r->seen);
    free(s);
    return LQ_OK;
}
