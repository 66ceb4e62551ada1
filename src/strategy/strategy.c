#include "llava_quantize/strategy.h"

#include "strategy/fit.h"
#include "strategy/judged.h"
#include "strategy/reach.h"
#include "strategy/rehearsal.h"
#include "strategy/survey.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PICTURES = 96 };
/* Rows of a tensor by which its errors are judged. */
static const uint64_t sample_rows[] = {[LQ_EFFORT_NORMAL] = 64, [LQ_EFFORT_FAST] = 32, [LQ_EFFORT_BEST] = 256};

struct lq_matrix_terms lq_strategy_terms(const struct lq_strategy *s, const struct lq_tensor *tensor)
{
    return (struct lq_matrix_terms){.model = s->options.model,
                                    .tensor = tensor,
                                    .stats = s->options.stats,
                                    .method = s->options.method,
                                    .effort = s->options.effort,
                                    .rows = sample_rows[s->options.effort],
                                    .threads = s->options.threads,
                                    .hooks = s->options.hooks};
}

enum lq_status lq_strategy_step(struct lq_strategy *s, const char *what, uint64_t steps, struct lq_error *err)
{
    lq_meter_add(&s->meter, what, steps);
    return lq_meter_check(&s->meter, err);
}

static bool can_measure(const struct lq_strategy_options *o)
{
    return o->effort != LQ_EFFORT_FAST && o->data != NULL && o->language != NULL && o->mmproj != NULL;
}

/* As many records as so many pictures have: short ones come in greater numbers. */
static size_t records_for(const struct lq_dataset *data)
{
    size_t each = data->n_pictures > 0 ? (data->n_records + data->n_pictures - 1) / data->n_pictures : 1;
    return PICTURES * each;
}

static enum lq_status open_trial(struct lq_strategy *s, struct lq_error *err)
{
    const struct lq_strategy_options *o = &s->options;
    if (!can_measure(o) || s->trial != NULL) return LQ_OK;
    struct lq_trial_options trial = {
        .pair = {.language = o->language, .mmproj = o->mmproj, .threads = o->threads, .hooks = o->hooks},
        .data = o->data,
        .limit = o->effort == LQ_EFFORT_BEST ? 0 : records_for(o->data),
        .memory = o->memory};
    return lq_trial_open(&s->trial, &trial, err);
}

static uint64_t questions_of(const struct lq_strategy *s)
{
    return s->trial == NULL ? 0 : lq_trial_cost(s->trial).questions;
}

static void set_facts(struct lq_strategy *s, const struct lq_fit_bounds *bounds)
{
    struct lq_strategy_facts *f = &s->facts;
    f->smallest = bounds->smallest;
    f->original = bounds->original;
    f->groups = s->groups.n + s->roles.n;
    f->power = 1;
    for (size_t i = 0; i < s->menu.n; i++) {
        if (!s->menu.items[i].quantised) continue;
        f->tensors++;
        f->choices += s->menu.items[i].n;
    }
}

static enum lq_status open_search(struct lq_strategy *s, struct lq_error *err)
{
    struct lq_fit_bounds bounds;
    bool single = s->options.effort == LQ_EFFORT_BEST;
    enum lq_status status = lq_menu_open(&s->menu, &s->options, err);
    if (status == LQ_OK) status = lq_groups_build(&s->groups, &s->menu, single ? LQ_BY_TENSOR : LQ_BY_BLOCK, err);
    if (status == LQ_OK && !single) status = lq_groups_build(&s->roles, &s->menu, LQ_BY_ROLE, err);
    if (status == LQ_OK) status = lq_fit_bounds(&bounds, s, err);
    if (status == LQ_OK) set_facts(s, &bounds);
    return status;
}

enum lq_status lq_strategy_prepare(struct lq_strategy *s, uint64_t more, struct lq_error *err)
{
    if (can_measure(&s->options)) s->meter.total += more;
    if (s->surveyed) return LQ_OK;
    enum lq_status status = open_trial(s, err);
    if (status == LQ_OK && s->known == NULL)
        status = lq_known_open(&s->known, &s->options, sample_rows[s->options.effort], questions_of(s), err);
    if (status != LQ_OK) return status;
    s->meter.total += lq_survey_steps(s);
    status = lq_survey_run(s, err);
    if (status == LQ_OK && s->trial != NULL) status = lq_rehearsal_open(&s->rehearsal, s, err);
    s->surveyed = status == LQ_OK;
    return status;
}

