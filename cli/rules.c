#include "rules.h"

#include <stdlib.h>
#include <string.h>

/* Splits at the last "=": a type holds none, a pattern may. */
static enum lq_status split(char *text, struct lq_plan_rule *rule, const char *option, struct lq_error *err)
{
    char *equals = strrchr(text, '=');
    if (equals == NULL || equals == text || equals[1] == '\0')
        return lq_error_set(err, LQ_ERR_USAGE, "--%s %s: is not PATTERN=TYPE, such as 'vision.ffn=q5_k'", option, text);
    *equals = '\0';
    *rule = (struct lq_plan_rule){.pattern = text, .type = equals + 1};
    return LQ_OK;
}

enum lq_status cli_rules_read(struct cli_rules *out, const struct cli_list *list, const char *option,
                              struct lq_error *err)
{
    size_t size = 1;
    for (size_t i = 0; i < list->n; i++) size += strlen(list->items[i]) + 1;
    out->n = list->n;
    out->items = calloc(list->n + 1, sizeof *out->items);
    out->text = malloc(size);
    if (out->items == NULL || out->text == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "out of memory");
    char *text = out->text;
    for (size_t i = 0; i < list->n; i++) {
        size_t length = strlen(list->items[i]) + 1;
        memcpy(text, list->items[i], length);
        enum lq_status status = split(text, &out->items[i], option, err);
        if (status != LQ_OK) return status;
        text += length;
    }
    return LQ_OK;
}

void cli_rules_release(struct cli_rules *rules)
{
    free(rules->items);
    free(rules->text);
    *rules = (struct cli_rules){0};
}
