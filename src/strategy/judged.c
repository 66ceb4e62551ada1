#include "strategy/judged.h"

#include <math.h>
#include <stdio.h>

/* The larger offer that lowers the divergence most for its bytes. */
static void look_ahead(struct lq_plan_judgement *j, const struct lq_menu *menu, size_t i, size_t chosen)
{
    const struct lq_menu_item *item = &menu->items[i];
    double best = 0, now = lq_menu_cost(menu, i, chosen);
    j->next = LQ_TYPE_NONE;
    for (size_t k = 0; k < item->n; k++) {
        const struct lq_plan_entry *entry = item->offers[k].entry;
        if (item->offers[k].refused || entry->bytes <= item->offers[chosen].entry->bytes) continue;
        uint64_t bytes = entry->bytes - item->offers[chosen].entry->bytes;
        double gain = now - lq_menu_cost(menu, i, k);
        if (gain <= 0 || gain / (double)bytes <= best) continue;
        best = gain / (double)bytes;
        j->next = entry->type;
        j->next_bytes = bytes;
        j->next_gain = gain;
    }
}

void lq_judged_set(struct lq_plan *plan, const struct lq_strategy *s, const struct lq_pick *pick)
{
    for (size_t i = 0; i < plan->n_entries; i++) {
        struct lq_plan_entry *entry = &plan->entries[i];
        const struct lq_menu_item *item = &s->menu.items[i];
        if (!item->quantised) continue;
        if (entry->reason[0] == '\0') snprintf(entry->reason, sizeof entry->reason, "budget");
        entry->judged =
            (struct lq_plan_judgement){.known = true,
                                       .error = item->offers[pick->offers[i]].error,
                                       .sensitivity = s->trial == NULL ? NAN : item->sensitivity * item->factor,
                                       .divergence = lq_menu_cost(&s->menu, i, pick->offers[i])};
        look_ahead(&entry->judged, &s->menu, i, pick->offers[i]);
    }
}