enum lq_status lq_strategy_open(struct lq_strategy **out, const struct lq_strategy_options *options,
                                struct lq_error *err)
{
    struct lq_strategy *s = calloc(1, sizeof *s);
    if (s == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for a strategy", options->model->path);
    s->options = *options;
    lq_meter_init(&s->meter, options->hooks, 0);
    s->meter.counted = true;
    enum lq_status status = open_search(s, err);
    if (status == LQ_OK) *out = s;
    else lq_strategy_free(s);
    return status;
}

void lq_strategy_free(struct lq_strategy *s)
{
    if (s == NULL) return;
    lq_rehearsal_free(s->rehearsal);
    lq_trial_free(s->trial);
    lq_known_free(s->known);
    lq_groups_release(&s->groups);
    lq_groups_release(&s->roles);
    lq_menu_release(&s->menu);
    lq_meter_release(&s->meter);
    free(s);
}

struct lq_strategy_facts lq_strategy_facts(const struct lq_strategy *s)
{
    struct lq_strategy_facts f = s->facts;
    f.seconds = lq_meter_seconds(&s->meter);
    if (s->trial == NULL) return f;
    struct lq_trial_cost cost = lq_trial_cost(s->trial);
    f.questions = cost.questions;
    f.picture_tokens = cost.picture_tokens;
    f.pictures = cost.pictures;
    f.tokens = cost.tokens;
    f.answer_tokens = cost.answer_tokens;
    f.measurements = cost.measurements;
    f.picture_seconds = cost.picture_seconds;
    f.token_seconds = cost.token_seconds;
    return f;
}

void lq_goal_name(const struct lq_goal *goal, char *dst, size_t size)
{
    double bytes = (double)goal->bytes;
    if (goal->kld > 0) snprintf(dst, size, "auto-kld%.4g", goal->kld);
    else if (goal->bpw > 0) snprintf(dst, size, "auto-%.4gbpw", goal->bpw);
    else snprintf(dst, size, "auto-%.4g%s", bytes / (bytes >= 1e9 ? 1e9 : 1e6), bytes >= 1e9 ? "G" : "M");
}

/* A plan under way. */
struct planning {
    struct lq_strategy *strategy;
    const struct lq_goal *goal;
    char name[32];
    struct lq_size size;
    struct lq_pick pick;
    struct lq_measured measured;
    struct lq_strategy_outcome outcome;
};

static enum lq_status find_for_size(struct planning *p, struct lq_error *err)
{
    struct lq_strategy *s = p->strategy;
    struct lq_fit_bounds bounds;
    enum lq_status status = lq_fit_bounds(&bounds, s, err);
    if (status != LQ_OK) return status;
    p->size = (struct lq_size){.bytes = p->goal->bytes};
    if (p->goal->bpw > 0)
        p->size = (struct lq_size){.bytes = (uint64_t)(p->goal->bpw * (double)bounds.weights / 8), .data = true};
    status = lq_fit_check(s, &p->size, err);
    if (status == LQ_OK) status = lq_strategy_prepare(s, 1 + lq_repair_steps(s), err);
    if (status == LQ_OK) status = lq_fit(&p->pick, s, &p->size, p->name, err);
    if (status != LQ_OK || s->trial == NULL) return status;
    status = lq_repair_measure(&p->measured, s, &p->pick, &p->size, err);
    if (status != LQ_OK) return status;
    p->outcome.first = p->measured.divergence.mean;
    return lq_repair_run(s, &p->pick, &p->measured, &p->size, &p->outcome, err);
}

static enum lq_status find_for_divergence(struct planning *p, struct lq_error *err)
{
    struct lq_strategy *s = p->strategy;
    if (!can_measure(&s->options))
        return lq_error_set(err, LQ_ERR_USAGE,
                            "%s: a divergence is reached by measuring, which needs data and another effort than fast",
                            s->options.model->path);
    enum lq_status status = lq_strategy_prepare(s, lq_reach_steps(), err);
    if (status != LQ_OK) return status;
    status = lq_reach(&p->pick, &p->measured, &p->size, s, p->goal->kld, p->name, err);
    if (status == LQ_OK) p->outcome.first = p->measured.divergence.mean;
    return status;
}

double lq_strategy_estimate(const struct lq_strategy *s, const struct lq_pick *pick)
{
    double sum = 0;
    if (s->trial == NULL) return NAN;
    for (size_t i = 0; i < s->menu.n; i++) sum += lq_menu_cost(&s->menu, i, pick->offers[i]) / s->menu.items[i].factor;
    return sum;
}

static void set_outcome(struct planning *p)
{
    bool measured = p->strategy->trial != NULL;
    struct lq_strategy_outcome *o = &p->outcome;
    o->bytes = p->pick.bytes;
    o->bpw = p->pick.bpw;
    o->estimate = lq_strategy_estimate(p->strategy, &p->pick);
    o->bound = measured ? p->pick.bound : NAN;
    o->measured = measured ? p->measured.divergence.mean : NAN;
    o->error = measured ? p->measured.divergence.error : NAN;
    if (!measured) o->first = NAN;
}

void lq_strategy_forget(struct lq_strategy *s)
{
    for (size_t i = 0; i < s->menu.n; i++) s->menu.items[i].factor = 1;
}

static void set_quality(struct lq_plan *plan, const struct planning *p)
{
    struct lq_plan_quality *q = &plan->quality;
    *q = (struct lq_plan_quality){
        .estimate = p->outcome.estimate, .measured = p->outcome.measured, .error = p->outcome.error};
    snprintf(q->goal, sizeof q->goal, "%s", p->name);
    if (p->strategy->trial == NULL) return;
    const char *path = p->strategy->options.data->path, *slash = strrchr(path, '/');
    snprintf(q->data, sizeof q->data, "%.120s, %zu questions", slash == NULL ? path : slash + 1,
             (size_t)questions_of(p->strategy));
}

enum lq_status lq_strategy_plan(struct lq_strategy *s, const struct lq_goal *goal, struct lq_plan **out,
                                struct lq_strategy_outcome *outcome, struct lq_error *err)
{
    struct planning p = {.strategy = s, .goal = goal};
    struct lq_plan *plan = NULL;
    lq_goal_name(goal, p.name, sizeof p.name);
    lq_strategy_forget(s);
    enum lq_status status = goal->kld > 0 ? find_for_divergence(&p, err) : find_for_size(&p, err);
    if (status == LQ_OK) status = lq_pick_plan(&plan, s, &p.pick, err);
    if (status == LQ_OK) {
        lq_judged_set(plan, s, &p.pick);
        set_outcome(&p);
        set_quality(plan, &p);
        *out = plan;
        *outcome = p.outcome;
    }
    lq_pick_release(&p.pick);
    lq_measured_release(&p.measured);
    return status;
}
