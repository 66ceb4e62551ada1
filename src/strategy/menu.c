#include "strategy/menu.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool lq_menu_copies(const struct lq_plan_entry *entry)
{
    const struct lq_tensor *t = entry->tensor;
    return !t->quantisable || (entry->type == t->type && memcmp(entry->ne, t->ne, sizeof entry->ne) == 0);
}

static enum lq_status set_items(struct lq_menu *menu, struct lq_error *err)
{
    size_t total = 0;
    for (size_t i = 0; i < menu->choices.n; i++) total += menu->choices.items[i].n;
    menu->n = menu->choices.n;
    menu->items = calloc(menu->n + 1, sizeof *menu->items);
    menu->offers = calloc(total + 1, sizeof *menu->offers);
    if (menu->items == NULL || menu->offers == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the types of %zu tensors", menu->n);
    struct lq_offer *offer = menu->offers;
    for (size_t i = 0; i < menu->n; i++) {
        const struct lq_choices_item *from = &menu->choices.items[i];
        menu->items[i] =
            (struct lq_menu_item){.tensor = from->tensor, .offers = offer, .n = from->n, .sensitivity = 1, .factor = 1};
        for (size_t k = 0; k < from->n; k++, offer++) {
            offer->entry = &from->entries[k];
            menu->items[i].quantised |= !lq_menu_copies(offer->entry);
        }
    }
    return LQ_OK;
}

static enum lq_status refuse_device(const char *name, struct lq_error *err)
{
    char names[160];
    size_t used = 0;
    names[0] = '\0';
    for (size_t i = 0; lq_device_at(i) != NULL && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "", lq_device_at(i)->name);
    return lq_error_set(err, LQ_ERR_USAGE, "'%.64s' is no device whose types are known; those are %s", name, names);
}

enum lq_status lq_menu_open(struct lq_menu *out, const struct lq_strategy_options *options, struct lq_error *err)
{
    struct lq_choices_limits limits = {.types = options->types,
                                       .most = options->most,
                                       .n_most = options->n_most,
                                       .pins = options->pins,
                                       .n_pins = options->n_pins,
                                       .stats = options->stats,
                                       .allow_requantize = options->allow_requantize,
                                       .no_padding = options->no_padding};
    struct lq_menu menu = {.power = 1};
    if (options->device != NULL && (limits.device = lq_device_find(options->device)) == NULL)
        return refuse_device(options->device, err);
    enum lq_status status = lq_choices_build(&menu.choices, options->model, &limits, err);
    if (status == LQ_OK) status = set_items(&menu, err);
    if (status == LQ_OK) *out = menu;
    else lq_menu_release(&menu);
    return status;
}

void lq_menu_release(struct lq_menu *menu)
{
    free(menu->items);
    free(menu->offers);
    lq_choices_release(&menu->choices);
    *menu = (struct lq_menu){0};
}

double lq_menu_cost(const struct lq_menu *menu, size_t item, size_t offer)
{
    const struct lq_menu_item *it = &menu->items[item];
    double error = it->offers[offer].error;
    return error > 0 ? it->sensitivity * it->factor * pow(error, menu->power) : 0;
}
