/* --type and --max-type rules: PATTERN=TYPE, compiled once and asked for every tensor.
 *
 * Enters: rules as given. Leaves: for a tensor, the last rule that speaks for it.
 * Invariants: a pattern that is a role, or leading parts of one, means that role; any other is a regular expression on
 * the name.
 *
 *     struct lq_rules rules;
 *     lq_rules_init(&rules, "--type", request->rules, request->n_rules, &err);
 *     const struct lq_rule *rule = lq_rules_find(&rules, tensor);
 *     lq_rules_check(&rules, &err);      // did every rule find a tensor?
 *     lq_rules_release(&rules);
 */
#ifndef LQ_PLAN_RULES_H
#define LQ_PLAN_RULES_H

#include "llava_quantize/plan.h"

#include <regex.h>

struct lq_rule {
    const char *pattern; /* borrowed */
    enum lq_type type;
    bool is_role, is_compiled;
    regex_t regex;
    bool found;                    /* a tensor that may be quantised */
    const struct lq_tensor *fixed; /* a tensor that is never quantised */
};

struct lq_rules {
    const char *option; /* that gave them, for messages; borrowed */
    struct lq_rule *items;
    size_t n;
};

/* Errors: LQ_ERR_USAGE for an invalid expression or an unknown type. On failure nothing needs to be released. */
enum lq_status lq_rules_init(struct lq_rules *rules, const char *option, const struct lq_plan_rule *given, size_t n,
                             struct lq_error *err);
/* NULL when no rule speaks for this tensor, or none may. */
const struct lq_rule *lq_rules_find(struct lq_rules *rules, const struct lq_tensor *tensor);
/* Errors: LQ_ERR_USAGE naming a rule that found no tensor which may be quantised. */
enum lq_status lq_rules_check(const struct lq_rules *rules, struct lq_error *err);
void lq_rules_release(struct lq_rules *rules);

#endif
