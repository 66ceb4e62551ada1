/* PATTERN=TYPE, as --type and --max-type take it.
 *
 *     struct cli_rules rules = {0};
 *     cli_rules_read(&rules, &job->rules, "type", &err);
 *     request.rules = rules.items;
 *     cli_rules_release(&rules);
 */
#ifndef LQ_CLI_RULES_H
#define LQ_CLI_RULES_H

#include "command.h"
#include "llava_quantize/plan.h"

/* All owned. */
struct cli_rules {
    struct lq_plan_rule *items;
    size_t n;
    char *text; /* the storage behind `items` */
};

/* `option`: its name, for messages. Errors: LQ_ERR_USAGE for what is not PATTERN=TYPE. Release in any case. */
enum lq_status cli_rules_read(struct cli_rules *out, const struct cli_list *list, const char *option,
                              struct lq_error *err);
void cli_rules_release(struct cli_rules *rules);

#endif
