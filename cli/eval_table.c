/* The figures of an evaluation as text: the verdict, a table for each question that people ask, what to do next. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "eval_job.h"
#include "text.h"

enum { LABEL = 30, COLUMN = 16 };

/* ---- cells ---- */

static struct cli_text LQ_PRINTF(1, 2) text_of(const char *fmt, ...)
{
    struct cli_text text;
    va_list args;
    va_start(args, fmt);
    vsnprintf(text.s, sizeof text.s, fmt, args);
    va_end(args);
    return text;
}

static struct cli_text number(double x, const char *fmt)
{
    struct cli_text text = {"not measured"};
    if (isnan(x)) return text;
    snprintf(text.s, sizeof text.s, fmt, x); /* NOLINT(clang-diagnostic-format-nonliteral) */
    return text;
}

static struct cli_text percent(double share)
{
    return number(fabs(share) < 0.00005 ? 0 : share * 100, "%.2f %%");
}

/* "0.0011 .. 0.0013", or nothing where too little was measured for it. */
static struct cli_text interval(struct lq_estimate e, double scale, const char *unit)
{
    if (isnan(e.low) || isnan(e.high)) return text_of("%s", "");
    return text_of("%.4g .. %.4g%s", e.low * scale, e.high * scale, unit);
}

static void put_title(const char *title, const char *of)
{
    printf("\n%s%s%s\n", title, *of == '\0' ? "" : ": ", of);
}

static void put_row(const char *label, const char *first, const char *second)
{
    int used = printf("  %-*s %*s", LABEL, label, COLUMN, first);
    if (*second != '\0') printf("%*s  %s", used < LABEL + COLUMN + 3 ? LABEL + COLUMN + 3 - used : 0, "", second);
    putchar('\n');
}

/* ---- one place where tokens were compared ---- */

static void put_percentiles(const struct lq_divergence *d)
{
    const struct {
        const char *label;
        double value;
    } rows[] = {{"  median", d->kl_median},
                {"  90 %", d->kl_p90},
                {"  99 %", d->kl_p99},
                {"  99.9 %", d->kl_p999},
                {"  largest", d->kl_max}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) put_row(rows[i].label, number(rows[i].value, "%.4g").s, "");
}

static void put_probability(const struct lq_divergence *d)
{
    put_row("change of right token's p", percent(d->dp.value).s, interval(d->dp, 100, " %").s);
    put_row("  root mean square", percent(d->dp_rms).s, "");
    for (int i = 0; i < LQ_DP_PERCENTILES; i++)
        put_row(text_of("  %g %%", lq_dp_percentiles[i]).s, percent(d->dp_at[i]).s, "");
}

static void put_divergence(const char *title, const char *of, const struct lq_divergence *d, bool has_original)
{
    put_title(title, d->tokens == 0 ? "not measured" : of);
    if (d->tokens == 0) return;
    if (has_original) {
        put_row("KL divergence, mean, nats", number(d->kl.value, "%.4g").s, interval(d->kl, 1, "").s);
        put_percentiles(d);
        put_row("same likeliest token", percent(d->agreement.value).s, interval(d->agreement, 100, " %").s);
        put_probability(d);
        put_row("perplexity of the original", number(d->perplexity_original, "%.5g").s, "");
    }
    put_row("perplexity", number(d->perplexity.value, "%.5g").s, interval(d->perplexity, 1, "").s);
    if (has_original)
        put_row("  to the original's", number(d->perplexity_ratio.value, "%.4f").s,
                interval(d->perplexity_ratio, 1, "").s);
}

/* ---- answers ---- */

static void put_answers(const struct lq_answers *a, bool has_original)
{
    put_title("Greedy answers", a->questions == 0 ? "not measured" : text_of("%" PRIu64 " questions", a->questions).s);
    if (a->questions == 0) return;
    if (has_original) {
        put_row("right, the original", percent(a->exact_original.value).s, interval(a->exact_original, 100, " %").s);
        put_row("right", percent(a->exact.value).s, interval(a->exact, 100, " %").s);
        put_row("VQA accuracy, the original", percent(a->vqa_original.value).s, interval(a->vqa_original, 100, " %").s);
        put_row("VQA accuracy", percent(a->vqa.value).s, interval(a->vqa, 100, " %").s);
        put_row("changed", text_of("%" PRIu64, a->changed).s, "");
        put_row("  right became wrong", text_of("%" PRIu64, a->lost).s, "");
        put_row("  wrong became right", text_of("%" PRIu64, a->gained).s,
                text_of("by chance with p = %.3g (McNemar)", a->p).s);
        return;
    }
    put_row("right", percent(a->exact.value).s, interval(a->exact, 100, " %").s);
    put_row("VQA accuracy", percent(a->vqa.value).s, interval(a->vqa, 100, " %").s);
}

/* ---- tables of several columns ---- */

static void put_cells(const char *label, const char *const *cells, size_t n)
{
    printf("  %-*s", LABEL, label);
    for (size_t i = 0; i < n; i++) printf(" %*s", COLUMN, cells[i]);
    putchar('\n');
}

static void put_arms(const struct lq_evaluation *e)
{
    static const char *const labels[LQ_ARMS] = {"both halves", "language half alone", "vision half alone"};
    if (!e->arm[LQ_ARM_LANGUAGE].measured && !e->arm[LQ_ARM_VISION].measured) return;
    put_title("Which half does the damage", "one half of the pair, the other of the original");
    put_cells("", (const char *const[]){"KL, answers", "same token", "right", "KL, text"}, 4);
    for (int a = 0; a < LQ_ARMS; a++) {
        const struct lq_arm_result *arm = &e->arm[a];
        if (!arm->measured) continue;
        put_cells(labels[a],
                  (const char *const[]){number(arm->answer.kl.value, "%.4g").s, percent(arm->answer.agreement.value).s,
                                        percent(arm->answers.exact.value).s,
                                        a == LQ_ARM_VISION ? "-" : number(arm->text.kl.value, "%.4g").s},
                  4);
    }
}

