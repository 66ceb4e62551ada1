/* What a pass over a half's data amounts to: results per tensor, findings. */
#include "inspect/verify_data.h"

#include <inttypes.h>
#include <math.h>

/* The items of one tensor: [first, end). */
struct range {
    size_t first, end;
};

static struct range items_of(const struct lq_data_pass *pass, size_t entry, size_t from)
{
    struct range r = {from, from};
    while (r.end < pass->items.n && pass->items.items[r.end].entry == entry) r.end++;
    return r;
}

static void add_up(const struct lq_data_pass *pass, struct range r, struct lq_verify_tensor *out)
{
    double worst = 0;
    for (size_t i = r.first; i < r.end; i++) {
        out->error_sq += pass->items.items[i].sums[0];
        out->weight_sq += pass->items.items[i].sums[1];
        if (pass->sights[i].worst <= worst) continue;
        worst = pass->sights[i].worst;
        out->worst_row = pass->sights[i].worst_at.row;
        out->worst_column = pass->sights[i].worst_at.column;
    }
    out->worst = sqrt(worst);
}

static enum lq_status report_bad(const struct lq_data_pass *pass, const struct lq_tensor *t, const char *path,
                                 const struct lq_place *at, struct lq_error *err)
{
    bool scales = (lq_format_get(t->type)->flags & LQ_FORMAT_QUANTISED) != 0;
    return lq_run_find(pass->run, LQ_CHECK_VALUES, err,
                       "%s: tensor '%s': %s at row %" PRIu64 ", column %" PRIu64 " is not finite", path, t->name,
                       scales ? "the scale of the block" : "the value", at->row, at->column);
}

/* The first value that is not finite, in the tensor or in its original; NULL when there is none. */
static const struct lq_place *first_bad(const struct lq_data_pass *pass, struct range r, bool original)
{
    for (size_t i = r.first; i < r.end; i++) {
        const struct lq_place *place = original ? &pass->sights[i].original_bad : &pass->sights[i].bad;
        if (place->found) return place;
    }
    return NULL;
}

static enum lq_status report_values(const struct lq_data_pass *pass, const struct lq_tensor *t, struct range r,
                                    const struct lq_tensor *original, struct lq_error *err)
{
    const struct lq_place *here = first_bad(pass, r, false), *there = first_bad(pass, r, true);
    enum lq_status status = LQ_OK;
    if (here != NULL) status = report_bad(pass, t, pass->half->path, here, err);
    if (status == LQ_OK && there != NULL)
        status = report_bad(pass, original, pass->run->options.original->half[pass->half->half]->path, there, err);
    return status;
}

static enum lq_status report_difference(const struct lq_data_pass *pass, const struct lq_tensor *t, struct range r,
                                        struct lq_error *err)
{
    bool differs = false;
    for (size_t i = r.first; i < r.end; i++) differs |= pass->sights[i].differs;
    if (!differs) return LQ_OK;
    return lq_run_find(pass->run, LQ_CHECK_TENSORS, err, "%s: tensor '%s' (%s) is not a copy of the original",
                       pass->half->path, t->name, lq_format_name(t->type));
}

static enum lq_status report_not_zero(const struct lq_data_pass *pass, const struct lq_tensor *t, struct range r,
                                      struct lq_error *err)
{
    for (size_t i = r.first; i < r.end; i++) {
        const struct lq_place *at = &pass->sights[i].not_zero;
        if (at->found)
            return lq_run_find(pass->run, LQ_CHECK_TENSORS, err,
                               "%s: tensor '%s': row %" PRIu64 ", column %" PRIu64
                               " lies beyond the original, and is not zero",
                               pass->half->path, t->name, at->row, at->column);
    }
    return LQ_OK;
}

static enum lq_status report_error(const struct lq_data_pass *pass, const struct lq_tensor *t,
                                   const struct lq_verify_tensor *v, struct lq_error *err)
{
    const struct lq_verify_options *o = &pass->run->options;
    if (!o->limit_error || v->error_sq <= o->max_error * o->max_error * v->weight_sq) return LQ_OK;
    return lq_run_find(pass->run, LQ_CHECK_ERROR, err,
                       "%s: tensor '%s' (%s) is %.3f %% from the original, more than %.3f %%", pass->half->path,
                       t->name, lq_format_name(t->type), sqrt(v->error_sq / v->weight_sq) * 100, o->max_error * 100);
}

static enum lq_status report(const struct lq_data_pass *pass, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    struct range r = {0, 0};
    for (size_t i = 0; i < pass->half->n_tensors && status == LQ_OK; i++) {
        const struct lq_tensor *t = &pass->half->tensors[i];
        struct lq_verify_tensor *v = &pass->run->result->tensors[pass->half->half][i];
        r = items_of(pass, i, r.end);
        if (v->original != NULL) add_up(pass, r, v);
        status = report_values(pass, t, r, v->original, err);
        if (status == LQ_OK) status = report_difference(pass, t, r, err);
        if (status == LQ_OK) status = report_not_zero(pass, t, r, err);
        if (status == LQ_OK) status = report_error(pass, t, v, err);
    }
    return status;
}

enum lq_status lq_verify_half(struct lq_verify_run *run, enum lq_half half, struct lq_error *err)
{
    struct lq_data_pass pass = {.run = run, .half = run->model->half[half]};
    enum lq_status status = lq_data_pass_run(&pass, err);
    if (status == LQ_OK) lq_content_add(&run->content, pass.entries, pass.half->n_tensors, &pass.items);
    if (status == LQ_OK) status = report(&pass, err);
    lq_data_pass_release(&pass);
    return status;
}
