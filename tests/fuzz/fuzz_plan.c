/* Plan files, names, lists of types and rules from anywhere: understood, or refused with a message and nothing left
 * behind. */
#include "plan/choices.h"
#include "plan/plan_file.h"
#include "../unit/plan_models.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct lq_model *model(void)
{
    static struct pair pair;
    pair_init(&pair, LQ_TYPE_F16);
    return &pair.model;
}

/* The same words as --types and --max-type. */
static void try_limits(const char *types, const struct lq_plan_rule *rule)
{
    struct lq_choices choices = {0};
    struct lq_error err = {0};
    struct lq_choices_limits limits = {.types = types, .most = rule, .n_most = rule->pattern != NULL};
    if (lq_choices_build(&choices, model(), &limits, &err) != LQ_OK) {
        if (choices.items != NULL || err.message[0] == '\0') abort();
        return;
    }
    for (size_t i = 0; i < choices.n; i++)
        if (choices.items[i].n == 0) abort();
    lq_choices_release(&choices);
}

/* "SPEC\nPATTERN\nTYPE" */
static void try_request(char *text)
{
    char *pattern = strchr(text, '\n'), *type = pattern == NULL ? NULL : strchr(pattern + 1, '\n');
    struct lq_plan *plan = NULL;
    struct lq_error err = {0};
    struct lq_plan_rule rule = {0};
    if (type != NULL) {
        *pattern = *type = '\0';
        rule = (struct lq_plan_rule){pattern + 1, type + 1};
    }
    struct lq_plan_request request = {.spec = text, .rules = &rule, .n_rules = type != NULL};
    if (lq_plan_build(&plan, model(), &request, &err) == LQ_OK && plan->n_entries == 0) abort();
    lq_plan_free(plan);
    try_limits(text, &rule);
}

static void try_file(const char *text, size_t size)
{
    struct lq_plan *plan = NULL;
    struct lq_error err = {0};
    char summary[1200];
    if (lq_plan_parse(&plan, text, size, "plan.json", model(), &(struct lq_plan_request){0}, &err) != LQ_OK) {
        if (plan != NULL || err.message[0] == '\0') abort();
        return;
    }
    if (lq_plan_summary(plan, summary, sizeof summary) >= sizeof summary) abort();
    for (size_t i = 0; i < plan->n_entries; i++)
        if (lq_plan_explain(plan, i, summary, sizeof summary) != strlen(summary)) abort();
    lq_plan_free(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (text == NULL) return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (size > 0 && text[0] == '{') try_file(text, size);
    else if (size <= 64) try_request(text); /* the C library's regular expressions are slow on long patterns */
    free(text);
    return 0;
}
