#include "plan/entry.h"
#include "plan/mix.h"
#include "plan/rules.h"
#include "plan/spec.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Everything a plan is made of while it is made. */
struct build {
    const struct lq_plan_request *request;
    const struct lq_model_half *half; /* in hand */
    struct lq_spec spec[LQ_HALVES];
    struct lq_rules rules;
    struct lq_mix_choice *choices; /* of the half in hand, where a mix was asked for */
    struct lq_plan *plan;
};

LQ_PRINTF(2, 3)
static void say(struct lq_plan_entry *entry, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(entry->reason, sizeof entry->reason, format, args);
    va_end(args);
}

static void say_misfit(struct lq_plan_entry *entry, enum lq_type wanted)
{
    say(entry, "%llu columns do not fit %s: %s", (unsigned long long)entry->ne[0], lq_format_name(wanted),
        lq_format_name(entry->type));
}

/* Where padding is allowed, what does not fit in the tower falls to the nearest type, as with recipes. */
static void choose_by_mix(const struct build *b, struct lq_plan_entry *entry, const struct lq_spec *spec,
                          const struct lq_mix_choice *choice)
{
    bool nearest = b->half->half == LQ_VISION && !b->request->no_padding && choice->allowed;
    entry->type = nearest ? lq_entry_fit(choice->wanted, entry->ne[0]) : choice->type;
    if (!choice->allowed) say(entry, "llama-quantize's %s keeps it", spec->name);
    else if (choice->wanted != entry->type) say_misfit(entry, choice->wanted);
    else say(entry, "llama-quantize's %s", spec->name);
}

/* A recipe, unlike a type asked for by name, never makes a tensor larger than it is. */
static bool stays_smaller(const struct build *b, const struct lq_plan_entry *entry, const struct lq_spec *spec)
{
    const struct lq_tensor *t = entry->tensor;
    const struct lq_format *from = lq_format_get(t->type);
    unsigned wanted = LQ_FORMAT_FLOAT | (b->request->allow_requantize ? LQ_FORMAT_QUANTISED : 0);
    return spec->kind == LQ_SPEC_RECIPE && from != NULL && (from->flags & wanted) != 0 &&
           lq_format_row_bytes(t->type, t->ne[0]) < lq_format_row_bytes(entry->type, entry->ne[0]);
}

/* Fits the type to the row. */
static void choose_by_type(const struct build *b, struct lq_plan_entry *entry, const struct lq_spec *spec,
                           enum lq_type wanted)
{
    const struct lq_tensor *t = entry->tensor;
    entry->type = lq_entry_fit(wanted, entry->ne[0]);
    say(entry, "%s", spec->name);
    if (entry->type != wanted) say_misfit(entry, wanted);
    if (stays_smaller(b, entry, spec)) {
        entry->type = t->type;
        say(entry, "%s is already smaller than %s", lq_format_name(t->type), lq_format_name(wanted));
    }
}

/* An embedding that is the output too, for want of another, gets the output's care. */
static enum lq_role role_of(const struct build *b, const struct lq_tensor *t)
{
    if (t->role != LQ_ROLE_LANGUAGE_EMBEDDING) return t->role;
    for (size_t i = 0; i < b->half->n_tensors; i++)
        if (b->half->tensors[i].role == LQ_ROLE_LANGUAGE_OUTPUT) return t->role;
    return LQ_ROLE_LANGUAGE_OUTPUT;
}

static void choose_by_recipe(const struct build *b, struct lq_plan_entry *entry, const struct lq_spec *spec)
{
    enum lq_type wanted =
        spec->kind == LQ_SPEC_PLAIN ? spec->type : lq_recipe_type(spec->recipe, role_of(b, entry->tensor));
    if (wanted == LQ_TYPE_NONE) say(entry, "%s", spec->name);
    else choose_by_type(b, entry, spec, wanted);
}

/* One tensor: the last rule that speaks for it, else what its half's spec says. `i`: its place in the half. */
static enum lq_status choose(struct build *b, struct lq_plan_entry *entry, size_t i, struct lq_error *err)
{
    const struct lq_spec *spec = &b->spec[b->half->half];
    const struct lq_rule *rule = lq_rules_find(&b->rules, entry->tensor);
    bool demanding = false;
    if (rule != NULL) {
        entry->type = rule->type;
        say(entry, "--type '%.60s'", rule->pattern);
    } else if (entry->tensor->quantisable && spec->kind == LQ_SPEC_MIX) {
        choose_by_mix(b, entry, spec, &b->choices[i]);
        demanding = b->choices[i].allowed && lq_mix_demands_importance(spec->mix, entry->tensor, entry->type);
    } else if (entry->tensor->quantisable) {
        choose_by_recipe(b, entry, spec);
    }
    return lq_entry_finish(entry, b->half->path, b->request, demanding, err);
}

