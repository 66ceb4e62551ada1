#include "llava_quantize/plan.h"

#include <stdio.h>
#include <string.h>

/* Roles that are told in one word where all their parts have one type. */
static const struct group {
    const char *name;
    enum lq_role first, last;
} groups[] = {
    {"vision.ffn", LQ_ROLE_VISION_FFN_UP, LQ_ROLE_VISION_FFN_DOWN},
    {"vision.attention", LQ_ROLE_VISION_ATTENTION_Q, LQ_ROLE_VISION_ATTENTION_OUT},
    {"vision.other", LQ_ROLE_VISION_OTHER, LQ_ROLE_VISION_OTHER},
    {"projector", LQ_ROLE_PROJECTOR, LQ_ROLE_PROJECTOR},
    {"language.ffn", LQ_ROLE_LANGUAGE_FFN_UP, LQ_ROLE_LANGUAGE_FFN_DOWN},
    {"language.attention", LQ_ROLE_LANGUAGE_ATTENTION_Q, LQ_ROLE_LANGUAGE_ATTENTION_OUT},
    {"language.embedding", LQ_ROLE_LANGUAGE_EMBEDDING, LQ_ROLE_LANGUAGE_EMBEDDING},
    {"language.output", LQ_ROLE_LANGUAGE_OUTPUT, LQ_ROLE_LANGUAGE_OUTPUT},
    {"language.other", LQ_ROLE_LANGUAGE_OTHER, LQ_ROLE_LANGUAGE_OTHER},
};

struct census {
    size_t tensors[LQ_ROLES][LQ_TYPE_COUNT];
};

struct text {
    char *dst;
    size_t size, used;
    bool full;
};

/* Appends " item", or "..." in its place when it does not fit; nothing after that. */
static void put(struct text *t, const char *item)
{
    size_t blank = t->used > 0, n = strlen(item);
    if (t->full) return;
    if (t->used + blank + n + sizeof " ..." > t->size) {
        t->full = true;
        if (t->used + sizeof " ..." <= t->size) t->used += (size_t)sprintf(t->dst + t->used, "%s...", blank ? " " : "");
        return;
    }
    t->used += (size_t)sprintf(t->dst + t->used, "%s%s", blank ? " " : "", item);
}

/* The one type of these roles; LQ_TYPE_COUNT: several; LQ_TYPE_NONE: no tensors. */
static int common_type(const struct census *c, enum lq_role first, enum lq_role last)
{
    int found = LQ_TYPE_NONE;
    for (int role = (int)first; role <= (int)last; role++)
        for (int type = 0; type < LQ_TYPE_COUNT; type++) {
            if (c->tensors[role][type] == 0 || type == found) continue;
            if (found != LQ_TYPE_NONE) return LQ_TYPE_COUNT;
            found = type;
        }
    return found;
}

static void put_role(struct text *t, const struct census *c, enum lq_role role)
{
    char item[512];
    int used = snprintf(item, sizeof item, "%s=", lq_role_name(role));
    int type = common_type(c, role, role);
    if (type == LQ_TYPE_NONE) return;
    if (type < LQ_TYPE_COUNT) snprintf(item + used, sizeof item - (size_t)used, "%s", lq_format_name(type));
    else
        for (int i = 0, first = used; i < LQ_TYPE_COUNT && used < (int)sizeof item; i++)
            if (c->tensors[role][i] > 0)
                used += snprintf(item + used, sizeof item - (size_t)used, "%s%s*%zu", used == first ? "" : "/",
                                 lq_format_name(i), c->tensors[role][i]);
    put(t, item);
}

static void put_group(struct text *t, const struct census *c, const struct group *group)
{
    char item[64];
    int type = common_type(c, group->first, group->last);
    if (type == LQ_TYPE_NONE) return;
    if (type == LQ_TYPE_COUNT) {
        for (int role = (int)group->first; role <= (int)group->last; role++) put_role(t, c, (enum lq_role)role);
        return;
    }
    snprintf(item, sizeof item, "%s=%s", group->name, lq_format_name(type));
    put(t, item);
}

size_t lq_plan_summary(const struct lq_plan *plan, char *dst, size_t size)
{
    struct census census = {0};
    struct text text = {.dst = dst, .size = size};
    if (size == 0) return 0;
    dst[0] = '\0';
    for (size_t i = 0; i < plan->n_entries; i++)
        if (plan->entries[i].tensor->quantisable)
            census.tensors[plan->entries[i].tensor->role][plan->entries[i].type]++;
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) put_group(&text, &census, &groups[i]);
    return text.used;
}
