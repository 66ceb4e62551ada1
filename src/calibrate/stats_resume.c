#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "calibrate/stats_tensors.h"

/* ---- metadata ---- */

static enum lq_status damaged(const struct lq_calibration *c, const char *what, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_FORMAT, "%s: cannot be resumed: %s; --force gathers anew", c->options.output, what);
}

static enum lq_status compare_terms(const struct lq_calibration *c, const struct lq_source *s, struct lq_error *err)
{
    const char *text = NULL;
    size_t length = 0;
    uint64_t version = 0;
    bool known = lq_kvs_get_u64(&s->kvs, LQ_STATS_KEY_VERSION, &version) && version == LQ_STATS_VERSION;
    if (!known || !lq_kvs_get_string(&s->kvs, LQ_STATS_KEY_TERMS, &text, &length))
        return damaged(c, "it is no statistics file of this program's version", err);
    char *found = strndup(text, length);
    if (found == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu bytes", length);
    enum lq_status status = lq_terms_compare(c->options.output, found, c->terms, err);
    free(found);
    return status;
}

/* Every value is read from the file, so none may be above what a whole run gives. */
static enum lq_status read_reached(struct lq_calibration *c, const struct lq_source *s, struct lq_error *err)
{
    uint64_t done = 0;
    const struct lq_kv *kv = lq_kvs_find(&s->kvs, LQ_STATS_KEY_REACHED);
    if (!lq_kvs_get_u64(&s->kvs, LQ_STATS_KEY_DONE, &done)) return damaged(c, "it does not say how far it is", err);
    if (done < c->course.n && (kv == NULL || kv->element != LQ_KV_U64 || kv->count != c->census.n + 1))
        return damaged(c, "it does not say how far each sum is", err);
    for (size_t i = 0; i <= c->census.n; i++) {
        uint64_t reached = c->course.n;
        if (done < c->course.n) memcpy(&reached, kv->raw + i * sizeof reached, sizeof reached);
        if (reached > c->course.n) return damaged(c, "it says that more was done than there is", err);
        if (i == 0) c->sums_done = reached;
        else if (c->options.hessian) c->moments_done[i - 1] = reached;
    }
    return LQ_OK;
}

static enum lq_status check_tensors(const struct lq_calibration *c, const struct lq_source *s, struct lq_error *err)
{
    struct lq_stats_tensors list = {0};
    enum lq_status status = lq_stats_tensors_list(&list, c, false, err);
    for (size_t i = 0; i < list.n && status == LQ_OK; i++) {
        const struct lq_output_tensor *wanted = &list.items[i];
        const struct lq_source_tensor *found = lq_source_find(s, wanted->name);
        if (found == NULL || found->type != wanted->type || memcmp(found->ne, wanted->ne, sizeof found->ne) != 0) {
            char what[160];
            snprintf(what, sizeof what, "tensor '%s' is %s", wanted->name,
                     found == NULL ? "missing" : "of another shape");
            status = damaged(c, what, err);
        }
    }
    lq_stats_tensors_release(&list);
    return status;
}

enum lq_status lq_stats_resume(struct lq_calibration *c, struct lq_error *err)
{
    struct lq_source *s = NULL;
    if (access(c->options.output, F_OK) != 0) return LQ_OK;
    enum lq_status status = lq_source_open(&s, c->options.output, err);
    if (status == LQ_OK) status = compare_terms(c, s, err);
    if (status == LQ_OK) status = read_reached(c, s, err);
    if (status == LQ_OK) status = check_tensors(c, s, err);
    if (status == LQ_OK) c->earlier = s;
    else lq_source_close(s);
    return status;
}

/* ---- data ---- */

enum lq_status lq_stats_resume_sums(struct lq_calibration *c, struct lq_error *err)
{
    struct lq_stats_tensors list = {0};
    enum lq_status status = lq_stats_tensors_list(&list, c, false, err);
    for (size_t i = 0; i < list.n && status == LQ_OK; i++) {
        size_t n = 0;
        double *sums = lq_stats_part_sums(&c->sums[list.inputs[i]], list.parts[i], &n);
        if (sums == NULL) continue;
        const struct lq_source_tensor *t = lq_source_find(c->earlier, list.items[i].name);
        status = lq_source_read(c->earlier, t, 0, n * sizeof *sums, sums, err);
    }
    lq_stats_tensors_release(&list);
    return status;
}

static enum lq_status read_matrix(struct lq_calibration *c, const struct lq_source_tensor *t, uint64_t at,
                                  struct lq_second_moments *m, float *scratch, float *packed, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t b = 0; b < lq_moments_bands(m->n) && status == LQ_OK; b++) {
        status = lq_source_read(c->earlier, t, (at + lq_moments_packed_at(b)) * sizeof *packed,
                                lq_moments_packed(m->n, b) * sizeof *packed, packed, err);
        if (status == LQ_OK) status = lq_second_moments_unpack(m, b, &c->spill, scratch, packed, err);
    }
    return status;
}

enum lq_status lq_stats_resume_moments(struct lq_calibration *c, size_t input, struct lq_error *err)
{
    const struct lq_input *in = &c->census.inputs[input];
    size_t floats = lq_moments_band_floats(lq_input_columns(in));
    char *name = NULL;
    float *scratch = malloc(2 * floats * sizeof *scratch);
    enum lq_status status = LQ_OK;
    if (scratch == NULL || asprintf(&name, "%s%s", in->first->name, LQ_STATS_HESSIAN) < 0) {
        free(scratch);
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for sums");
    }
    const struct lq_source_tensor *t = lq_source_find(c->earlier, name);
    for (size_t e = 0; e < lq_input_experts(in) && status == LQ_OK; e++)
        status =
            read_matrix(c, t, e * t->ne[0], &c->matrices[c->first_matrix[input] + e], scratch, scratch + floats, err);
    free(name);
    free(scratch);
    return status;
}
