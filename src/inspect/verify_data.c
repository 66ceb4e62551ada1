#include "inspect/verify_data.h"

#include "base/pool.h"
#include "codec/encode.h"
#include "plan/entry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    READ_AT_ONCE = 1 << 15,      /* weights: what is read stays in the processor's cache */
    DECODED_AT_ONCE = 1 << 11,   /* weights: so does what is decoded, in the nearest one */
    BLOCK = LQ_DIFFERENCE_BLOCK, /* weights whose error is looked at alone; every type's block divides it */
};

struct lq_data_scratch {
    unsigned char *here, *there; /* rows of the tensor, rows of its original */
    XXH3_state_t *hash;
};

/* One item in hand. */
struct task {
    const struct lq_data_pass *pass;
    struct lq_item *item;
    struct lq_sight *sight;
    struct lq_data_scratch *scratch;
    const struct lq_tensor *tensor, *original; /* original: NULL when there is none */
};

static bool can_decode(const struct lq_tensor *t)
{
    return (lq_format_get(t->type)->flags & LQ_FORMAT_TARGET) != 0;
}

static uint64_t row_bytes(const struct lq_tensor *t)
{
    return lq_format_row_bytes(t->type, t->ne[0]);
}

static uint64_t rows_at_once(const struct lq_tensor *t)
{
    uint64_t n = READ_AT_ONCE / t->ne[0];
    return n == 0 ? 1 : n;
}

static const struct lq_tensor *original_of(const struct lq_data_pass *pass, size_t entry)
{
    return pass->run->result->tensors[pass->half->half][entry].original;
}

static void set_place(struct lq_place *place, uint64_t row, uint64_t column)
{
    if (!place->found) *place = (struct lq_place){true, row, column};
}

/* Where the first value or block that is not finite stands in rows that were found to hold one. */
static void locate_bad(const struct task *task, uint64_t first_row, uint64_t n_rows)
{
    const struct lq_format *f = lq_format_get(task->tensor->type);
    uint64_t blocks = n_rows * (task->tensor->ne[0] / f->block), at = 0;
    while (at < blocks && lq_codec_validate(f->type, task->scratch->here + at * f->bytes, f->bytes)) at++;
    uint64_t weight = at * f->block;
    set_place(&task->sight->bad, first_row + weight / task->tensor->ne[0], weight % task->tensor->ne[0]);
}

/* ---- the distance from the original ---- */

static void note_block(const struct task *task, const double sums[2], uint64_t row, uint64_t column)
{
    double ratio = sums[1] > 0 ? sums[0] / sums[1] : sums[0] > 0 ? INFINITY : 0;
    task->item->sums[0] += sums[0];
    task->item->sums[1] += sums[1];
    if (ratio <= task->sight->worst) return;
    task->sight->worst = ratio;
    task->sight->worst_at = (struct lq_place){true, row, column};
}

/* Sums that are not finite come from values that are not: squares of floats do not overflow a double. They are left
 * out. */
static void compare_block(const struct task *task, const float *w, const float *q, uint64_t n, uint64_t row,
                          uint64_t column)
{
    double sums[2] = {0, 0};
    lq_codec_difference(w, q, n, sums);
    if (isfinite(sums[0]) && isfinite(sums[1])) {
        note_block(task, sums, row, column);
        return;
    }
    uint64_t bad = lq_codec_first_bad(w, n);
    if (bad < n) set_place(&task->sight->original_bad, row, column + bad);
}

static enum lq_status decode_part(const struct lq_tensor *t, const unsigned char *row, uint64_t column, float *out,
                                  uint64_t n, struct lq_error *err)
{
    const struct lq_format *f = lq_format_get(t->type);
    return lq_codec_decode(f->type, row + column / f->block * f->bytes, out, n, err);
}

/* Weights of a widened tower beyond the original's. New rows, and new entries of a bias, must be zeros. New columns are
 * multiplied by zeros: what became of them in their block counts as error, and changes nothing. */
static void compare_zeros(const struct task *task, const float *q, uint64_t n, uint64_t row, uint64_t column)
{
    bool columns = task->tensor->n_dims > 1 && row < task->original->rows;
    for (uint64_t i = 0; i < n; i++) {
        if (q[i] != 0 && !columns) set_place(&task->sight->not_zero, row, column + i);
        if (isfinite(q[i])) task->item->sums[0] += (double)q[i] * q[i];
    }
}

