#include "strategy/fit.h"

#include "base/checked.h"
#include "plan/allocate.h"
#include "plan/entry.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 16, NAMED = 3 }; /* of fitting to what headers take; tensors named in a message */

/* The offers that may be chosen, as the allocation wants them. */
struct table {
    struct lq_choice_item *items;
    struct lq_choice *choices;
    size_t *offer; /* of each choice: its number among the item's offers */
    size_t *chosen;
};

static uint64_t aligned(const struct lq_strategy *s, const struct lq_offer *offer, bool data)
{
    uint64_t bytes = offer->entry->bytes;
    if (!data) lq_align_u64(bytes, s->options.model->half[offer->entry->tensor->half]->alignment, &bytes);
    return bytes;
}

static void table_release(struct table *table)
{
    free(table->items);
    free(table->choices);
    free(table->offer);
    free(table->chosen);
}

static enum lq_status table_build(struct table *out, const struct lq_strategy *s, bool data, struct lq_error *err)
{
    size_t total = 1, n = s->menu.n;
    for (size_t i = 0; i < n; i++) total += s->menu.items[i].n;
    struct table t = {.items = calloc(n + 1, sizeof *t.items),
                      .choices = calloc(total, sizeof *t.choices),
                      .offer = calloc(total, sizeof *t.offer),
                      .chosen = calloc(n + 1, sizeof *t.chosen)};
    if (t.items == NULL || t.choices == NULL || t.offer == NULL || t.chosen == NULL) {
        table_release(&t);
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu choices", total);
    }
    struct lq_choice *choice = t.choices;
    for (size_t i = 0; i < n; i++) {
        const struct lq_menu_item *item = &s->menu.items[i];
        t.items[i].choices = choice;
        for (size_t k = 0; k < item->n; k++) {
            if (item->offers[k].refused) continue;
            t.offer[choice - t.choices] = k;
            *choice++ = (struct lq_choice){aligned(s, &item->offers[k], data), lq_menu_cost(&s->menu, i, k)};
        }
        t.items[i].n = (size_t)(choice - t.items[i].choices);
    }
    *out = t;
    return LQ_OK;
}

/* The offer that the table's choice stands for. */
static size_t offer_of(const struct table *t, size_t item)
{
    return t->offer[(t->items[item].choices - t->choices) + (ptrdiff_t)t->chosen[item]];
}

static double bpw_of(const struct lq_plan *plan)
{
    uint64_t bytes = 0, weights = 0;
    for (size_t i = 0; i < plan->n_entries; i++) {
        bytes += plan->entries[i].bytes;
        weights += plan->entries[i].rows * plan->entries[i].ne[0];
    }
    return weights > 0 ? 8.0 * (double)bytes / (double)weights : 0;
}

/* Bytes of all files, with the metadata that this very plan will get. */
static enum lq_status files_of(uint64_t *bytes, const struct lq_strategy *s, const struct lq_plan *plan,
                               struct lq_error *err)
{
    struct lq_quantize_options options = {.split_size = s->options.split_size,
                                          .keep_split = s->options.keep_split,
                                          .effort = s->options.effort,
                                          .stats = s->options.stats,
                                          .method = s->options.method};
    struct lq_quantize_file *files = NULL;
    size_t n = 0;
    enum lq_status status = lq_quantize_files(&files, &n, s->options.model, plan, &options, err);
    if (status != LQ_OK) return status;
    *bytes = 0;
    for (size_t i = 0; i < n; i++) *bytes += files[i].bytes;
    lq_quantize_files_free(files, n);
    return LQ_OK;
}

enum lq_status lq_pick_plan(struct lq_plan **out, const struct lq_strategy *s, const struct lq_pick *pick,
                            struct lq_error *err)
{
    struct lq_plan *plan = NULL;
    enum lq_status status = lq_plan_new(&plan, s->options.model, err);
    if (status != LQ_OK) return status;
    for (size_t i = 0; i < plan->n_entries; i++) plan->entries[i] = *s->menu.items[i].offers[pick->offers[i]].entry;
    for (int h = 0; h < LQ_HALVES; h++) plan->file_type[h] = lq_plan_file_type(plan, (enum lq_half)h);
    snprintf(plan->recipe, sizeof plan->recipe, "%s", pick->name);
    snprintf(plan->tag, sizeof plan->tag, "%s", pick->name);
    *out = plan;
    return LQ_OK;
}

