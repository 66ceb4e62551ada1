#include "quantize/work.h"

#include "base/pool.h"
#include "codec/encode.h"
#include "llava_quantize/calibrate.h"
#include "quantize/feedback.h"
#include "quantize/pad.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEASURED_AT_ONCE = 1024 }; /* weights; every block size divides it */

/* One item in hand, and the rows of it that are worked on: a piece. */
struct task {
    struct lq_work *work;
    struct lq_item *item;
    const struct lq_plan_entry *entry;
    const struct lq_tensor *tensor;
    const struct lq_use *use;
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

/* What the item's rows are to become: themselves, or what makes up for inputs that are no longer the original's. */
static const float *target_of(const struct task *task)
{
    float *target = task->scratch->target;
    if (!task->work->corrected) return task->scratch->weights;
    lq_sequential_aim(task->work->sequential, task->use->input, task->scratch->weights, task->n_rows,
                      task->entry->ne[0], target);
    return lq_codec_first_bad(target, task->weights) == task->weights ? target : task->scratch->weights;
}

/* The whole item, whose second moments have become the factor in hand. */
static enum lq_status feed_back(const struct task *task, struct lq_error *err)
{
    struct lq_feedback_outcome outcome = {0};
    enum lq_status status = lq_feedback_encode(task->work->factor, task->entry->type, target_of(task), task->n_rows,
                                               task->work->effort, task->scratch->feedback, task->coded, &outcome, err);
    if (status != LQ_OK) return status;
    task->item->fed = true;
    task->item->output[0] = outcome.plain;
    task->item->output[1] = outcome.written;
    task->item->kept = outcome.kept;
    return LQ_OK;
}

static enum lq_status encode_rows(const struct task *task, struct lq_error *err)
{
    if (task->use->input != NULL && task->work->factor != NULL) return feed_back(task, err);
    float *behind = task->scratch->weights + task->weights; /* room for a row, where rows are padded */
    const float *importance =
        lq_use_importance(task->use, task->entry, task->work->stats, task->item->first_row, behind);
    return lq_codec_encode(task->entry->type, task->scratch->weights, task->n_rows, task->entry->ne[0], importance,
                           task->work->effort, task->coded, err);
}

/* The quantised model goes on with what has been written. */
static enum lq_status replace(const struct task *task, uint64_t stored, struct lq_error *err)
{
    float *rows = task->scratch->weights;
    uint64_t columns = task->tensor->ne[0];
    if (task->work->sequential == NULL || !task->tensor->quantisable || stored == 0) return LQ_OK;
    enum lq_status status = lq_codec_decode(task->entry->type, task->coded, rows, task->weights, err);
    for (uint64_t r = 1; r < stored && columns < task->entry->ne[0]; r++)
        memmove(rows + r * columns, rows + r * task->entry->ne[0], columns * sizeof *rows);
    if (status != LQ_OK) return status;
    return lq_sequential_replace(task->work->sequential, task->tensor, task->first_row, stored, rows, err);
}

static enum lq_status encode(const struct task *task, struct lq_error *err)
{
    const struct lq_scratch *s = task->scratch;
    uint64_t stored = lq_pad_stored_rows(task->entry, task->first_row, task->n_rows);
    enum lq_status status = lq_codec_decode(task->tensor->type, s->raw, s->weights, stored * task->tensor->ne[0], err);
    if (status == LQ_OK) lq_pad_spread(task->entry, stored, task->n_rows, s->weights);
    if (status == LQ_OK) status = encode_rows(task, err);
    if (status == LQ_ERR_FORMAT) return not_finite(task, err);
    if (status == LQ_OK) status = measure(task, err);
    if (status == LQ_OK) status = replace(task, stored, err);
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

static enum lq_status process_pieces(struct task *task, uint64_t row_bytes, struct lq_error *err)
{
    const struct lq_item *item = task->item;
    uint64_t step = lq_work_piece_rows(task->work, item);
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
static enum lq_status find_fetched(void *data, size_t index, unsigned worker, struct lq_error *err)
{
    struct lq_work *work = data;
    struct lq_item *item = &work->items.items[index];
    const struct lq_tensor *tensor = work->entries[item->entry].tensor;
    item->fetched = !lq_model_is_cached(tensor, item->first_row, stored_rows(work, item));
    (void)worker, (void)err;
    return LQ_OK;
}

/* Once more at the end, what lies together in one go: the kernel reads ahead of one item into another that has been
 * forgotten already, and drops no large page of which an item has but a part. */
static void forget_fetched(const struct lq_work *work)
{
    const struct lq_item *items = work->items.items;
    for (size_t first = 0, next; first < work->items.n; first = next) {
        uint64_t rows = 0;
        for (next = first; next < work->items.n && items[next].entry == items[first].entry && items[next].fetched;
             next++)
            rows += stored_rows(work, &items[next]);
        if (rows > 0) lq_model_forget(work->entries[items[first].entry].tensor, items[first].first_row, rows);
        if (next == first) next++;
    }
}

/* The kernel brings in what comes after the items in hand, so that even one worker need not wait for a disk. */
static void fetch_ahead(const struct lq_work *work, size_t place)
{
    if (place >= work->items.n) return;
    const struct lq_item *item = &work->items.items[work->batches.order[place]];
    if (!item->fetched) return;
    lq_model_prefetch(work->entries[item->entry].tensor, item->first_row, stored_rows(work, item));
}

/* What the pool works through: the items of one batch. */
struct turn {
    struct lq_work *work;
    const struct lq_batch *batch;
};

static enum lq_status run_item(void *data, size_t index, unsigned worker, struct lq_error *err)
{
    const struct turn *turn = data;
    struct lq_work *work = turn->work;
    size_t place = turn->batch->first + index;
    struct lq_item *item = &work->items.items[work->batches.order[place]];
    const struct lq_plan_entry *entry = &work->entries[item->entry];
    struct task task = {.work = work, .item = item, .entry = entry, .tensor = entry->tensor};
    task.use = &work->uses[item->entry];
    task.scratch = &work->scratch[worker];
    fetch_ahead(work, place + work->workers);
    enum lq_status status = lq_meter_check(work->meter, err);
    if (status == LQ_OK && !atomic_load(&work->overflowed[item->entry])) status = process(&task, err);
    if (status == LQ_OK)
        lq_meter_add(work->meter, task.tensor->name,
                     stored_rows(work, item) * lq_format_row_bytes(task.tensor->type, task.tensor->ne[0]));
    return status;
}

static void say_useless(const struct lq_work *work, const struct lq_batch *batch, const struct lq_error *why)
{
    char message[1200];
    const struct lq_hooks *hooks = work->meter->hooks;
    if (hooks == NULL || hooks->log == NULL) return;
    snprintf(message, sizeof message, "%s: encoded by importance, without error feedback", why->message);
    if (batch->tensor->ne[2] > 1) {
        size_t used = strlen(message);
        snprintf(message + used, sizeof message - used, " (expert %" PRIu64 ")", batch->expert);
    }
    hooks->log(hooks->data, LQ_LOG_WARN, message);
}

/* The factor of the second moments that a batch shares. Moments that make none leave work->factor NULL: the batch is
 * then encoded by importance. */
static enum lq_status make_factor(struct lq_work *work, const struct lq_batch *batch, unsigned threads,
                                  struct lq_error *err)
{
    struct lq_error useless = {0};
    const struct lq_sequential *anew = lq_work_gathers(work, batch) ? work->sequential : NULL;
    bool gathered = false;
    enum lq_status status =
        lq_batch_factor(&work->factor, &gathered, batch, work->stats, anew, threads, work->meter, &useless, err);
    if (status == LQ_OK && work->factor == NULL) say_useless(work, batch, &useless);
    work->corrected = status == LQ_OK && gathered && work->factor != NULL;
    return work->corrected ? lq_sequential_correct(work->sequential, batch->input, work->factor, err) : status;
}

static enum lq_status run_batch(struct lq_work *work, const struct lq_batch *batch, unsigned threads,
                                struct lq_error *err)
{
    struct turn turn = {work, batch};
    enum lq_status status = lq_meter_check(work->meter, err);
    if (status == LQ_OK && batch->input != NULL) status = make_factor(work, batch, threads, err);
    if (status == LQ_OK) status = lq_pool_run(work->workers, batch->n, run_item, &turn, err);
    lq_factor_free(work->factor);
    work->factor = NULL;
    work->corrected = false;
    return status;
}

/* Runs the data for the inputs of a group. */
static enum lq_status gather(struct lq_work *work, int group, struct lq_error *err)
{
    char what[120];
    size_t n = 0;
    struct lq_sequential_input *inputs = calloc(work->batches.n + 1, sizeof *inputs);
    if (inputs == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a group of inputs");
    for (size_t i = 0; i < work->batches.n; i++) {
        const struct lq_batch *batch = &work->batches.batches[i];
        if (batch->group == group && lq_work_gathers(work, batch))
            inputs[n++] = (struct lq_sequential_input){batch->input, batch->tensor->ne[0]};
    }
    snprintf(what, sizeof what, "%.60s and the like, in both models", n > 0 ? inputs[0].name : "");
    enum lq_status status = LQ_OK;
    if (n > 0) status = lq_sequential_gather(work->sequential, inputs, n, work->half->half, what, err);
    free(inputs);
    return status;
}

static enum lq_status run_group(struct lq_work *work, int group, unsigned threads, struct lq_error *err)
{
    enum lq_status status = work->sequential != NULL && group > 0 ? gather(work, group, err) : LQ_OK;
    for (size_t i = 0; status == LQ_OK && i < work->batches.n; i++)
        if (work->batches.batches[i].group == group) status = run_batch(work, &work->batches.batches[i], threads, err);
    return status;
}

enum lq_status lq_work_run(struct lq_work *work, unsigned threads, struct lq_error *err)
{
    enum lq_status status = lq_work_plan(work, threads, err);
    if (status == LQ_OK) status = lq_work_allocate(work, err);
    if (status != LQ_OK) return status;
    for (size_t i = 0; i < work->n_entries; i++) lq_codec_prepare(work->entries[i].type);
    lq_pool_run(work->workers, work->items.n, find_fetched, work, err); /* never fails */
    int group = 0;
    do status = run_group(work, group, threads, err);
    while (status == LQ_OK && (group = lq_batches_next_group(&work->batches, group)) != 0);
    forget_fetched(work);
    for (size_t i = 0; i < work->n_entries; i++) work->n_overflowed += atomic_load(&work->overflowed[i]);
    return status;
}
