#include "planned_print.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "summary.h"
#include "text.h"

/* LLaVA-1.5-7B, for an estimate of what measuring it would take. */
static const struct {
    double language, vision; /* weights */
    double blocks[LQ_HALVES], picture_tokens, text_tokens;
} seven = {6.6e9, 3e8, {23, 32}, 576, 64};

static double share(double part, double whole)
{
    return whole > 0 ? 100 * part / whole : 0;
}

/* "q4_k*3 q8_0": types of one role, with their numbers of tensors where there are several. */
static void name_types(const struct lq_plan *plan, enum lq_half half, int role, char *dst, size_t size)
{
    size_t n[LQ_TYPE_COUNT] = {0}, used = 0, kinds = 0;
    for (size_t i = 0; i < plan->n_entries; i++)
        if (plan->entries[i].tensor->half == half && (int)plan->entries[i].tensor->role == role)
            n[plan->entries[i].type]++;
    for (int t = 0; t < LQ_TYPE_COUNT; t++) kinds += n[t] > 0;
    dst[0] = '\0';
    for (int t = 0; t < LQ_TYPE_COUNT && used < size; t++) {
        if (n[t] == 0) continue;
        used += (size_t)snprintf(dst + used, size - used, "%s%s", used > 0 ? " " : "", lq_format_name(t));
        if (kinds > 1 && used < size) used += (size_t)snprintf(dst + used, size - used, "*%zu", n[t]);
    }
}

static double divergence_of(const struct lq_plan *plan, int half, int role)
{
    double sum = 0;
    for (size_t i = 0; i < plan->n_entries; i++) {
        const struct lq_plan_entry *e = &plan->entries[i];
        bool counts = half < 0 || ((int)e->tensor->half == half && (int)e->tensor->role == role);
        if (counts && e->judged.known) sum += e->judged.divergence;
    }
    return sum;
}

static void put_row(const char *name, const struct cli_sum *sum, double part, const char *types)
{
    printf("%-26s %7zu %10s %10s %6.2f %7.1f %%  %s\n", name, sum->tensors, cli_size(sum->before).s,
           cli_size(sum->after).s, cli_sum_bpw(sum), part, types);
}

static enum lq_status put_table(const struct lq_plan *plan, struct lq_error *err)
{
    struct cli_summary *s = cli_summary_new(plan, NULL);
    if (s == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "out of memory");
    double whole = divergence_of(plan, -1, 0);
    printf("\n%-26s %7s %10s %10s %6s %9s  %s\n", "role", "tensors", "before", "after", "bpw", "lost by", "types");
    for (int h = 0; h < LQ_HALVES; h++)
        for (int role = 0; role < LQ_ROLES; role++) {
            const struct cli_sum *sum = &s->role[h][role];
            char types[256];
            if (sum->tensors == 0) continue;
            name_types(plan, (enum lq_half)h, role, types, sizeof types);
            put_row(lq_role_name((enum lq_role)role), sum, share(divergence_of(plan, h, role), whole), types);
        }
    put_row("total", &s->total, share(whole, whole), "");
    free(s);
    return LQ_OK;
}

static void put_divergence(const struct cli_planned *p)
{
    const struct lq_strategy_outcome *o = &p->outcome;
    if (isnan(o->measured)) {
        fputs("\nNothing was measured: all tensors count alike, by the errors of their outputs.\n", stdout);
        return;
    }
    printf("\nDivergence of the answers: %.3g estimated, %.3g measured, with a standard error of %.2g.\n", o->estimate,
           o->measured, o->error);
    if (o->neighbours > 0)
        printf("Neighbours: %u measured, %u types changed by them; before that %.3g was measured.\n", o->neighbours,
               o->swaps, o->first);
}

static void put_check(const struct lq_strategy_facts *f)
{
    if (f->checks == 0) return;
    printf("Extrapolation: divergence grows with the error to the power of %.3g; %zu groups at a second type gave "
           "%.2f of what that\npredicts (%.2f to %.2f).\n",
           f->power, f->checks, f->ratio, f->ratio_low, f->ratio_high);
}

/* From the rates measured here, by weights: a larger model makes better use of a processor. */
static double hours_for_seven(const struct lq_model *model, const struct lq_strategy_facts *f, double measurements)
{
    double weights[LQ_HALVES] = {0}, runs = (double)f->measurements;
    for (int h = 0; h < LQ_HALVES; h++)
        for (size_t i = 0; i < model->half[h]->n_tensors; i++)
            if (model->half[h]->tensors[i].quantisable)
                weights[h] += (double)model->half[h]->tensors[i].rows * (double)model->half[h]->tensors[i].ne[0];
    double token = f->token_seconds / (runs * (double)f->tokens) / weights[LQ_LANGUAGE];
    double sight = f->picture_seconds / (runs * (double)(f->pictures * f->picture_tokens)) / weights[LQ_VISION];
    double seen = seven.picture_tokens * (token * seven.language + sight * seven.vision);
    double asked = seven.text_tokens * token * seven.language;
    return measurements * ((double)f->pictures * seen + (double)f->questions * asked) / 3600;
}