/* Sets what the files of the pick take. */
static enum lq_status weigh(struct lq_pick *pick, const struct lq_strategy *s, struct lq_error *err)
{
    struct lq_plan *plan = NULL;
    enum lq_status status = lq_pick_plan(&plan, s, pick, err);
    if (status == LQ_OK) status = files_of(&pick->bytes, s, plan, err);
    if (status == LQ_OK) pick->bpw = bpw_of(plan);
    lq_plan_free(plan);
    return status;
}

static void choose_ends(const struct lq_strategy *s, size_t *offers, bool largest)
{
    for (size_t i = 0; i < s->menu.n; i++) {
        const struct lq_menu_item *item = &s->menu.items[i];
        size_t k = largest ? item->n - 1 : 0;
        while (item->offers[k].refused) k += largest ? (size_t)-1 : 1;
        offers[i] = k;
    }
}

static uint64_t data_of(const struct lq_strategy *s, const size_t *offers)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < s->menu.n; i++) bytes += aligned(s, &s->menu.items[i].offers[offers[i]], true);
    return bytes;
}

enum lq_status lq_fit_bounds(struct lq_fit_bounds *out, struct lq_strategy *s, struct lq_error *err)
{
    struct lq_fit_bounds b = {0};
    struct lq_plan *plan = NULL;
    struct lq_pick pick = {.name = "auto", .offers = calloc(s->menu.n + 1, sizeof *pick.offers)};
    if (pick.offers == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu choices", s->menu.n);
    enum lq_status status = lq_plan_build(&plan, s->options.model, &(struct lq_plan_request){.spec = "copy"}, err);
    if (status == LQ_OK) status = files_of(&b.original, s, plan, err);
    for (size_t i = 0; status == LQ_OK && i < plan->n_entries; i++) {
        const struct lq_plan_entry *written = s->menu.items[i].offers[0].entry;
        b.original_data += plan->entries[i].bytes;
        b.weights += written->rows * written->ne[0];
    }
    for (int end = 0; end < 2 && status == LQ_OK; end++) {
        choose_ends(s, pick.offers, end == 1);
        status = weigh(&pick, s, err);
        *(end == 1 ? &b.largest : &b.smallest) = pick.bytes;
        *(end == 1 ? &b.largest_data : &b.smallest_data) = data_of(s, pick.offers);
    }
    if (status == LQ_OK) *out = b;
    lq_plan_free(plan);
    lq_pick_release(&pick);
    return status;
}

/* The largest tensors of the smallest choice, for a message. */
static void name_largest(const struct lq_strategy *s, const size_t *offers, char *dst, size_t size)
{
    size_t used = 0, named[NAMED] = {0};
    dst[0] = '\0';
    for (size_t n = 0; n < NAMED; n++) {
        size_t best = s->menu.n;
        uint64_t most = 0;
        for (size_t i = 0; i < s->menu.n; i++) {
            bool told = false;
            for (size_t k = 0; k < n; k++) told |= named[k] == i;
            uint64_t bytes = aligned(s, &s->menu.items[i].offers[offers[i]], true);
            if (told || bytes <= most) continue;
            most = bytes;
            best = i;
        }
        if (best == s->menu.n || used >= size) return;
        named[n] = best;
        const struct lq_plan_entry *e = s->menu.items[best].offers[offers[best]].entry;
        used += (size_t)snprintf(dst + used, size - used, "%s'%s' (%s, %" PRIu64 " bytes)", n > 0 ? ", " : "",
                                 e->tensor->name, lq_format_name(e->type), most);
    }
}

static enum lq_status refuse_small(const struct lq_strategy *s, const struct lq_size *size,
                                   const struct lq_fit_bounds *bounds, struct lq_error *err)
{
    char names[512], wanted[64], least[64];
    size_t *offers = calloc(s->menu.n + 1, sizeof *offers);
    if (offers == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu choices", s->menu.n);
    choose_ends(s, offers, false);
    name_largest(s, offers, names, sizeof names);
    free(offers);
    double bits = 8 / (double)bounds->weights;
    snprintf(wanted, sizeof wanted, size->data ? "%.4g bits per weight" : "%.0f bytes",
             (double)size->bytes * (size->data ? bits : 1));
    snprintf(least, sizeof least, size->data ? "%.4g" : "%.0f",
             size->data ? (double)bounds->smallest_data * bits : (double)bounds->smallest);
    return lq_error_set(err, LQ_ERR_USAGE,
                        "%s: %s are asked for, and the smallest possible is %s; the largest there are %s",
                        s->options.model->path, wanted, least, names);
}

enum lq_status lq_fit_check(struct lq_strategy *s, const struct lq_size *size, struct lq_error *err)
{
    struct lq_fit_bounds b = {0};
    enum lq_status status = lq_fit_bounds(&b, s, err);
    if (status != LQ_OK) return status;
    if (size->bytes < (size->data ? b.smallest_data : b.smallest)) return refuse_small(s, size, &b, err);
    if (size->bytes <= (size->data ? b.original_data : b.original)) return LQ_OK;
    if (size->data)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: more bits per weight are asked for than the original has, %.4g",
                            s->options.model->path, 8 * (double)b.original_data / (double)b.weights);
    return lq_error_set(err, LQ_ERR_USAGE, "%s: %" PRIu64 " bytes are asked for, more than the original's %" PRIu64,
                        s->options.model->path, size->bytes, b.original);
}

/* One allocation within `budget`, weighed. */
static enum lq_status allocate(struct lq_pick *pick, const struct lq_strategy *s, struct table *table, uint64_t budget,
                               struct lq_error *err)
{
    struct lq_allocation outcome;
    enum lq_status status = lq_allocate(table->items, s->menu.n, budget, table->chosen, &outcome, err);
    if (status != LQ_OK) return status;
    for (size_t i = 0; i < s->menu.n; i++) pick->offers[i] = offer_of(table, i);
    pick->cost = outcome.cost;
    pick->bound = outcome.bound;
    return weigh(pick, s, err);
}

/* What headers take depends a little on the plan, which they sum up: allocates until all of it fits. */
static enum lq_status fit_files(struct lq_pick *pick, const struct lq_strategy *s, struct table *table, uint64_t target,
                                struct lq_error *err)
{
    uint64_t data = 0, budget = target;
    choose_ends(s, pick->offers, false);
    enum lq_status status = weigh(pick, s, err);
    for (size_t i = 0; i < s->menu.n; i++) data += aligned(s, &s->menu.items[i].offers[pick->offers[i]], false);
    budget -= pick->bytes - data;
    for (int round = 0; status == LQ_OK && round < ROUNDS; round++) {
        if (round + 1 == ROUNDS) budget = data; /* the smallest fits: that was looked at */
        status = allocate(pick, s, table, budget, err);
        if (status != LQ_OK || pick->bytes <= target) return status;
        uint64_t over = pick->bytes - target;
        budget = budget - data > over ? budget - over : data;
    }
    return status;
}

enum lq_status lq_fit(struct lq_pick *out, struct lq_strategy *s, const struct lq_size *size, const char *name,
                      struct lq_error *err)
{
    struct table table = {0};
    struct lq_pick pick = {.name = name};
    enum lq_status status = lq_fit_check(s, size, err);
    if (status == LQ_OK) status = table_build(&table, s, size->data, err);
    if (status == LQ_OK && (pick.offers = calloc(s->menu.n + 1, sizeof *pick.offers)) == NULL)
        status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu choices", s->menu.n);
    if (status == LQ_OK)
        status =
            size->data ? allocate(&pick, s, &table, size->bytes, err) : fit_files(&pick, s, &table, size->bytes, err);
    table_release(&table);
    if (status == LQ_OK) *out = pick;
    else lq_pick_release(&pick);
    return status;
}

void lq_pick_release(struct lq_pick *pick)
{
    free(pick->offers);
    *pick = (struct lq_pick){0};
}
