#include "quantize/work.h"

#include "base/pool.h"
#include "codec/encode.h"
#include "llava_quantize/calibrate.h"
#include "quantize/pad.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    MEASURED_AT_ONCE = 4096, /* weights; every block size divides it */
    PIECE_WEIGHTS = 1 << 15, /* read, decoded, encoded and measured while they are in the processor's cache */
};

/* One item in hand, and the rows of it that are worked on: a piece. */
struct task {
    struct lq_work *work;
    struct lq_item *item;
    const struct lq_plan_entry *entry;
    const struct lq_tensor *tensor;
    struct lq_scratch *scratch;
    uint64_t first_row, n_rows, weights;
    unsigned char *coded; /* where the piece belongs within the item */
};

static bool can_decode(enum lq_type type)
{
    return (lq_format_get(type)->flags & LQ_FORMAT_TARGET) != 0;
}

static enum lq_status not_finite(const struct task *task, struct lq_error *err)
{
    const struct lq_tensor *t = task->tensor;
    uint64_t at = lq_codec_first_bad(task->scratch->weights, task->weights), columns = task->entry->ne[0];
    return lq_error_set(err, LQ_ERR_FORMAT,
                        "%s: tensor '%s': row %" PRIu64 ", column %" PRIu64 " is %g: weights must be finite",
                        task->work->half->path, t->name, task->first_row + at / columns, at % columns,
                        (double)task->scratch->weights[at]);
}

/* The importance of the columns of the matrix that the item lies in, or NULL. Behind padded weights is room for a row. */
static const float *importance_of(const struct task *task)
{
    const struct lq_work *work = task->work;
    if (work->stats == NULL || work->without[task->item->entry] || !task->tensor->quantisable) return NULL;
    const float *importance = lq_stats_importance(work->stats, task->tensor);
    if (importance == NULL) return NULL;
    importance += task->item->first_row / task->entry->ne[1] * task->tensor->ne[0];
    return lq_pad_importance(task->entry, importance, task->scratch->weights + task->weights);
}

/* Data that stay as they are; they are looked at all the same. */
static enum lq_status check_copy(const struct task *task, struct lq_error *err)
{
    const struct lq_scratch *s = task->scratch;
    enum lq_type type = task->tensor->type;
    if (!can_decode(type)) {
        if (lq_codec_validate(type, task->coded,
                              task->weights / lq_format_get(type)->block * lq_format_get(type)->bytes))
            return LQ_OK;
        return lq_error_set(err, LQ_ERR_FORMAT,
                            "%s: tensor '%s': rows from %" PRIu64 " hold a value that is not finite",
                            task->work->half->path, task->tensor->name, task->first_row);
    }
    enum lq_status status = lq_codec_decode(type, task->coded, s->weights, task->weights, err);
    if (status != LQ_OK) return status;
    if (lq_codec_first_bad(s->weights, task->weights) < task->weights) return not_finite(task, err);
    lq_codec_difference(s->weights, s->weights, task->weights, task->item->sums);
    return LQ_OK;
}

/* Decodes what was encoded, a little at a time, and adds up how far it is from the weights. */
static enum lq_status measure(const struct task *task, struct lq_error *err)
{
    float back[MEASURED_AT_ONCE];
    const struct lq_format *f = lq_format_get(task->entry->type);
    for (uint64_t done = 0; done < task->weights; done += MEASURED_AT_ONCE) {
        uint64_t left = task->weights - done, n = left < MEASURED_AT_ONCE ? left : MEASURED_AT_ONCE;
        enum lq_status status = lq_codec_decode(f->type, task->coded + done / f->block * f->bytes, back, n, err);
        if (status != LQ_OK) return status;
        lq_codec_difference(task->scratch->weights + done, back, n, task->item->sums);
    }
    return LQ_OK;
}

static enum lq_status encode(const struct task *task, struct lq_error *err)
{
    const struct lq_scratch *s = task->scratch;
    uint64_t stored = lq_pad_stored_rows(task->entry, task->first_row, task->n_rows);
    enum lq_status status = lq_codec_decode(task->tensor->type, s->raw, s->weights, stored * task->tensor->ne[0], err);
    if (status == LQ_OK) lq_pad_spread(task->entry, stored, task->n_rows, s->weights);
    if (status == LQ_OK)
        status = lq_codec_encode(task->entry->type, s->weights, task->n_rows, task->entry->ne[0], importance_of(task),
                                 task->work->effort, task->coded, err);
    if (status == LQ_ERR_FORMAT) return not_finite(task, err);
    if (status == LQ_OK) status = measure(task, err);
    if (status != LQ_OK && status != LQ_ERR_UNSUPPORTED)
        lq_error_prefix(err, "%s: tensor '%s'", task->work->half->path, task->tensor->name);
    return status;
}

