/* The text of `inspect` for statistics: where they come from, what they cover, a row for each matrix, what looks wrong. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "command.h"
#include "inspect_stats.h"
#include "message.h"
#include "summary.h"
#include "text.h"

static const char *form_of(const struct lq_stats_inspection *seen)
{
    if (seen->ours) return "statistics of llava-quantize";
    return seen->legacy ? "importance matrix, the older binary form" : "importance matrix";
}

static void put_field(const char *name, const char *text)
{
    printf("%-14s ", name);
    cli_put_clean(stdout, text);
    putchar('\n');
}

static void put_datasets(const struct lq_stats_inspection *seen)
{
    if (seen->n_datasets == 0) return;
    printf("%-14s ", "data sets");
    for (size_t i = 0; i < seen->n_datasets; i++) {
        if (i > 0) fputs(", ", stdout);
        cli_put_clean(stdout, seen->datasets[i]);
    }
    putchar('\n');
}

static void put_progress(const struct lq_stats_inspection *seen)
{
    if (!seen->ours) {
        if (seen->chunks > 0) printf("%-14s %" PRIu64 "\n", "chunks", seen->chunks);
        return;
    }
    printf("%-14s %" PRIu64 " of %" PRIu64 " records and windows%s\n", "done", seen->done, seen->total,
           seen->done < seen->total ? ": not finished" : "");
    printf("%-14s %.4g of a picture, %.4g behind a picture, %.4g of text without one\n", "token weights",
           seen->weights[0], seen->weights[1], seen->weights[2]);
}

/* "28 matrices of the vision half, 57 of the language half". */
static void put_coverage(const struct lq_stats_inspection *seen)
{
    size_t covered[LQ_HALVES] = {0}, missing[LQ_HALVES] = {0};
    for (size_t i = 0; i < seen->n_matrices; i++)
        covered[seen->matrices[i].half] += seen->model == NULL || seen->matrices[i].tensor != NULL;
    for (size_t i = 0; i < seen->n_missing; i++) missing[seen->missing[i]->half]++;
    printf("%-14s ", "covered");
    for (int h = 0; h < LQ_HALVES; h++) {
        printf("%s%zu ", h > 0 ? ", " : "", covered[h]);
        if (seen->model != NULL) printf("of %zu ", covered[h] + missing[h]);
        printf("matrices of the %s half", cli_half_name(h));
    }
    putchar('\n');
}

static void put_head(const struct lq_stats_inspection *seen)
{
    put_field("statistics", lq_stats_path(seen->stats));
    put_field("form", form_of(seen));
    if (seen->pair[0] != '\0') put_field("pair id", seen->pair);
    put_datasets(seen);
    put_progress(seen);
    put_coverage(seen);
    if (seen->moment_bytes > 0)
        printf("%-14s %s%s\n", "second moments", cli_size(seen->moment_bytes).s,
               seen->uneven ? ", which do not count before the run is finished" : "");
    if (seen->measured[0] + seen->measured[1] > 0)
        printf("%-14s %zu errors of tensors in types, %zu divergences of answers\n", "by planning", seen->measured[0],
               seen->measured[1]);
}

/* ---- matrices ---- */

static int name_width(const struct lq_stats_inspection *seen)
{
    int width = 6;
    for (size_t i = 0; i < seen->n_matrices; i++) {
        int length = (int)strlen(seen->matrices[i].name);
        width = length > width ? length : width;
    }
    return width;
}

static void put_tokens(const struct lq_stats_inspection *seen, const struct lq_stats_matrix *m)
{
    if (m->tokens > 0) printf(" %10.0f", m->tokens);
    else printf(" %10s", seen->legacy ? "?" : "0");
    for (int k = 0; seen->ours && k < 3; k++) printf(" %9.0f", m->kind[k]);
}

/* "1415 (812x)", with "expert:" before it where there are several. */
static void put_worst(const struct lq_stats_matrix *m)
{
    for (size_t i = 0; i < m->n_worst; i++) {
        fputs(i > 0 ? ", " : "  ", stdout);
        if (m->experts > 1) printf("%" PRIu64 ":", m->worst[i].expert);
        printf("%" PRIu64 " (%.0fx)", m->worst[i].column, m->worst[i].ratio);
    }
}

