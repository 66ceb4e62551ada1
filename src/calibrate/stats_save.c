#include <stdlib.h>
#include <string.h>

#include "calibrate/gather_rates.h"
#include "calibrate/stats_tensors.h"
#include "model/names.h"
#include "write/layout.h"

enum { ALIGNMENT = 32 };

/* ---- metadata ---- */

static enum lq_status set_strings(struct lq_kvs *kvs, const char *key, const char *const *texts, size_t n,
                                  struct lq_error *err)
{
    size_t *lengths = calloc(n + 1, sizeof *lengths);
    if (lengths == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for metadata");
    for (size_t i = 0; i < n; i++) lengths[i] = strlen(texts[i]);
    enum lq_status status = lq_kvs_set_strings(kvs, key, texts, lengths, n, err);
    free(lengths);
    return status;
}

static enum lq_status set_u64(struct lq_kvs *kvs, const char *key, uint64_t v, struct lq_error *err)
{
    return lq_kvs_set_raw(kvs, key, LQ_KV_U64, LQ_KV_U64, 1, &v, sizeof v, err);
}

/* The matrices that share an input, and beside each the first with it. */
static enum lq_status set_shares(struct lq_kvs *kvs, const struct lq_calibration *c, struct lq_error *err)
{
    size_t n = 0, k = 0;
    for (size_t i = 0; i < c->census.n; i++) n += c->census.inputs[i].n_members;
    const char **members = calloc(2 * n + 1, sizeof *members), **firsts = members + n;
    if (members == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for metadata");
    for (size_t i = 0; i < c->census.n; i++) {
        const struct lq_input *input = &c->census.inputs[i];
        for (size_t m = 0; m < input->n_members; m++, k++) {
            members[k] = input->members[m]->name;
            firsts[k] = input->first->name;
        }
    }
    enum lq_status status = set_strings(kvs, LQ_STATS_KEY_MEMBERS, members, n, err);
    if (status == LQ_OK) status = set_strings(kvs, LQ_STATS_KEY_FIRSTS, firsts, n, err);
    free(members);
    return status;
}

/* How far each sum is, in an unfinished file: that of all inputs first, then second moments, one by one. */
static enum lq_status set_reached(struct lq_kvs *kvs, const struct lq_calibration *c, struct lq_error *err)
{
    uint64_t *reached = calloc(c->census.n + 1, sizeof *reached);
    if (reached == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for metadata");
    reached[0] = c->sums_done;
    for (size_t i = 0; i < c->census.n; i++) reached[i + 1] = c->moments_done[i];
    enum lq_status status = lq_kvs_set_array(kvs, LQ_STATS_KEY_REACHED, LQ_KV_U64, c->census.n + 1, reached, err);
    free(reached);
    return status;
}

static enum lq_status make_kvs(struct lq_kvs *kvs, const struct lq_calibration *c, struct lq_error *err)
{
    size_t n_sets = 1, length;
    const char *sets[2] = {lq_name_base(c->options.data->path, &length), NULL};
    uint64_t done = lq_steps_done(c);
    if (c->options.text != NULL) sets[n_sets++] = lq_name_base(c->options.text, &length);
    uint32_t window = c->course.windows.window != 0 ? c->course.windows.window : LQ_USUAL_WINDOW;
    enum lq_status status = lq_kvs_set_string(kvs, "general.type", "imatrix", err);
    if (status == LQ_OK) status = set_strings(kvs, "imatrix.datasets", sets, n_sets, err);
    if (status == LQ_OK) status = lq_kvs_set_u32(kvs, "imatrix.chunk_count", (uint32_t)done, err);
    if (status == LQ_OK) status = lq_kvs_set_u32(kvs, "imatrix.chunk_size", window, err);
    if (status == LQ_OK) status = lq_kvs_set_u32(kvs, LQ_STATS_KEY_VERSION, LQ_STATS_VERSION, err);
    if (status == LQ_OK) status = lq_kvs_set_string(kvs, LQ_STATS_KEY_PAIR, c->pair, err);
    if (status == LQ_OK) status = lq_kvs_set_string(kvs, LQ_STATS_KEY_TERMS, c->terms, err);
    if (status == LQ_OK) status = lq_kvs_set_array(kvs, LQ_STATS_KEY_WEIGHTS, LQ_KV_F64, LQ_KINDS, c->weights, err);
    if (status == LQ_OK) status = set_u64(kvs, LQ_STATS_KEY_DONE, done, err);
    if (status == LQ_OK) status = set_u64(kvs, LQ_STATS_KEY_TOTAL, c->course.n, err);
    if (status == LQ_OK && done < c->course.n) status = set_reached(kvs, c, err);
    return status == LQ_OK ? set_shares(kvs, c, err) : status;
}

/* ---- data ---- */

struct save {
    struct lq_calibration *c;
    size_t tensor, input;
    const struct lq_output_tensor *laid_out;
};

static enum lq_status put(const struct save *s, uint64_t offset, const void *data, uint64_t bytes, struct lq_error *err)
{
    return lq_output_write(s->c->output, 0, s->tensor, offset, data, bytes, err);
}

static enum lq_status put_imatrix(const struct save *s, bool counts, struct lq_error *err)
{
    const struct lq_input_sums *sums = &s->c->sums[s->input];
    float *row = malloc(sums->n * sizeof *row), count = 0;
    enum lq_status status = row == NULL ? lq_error_set(err, LQ_ERR_MEMORY, "no memory for sums") : LQ_OK;
    for (size_t e = 0; e < sums->n_experts && status == LQ_OK; e++) {
        lq_input_sums_imatrix(sums, e, row, &count);
        if (counts) status = put(s, e * sizeof count, &count, sizeof count, err);
        else status = put(s, e * sums->n * sizeof *row, row, sums->n * sizeof *row, err);
    }
    free(row);
    return status;
}

/* Bytes of the same tensor in the file that is resumed. */
static enum lq_status put_earlier(const struct save *s, void *piece, size_t piece_bytes, struct lq_error *err)
{
    const struct lq_source *earlier = s->c->earlier;
    const struct lq_source_tensor *t = lq_source_find(earlier, s->laid_out->name);
    enum lq_status status = LQ_OK;
    for (uint64_t at = 0; at < t->bytes && status == LQ_OK; at += piece_bytes) {
        uint64_t n = t->bytes - at < piece_bytes ? t->bytes - at : piece_bytes;
        status = lq_source_read(earlier, t, at, n, piece, err);
        if (status == LQ_OK) status = put(s, at, piece, n, err);
    }
    return status;
}

static enum lq_status put_matrix(const struct save *s, const struct lq_second_moments *m, uint64_t at, float *scratch,
                                 float *packed, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t b = 0; b < lq_moments_bands(m->n) && status == LQ_OK; b++) {
        status = lq_second_moments_pack(m, b, &s->c->spill, scratch, packed, err);
        if (status == LQ_OK)
            status = put(s, (at + lq_moments_packed_at(b)) * sizeof *packed, packed,
                         lq_moments_packed(m->n, b) * sizeof *packed, err);
    }
    return status;
}

static enum lq_status put_hessian(const struct save *s, struct lq_error *err)
{
    const struct lq_calibration *c = s->c;
    size_t n = lq_input_columns(&c->census.inputs[s->input]), floats = lq_moments_band_floats(n);
    const struct lq_second_moments *first = &c->matrices[c->first_matrix[s->input]];
    float *scratch = malloc(2 * floats * sizeof *scratch);
    enum lq_status status = scratch == NULL ? lq_error_set(err, LQ_ERR_MEMORY, "no memory for sums") : LQ_OK;
    if (status == LQ_OK && first->n == 0) {
        status = put_earlier(s, scratch, 2 * floats * sizeof *scratch, err);
    } else {
        for (size_t e = 0; e < lq_input_experts(&c->census.inputs[s->input]) && status == LQ_OK; e++)
            status = put_matrix(s, first + e, e * s->laid_out->ne[0], scratch, scratch + floats, err);
    }
    free(scratch);
    return status;
}

static enum lq_status put_part(const struct save *s, enum lq_stats_part part, struct lq_error *err)
{
    size_t n = 0;
    const double *sums = lq_stats_part_sums(&s->c->sums[s->input], part, &n);
    if (part == LQ_PART_HESSIAN) return put_hessian(s, err);
    if (sums == NULL) return put_imatrix(s, part == LQ_PART_COUNTS, err);
    return put(s, 0, sums, n * sizeof *sums, err);
}

enum lq_status lq_stats_save(struct lq_calibration *c, struct lq_error *err)
{
    struct lq_kvs kvs = {0};
    struct lq_stats_tensors list = {0};
    enum lq_status status = make_kvs(&kvs, c, err);
    if (status == LQ_OK) status = lq_stats_tensors_list(&list, c, false, err);
    if (status == LQ_OK) status = lq_output_begin(c->output, 0, &kvs, list.items, list.n, ALIGNMENT, err);
    for (size_t i = 0; i < list.n && status == LQ_OK; i++)
        status = put_part(&(struct save){c, i, list.inputs[i], &list.items[i]}, list.parts[i], err);
    if (status == LQ_OK) status = lq_output_commit(c->output, NULL, err);
    lq_stats_tensors_release(&list);
    lq_kvs_release(&kvs);
    return status;
}

enum lq_status lq_stats_file_bytes(uint64_t *out, const struct lq_calibration *c, struct lq_error *err)
{
    struct lq_kvs kvs = {0};
    struct lq_stats_tensors list = {0};
    struct lq_layout_size size;
    enum lq_status status = make_kvs(&kvs, c, err);
    if (status == LQ_OK) status = lq_stats_tensors_list(&list, c, true, err);
    lq_layout_size_begin(&size, &kvs, ALIGNMENT);
    for (size_t i = 0; i < list.n; i++) {
        const struct lq_output_tensor *t = &list.items[i];
        uint64_t width = t->type == LQ_TYPE_F64 ? sizeof(double) : sizeof(float);
        lq_layout_size_add(&size, t->name, t->n_dims, t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3] * width);
    }
    if (status == LQ_OK) *out = lq_layout_size_file(&size);
    lq_stats_tensors_release(&list);
    lq_kvs_release(&kvs);
    return status;
}