/* Into the file that the entry belongs to. */
static enum lq_status store(const struct task *task, const void *data, uint64_t offset, uint64_t size,
                            struct lq_error *err)
{
    const struct lq_work *work = task->work;
    size_t entry = work->first + task->item->entry, file = 0;
    while (entry >= work->files[file].first + work->files[file].n) file++;
    return lq_output_write(work->output, file, entry - work->files[file].first, offset, data, size, err);
}

static enum lq_status process_piece(const struct task *task, struct lq_error *err)
{
    bool copy = task->entry->type == task->tensor->type && !lq_pad_has(task->entry);
    unsigned char *raw = copy ? task->coded : task->scratch->raw;
    uint64_t stored = lq_pad_stored_rows(task->entry, task->first_row, task->n_rows);
    enum lq_status status = lq_model_read(task->work->model, task->tensor, task->first_row, stored, raw, err);
    if (status != LQ_OK) return status;
    return copy ? check_copy(task, err) : encode(task, err);
}

static uint64_t rows_per_piece(const struct lq_plan_entry *entry)
{
    return entry->ne[0] < PIECE_WEIGHTS ? PIECE_WEIGHTS / entry->ne[0] : 1;
}

static enum lq_status process_pieces(struct task *task, uint64_t row_bytes, struct lq_error *err)
{
    const struct lq_item *item = task->item;
    uint64_t step = rows_per_piece(task->entry);
    enum lq_status status = LQ_OK;
    for (uint64_t row = 0; row < item->n_rows && status == LQ_OK; row += step) {
        task->first_row = item->first_row + row;
        task->n_rows = item->n_rows - row < step ? item->n_rows - row : step;
        task->weights = task->n_rows * task->entry->ne[0];
        task->coded = task->scratch->coded + row * row_bytes;
        status = process_piece(task, err);
    }
    return status;
}

static uint64_t stored_rows(const struct lq_work *work, const struct lq_item *item)
{
    return lq_pad_stored_rows(&work->entries[item->entry], item->first_row, item->n_rows);
}

static enum lq_status process(struct task *task, struct lq_error *err)
{
    struct lq_item *item = task->item;
    uint64_t row_bytes = lq_format_row_bytes(task->entry->type, task->entry->ne[0]), size = item->n_rows * row_bytes;
    item->sums[0] = item->sums[1] = 0;
    enum lq_status status = process_pieces(task, row_bytes, err);
    if (item->fetched) lq_model_forget(task->tensor, item->first_row, stored_rows(task->work, item));
    if (status == LQ_ERR_UNSUPPORTED) {
        atomic_store(&task->work->overflowed[item->entry], true);
        return LQ_OK;
    }
    if (status != LQ_OK) return status;
    item->hash = XXH3_128bits(task->scratch->coded, size);
    return store(task, task->scratch->coded, item->first_row * row_bytes, size, err);
}

/* Before anything is read: what others have in memory is left there. */
static void find_fetched(struct lq_work *work)
{
    for (size_t i = 0; i < work->items.n; i++) {
        struct lq_item *item = &work->items.items[i];
        const struct lq_tensor *tensor = work->entries[item->entry].tensor;
        item->fetched = !lq_model_is_cached(tensor, item->first_row, stored_rows(work, item));
    }
}

/* The kernel brings in what comes after the items in hand, so that even one worker need not wait for a disk. */
static void fetch_ahead(const struct lq_work *work, size_t index)
{
    if (index >= work->items.n || !work->items.items[index].fetched) return;
    const struct lq_item *item = &work->items.items[index];
    lq_model_prefetch(work->entries[item->entry].tensor, item->first_row, stored_rows(work, item));
}

