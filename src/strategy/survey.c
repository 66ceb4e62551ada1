#include "strategy/survey.h"

#include "strategy/coded.h"
#include "strategy/slope.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Types to probe with, the first that fits the row: small enough that the answers move by far more than rounding does,
 * and not so small that a single group changes them altogether. The second ones check what is made of the first. */
static const enum lq_type probes[] = {LQ_TYPE_Q3_K, LQ_TYPE_Q4_0};
static const enum lq_type second_probes[] = {LQ_TYPE_Q4_K, LQ_TYPE_Q5_0};
enum { PROBES = sizeof probes / sizeof probes[0], CHECKS = 4 };

static enum lq_type type_for(const enum lq_type *types, uint64_t columns)
{
    for (size_t i = 0; i < PROBES; i++)
        if (lq_format_row_bytes(types[i], columns) != 0) return types[i];
    return LQ_TYPE_NONE;
}

/* The columns with which a tensor will be written, in whatever type. */
static uint64_t columns_of(const struct lq_menu_item *item)
{
    return item->offers[0].entry->ne[0];
}

/* A group with its members encoded in one type each. */
struct probe {
    const enum lq_type *from; /* PROBES of them */
    enum lq_type *types;      /* of each member; LQ_TYPE_NONE: none fits, it stays as it is */
    struct lq_coded *coded;
    double *errors;
};

/* One tensor; its matrix is opened when something of it is not known yet. */
struct look {
    struct lq_strategy *strategy;
    struct lq_menu_item *item;
    struct lq_matrix *matrix;
};

static enum lq_status open_matrix(struct look *look, struct lq_error *err)
{
    if (look->matrix != NULL) return LQ_OK;
    struct lq_matrix_terms terms = lq_strategy_terms(look->strategy, look->item->tensor);
    return lq_matrix_open(&look->matrix, &terms, err);
}

static enum lq_status error_of(struct look *look, enum lq_type type, uint64_t columns, double *error,
                               struct lq_error *err)
{
    const struct lq_tensor *t = look->item->tensor;
    struct lq_known *known = look->strategy->known;
    if (lq_known_error(known, t, type, columns, error)) return LQ_OK;
    enum lq_status status = open_matrix(look, err);
    if (status == LQ_OK) status = lq_coded_error(look->matrix, t, type, columns, error, err);
    if (status == LQ_OK) status = lq_known_keep_error(known, t, type, columns, *error, err);
    return status;
}

/* Errors of all offers; one whose weights overflow is refused, unless it is the last that is left. */
static enum lq_status look_at_offers(struct look *look, struct lq_error *err)
{
    size_t left = look->item->n;
    for (size_t k = 0; k < look->item->n; k++) {
        struct lq_offer *offer = &look->item->offers[k];
        if (lq_menu_copies(offer->entry)) continue;
        enum lq_status status = error_of(look, offer->entry->type, offer->entry->ne[0], &offer->error, err);
        if (status == LQ_ERR_UNSUPPORTED) offer->refused = --left > 0;
        else if (status != LQ_OK) return status;
    }
    return LQ_OK;
}

/* The first type that fits the row and holds the weights, and its error. */
static enum lq_status choose_probe(struct look *look, struct probe *probe, size_t member, struct lq_error *err)
{
    uint64_t columns = columns_of(look->item);
    enum lq_status status = LQ_ERR_UNSUPPORTED;
    for (size_t i = 0; i < PROBES && status == LQ_ERR_UNSUPPORTED; i++) {
        probe->types[member] = probe->from[i];
        if (lq_format_row_bytes(probe->from[i], columns) != 0)
            status = error_of(look, probe->from[i], columns, &probe->errors[member], err);
    }
    if (status != LQ_ERR_UNSUPPORTED) return status;
    probe->types[member] = LQ_TYPE_NONE;
    probe->errors[member] = 0;
    return LQ_OK;
}

static enum lq_status encode(struct look *look, struct probe *probe, size_t member, struct lq_error *err)
{
    if (probe->types[member] == LQ_TYPE_NONE) return LQ_OK;
    enum lq_status status = open_matrix(look, err);
    if (status == LQ_OK)
        status = lq_coded_make(&probe->coded[member], look->matrix, look->item->tensor, probe->types[member],
                               columns_of(look->item), err);
    if (status != LQ_ERR_UNSUPPORTED) return status;
    probe->types[member] = LQ_TYPE_NONE; /* rows outside the sample overflow */
    probe->errors[member] = 0;
    return LQ_OK;
}

static enum lq_status recode(struct lq_strategy *s, const struct lq_group *group, const struct lq_coded *coded,
                             struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t m = 0; m < group->n && status == LQ_OK; m++) {
        const char *name = s->menu.items[group->members[m]].tensor->name;
        bool back = coded == NULL || coded[m].data == NULL;
        status = lq_trial_recode(s->trial, name, back ? LQ_TYPE_NONE : coded[m].type, back ? NULL : coded[m].data, err);
    }
    return status;
}

static enum lq_status measure(struct lq_strategy *s, const struct lq_group *group, const struct probe *probe,
                              double *divergence, struct lq_error *err)
{
    struct lq_trial_divergence d;
    enum lq_status status = recode(s, group, probe->coded, err);
    if (status == LQ_OK) status = lq_trial_measure(s->trial, &d, NULL, err);
    if (status == LQ_OK) status = recode(s, group, NULL, err);
    if (status == LQ_OK) *divergence = d.mean;
    return status;
}