static void put_cost(const struct cli_job *job, const struct lq_model *model, const struct lq_strategy_facts *f)
{
    if (f->measurements == 0) {
        printf("Took %.0f seconds, without running the model.\n", f->seconds);
        return;
    }
    bool single = job->effort == LQ_EFFORT_BEST;
    double groups = single ? 7 * seven.blocks[LQ_LANGUAGE] + 6 * seven.blocks[LQ_VISION] + 4
                           : 2 * (seven.blocks[LQ_LANGUAGE] + seven.blocks[LQ_VISION]) + 3 + 13;
    double measurements = groups + (double)f->measurements + (double)f->known - (double)f->groups;
    printf("Measuring: %zu tensors in %zu groups, %zu types in all; %" PRIu64
           " times %zu questions (%zu tokens, %zu of "
           "them answers)\nin %.0f seconds. ",
           f->tensors, f->groups, f->choices, f->measurements, f->questions, f->tokens, f->answer_tokens, f->seconds);
    printf("It grows with the %s, not with the types, whose errors come from a sample of rows.\n",
           single ? "tensors" : "blocks, two measurements each, and roles");
    printf(
        "LLaVA-1.5-7B would take %.0f measurements: %.0f hours at this model's rate for each weight and token; larger "
        "ones\nare several times as fast.\n",
        measurements, hours_for_seven(model, f, measurements));
}

static void put_curve(const struct cli_planned *p)
{
    if (p->n_curve == 0) return;
    printf("\n%12s %6s %10s %10s %10s\n", "bytes", "bpw", "estimate", "measured", "error");
    for (size_t i = 0; i < p->n_curve; i++) {
        const struct lq_curve_point *c = &p->curve[i];
        printf("%12" PRIu64 " %6.2f", c->bytes, c->bpw);
        if (isnan(c->measured)) printf(" %10s %10s %10s\n", "-", "-", "-");
        else printf(" %10.3g %10.3g %10.2g\n", c->estimate, c->measured, c->error);
    }
}

static void put_fit(const struct cli_target *target, const struct lq_footprint *f)
{
    printf("%s hold the files and, beside them, %s that llama.cpp takes for a context of %" PRIu32 " tokens:\n"
           "keys and values %s, ",
           cli_size(target->fit).s, cli_size(lq_footprint_total(f)).s, f->context, cli_size(f->memory).s);
    printf("computing %s in the language half, %s in the vision half, output %s.\n", cli_size(f->language).s,
           cli_size(f->vision).s, cli_size(f->output).s);
}

void cli_planned_put_line(const struct cli_planned *p, const struct lq_plan *plan)
{
    const struct lq_strategy_outcome *o = &p->outcome;
    printf("%s: %" PRIu64 " bytes, %.3f bits per weight", plan->recipe, o->bytes, o->bpw);
    if (!isnan(o->measured)) printf(", divergence %.3g measured (+- %.2g)", o->measured, o->error);
    putchar('\n');
}

/* Of the tensor of that name, or of all that have the role. */
static enum lq_status explain(const struct lq_plan *plan, const char *name, struct lq_error *err)
{
    bool found = false;
    for (size_t i = 0; i < plan->n_entries; i++) {
        const struct lq_tensor *t = plan->entries[i].tensor;
        char text[1024];
        if (strcmp(t->name, name) != 0 && strcmp(lq_role_name(t->role), name) != 0) continue;
        lq_plan_explain(plan, i, text, sizeof text);
        if (found) putchar('\n');
        cli_put_clean(stdout, text);
        found = true;
    }
    if (found) return LQ_OK;
    return lq_error_set(err, LQ_ERR_USAGE, "--explain %.128s: no tensor has such a name or role", name);
}

enum lq_status cli_planned_report(const struct cli_job *job, const struct lq_model *model, const struct lq_plan *plan,
                                  const struct cli_planned *planned, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    if (job->explain != NULL) return explain(plan, job->explain, err);
    if (job->json) return cli_planned_json(job, model, plan, planned, err);
    if (job->quiet) return LQ_OK;
    if (plan != NULL) {
        cli_planned_put_line(planned, plan);
        if (job->target.fit > 0) put_fit(&job->target, &planned->footprint);
        status = put_table(plan, err);
        put_divergence(planned);
    }
    put_check(&planned->facts);
    put_cost(job, model, &planned->facts);
    put_curve(planned);
    return status;
}