static void put_kinds(const struct lq_evaluation *e)
{
    if (e->n_kinds == 0) return;
    bool original = e->original_name != NULL;
    put_title("By kind of question", "");
    put_cells("", (const char *const[]){"questions", "right", "the original", "KL"}, original ? 4 : 2);
    for (size_t i = 0; i < e->n_kinds; i++) {
        const struct lq_kind_result *k = &e->kinds[i];
        struct cli_text label;
        snprintf(label.s, sizeof label.s, "%.*s", LABEL, k->kind);
        put_cells(label.s,
                  (const char *const[]){text_of("%" PRIu64, k->answers.questions).s, percent(k->answers.exact.value).s,
                                        percent(k->answers.exact_original.value).s,
                                        number(k->answer.kl.value, "%.4g").s},
                  original ? 4 : 2);
    }
}

static void put_embedding(const struct lq_embedding *m)
{
    if (m->pictures == 0) return;
    put_title("Projector output", text_of("%" PRIu64 " pictures", m->pictures).s);
    put_cells("", (const char *const[]){"worst", "worst 1 %", "mean"}, 3);
    put_cells("cosine",
              (const char *const[]){number(m->cosine_min, "%.6f").s, number(m->cosine_p1, "%.6f").s,
                                    number(m->cosine_mean, "%.6f").s},
              3);
    put_cells("relative error",
              (const char *const[]){percent(m->error_max).s, percent(m->error_p99).s, percent(m->error_mean).s}, 3);
}

static void put_half(const char *label, const struct lq_half_facts *original, const struct lq_half_facts *pair)
{
    struct cli_text before = text_of("%s", "-"), after = cli_size(pair->bytes);
    if (original->path != NULL) before = cli_size(original->bytes);
    put_cells(label,
              (const char *const[]){before.s, original->path == NULL ? "-" : number(original->bpw, "%.2f bpw").s,
                                    after.s, number(pair->bpw, "%.2f bpw").s},
              4);
}

static void put_costs(const struct lq_evaluation *e)
{
    const struct lq_speed *original = &e->speed_original, *pair = &e->speed;
    bool has = e->original_name != NULL;
    put_title("Size and speed", text_of("%u thread%s", e->provenance.threads, e->provenance.threads == 1 ? "" : "s").s);
    put_cells("", (const char *const[]){"the original", "", "the pair", ""}, 4);
    put_half("vision half", &e->original[LQ_VISION], &e->pair[LQ_VISION]);
    put_half("language half", &e->original[LQ_LANGUAGE], &e->pair[LQ_LANGUAGE]);
    put_cells("tokens in a second",
              (const char *const[]){has ? number(original->tokens_per_second, "%.1f").s : "-", "",
                                    number(pair->tokens_per_second, "%.1f").s},
              3);
    put_cells("pictures in a second",
              (const char *const[]){has ? number(original->pictures_per_second, "%.2f").s : "-", "",
                                    number(pair->pictures_per_second, "%.2f").s},
              3);
    put_cells("memory", (const char *const[]){has ? cli_size(original->memory).s : "-", "", cli_size(pair->memory).s},
              3);
    printf("\n%.1f seconds, at most %s of memory.\n", e->provenance.seconds, cli_size(e->provenance.peak_memory).s);
}

/* ---- the whole ---- */

static void put_head(const struct lq_evaluation *e, const char *verdict)
{
    cli_put_clean(stdout, verdict);
    fputs(".\n\n", stdout);
    printf("%-*s ", LABEL + 2, "Intervals are 95 %.");
    cli_put_clean(stdout, e->name);
    if (e->original_name != NULL) fputs(" against ", stdout), cli_put_clean(stdout, e->original_name);
    putchar('\n');
    if (e->provenance.broken > 0) printf("%" PRIu64 " broken records were left out.\n", e->provenance.broken);
}

static void put_next(const char *output, const char *report)
{
    if (report != NULL) {
        fputs("\nThe report: ", stdout);
        cli_put_clean(stdout, report);
        putchar('\n');
        return;
    }
    fputs("\nA page to look at and to send on, with pictures of the answers that changed:\n", stdout);
    if (output == NULL) {
        fputs("  the same command with --report report.html\n", stdout);
        return;
    }
    fputs("  llava-quantize report ", stdout);
    cli_put_shell_word(stdout, output);
    fputs(" -o report.html\n", stdout);
}

enum lq_status cli_eval_table(const struct lq_evaluation *e, const char *output, const char *report,
                              struct lq_error *err)
{
    char *verdict = NULL;
    enum lq_status status = lq_evaluation_verdict(&verdict, e, err);
    if (status != LQ_OK) return status;
    const struct lq_arm_result *both = &e->arm[LQ_ARM_BOTH];
    bool original = e->original_name != NULL;
    put_head(e, verdict);
    put_divergence(
        "After pictures",
        text_of("%" PRIu64 " answer tokens, %" PRIu64 " pictures", both->answer.tokens, e->provenance.pictures).s,
        &both->answer, original);
    put_divergence("On text",
                   text_of("%" PRIu64 " tokens, %" PRIu64 " windows", both->text.tokens, e->provenance.text_windows).s,
                   &both->text, original);
    put_answers(&both->answers, original);
    put_arms(e);
    put_kinds(e);
    put_embedding(&e->embedding);
    put_costs(e);
    put_next(output, report);
    free(verdict);
    return LQ_OK;
}