/* With the types that the members have unless they turn out not to hold the weights. */
static enum lq_status open_probe(struct probe *probe, const struct lq_strategy *s, const struct lq_group *group,
                                 const enum lq_type *from, struct lq_error *err)
{
    size_t n = group->n;
    *probe = (struct probe){.from = from,
                            .types = calloc(n, sizeof *probe->types),
                            .coded = calloc(n, sizeof *probe->coded),
                            .errors = calloc(n, sizeof *probe->errors)};
    if (probe->types == NULL || probe->coded == NULL || probe->errors == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a group of %zu tensors", n);
    for (size_t m = 0; m < n; m++) probe->types[m] = type_for(from, columns_of(&s->menu.items[group->members[m]]));
    return LQ_OK;
}

static void release_probe(struct probe *probe, size_t n)
{
    for (size_t m = 0; probe->coded != NULL && m < n; m++) lq_coded_release(&probe->coded[m]);
    free(probe->types);
    free(probe->coded);
    free(probe->errors);
}

/* All that is to be known of a group's members: errors of what is offered and of the probe, and its bytes. */
static enum lq_status look_at_group(struct lq_strategy *s, const struct lq_group *group, struct probe *probe,
                                    bool offers, bool measures, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t m = 0; m < group->n && status == LQ_OK; m++) {
        struct look look = {.strategy = s, .item = &s->menu.items[group->members[m]]};
        if (offers) status = look_at_offers(&look, err);
        if (status == LQ_OK && s->trial != NULL) status = choose_probe(&look, probe, m, err);
        if (status == LQ_OK && measures) status = encode(&look, probe, m, err);
        lq_matrix_free(look.matrix);
    }
    return status;
}

/* Encodes the group's members and measures what the answers lose, unless an earlier run has. `offers`: errors of what is
 * offered are wanted too. `errors`: of the members' probes, one each. */
static enum lq_status probe_group(struct lq_strategy *s, struct lq_group *group, const enum lq_type *from, bool offers,
                                  double *divergence, double *errors, struct lq_error *err)
{
    struct probe probe;
    enum lq_status status = open_probe(&probe, s, group, from, err);
    bool known = status == LQ_OK && lq_known_divergence(s->known, &s->menu, group, probe.types, divergence);
    bool measures = s->trial != NULL && !known;
    if (status == LQ_OK) status = look_at_group(s, group, &probe, offers, measures, err);
    if (status == LQ_OK && measures) status = measure(s, group, &probe, divergence, err);
    if (status == LQ_OK && measures)
        status = lq_known_keep_divergence(s->known, &s->menu, group, probe.types, *divergence, err);
    if (status == LQ_OK) memcpy(errors, probe.errors, group->n * sizeof *errors);
    s->facts.known += known && offers;
    release_probe(&probe, group->n);
    return status;
}

static double sum_of_powers(const double *errors, size_t n, double power)
{
    double sum = 0;
    for (size_t m = 0; m < n; m++) sum += errors[m] > 0 ? pow(errors[m], power) : 0;
    return sum;
}

/* Every member of a group has the same sensitivity: what the group lost, per unit of its errors. */
static void set_sensitivities(struct lq_strategy *s, const double *errors)
{
    for (size_t g = 0; g < s->groups.n; g++) {
        const struct lq_group *group = &s->groups.groups[g];
        double sum = sum_of_powers(errors, group->n, s->menu.power);
        for (size_t m = 0; m < group->n; m++)
            s->menu.items[group->members[m]].sensitivity = sum > 0 ? group->divergence / sum : 0;
        errors += group->n;
    }
}

/* Measures some groups, evenly spread, at a second type, and takes the power of the error that fits both. */
static enum lq_status check_power(struct lq_strategy *s, const double *errors, struct lq_error *err)
{
    struct lq_slope slope = {0};
    enum lq_status status = LQ_OK;
    size_t n = s->groups.n < CHECKS ? s->groups.n : CHECKS, place = 0, next = 0;
    double *again = calloc(s->menu.n + 1, sizeof *again);
    if (again == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu errors", s->menu.n);
    for (size_t g = 0; g < s->groups.n && status == LQ_OK; g++) {
        struct lq_group *group = &s->groups.groups[g];
        if (g == (2 * next + 1) * s->groups.n / (2 * n)) {
            double divergence = 0;
            next++;
            status = lq_strategy_step(s, group->name, 1, err);
            if (status == LQ_OK) status = probe_group(s, group, second_probes, false, &divergence, again, err);
            if (status == LQ_OK)
                lq_slope_add(&slope, sum_of_powers(errors + place, group->n, 1), group->divergence,
                             sum_of_powers(again, group->n, 1), divergence);
        }
        place += group->n;
    }
    free(again);
    s->menu.power = lq_slope_power(&slope);
    lq_slope_check(&slope, s->menu.power, &s->facts);
    return status;
}

uint64_t lq_survey_steps(const struct lq_strategy *s)
{
    return s->groups.n + (s->trial == NULL ? 0 : s->groups.n < CHECKS ? s->groups.n : CHECKS);
}

enum lq_status lq_survey_run(struct lq_strategy *s, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    double *errors = calloc(s->menu.n + 1, sizeof *errors), *place = errors;
    if (errors == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu errors", s->menu.n);
    for (size_t g = 0; g < s->groups.n && status == LQ_OK; g++) {
        struct lq_group *group = &s->groups.groups[g];
        status = lq_strategy_step(s, group->name, 1, err);
        if (status == LQ_OK) status = probe_group(s, group, probes, true, &group->divergence, place, err);
        place += group->n;
    }
    if (status == LQ_OK && s->trial != NULL) status = check_power(s, errors, err);
    if (status == LQ_OK && s->trial != NULL) set_sensitivities(s, errors);
    lq_known_save(s->known, s->options.hooks);
    free(errors);
    return status;
}