static void put_matrix(const struct lq_stats_inspection *seen, const struct lq_stats_matrix *m, int width)
{
    char columns[64];
    if (m->experts > 1) snprintf(columns, sizeof columns, "%" PRIu64 " x %" PRIu64, m->columns, m->experts);
    else snprintf(columns, sizeof columns, "%" PRIu64, m->columns);
    printf("%-*s %10s", width, m->name, columns);
    put_tokens(seen, m);
    printf(" %6" PRIu64 " %8" PRIu64 " %10.4g", m->dead, m->outliers, m->ratio);
    if (seen->moment_bytes > 0) printf(" %10s", m->moment_bytes > 0 ? cli_size(m->moment_bytes).s : "-");
    put_worst(m);
    putchar('\n');
}

/* Names of tensors in them have been checked by the reader: no control characters. */
static void put_matrices(const struct lq_stats_inspection *seen)
{
    int width = name_width(seen);
    printf("\n%-*s %10s %10s", width, "matrix", "columns", "tokens");
    if (seen->ours) printf(" %9s %9s %9s", "picture", "after", "text");
    printf(" %6s %8s %10s", "dead", "outliers", "largest");
    if (seen->moment_bytes > 0) printf(" %10s", "moments");
    puts("  worst outliers");
    for (size_t i = 0; i < seen->n_matrices; i++) put_matrix(seen, &seen->matrices[i], width);
    puts("\ndead: columns that met nothing but zeros; largest: the largest column's mean square over the median; "
         "outliers:\n"
         "columns far above the median, the worst with their numbers and how many times it they are.");
}

/* ---- what looks wrong ---- */

/* How many matrices a count is above zero in, and the first of them. */
struct tally {
    uint64_t all;
    size_t matrices;
    const char *first;
};

static void count(struct tally *t, uint64_t n, const char *name)
{
    if (n == 0) return;
    if (t->matrices++ == 0) t->first = name;
    t->all += n;
}

static void put_finding(const char *id, const char *text, const char *remedy)
{
    cli_usage_row(stdout, id, text);
    cli_usage_row(stdout, "  what to do", remedy);
}

static void put_tally(const char *id, const struct tally *t, const char *what, const char *remedy)
{
    char text[512];
    if (t->matrices == 0) return;
    snprintf(text, sizeof text, "%s: %" PRIu64 " in %zu matri%s, %s%s", what, t->all, t->matrices,
             t->matrices == 1 ? "x" : "ces", t->matrices == 1 ? "" : "the first of them ", t->first);
    put_finding(id, text, remedy);
}

static void put_missing(const struct lq_stats_inspection *seen)
{
    char text[512];
    if (seen->n_missing == 0) return;
    snprintf(text, sizeof text, "%zu matri%s of the model without data, %s%s", seen->n_missing,
             seen->n_missing == 1 ? "x" : "ces", seen->n_missing == 1 ? "" : "the first of them ",
             seen->missing[0]->name);
    put_finding("no-data", text, "nothing: they are encoded plainly; 'llava-quantize calibrate' covers both halves");
}

static void put_findings(const struct lq_stats_inspection *seen)
{
    struct tally few = {0}, dead = {0};
    for (size_t i = 0; i < seen->n_matrices; i++) {
        count(&few, seen->matrices[i].few, seen->matrices[i].name);
        count(&dead, seen->matrices[i].dead, seen->matrices[i].name);
    }
    bool unfinished = seen->done < seen->total;
    puts(few.all + dead.all + seen->n_missing + unfinished == 0 ? "\nNothing looks wrong." : "\nWhat looks wrong:");
    if (unfinished)
        put_finding("not-finished", "the run that gathered them was interrupted",
                    "'llava-quantize calibrate' with the same options and --resume goes on");
    put_tally("too-few-tokens", &few, "inputs with fewer than 64 tokens",
              "calibrate with more data; until then their columns are drawn towards their mean");
    put_tally("dead-columns", &dead, "columns that met nothing but zeros",
              "nothing, where the data are what the model will meet: they count as little as one token");
    put_missing(seen);
}

void cli_stats_text(const struct lq_stats_inspection *seen)
{
    put_head(seen);
    put_matrices(seen);
    put_findings(seen);
}