static enum lq_status ask_mix(struct build *b, bool tower, struct lq_error *err)
{
    const struct lq_spec *spec = &b->spec[b->half->half];
    free(b->choices);
    b->choices = NULL;
    if (spec->kind != LQ_SPEC_MIX || b->half->n_tensors == 0) return LQ_OK;
    b->choices = calloc(b->half->n_tensors, sizeof *b->choices);
    if (b->choices == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for the plan", b->half->path);
    return lq_mix_choose(spec->mix, b->half, b->request->stats != NULL, tower, b->choices, err);
}

/* All entries of the half in hand, in the shapes of a tower of that hidden size; tower NULL: as they are. */
static enum lq_status choose_all(struct build *b, struct lq_plan_entry *entries, const struct lq_tower *tower,
                                 uint64_t hidden, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < b->half->n_tensors && status == LQ_OK; i++) {
        entries[i] = lq_entry_kept(&b->half->tensors[i]);
        if (tower != NULL) lq_entry_set_hidden(&entries[i], tower, hidden);
        status = choose(b, &entries[i], i, err);
    }
    return status;
}

static uint64_t round_up(uint64_t n, uint64_t step)
{
    return (n + step - 1) / step * step;
}

/* The type with the largest blocks that some matrix gets whose rows are the hidden values. */
static enum lq_type type_of_down(const struct build *b, const struct lq_plan_entry *entries)
{
    enum lq_type type = LQ_TYPE_F32;
    for (size_t i = 0; i < b->half->n_tensors; i++)
        if (entries[i].tensor->role == LQ_ROLE_VISION_FFN_DOWN &&
            lq_format_get(entries[i].type)->block > lq_format_get(type)->block)
            type = entries[i].type;
    return type;
}

static uint64_t bytes_of_tower(const struct build *b, const struct lq_plan_entry *entries, const struct lq_tower *tower)
{
    uint64_t ne[4], bytes = 0;
    for (size_t i = 0; i < b->half->n_tensors; i++)
        if (lq_tower_shape(tower, entries[i].tensor, tower->hidden, ne)) bytes += entries[i].bytes;
    return bytes;
}

/* The plan with the feed-forwards widened to what the types want that a row of any length would get. False where
 * nothing is gained by it, or it cannot be. */
static bool choose_padded(struct build *b, struct lq_plan_entry *entries, const struct lq_tower *tower, uint64_t most)
{
    struct lq_error err;
    if (ask_mix(b, true, &err) != LQ_OK) return false;
    if (choose_all(b, entries, tower, round_up(tower->hidden, LQ_TOWER_STEP), &err) != LQ_OK) return false;
    enum lq_type type = type_of_down(b, entries);
    uint64_t hidden = round_up(tower->hidden, lq_format_get(type)->block);
    if (hidden == tower->hidden || hidden == tower->width) return false;
    if (choose_all(b, entries, tower, hidden, &err) != LQ_OK || bytes_of_tower(b, entries, tower) >= most) return false;
    for (size_t i = 0; i < b->half->n_tensors; i++) lq_entry_say_padding(&entries[i], type);
    return true;
}

