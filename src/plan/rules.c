#include "plan/rules.h"

#include "plan/spec.h"

#include <stdlib.h>
#include <string.h>

static bool names_a_role(const char *pattern)
{
    for (int role = 0; role < LQ_ROLES; role++)
        if (lq_role_has_prefix((enum lq_role)role, pattern)) return true;
    return false;
}

static enum lq_status compile(struct lq_rule *rule, const char *option, struct lq_error *err)
{
    int code = regcomp(&rule->regex, rule->pattern, REG_EXTENDED | REG_ICASE | REG_NOSUB);
    rule->is_compiled = code == 0;
    if (code == 0) return LQ_OK;
    char why[128];
    regerror(code, &rule->regex, why, sizeof why);
    return lq_error_set(err, LQ_ERR_USAGE, "%s '%.128s': not a valid regular expression (%s)", option, rule->pattern,
                        why);
}

static enum lq_status init_rule(struct lq_rule *rule, const struct lq_plan_rule *given, const char *option,
                                struct lq_error *err)
{
    rule->pattern = given->pattern;
    if (given->pattern[0] == '\0')
        return lq_error_set(err, LQ_ERR_USAGE, "%s '=%.64s': the pattern is empty", option, given->type);
    const struct lq_format *format = lq_format_find(given->type);
    if (format == NULL || (format->flags & LQ_FORMAT_TARGET) == 0)
        return lq_error_set(err, LQ_ERR_USAGE, "%s '%.128s=%.64s': '%.64s' is no ggml type such as q8_0, q4_k or f16",
                            option, given->pattern, given->type, given->type);
    rule->type = format->type;
    rule->is_role = names_a_role(given->pattern);
    return rule->is_role ? LQ_OK : compile(rule, option, err);
}

enum lq_status lq_rules_init(struct lq_rules *rules, const char *option, const struct lq_plan_rule *given, size_t n,
                             struct lq_error *err)
{
    *rules = (struct lq_rules){option, NULL, n};
    if (n == 0) return LQ_OK;
    rules->items = calloc(n, sizeof *rules->items);
    if (rules->items == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu %s rules", n, option);
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < n && status == LQ_OK; i++) status = init_rule(&rules->items[i], &given[i], option, err);
    if (status != LQ_OK) lq_rules_release(rules);
    return status;
}

static bool speaks_for(const struct lq_rule *rule, const struct lq_tensor *tensor)
{
    if (rule->is_role) return lq_role_has_prefix(tensor->role, rule->pattern);
    return regexec(&rule->regex, tensor->name, 0, NULL, 0) == 0;
}

const struct lq_rule *lq_rules_find(struct lq_rules *rules, const struct lq_tensor *tensor)
{
    const struct lq_rule *last = NULL;
    for (size_t i = 0; i < rules->n; i++) {
        struct lq_rule *rule = &rules->items[i];
        if (!speaks_for(rule, tensor)) continue;
        if (!tensor->quantisable) {
            rule->fixed = tensor;
            continue;
        }
        rule->found = true;
        last = rule;
    }
    return last;
}

enum lq_status lq_rules_check(const struct lq_rules *rules, struct lq_error *err)
{
    for (size_t i = 0; i < rules->n; i++) {
        const struct lq_rule *rule = &rules->items[i];
        if (rule->found) continue;
        if (rule->fixed != NULL)
            return lq_error_set(err, LQ_ERR_USAGE, "%s '%.128s': tensor '%s' (%s) is never quantised", rules->option,
                                rule->pattern, rule->fixed->name, lq_role_name(rule->fixed->role));
        return lq_error_set(err, LQ_ERR_USAGE, "%s '%.128s': no tensor has such a name or role", rules->option,
                            rule->pattern);
    }
    return LQ_OK;
}

void lq_rules_release(struct lq_rules *rules)
{
    for (size_t i = 0; i < rules->n && rules->items != NULL; i++)
        if (rules->items[i].is_compiled) regfree(&rules->items[i].regex);
    free(rules->items);
    *rules = (struct lq_rules){0};
}