/* At most DECODED_AT_ONCE weights of a row; of an F16 original, decoding is left to the comparison. */
static enum lq_status compare_part(const struct task *task, const unsigned char *there, const float *q, uint64_t n,
                                   uint64_t row, uint64_t column, struct lq_error *err)
{
    float w[DECODED_AT_ONCE];
    double sums[DECODED_AT_ONCE / BLOCK][2];
    bool half = task->original->type == LQ_TYPE_F16;
    if (half) lq_codec_half_differences((const uint16_t *)(const void *)there + column, q, n, sums);
    bool finite = half;
    for (uint64_t i = 0; i < n && finite; i += BLOCK) finite = isfinite(sums[i / BLOCK][0] + sums[i / BLOCK][1]);
    for (uint64_t i = 0; i < n && finite; i += BLOCK) note_block(task, sums[i / BLOCK], row, column + i);
    if (finite) return LQ_OK;
    enum lq_status status = decode_part(task->original, there, column, w, n, err);
    for (uint64_t i = 0; i < n && status == LQ_OK; i += BLOCK)
        compare_block(task, w + i, q + i, n - i < BLOCK ? n - i : BLOCK, row, column + i);
    return status;
}

/* The weights of a row that the original has: all or, in a widened tower, those in front. */
static uint64_t original_columns(const struct task *task, uint64_t row)
{
    return row < task->original->rows ? task->original->ne[0] : 0;
}

static enum lq_status compare_row(const struct task *task, uint64_t row, const unsigned char *here,
                                  const unsigned char *there, struct lq_error *err)
{
    float q[DECODED_AT_ONCE];
    uint64_t columns = task->tensor->ne[0], shared = original_columns(task, row);
    enum lq_status status = LQ_OK;
    for (uint64_t c = 0; c < columns && status == LQ_OK; c += DECODED_AT_ONCE) {
        uint64_t n = columns - c < DECODED_AT_ONCE ? columns - c : DECODED_AT_ONCE;
        status = decode_part(task->tensor, here, c, q, n, err);
        uint64_t both = c >= shared ? 0 : shared - c < n ? shared - c : n;
        if (status == LQ_OK && both > 0) status = compare_part(task, there, q, both, row, c, err);
        if (status == LQ_OK) compare_zeros(task, q + both, n - both, row, c + both);
    }
    return status;
}

/* How many of the rows the original has. */
static uint64_t original_rows(const struct lq_tensor *original, uint64_t first_row, uint64_t n_rows)
{
    uint64_t left = first_row < original->rows ? original->rows - first_row : 0;
    return n_rows < left ? n_rows : left;
}

static bool is_copy(const struct task *task, uint64_t bytes)
{
    return task->tensor->type == task->original->type &&
           memcmp(task->tensor->ne, task->original->ne, sizeof task->tensor->ne) == 0 &&
           memcmp(task->scratch->here, task->scratch->there, bytes) == 0;
}

static enum lq_status compare_rows(const struct task *task, uint64_t first_row, uint64_t n_rows, struct lq_error *err)
{
    uint64_t here = row_bytes(task->tensor), there = row_bytes(task->original);
    uint64_t stored = original_rows(task->original, first_row, n_rows);
    enum lq_status status =
        lq_model_read(task->pass->run->options.original, task->original, first_row, stored, task->scratch->there, err);
    if (status != LQ_OK) return status;
    if (!can_decode(task->tensor) || !can_decode(task->original)) {
        task->sight->differs |= !is_copy(task, n_rows * here);
        return LQ_OK;
    }
    for (uint64_t r = 0; r < n_rows && status == LQ_OK; r++)
        status =
            compare_row(task, first_row + r, task->scratch->here + r * here, task->scratch->there + r * there, err);
    return status;
}

/* ---- items ---- */

static enum lq_status look_at_rows(const struct task *task, uint64_t first_row, uint64_t n_rows, struct lq_error *err)
{
    uint64_t bytes = n_rows * row_bytes(task->tensor);
    unsigned char *here = task->scratch->here;
    enum lq_status status = lq_model_read(task->pass->run->model, task->tensor, first_row, n_rows, here, err);
    if (status != LQ_OK) return status;
    XXH3_128bits_update(task->scratch->hash, here, bytes);
    if (!task->sight->bad.found && !lq_codec_validate(task->tensor->type, here, bytes))
        locate_bad(task, first_row, n_rows);
    if (task->original != NULL) status = compare_rows(task, first_row, n_rows, err);
    return status;
}

