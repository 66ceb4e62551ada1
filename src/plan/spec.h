/* What a person may write where bits, a type or a recipe is asked for.
 *
 * Enters: a word in any case. Leaves: a `struct lq_spec` that says how to choose a type for each tensor.
 * Invariants: every name is one of recipe, bits, file type or ggml type; a name that is both of the last two is the
 * file type.
 *
 *     struct lq_spec spec;
 *     if (lq_spec_parse(&spec, "4", &err) == LQ_OK) puts(spec.name);   // 4 bits
 */
#ifndef LQ_PLAN_SPEC_H
#define LQ_PLAN_SPEC_H

#include "llava_quantize/plan.h"
#include "plan/mix.h"

enum lq_spec_kind { LQ_SPEC_RECIPE, LQ_SPEC_MIX, LQ_SPEC_PLAIN };

struct lq_spec {
    enum lq_spec_kind kind;
    char name[16];            /* as recorded: "layered", "4 bits", "Q4_K_M", "q4_k" */
    char tag[16];             /* for file names: "layered", "4bit", "Q4_K_M", "Q4_K" */
    size_t recipe;            /* LQ_SPEC_RECIPE: for lq_recipe_type */
    const struct lq_mix *mix; /* LQ_SPEC_MIX */
    enum lq_type type;        /* LQ_SPEC_PLAIN */
};

/* Errors: LQ_ERR_USAGE, the message lists what would do. */
enum lq_status lq_spec_parse(struct lq_spec *out, const char *text, struct lq_error *err);

/* The type a recipe gives to a role that may be quantised; LQ_TYPE_NONE: as it is. */
enum lq_type lq_recipe_type(size_t recipe, enum lq_role role);

/* `prefix` is the role's name or leading parts of it ("vision", "vision.ffn", "vision.ffn.up"). Ignores case. */
bool lq_role_has_prefix(enum lq_role role, const char *prefix);

/* One line where another tool's type number of the same digits means another thing, else "". */
const char *lq_spec_note(const char *text);

#endif
