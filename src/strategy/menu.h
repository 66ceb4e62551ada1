/* What may be chosen, and what it costs: for each tensor the types offered, with their errors and a sensitivity.
 *
 * Enters: a model, limits; errors and sensitivities as the survey finds them. Leaves: the divergence that a tensor in a
 * type is taken to cause. Invariants: items are in the order of a plan's entries, and each has at least one offer;
 * offers of an item have fewer bytes first.
 *
 *     struct lq_menu menu = {0};
 *     lq_menu_open(&menu, &options, &err);
 *     lq_menu_cost(&menu, i, k)      // tensor i in its k-th type, once errors are known
 *     lq_menu_release(&menu);
 */
#ifndef LQ_STRATEGY_MENU_H
#define LQ_STRATEGY_MENU_H

#include "llava_quantize/strategy.h"
#include "plan/choices.h"
#include "strategy/rounding.h"

struct lq_offer {
    const struct lq_plan_entry *entry; /* of `choices` */
    double error;                      /* of the outputs, squared, relative, by the weights' rounding and the
                                          inputs'; 0 of what is copied */
    bool refused;                      /* weights overflow the type: not to be chosen */
};

struct lq_menu_item {
    const struct lq_tensor *tensor;
    struct lq_offer *offers;
    size_t n;
    double rounding[LQ_ROUNDINGS]; /* error that rounding the inputs adds, by the length of blocks; 0: not known */
    double probe;                  /* error in the type that its group was measured in; 0: not measured */
    double sensitivity;
    double factor;  /* what was measured around a plan corrects it by; else 1 */
    bool quantised; /* some offer is more than a copy */
};

struct lq_menu {
    struct lq_choices choices;
    struct lq_offer *offers; /* the storage of all */
    struct lq_menu_item *items;
    size_t n;
    double power; /* of the error */
};

enum lq_status lq_menu_open(struct lq_menu *out, const struct lq_strategy_options *options, struct lq_error *err);
void lq_menu_release(struct lq_menu *menu);
/* Whether an entry leaves its tensor as it is. */
bool lq_menu_copies(const struct lq_plan_entry *entry);
/* As the additive model has it, corrected. */
double lq_menu_cost(const struct lq_menu *menu, size_t item, size_t offer);

#endif
