#include "strategy/groups.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A role's first two words: "language.attention.q" is of the kind "language.attention". */
static void name_kind(char *dst, size_t size, const struct lq_tensor *t)
{
    snprintf(dst, size, "%s", lq_role_name(t->role));
    char *dot = strchr(dst, '.');
    if (dot != NULL && (dot = strchr(dot + 1, '.')) != NULL) *dot = '\0';
}

static void name_group(struct lq_group *group, const struct lq_tensor *t, enum lq_grouping by)
{
    name_kind(group->kind, sizeof group->kind, t);
    if (by == LQ_BY_TENSOR) snprintf(group->name, sizeof group->name, "%s", t->name);
    else if (by == LQ_BY_ROLE) snprintf(group->name, sizeof group->name, "%s", lq_role_name(t->role));
    else if (t->block < 0) snprintf(group->name, sizeof group->name, "%s", group->kind);
    else snprintf(group->name, sizeof group->name, "%s %d", group->kind, t->block);
}

static bool belongs(const struct lq_menu_item *item, enum lq_grouping by)
{
    return item->quantised && (by != LQ_BY_ROLE || item->tensor->block >= 0);
}

/* The group that the item belongs to: one that is there already, or a new one. */
static struct lq_group *group_of(struct lq_groups *groups, const struct lq_tensor *t, enum lq_grouping by)
{
    struct lq_group fresh = {.half = t->half};
    name_group(&fresh, t, by);
    for (size_t g = groups->n; g-- > 0;)
        if (groups->groups[g].half == t->half && strcmp(groups->groups[g].name, fresh.name) == 0)
            return &groups->groups[g];
    groups->groups[groups->n] = fresh;
    return &groups->groups[groups->n++];
}

enum lq_status lq_groups_build(struct lq_groups *out, const struct lq_menu *menu, enum lq_grouping by,
                               struct lq_error *err)
{
    struct lq_groups groups = {.groups = calloc(menu->n + 1, sizeof *groups.groups),
                               .storage = calloc(menu->n + 1, sizeof *groups.storage)};
    if (groups.groups == NULL || groups.storage == NULL) {
        lq_groups_release(&groups);
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for groups of %zu tensors", menu->n);
    }
    for (size_t i = 0; i < menu->n; i++)
        if (belongs(&menu->items[i], by)) group_of(&groups, menu->items[i].tensor, by)->n++;
    size_t *members = groups.storage;
    for (size_t g = 0; g < groups.n; g++) {
        groups.groups[g].members = members;
        members += groups.groups[g].n;
        groups.groups[g].n = 0;
    }
    for (size_t i = 0; i < menu->n; i++) {
        if (!belongs(&menu->items[i], by)) continue;
        struct lq_group *group = group_of(&groups, menu->items[i].tensor, by);
        group->members[group->n++] = i;
    }
    *out = groups;
    return LQ_OK;
}

void lq_groups_release(struct lq_groups *groups)
{
    free(groups->groups);
    free(groups->storage);
    *groups = (struct lq_groups){0};
}
