#include "strategy/repair.h"

#include "strategy/rehearsal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_KINDS = 16 };
static const double largest_factor = 4;

/* How many neighbours are measured, by effort. */
static const unsigned neighbours[] = {[LQ_EFFORT_NORMAL] = 2, [LQ_EFFORT_FAST] = 0, [LQ_EFFORT_BEST] = 32};

struct kinds {
    const char *names[MOST_KINDS];
    size_t n;
};

static struct kinds kinds_of(const struct lq_strategy *s)
{
    struct kinds kinds = {.n = 0};
    for (size_t g = 0; g < s->groups.n; g++) {
        size_t k = 0;
        while (k < kinds.n && strcmp(kinds.names[k], s->groups.groups[g].kind) != 0) k++;
        if (k == kinds.n && k < MOST_KINDS) kinds.names[kinds.n++] = s->groups.groups[g].kind;
    }
    return kinds;
}

static void mark_kind(const struct lq_strategy *s, const char *kind, bool *marked)
{
    memset(marked, 0, s->menu.n * sizeof *marked);
    for (size_t g = 0; g < s->groups.n; g++)
        for (size_t m = 0; m < s->groups.groups[g].n; m++)
            if (strcmp(s->groups.groups[g].kind, kind) == 0) marked[s->groups.groups[g].members[m]] = true;
}

static void scale(struct lq_strategy *s, const bool *marked, double by)
{
    for (size_t i = 0; i < s->menu.n; i++)
        if (marked[i]) s->menu.items[i].factor *= by;
}

void lq_measured_release(struct lq_measured *measured)
{
    free(measured->by_question);
    *measured = (struct lq_measured){0};
}

static enum lq_status no_memory(struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "no memory for measuring a plan");
}

enum lq_status lq_repair_measure(struct lq_measured *out, struct lq_strategy *s, struct lq_pick *pick,
                                 const struct lq_size *size, struct lq_error *err)
{
    struct lq_measured measured = {.by_question = calloc(lq_trial_cost(s->trial).questions + 1, sizeof(double))};
    enum lq_status status = measured.by_question == NULL ? no_memory(err) : LQ_ERR_UNSUPPORTED;
    while (status == LQ_ERR_UNSUPPORTED) {
        status = lq_strategy_step(s, "the whole plan", 1, err);
        if (status == LQ_OK)
            status =
                lq_rehearsal_measure(s->rehearsal, pick->offers, NULL, &measured.divergence, measured.by_question, err);
        if (status != LQ_ERR_UNSUPPORTED) break;
        struct lq_pick other = {0};
        enum lq_status fitted = lq_fit(&other, s, size, pick->name, err);
        if (fitted != LQ_OK) {
            status = fitted;
            break;
        }
        lq_pick_release(pick);
        *pick = other;
    }
    if (status == LQ_OK) *out = measured;
    else lq_measured_release(&measured);
    return status;
}

/* Whether the second is lower by more than chance between the same questions would have it. */
static bool is_lower(const struct lq_strategy *s, const struct lq_measured *than, const struct lq_measured *measured)
{
    size_t n = lq_trial_cost(s->trial).questions;
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        double less = than->by_question[i] - measured->by_question[i];
        sum += less;
        squares += less * less;
    }
    return sum > 0 && sum * sum >= squares; /* the sum above its standard error, about */
}

/* Takes the pick that the factors now give where it measures lower. */
static enum lq_status try_factors(struct lq_strategy *s, struct lq_pick *pick, struct lq_measured *measured,
                                  const struct lq_size *size, struct lq_strategy_outcome *outcome, bool *taken,
                                  struct lq_error *err)
{
    struct lq_pick other = {0};
    struct lq_measured found = {0};
    *taken = false;
    enum lq_status status = lq_fit(&other, s, size, pick->name, err);
    if (status != LQ_OK || memcmp(other.offers, pick->offers, s->menu.n * sizeof *other.offers) == 0) goto done;
    status = lq_repair_measure(&found, s, &other, size, err);
    if (status != LQ_OK) goto done;
    outcome->neighbours++;
    *taken = is_lower(s, measured, &found);
    if (!*taken) goto done;
    for (size_t i = 0; i < s->menu.n; i++) outcome->swaps += other.offers[i] != pick->offers[i];
    struct lq_pick old_pick = *pick;
    struct lq_measured old = *measured;
    *pick = other;
    *measured = found;
    other = old_pick;
    found = old;
done:
    lq_pick_release(&other);
    lq_measured_release(&found);
    return status;
}