static enum lq_status run_item(void *data, size_t index, unsigned worker, struct lq_error *err)
{
    struct lq_data_pass *pass = data;
    struct lq_item *item = &pass->items.items[index];
    const struct lq_tensor *tensor = pass->entries[item->entry].tensor, *original = original_of(pass, item->entry);
    struct task task = {pass, item, &pass->sights[index], &pass->scratch[worker], tensor, original};
    uint64_t end = item->first_row + item->n_rows, step = rows_at_once(tensor);
    enum lq_status status = lq_meter_check(&pass->run->meter, err);
    item->sums[0] = item->sums[1] = 0;
    XXH3_128bits_reset(task.scratch->hash);
    for (uint64_t row = item->first_row; row < end && status == LQ_OK; row += step)
        status = look_at_rows(&task, row, end - row < step ? end - row : step, err);
    if (status != LQ_OK) return status;
    item->hash = XXH3_128bits_digest(task.scratch->hash);
    uint64_t read = item->n_rows * row_bytes(tensor);
    if (original != NULL) read += original_rows(original, item->first_row, item->n_rows) * row_bytes(original);
    lq_meter_add(&pass->run->meter, tensor->name, read);
    return LQ_OK;
}

/* ---- the pass ---- */

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static enum lq_status allocate_scratch(struct lq_data_pass *pass, struct lq_error *err)
{
    uint64_t here = 0, there = 0;
    for (size_t i = 0; i < pass->half->n_tensors; i++) {
        const struct lq_tensor *t = &pass->half->tensors[i], *original = original_of(pass, i);
        uint64_t step = rows_at_once(t), rows = t->rows < step ? t->rows : step;
        here = larger(here, rows * row_bytes(t));
        if (original != NULL) there = larger(there, rows * row_bytes(original));
    }
    unsigned threads = pass->run->options.threads;
    pass->workers = threads < pass->items.n ? threads : (unsigned)larger(pass->items.n, 1);
    pass->scratch = calloc(pass->workers, sizeof *pass->scratch);
    bool complete = pass->scratch != NULL;
    for (unsigned i = 0; complete && i < pass->workers; i++) {
        struct lq_data_scratch *s = &pass->scratch[i];
        s->here = malloc(here + 1);
        s->there = malloc(there + 1);
        s->hash = XXH3_createState();
        complete = s->here != NULL && s->there != NULL && s->hash != NULL;
    }
    if (complete) return LQ_OK;
    return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %u workers of %llu bytes each", pass->workers,
                        (unsigned long long)(here + there));
}

static enum lq_status make_items(struct lq_data_pass *pass, struct lq_error *err)
{
    size_t n = pass->half->n_tensors;
    pass->entries = calloc(n + 1, sizeof *pass->entries);
    if (pass->entries == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu tensors", n);
    for (size_t i = 0; i < n; i++) pass->entries[i] = lq_entry_of(&pass->half->tensors[i]);
    enum lq_status status = lq_items_build(&pass->items, pass->half->path, pass->entries, n, err);
    if (status != LQ_OK) return status;
    pass->sights = calloc(pass->items.n + 1, sizeof *pass->sights);
    if (pass->sights != NULL) return LQ_OK;
    return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu work items", pass->items.n);
}

enum lq_status lq_data_pass_run(struct lq_data_pass *pass, struct lq_error *err)
{
    enum lq_status status = make_items(pass, err);
    if (status == LQ_OK) status = allocate_scratch(pass, err);
    if (status == LQ_OK) status = lq_pool_run(pass->workers, pass->items.n, run_item, pass, err);
    return status;
}

void lq_data_pass_release(struct lq_data_pass *pass)
{
    for (unsigned i = 0; pass->scratch != NULL && i < pass->workers; i++) {
        free(pass->scratch[i].here);
        free(pass->scratch[i].there);
        XXH3_freeState(pass->scratch[i].hash);
    }
    free(pass->scratch);
    free(pass->sights);
    free(pass->items.items);
    free(pass->entries);
}
