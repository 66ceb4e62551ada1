/* How much memory the work on a half takes, and how many workers that leaves. */
#include "quantize/feedback.h"
#include "quantize/pad.h"
#include "quantize/work.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Read, decoded, encoded and measured while they are in the processor's cache; fewer would be too many reads. */
enum { PIECE_WEIGHTS = 1 << 15 };

uint64_t lq_work_piece_rows(const struct lq_work *work, const struct lq_item *item)
{
    uint64_t columns = work->entries[item->entry].ne[0], rows = columns < PIECE_WEIGHTS ? PIECE_WEIGHTS / columns : 1;
    return rows < item->n_rows && work->uses[item->entry].input == NULL ? rows : item->n_rows;
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
        uint64_t columns = entry->ne[0], rows = lq_work_piece_rows(work, item);
        work->raw_bytes =
            larger(work->raw_bytes, rows * lq_format_row_bytes(entry->tensor->type, entry->tensor->ne[0]));
        work->coded_bytes = larger(work->coded_bytes, item->n_rows * lq_format_row_bytes(entry->type, columns));
        if (work->uses[item->entry].input != NULL)
            work->feedback = larger(work->feedback, lq_feedback_scratch(columns));
        if (lq_pad_has(entry)) rows++;
        work->weights = larger(work->weights, rows * columns);
        work->longest_row = larger(work->longest_row, columns);
    }
}

/* A factor is made of the second moments as they stand in the file. */
static void size_factors(struct lq_work *work)
{
    for (size_t i = 0; i < work->batches.n; i++) {
        const struct lq_batch *batch = &work->batches.batches[i];
        if (batch->input == NULL) continue;
        uint64_t n = batch->tensor->ne[0];
        uint64_t bytes = lq_factor_bytes(batch->columns, true) + n * (n + 1) / 2 * sizeof(float);
        if (bytes <= work->factor_bytes) continue;
        work->factor_bytes = bytes;
        work->largest = batch->tensor;
    }
}

bool lq_work_gathers(const struct lq_work *work, const struct lq_batch *batch)
{
    return work->in_sequence && batch->input != NULL && batch->tensor->ne[2] == 1;
}

/* What is gathered for a group is kept until its last matrix is done. */
static void size_sequence(struct lq_work *work)
{
    uint64_t most = 0;
    work->target = work->in_sequence ? work->weights : 0;
    for (int group = 0; (group = lq_batches_next_group(&work->batches, group)) != 0;) {
        uint64_t bytes = 0;
        for (size_t i = 0; i < work->batches.n; i++) {
            const struct lq_batch *batch = &work->batches.batches[i];
            if (batch->group == group && lq_work_gathers(work, batch))
                bytes += lq_sequential_bytes(batch->tensor->ne[0]);
        }
        work->passes += bytes > 0;
        most = larger(most, bytes);
    }
    work->factor_bytes += most;
}

/* The buffers, and two rows of numbers that encoding takes for itself. */
static uint64_t bytes_per_worker(const struct lq_work *work)
{
    return work->raw_bytes + work->coded_bytes +
           (work->weights + work->target + work->feedback + 2 * work->longest_row) * sizeof(float);
}

/* Rounded up. */
static uint64_t megabytes(uint64_t bytes)
{
    return bytes / 1000000 + (bytes % 1000000 != 0);
}

static enum lq_status refuse(const struct lq_work *work, uint64_t least, struct lq_error *err)
{
    char what[128] = "one thread";
    if (work->largest != NULL) snprintf(what, sizeof what, "error feedback of tensor '%s'", work->largest->name);
    return lq_error_set(err, LQ_ERR_MEMORY,
                        "%s: %s needs %" PRIu64 " MB besides the %" PRIu64 " MB of the program, more than the memory "
                        "allowed: allow at least %" PRIu64 "M",
                        work->half->path, what, megabytes(least), megabytes(work->resident),
                        megabytes(least + work->resident));
}

/* Unless it is bounded, error feedback takes what it needs. */
static uint64_t memory_for(const struct lq_work *work)
{
    if (work->memory > 0) return work->memory > work->resident ? work->memory - work->resident : 0;
    return work->factor_bytes > 0 ? larger(work->all_bytes, LQ_QUANTIZE_MEMORY) : LQ_QUANTIZE_MEMORY;
}

/* As many workers as there are threads and items for, and memory. */
static enum lq_status count_workers(struct lq_work *work, unsigned threads, struct lq_error *err)
{
    uint64_t each = bytes_per_worker(work);
    unsigned wanted = threads < work->items.n ? threads : (unsigned)work->items.n;
    work->all_bytes = work->factor_bytes + wanted * each;
    uint64_t memory = memory_for(work);
    if (memory < work->factor_bytes + each) return refuse(work, work->factor_bytes + each, err);
    uint64_t fit = (memory - work->factor_bytes) / (each > 0 ? each : 1);
    work->workers = wanted < fit ? wanted : (unsigned)fit;
    return LQ_OK;
}

static enum lq_status find_uses(struct lq_work *work, struct lq_error *err)
{
    work->uses = calloc(work->n_entries + 1, sizeof *work->uses);
    if (work->uses == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu tensors", work->n_entries);
    for (size_t i = 0; i < work->n_entries; i++)
        work->uses[i] = lq_use_of(&work->entries[i], work->without[i] ? NULL : work->stats, work->method);
    return LQ_OK;
}

enum lq_status lq_work_plan(struct lq_work *work, unsigned threads, struct lq_error *err)
{
    enum lq_status status = lq_items_build(&work->items, work->half->path, work->entries, work->n_entries, err);
    if (status == LQ_OK) status = find_uses(work, err);
    if (status == LQ_OK) status = lq_batches_build(&work->batches, work->entries, work->uses, &work->items, err);
    if (status != LQ_OK) return status;
    size_buffers(work);
    size_factors(work);
    size_sequence(work);
    return count_workers(work, threads, err);
}

enum lq_status lq_work_allocate(struct lq_work *work, struct lq_error *err)
{
    work->overflowed = calloc(work->n_entries + 1, sizeof *work->overflowed);
    work->scratch = calloc(work->workers + 1, sizeof *work->scratch);
    bool complete = work->overflowed != NULL && work->scratch != NULL;
    for (unsigned i = 0; complete && i < work->workers; i++) {
        struct lq_scratch *s = &work->scratch[i];
        s->raw = malloc(work->raw_bytes);
        s->coded = malloc(work->coded_bytes);
        s->weights = malloc(work->weights * sizeof *s->weights);
        s->feedback = malloc((work->feedback + 1) * sizeof *s->feedback);
        s->target = malloc((work->target + 1) * sizeof *s->target);
        complete = s->raw != NULL && s->coded != NULL && s->weights != NULL && s->feedback != NULL && s->target != NULL;
    }
    if (complete) return LQ_OK;
    return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %u workers of %" PRIu64 " bytes each", work->workers,
                        bytes_per_worker(work));
}

void lq_work_release(struct lq_work *work)
{
    for (unsigned i = 0; work->scratch != NULL && i < work->workers; i++) {
        free(work->scratch[i].raw);
        free(work->scratch[i].coded);
        free(work->scratch[i].weights);
        free(work->scratch[i].feedback);
        free(work->scratch[i].target);
    }
    free(work->scratch);
    free(work->overflowed);
    free(work->items.items);
    free(work->uses);
    lq_batches_release(&work->batches);
    work->scratch = NULL;
    work->uses = NULL;
    work->overflowed = NULL;
    work->items = (struct lq_items){0};
}
