/* The types that each tensor may take, before any is chosen.
 *
 * Enters: a model and limits: types allowed, a device that decodes some types well, most that a role may get, pins.
 * Leaves: for each tensor its candidates with their bytes, smallest first; one where it is pinned or never quantised.
 * Invariants: every candidate passes lq_entry_finish (it fits the row, importance is there where it is demanded); none
 * but a pinned one is as large as the tensor's own type; the order of tensors is that of a plan's entries.
 *
 * A tower's feed-forwards share one hidden size, so it is settled here, before any type is: that of blocks of 256 where
 * it is less than a twentieth larger, else that of blocks of 32 where it is less than an eighth larger, if candidates
 * need it; or whichever gives each tensor some candidate.
 *
 *     struct lq_choices choices;
 *     lq_choices_build(&choices, model, &limits, &err);
 *     choices.items[i].entries[k].type, .bytes, .reason
 *     lq_choices_release(&choices);
 */
#ifndef LQ_PLAN_CHOICES_H
#define LQ_PLAN_CHOICES_H

#include "llava_quantize/plan.h"

/* A device or runtime, and the types that it decodes at full speed (docs/recipes.md has the sources). */
struct lq_device {
    const char *name, *what;
    uint64_t types; /* bit 1 << enum lq_type */
};
const struct lq_device *lq_device_at(size_t i); /* cpu, cuda, metal, vulkan; NULL behind the last */
/* Ignores case. NULL: none of this name. */
const struct lq_device *lq_device_find(const char *name);

struct lq_choices_limits {
    const char *types;               /* "q4_k,q5_k,q6_k": no others; NULL: all that the encoders have */
    const struct lq_device *device;  /* NULL: any */
    const struct lq_plan_rule *most; /* --max-type PATTERN=TYPE: no more bits per weight; later ones win */
    size_t n_most;
    const struct lq_plan_rule *pins; /* --type PATTERN=TYPE: this and nothing else; later ones win */
    size_t n_pins;
    const struct lq_stats *stats;
    bool allow_requantize, no_padding;
};

struct lq_choices_item {
    const struct lq_tensor *tensor;
    struct lq_plan_entry *entries; /* fewer bytes first; `reason` says "budget", and what else decided: a pin, the most
                                      allowed, a device, the shape, padding */
    size_t n;
};

struct lq_choices {
    struct lq_choices_item *items;
    size_t n;
};

/* Errors: LQ_ERR_USAGE for an unknown type or pattern, a pin larger than --max-type or not among the types allowed
 * (both are named), limits that leave a tensor without a type; LQ_ERR_UNSUPPORTED as lq_plan_build. On failure nothing
 * needs to be released. */
enum lq_status lq_choices_build(struct lq_choices *out, const struct lq_model *model,
                                const struct lq_choices_limits *limits, struct lq_error *err);
void lq_choices_release(struct lq_choices *choices);

#endif