/* Takes the padded plan instead where it is smaller, or the only one that can be. */
static enum lq_status consider_padding(struct build *b, struct lq_plan_entry *entries, enum lq_status plain,
                                       struct lq_error *err)
{
    struct lq_tower tower;
    size_t n = b->half->n_tensors;
    if (b->request->no_padding || !lq_tower_find(&tower, b->half)) return plain;
    struct lq_plan_entry *padded = calloc(n, sizeof *padded);
    if (padded == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for the plan", b->half->path);
    bool better = choose_padded(b, padded, &tower, plain == LQ_OK ? bytes_of_tower(b, entries, &tower) : UINT64_MAX);
    if (better) memcpy(entries, padded, n * sizeof *padded);
    free(padded);
    return better ? LQ_OK : plain;
}

static enum lq_status choose_half(struct build *b, const struct lq_model_half *half, struct lq_plan_entry *entries,
                                  struct lq_error *err)
{
    b->half = half;
    enum lq_status status = ask_mix(b, false, err);
    if (status != LQ_OK) return status;
    status = consider_padding(b, entries, choose_all(b, entries, NULL, 0, err), err);
    if (status != LQ_OK) return status;
    const struct lq_spec *spec = &b->spec[half->half];
    b->plan->file_type[half->half] =
        spec->kind == LQ_SPEC_MIX ? spec->mix->file_type : lq_plan_file_type(b->plan, half->half);
    return LQ_OK;
}

static enum lq_status parse_specs(struct build *b, const struct lq_model *model, struct lq_error *err)
{
    const char *const own[LQ_HALVES] = {b->request->vision, b->request->language};
    const char *both = b->request->spec != NULL ? b->request->spec : "layered";
    static const char *const names[LQ_HALVES] = {"vision", "language"};
    for (int h = 0; h < LQ_HALVES; h++) {
        if (own[h] != NULL && model->half[h] == NULL)
            return lq_error_set(err, LQ_ERR_USAGE, "%s: --%s %.32s: the model has no %s half", model->path, names[h],
                                own[h], names[h]);
        enum lq_status status = lq_spec_parse(&b->spec[h], own[h] != NULL ? own[h] : both, err);
        if (status != LQ_OK) return status;
    }
    const char *said = b->request->spec != NULL   ? b->request->spec
                       : own[LQ_LANGUAGE] != NULL ? own[LQ_LANGUAGE]
                                                  : own[LQ_VISION];
    if (said != NULL) snprintf(b->plan->note, sizeof b->plan->note, "%s", lq_spec_note(said));
    return LQ_OK;
}

/* Of two halves that differ, one that is only copied does not count for the file names. */
static const char *common_tag(const struct lq_spec *vision, const struct lq_spec *language)
{
    if (strcmp(vision->tag, language->tag) == 0 || strcmp(vision->tag, "copy") == 0) return language->tag;
    return strcmp(language->tag, "copy") == 0 ? vision->tag : "mixed";
}

static void set_names(struct build *b, const struct lq_model *model)
{
    struct lq_plan *plan = b->plan;
    const struct lq_spec *vision = &b->spec[LQ_VISION], *language = &b->spec[LQ_LANGUAGE];
    if (model->half[LQ_VISION] == NULL) vision = language;
    if (model->half[LQ_LANGUAGE] == NULL) language = vision;
    char rules[40] = "";
    if (b->rules.n > 0) snprintf(rules, sizeof rules, ", %zu --type rule%s", b->rules.n, b->rules.n > 1 ? "s" : "");
    if (strcmp(vision->name, language->name) == 0)
        snprintf(plan->recipe, sizeof plan->recipe, "%s%s", language->name, rules);
    else snprintf(plan->recipe, sizeof plan->recipe, "vision %s, language %s%s", vision->name, language->name, rules);
    snprintf(plan->tag, sizeof plan->tag, "%s", common_tag(vision, language));
}

static enum lq_status build(struct build *b, const struct lq_model *model, struct lq_error *err)
{
    enum lq_status status = lq_plan_new(&b->plan, model, err);
    if (status == LQ_OK) status = parse_specs(b, model, err);
    if (status == LQ_OK) status = lq_rules_init(&b->rules, "--type", b->request->rules, b->request->n_rules, err);
    struct lq_plan_entry *entries = b->plan == NULL ? NULL : b->plan->entries;
    for (int h = 0; h < LQ_HALVES && status == LQ_OK; h++) {
        if (model->half[h] == NULL) continue;
        status = choose_half(b, model->half[h], entries, err);
        entries += model->half[h]->n_tensors;
    }
    if (status == LQ_OK) status = lq_rules_check(&b->rules, err);
    if (status == LQ_OK) set_names(b, model);
    return status;
}

enum lq_status lq_plan_build(struct lq_plan **out, const struct lq_model *model, const struct lq_plan_request *request,
                             struct lq_error *err)
{
    struct build b = {.request = request};
    enum lq_status status = build(&b, model, err);
    if (status == LQ_OK) *out = b.plan;
    else lq_plan_free(b.plan);
    lq_rules_release(&b.rules);
    free(b.choices);
    return status;
}
