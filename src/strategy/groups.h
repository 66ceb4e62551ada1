/* Tensors that are measured together: a block's attention, a block's feed-forward, the projector, the embedding, the
 * output; or a role in all blocks ("language.ffn.down"); or each tensor alone.
 *
 * Enters: a menu. Leaves: groups in the order in which their first tensors stand, of tensors that may be quantised.
 * Invariants: every tensor that may become something else than a copy is in exactly one group; by roles, every such
 * tensor that is in a block.
 */
#ifndef LQ_STRATEGY_GROUPS_H
#define LQ_STRATEGY_GROUPS_H

#include "strategy/menu.h"

struct lq_group {
    char name[80]; /* "language.attention 3", "projector"; of a tensor alone, its name */
    char kind[40]; /* "language.attention" */
    enum lq_half half;
    size_t *members; /* items of the menu */
    size_t n;
    double divergence; /* of the answers, with all members in their probe types */
    double typical;    /* the same of a typical record: see survey.c */
};

struct lq_groups {
    struct lq_group *groups;
    size_t n;
    size_t *storage; /* of all members */
};

enum lq_grouping { LQ_BY_BLOCK, LQ_BY_ROLE, LQ_BY_TENSOR };

enum lq_status lq_groups_build(struct lq_groups *out, const struct lq_menu *menu, enum lq_grouping by,
                               struct lq_error *err);
void lq_groups_release(struct lq_groups *groups);

#endif