static enum lq_status run_item(void *data, size_t index, unsigned worker, struct lq_error *err)
{
    struct lq_work *work = data;
    struct lq_item *item = &work->items.items[index];
    const struct lq_plan_entry *entry = &work->entries[item->entry];
    struct task task = {.work = work, .item = item, .entry = entry, .tensor = entry->tensor};
    task.scratch = &work->scratch[worker];
    fetch_ahead(work, index + work->n_scratch);
    enum lq_status status = lq_meter_check(work->meter, err);
    if (status == LQ_OK && !atomic_load(&work->overflowed[item->entry])) status = process(&task, err);
    if (status == LQ_OK)
        lq_meter_add(work->meter, task.tensor->name,
                     stored_rows(work, item) * lq_format_row_bytes(task.tensor->type, task.tensor->ne[0]));
    return status;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void size_buffers(struct lq_work *work)
{
    for (size_t i = 0; i < work->items.n; i++) {
        const struct lq_item *item = &work->items.items[i];
        const struct lq_plan_entry *entry = &work->entries[item->entry];
        uint64_t columns = entry->ne[0], rows = rows_per_piece(entry);
        if (rows > item->n_rows) rows = item->n_rows;
        work->raw_bytes =
            larger(work->raw_bytes, rows * lq_format_row_bytes(entry->tensor->type, entry->tensor->ne[0]));
        work->coded_bytes = larger(work->coded_bytes, item->n_rows * lq_format_row_bytes(entry->type, columns));
        if (lq_pad_has(entry)) rows++;
        work->weights = larger(work->weights, rows * columns);
        work->longest_row = larger(work->longest_row, columns);
    }
}

/* The buffers, and two rows of numbers that encoding takes for itself. */
static uint64_t bytes_per_worker(const struct lq_work *work)
{
    return work->raw_bytes + work->coded_bytes + (work->weights + 2 * work->longest_row) * sizeof(float);
}

/* Rounded up. */
static uint64_t megabytes(uint64_t bytes)
{
    return bytes / 1000000 + (bytes % 1000000 != 0);
}

/* As many workers as there are threads and items for, and memory. */
static enum lq_status count_workers(const struct lq_work *work, unsigned threads, unsigned *workers,
                                    struct lq_error *err)
{
    uint64_t each = bytes_per_worker(work), left = work->memory > work->resident ? work->memory - work->resident : 0;
    uint64_t fit = left / (each > 0 ? each : 1);
    if (fit == 0)
        return lq_error_set(
            err, LQ_ERR_MEMORY,
            "%s: one thread needs %" PRIu64 " MB besides the %" PRIu64 " MB of the program, more than the "
            "memory allowed: allow at least %" PRIu64 "M",
            work->half->path, megabytes(each), megabytes(work->resident), megabytes(each + work->resident));
    *workers = threads < work->items.n ? threads : (unsigned)work->items.n;
    if (*workers > fit) *workers = (unsigned)fit;
    return LQ_OK;
}

static enum lq_status allocate(struct lq_work *work, unsigned workers, struct lq_error *err)
{
    work->overflowed = calloc(work->n_entries + 1, sizeof *work->overflowed);
    work->scratch = calloc(workers, sizeof *work->scratch);
    bool complete = work->overflowed != NULL && work->scratch != NULL;
    if (work->scratch != NULL) work->n_scratch = workers;
    for (unsigned i = 0; complete && i < workers; i++) {
        struct lq_scratch *s = &work->scratch[i];
        s->raw = malloc(work->raw_bytes);
        s->coded = malloc(work->coded_bytes);
        s->weights = malloc(work->weights * sizeof *s->weights);
        complete = s->raw != NULL && s->coded != NULL && s->weights != NULL;
    }
    if (complete) return LQ_OK;
    return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %u workers of %" PRIu64 " bytes each", workers,
                        bytes_per_worker(work));
}

enum lq_status lq_work_run(struct lq_work *work, unsigned threads, struct lq_error *err)
{
    enum lq_status status = lq_items_build(&work->items, work->half->path, work->entries, work->n_entries, err);
    if (status != LQ_OK || work->items.n == 0) return status;
    size_buffers(work);
    unsigned workers = 0;
    status = count_workers(work, threads, &workers, err);
    if (status == LQ_OK) status = allocate(work, workers, err);
    if (status != LQ_OK) return status;
    for (size_t i = 0; i < work->n_entries; i++) lq_codec_prepare(work->entries[i].type);
    find_fetched(work);
    status = lq_pool_run(workers, work->items.n, run_item, work, err);
    for (size_t i = 0; i < work->n_entries; i++) work->n_overflowed += atomic_load(&work->overflowed[i]);
    return status;
}

void lq_work_release(struct lq_work *work)
{
    for (unsigned i = 0; i < work->n_scratch; i++) {
        free(work->scratch[i].raw);
        free(work->scratch[i].coded);
        free(work->scratch[i].weights);
    }
    free(work->scratch);
    free(work->overflowed);
    free(work->items.items);
    work->scratch = NULL;
    work->overflowed = NULL;
    work->items = (struct lq_items){0};
    work->n_scratch = 0;
}
