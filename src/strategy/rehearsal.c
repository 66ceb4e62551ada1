#include "strategy/rehearsal.h"

#include "strategy/coded.h"

#include <stdlib.h>

/* What one tensor is at the moment. */
struct part {
    struct lq_coded coded; /* of `offer`; no data: none yet */
    size_t offer;
    bool in; /* the trial computes with it */
};

struct lq_rehearsal {
    struct lq_strategy *strategy;
    struct part *parts;
};

enum lq_status lq_rehearsal_open(struct lq_rehearsal **out, struct lq_strategy *strategy, struct lq_error *err)
{
    struct lq_rehearsal *r = calloc(1, sizeof *r);
    if (r != NULL) r->parts = calloc(strategy->menu.n + 1, sizeof *r->parts);
    if (r == NULL || r->parts == NULL) {
        free(r);
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu tensors", strategy->menu.n);
    }
    r->strategy = strategy;
    *out = r;
    return LQ_OK;
}

static enum lq_status show(struct lq_rehearsal *r, size_t i, bool in, struct lq_error *err)
{
    struct part *part = &r->parts[i];
    if (part->in == in) return LQ_OK;
    part->in = in;
    return lq_trial_recode(r->strategy->trial, r->strategy->menu.items[i].tensor->name,
                           in ? part->coded.type : LQ_TYPE_NONE, in ? part->coded.data : NULL, err);
}

void lq_rehearsal_free(struct lq_rehearsal *r)
{
    if (r == NULL) return;
    for (size_t i = 0; i < r->strategy->menu.n; i++) {
        show(r, i, false, NULL);
        lq_coded_release(&r->parts[i].coded);
    }
    free(r->parts);
    free(r);
}

/* Refuses what overflows, unless nothing else is left for the tensor, which then is not measured. */
static enum lq_status refuse(struct lq_menu_item *item, size_t offer, enum lq_status status)
{
    size_t left = 0;
    for (size_t k = 0; k < item->n; k++) left += !item->offers[k].refused;
    if (left < 2) return LQ_OK;
    item->offers[offer].refused = true;
    return status;
}

static enum lq_status encode(struct lq_rehearsal *r, size_t i, size_t offer, struct lq_error *err)
{
    struct part *part = &r->parts[i];
    struct lq_menu_item *item = &r->strategy->menu.items[i];
    const struct lq_plan_entry *entry = item->offers[offer].entry;
    if (part->coded.data != NULL && part->offer == offer) return LQ_OK;
    enum lq_status status = show(r, i, false, err);
    lq_coded_release(&part->coded);
    if (status != LQ_OK || lq_menu_copies(entry)) return status;
    struct lq_matrix *matrix = NULL;
    struct lq_matrix_terms terms = lq_strategy_terms(r->strategy, item->tensor);
    status = lq_matrix_open(&matrix, &terms, err);
    if (status == LQ_OK) status = lq_coded_make(&part->coded, matrix, item->tensor, entry->type, entry->ne[0], err);
    lq_matrix_free(matrix);
    part->offer = offer;
    return status == LQ_ERR_UNSUPPORTED ? refuse(item, offer, status) : status;
}

enum lq_status lq_rehearsal_measure(struct lq_rehearsal *r, const size_t *offers, const bool *without,
                                    struct lq_trial_divergence *out, double *by_question, struct lq_error *err)
{
    struct lq_strategy *s = r->strategy;
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < s->menu.n && status == LQ_OK; i++) {
        bool in = without == NULL || !without[i];
        if (in) status = encode(r, i, offers[i], err);
        if (status == LQ_OK) status = show(r, i, in && r->parts[i].coded.data != NULL, err);
    }
    return status == LQ_OK ? lq_trial_measure(s->trial, out, by_question, err) : status;
}
