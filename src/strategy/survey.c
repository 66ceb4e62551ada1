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
enum { PROBES = sizeof probes / sizeof probes[0], CHECKS = 4, ROUNDS = 8 };

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

static enum lq_status weights_error(struct look *look, enum lq_type type, uint64_t columns, double *error,
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

/* Of the outputs: that of the weights, and that of the inputs, which the type's kernels round. */
static enum lq_status error_of(struct look *look, enum lq_type type, uint64_t columns, double *error,
                               struct lq_error *err)
{
    enum lq_status status = weights_error(look, type, columns, error, err);
    int place = lq_rounding_of(type);
    if (status == LQ_OK && place >= 0) *error += look->item->rounding[place];
    return status;
}

/* What rounding its inputs costs one tensor; false where an earlier run has not found it out. */
static bool know_rounding(const struct lq_strategy *s, struct lq_menu_item *item)
{
    for (int k = 0; k < LQ_ROUNDINGS; k++)
        if (!lq_known_rounding(s->known, item->tensor, lq_rounding_blocks[k], &item->rounding[k])) return false;
    return true;
}

static enum lq_status find_rounding(struct lq_strategy *s, const struct lq_rounding *rounding,
                                    struct lq_menu_item *item, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (int k = 0; k < LQ_ROUNDINGS && status == LQ_OK; k++) {
        double *error = &item->rounding[k];
        status = lq_rounding_error(error, rounding, s->options.model, item->tensor, k, err);
        if (status == LQ_OK)
            status = lq_known_keep_rounding(s->known, item->tensor, lq_rounding_blocks[k], *error, err);
    }
    return status;
}

/* Devices other than the CPU round inputs in the same way for all types, or not at all. */
static bool is_for_cpu(const struct lq_strategy_options *o)
{
    return o->device == NULL || strcmp(o->device, "cpu") == 0;
}

/* Of all tensors, from one run of the original. */
static enum lq_status look_at_inputs(struct lq_strategy *s, struct lq_error *err)
{
    const struct lq_strategy_options *o = &s->options;
    const struct lq_runtime_options pair = {
        .language = o->language, .mmproj = o->mmproj, .threads = o->threads, .hooks = o->hooks};
    struct lq_rounding *rounding = NULL;
    bool known = true;
    enum lq_status status = lq_strategy_step(s, "inputs", 1, err);
    if (status != LQ_OK || !is_for_cpu(o)) return status;
    for (size_t i = 0; i < s->menu.n; i++)
        known = (!s->menu.items[i].quantised || know_rounding(s, &s->menu.items[i])) && known;
    if (known) return LQ_OK;
    status = lq_rounding_open(&rounding, &pair, o->data, err);
    for (size_t i = 0; i < s->menu.n && status == LQ_OK; i++)
        if (s->menu.items[i].quantised) status = find_rounding(s, rounding, &s->menu.items[i], err);
    lq_rounding_free(rounding);
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

/* What a group costs beside others is told best by typical questions: the mean hangs on the few whose answers are in
 * doubt, other ones for other data. The square of the mean root lets these count less. */
static double typical_of(const double *by_question, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += by_question[i] > 0 ? sqrt(by_question[i]) : 0;
    return n > 0 ? sum / (double)n * (sum / (double)n) : 0;
}

static enum lq_status measure(struct lq_strategy *s, struct lq_group *group, const struct probe *probe,
                              struct lq_error *err)
{
    struct lq_trial_divergence d;
    size_t n = lq_trial_cost(s->trial).questions;
    double *by_question = calloc(n + 1, sizeof *by_question);
    enum lq_status status = by_question == NULL ? lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu questions", n)
                                                : recode(s, group, probe->coded, err);
    if (status == LQ_OK) status = lq_trial_measure(s->trial, &d, by_question, err);
    if (status == LQ_OK) status = recode(s, group, NULL, err);
    if (status == LQ_OK) {
        group->divergence = d.mean;
        group->typical = typical_of(by_question, n);
    }
    free(by_question);
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
                                  double *errors, struct lq_error *err)
{
    struct probe probe;
    enum lq_status status = lq_strategy_step(s, group->name, 1, err);
    if (status != LQ_OK) return status;
    status = open_probe(&probe, s, group, from, err);
    bool known = status == LQ_OK &&
                 lq_known_divergence(s->known, &s->menu, group, probe.types, &group->divergence, &group->typical);
    bool measures = s->trial != NULL && !known;
    if (status == LQ_OK) status = look_at_group(s, group, &probe, offers, measures, err);
    if (status == LQ_OK && measures) status = measure(s, group, &probe, err);
    if (status == LQ_OK && measures)
        status =
            lq_known_keep_divergence(s->known, &s->menu, group, probe.types, group->divergence, group->typical, err);
    if (status == LQ_OK) memcpy(errors, probe.errors, group->n * sizeof *errors);
    s->facts.known += known;
    release_probe(&probe, group->n);
    return status;
}

/* Probes each group, and sets its members' errors there. */
static enum lq_status probe_all(struct lq_strategy *s, struct lq_groups *groups, bool offers, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    double *errors = calloc(s->menu.n + 1, sizeof *errors);
    if (errors == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu errors", s->menu.n);
    for (size_t g = 0; g < groups->n && status == LQ_OK; g++) {
        struct lq_group *group = &groups->groups[g];
        status = probe_group(s, group, probes, offers, errors, err);
        for (size_t m = 0; m < group->n && status == LQ_OK; m++) s->menu.items[group->members[m]].probe = errors[m];
    }
    free(errors);
    return status;
}

/* Measures some groups, evenly spread, at a second type, and takes the power of the error that fits both. */
static enum lq_status check_power(struct lq_strategy *s, struct lq_error *err)
{
    struct lq_slope slope = {0};
    enum lq_status status = LQ_OK;
    size_t all = s->groups.n, n = all < CHECKS ? all : CHECKS;
    double *errors = calloc(s->menu.n + 1, sizeof *errors);
    if (errors == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu errors", s->menu.n);
    for (size_t k = 0; k < n && status == LQ_OK; k++) {
        const struct lq_group *group = &s->groups.groups[(2 * k + 1) * all / (2 * n)];
        struct lq_group again = *group;
        double sum = 0, second = 0;
        status = probe_group(s, &again, second_probes, false, errors, err);
        for (size_t m = 0; m < group->n; m++) {
            sum += s->menu.items[group->members[m]].probe;
            second += errors[m];
        }
        if (status == LQ_OK) lq_slope_add(&slope, sum, group->typical, second, again.typical);
    }
    free(errors);
    s->menu.power = lq_slope_power(&slope);
    lq_slope_check(&slope, s->menu.power, &s->facts);
    return status;
}

/* What a group's members cost in their probe types by the sensitivities that they have so far. */
static double predicted(const struct lq_strategy *s, const struct lq_group *group)
{
    double sum = 0;
    for (size_t m = 0; m < group->n; m++) {
        const struct lq_menu_item *item = &s->menu.items[group->members[m]];
        if (item->probe > 0) sum += item->sensitivity * pow(item->probe, s->menu.power);
    }
    return sum;
}

/* Scales the members of each group to what the group was measured to cost. */
static void match(struct lq_strategy *s, const struct lq_groups *groups, double level)
{
    for (size_t g = 0; g < groups->n; g++) {
        const struct lq_group *group = &groups->groups[g];
        double sum = predicted(s, group), by = sum > 0 ? level * group->typical / sum : 0;
        for (size_t m = 0; m < group->n; m++) s->menu.items[group->members[m]].sensitivity *= by;
    }
}

/* Each tensor's sensitivity is its block's share times its role's: proportional fitting to what the blocks and the
 * roles were measured to cost, in turn, the blocks last. The level is that of the mean divergence. */
static void set_sensitivities(struct lq_strategy *s)
{
    double mean = 0, typical = 0;
    for (size_t g = 0; g < s->groups.n; g++) {
        mean += s->groups.groups[g].divergence;
        typical += s->groups.groups[g].typical;
    }
    double level = typical > 0 ? mean / typical : 0;
    match(s, &s->groups, level);
    for (int round = 0; round < ROUNDS && s->roles.n > 0; round++) {
        match(s, &s->roles, level);
        match(s, &s->groups, level);
    }
}

uint64_t lq_survey_steps(const struct lq_strategy *s)
{
    if (s->trial == NULL) return s->groups.n;
    return 1 + s->groups.n + s->roles.n + (s->groups.n < CHECKS ? s->groups.n : CHECKS);
}

enum lq_status lq_survey_run(struct lq_strategy *s, struct lq_error *err)
{
    enum lq_status status = s->trial != NULL ? look_at_inputs(s, err) : LQ_OK;
    if (status == LQ_OK) status = probe_all(s, &s->groups, true, err);
    if (status == LQ_OK && s->trial != NULL) status = probe_all(s, &s->roles, false, err);
    if (status == LQ_OK && s->trial != NULL) status = check_power(s, err);
    if (status == LQ_OK && s->trial != NULL) set_sensitivities(s);
    lq_known_save(s->known, s->options.hooks);
    return status;
}