/* What one kind costs within the plan corrects its factor. */
static enum lq_status correct_kind(struct lq_strategy *s, const struct lq_pick *pick, double whole, const char *kind,
                                   bool *marked, struct lq_error *err)
{
    struct lq_trial_divergence rest;
    double cost = 0;
    mark_kind(s, kind, marked);
    for (size_t i = 0; i < s->menu.n; i++)
        if (marked[i]) cost += lq_menu_cost(&s->menu, i, pick->offers[i]);
    enum lq_status status = lq_strategy_step(s, kind, 1, err);
    if (status != LQ_OK || cost <= 0) return status;
    status = lq_rehearsal_measure(s->rehearsal, pick->offers, marked, &rest, NULL, err);
    if (status == LQ_OK) scale(s, marked, fmin(fmax((whole - rest.mean) / cost, 1 / largest_factor), largest_factor));
    return status;
}

static enum lq_status correct(struct lq_strategy *s, const struct lq_pick *pick, const struct lq_measured *measured,
                              const struct kinds *kinds, bool *marked, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t k = 0; k < kinds->n && status == LQ_OK; k++)
        status = correct_kind(s, pick, measured->divergence.mean, kinds->names[k], marked, err);
    return status;
}

/* One kind after another counts twice, or half: what helps is kept. */
static enum lq_status walk(struct lq_strategy *s, struct lq_pick *pick, struct lq_measured *measured,
                           const struct lq_size *size, const struct kinds *kinds, bool *marked,
                           struct lq_strategy_outcome *outcome, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    bool moved = true;
    while (moved && status == LQ_OK && kinds->n > 0) {
        moved = false;
        for (size_t step = 0; step < 2 * kinds->n && status == LQ_OK; step++) {
            if (outcome->neighbours >= neighbours[s->options.effort]) return LQ_OK;
            double by = step % 2 == 0 ? 2 : 0.5;
            bool taken;
            mark_kind(s, kinds->names[step / 2], marked);
            scale(s, marked, by);
            status = try_factors(s, pick, measured, size, outcome, &taken, err);
            if (!taken) scale(s, marked, 1 / by);
            moved |= taken;
        }
    }
    return status;
}

enum lq_status lq_repair_run(struct lq_strategy *s, struct lq_pick *pick, struct lq_measured *measured,
                             const struct lq_size *size, struct lq_strategy_outcome *outcome, struct lq_error *err)
{
    struct kinds kinds = kinds_of(s);
    bool *marked = calloc(s->menu.n + 1, sizeof *marked), taken;
    double *factors = calloc(s->menu.n + 1, sizeof *factors);
    enum lq_status status = marked == NULL || factors == NULL ? no_memory(err) : LQ_OK;
    for (size_t i = 0; status == LQ_OK && i < s->menu.n; i++) factors[i] = s->menu.items[i].factor;
    if (status == LQ_OK) status = correct(s, pick, measured, &kinds, marked, err);
    if (status == LQ_OK) status = try_factors(s, pick, measured, size, outcome, &taken, err);
    for (size_t i = 0; status == LQ_OK && !taken && i < s->menu.n; i++) s->menu.items[i].factor = factors[i];
    if (status == LQ_OK) status = walk(s, pick, measured, size, &kinds, marked, outcome, err);
    free(marked);
    free(factors);
    return status;
}

uint64_t lq_repair_steps(const struct lq_strategy *s)
{
    return kinds_of(s).n + 1 + neighbours[s->options.effort];
}
