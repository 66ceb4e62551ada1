/* llama-quantize's mixes: which type its 0.5.0 gives to each tensor of one GGUF file.
 *
 * Enters: one half of a model and a file type such as Q4_K_M. Leaves: a type for each tensor, in the half's order.
 * Invariants: the choice equals that of `llama-quantize --dry-run`, except that a tensor which is never quantised stays
 * as it is; every type fits its row.
 *
 *     const struct lq_mix *mix = lq_mix_find("q4_k_m");
 *     lq_mix_choose(mix, half, false, false, choices, &err);   // choices[half->n_tensors]
 */
#ifndef LQ_PLAN_MIX_H
#define LQ_PLAN_MIX_H

#include "llava_quantize/model.h"
#include "llava_quantize/plan.h"

struct lq_mix {
    struct lq_recipe_info info; /* name in llama-quantize's spelling */
    int file_type;              /* general.file_type */
    enum lq_type base;          /* what a tensor gets that no rule raises */
};

struct lq_mix_choice {
    enum lq_type type;
    enum lq_type wanted; /* differs from `type` where the row did not fit it */
    bool allowed;        /* false: llama-quantize copies this tensor, or it is never quantised */
};

/* The i-th file type in llama-quantize's order, or NULL behind the last. */
const struct lq_mix *lq_mix_at(size_t i);
/* NULL when no file type has this name. Ignores case. */
const struct lq_mix *lq_mix_find(const char *name);

/* `tower`: count the blocks of a vision half. llama-quantize does not, and so takes each for the last one, whose
 * ffn_down deserves more bits; that is its choice for files that it can quantise, and nobody's for those that it cannot.
 * Errors: LQ_ERR_UNSUPPORTED where llama-quantize defines no type for a row's width, LQ_ERR_MEMORY. */
enum lq_status lq_mix_choose(const struct lq_mix *mix, const struct lq_model_half *half, bool has_imatrix, bool tower,
                             struct lq_mix_choice *choices, struct lq_error *err);

/* llama-quantize refuses to give `type` to this tensor without importance data. */
bool lq_mix_demands_importance(const struct lq_mix *mix, const struct lq_tensor *tensor, enum lq_type type);

#endif
