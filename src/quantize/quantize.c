#include "llava_quantize/quantize.h"

#include "calibrate/stats.h"
#include "quantize/content.h"
#include "quantize/files.h"
#include "quantize/paths.h"
#include "quantize/work.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One call of lq_quantize. */
struct run {
    const struct lq_model *model;
    struct lq_plan *plan;
    const struct lq_quantize_options *options;
    unsigned threads;
    uint64_t resident; /* memory that the process took before, where its whole is bounded */
    struct lq_output *output;
    struct lq_sequential *sequential; /* NULL: not in sequence */
    unsigned passes;                  /* that it will make */
    struct lq_meter meter;
    struct lq_content content; /* everything written, in order */
    bool widened;              /* the plan has changed since the files were laid out */
    bool *without;             /* of each entry: encoded without statistics, under which its scales overflow */
    struct lq_quantize_result result;
};

/* The entries of one half: plan->entries[first] .. [first + n - 1]. */
struct range {
    size_t first, n;
};

static struct range range_of(const struct lq_plan *plan, enum lq_half half)
{
    struct range r = {0, 0};
    while (r.first < plan->n_entries && plan->entries[r.first].tensor->half != half) r.first++;
    while (r.first + r.n < plan->n_entries && plan->entries[r.first + r.n].tensor->half == half) r.n++;
    return r;
}

static uint64_t input_bytes(const struct lq_plan *plan)
{
    uint64_t total = 0;
    for (size_t i = 0; i < plan->n_entries; i++) total += plan->entries[i].tensor->bytes;
    return total;
}

/* 0 where the system does not tell. */
static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL || fscanf(f, "%*u %llu", &pages) != 1) pages = 0;
    if (f != NULL) fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void say(const struct run *run, enum lq_log_level level, const char *message)
{
    const struct lq_hooks *hooks = run->options->hooks;
    if (hooks != NULL && hooks->log != NULL) hooks->log(hooks->data, level, message);
}

/* Whether the statistics may be to blame for the overflow: from now on the entry is encoded without them. */
static bool drop_statistics(struct run *run, size_t i)
{
    const struct lq_plan_entry *entry = &run->plan->entries[i];
    bool demanded = (lq_format_get(entry->type)->flags & LQ_FORMAT_NEEDS_IMPORTANCE) != 0;
    enum lq_method used = lq_use_of(entry, run->options->stats, run->options->method).method;
    if (run->without[i] || demanded || used == LQ_METHOD_PLAIN) return false;
    run->without[i] = true;
    return true;
}

/* Gives every entry that overflows its type plain scales, and where those overflow too a larger type, for which the
 * statistics count again. */
static enum lq_status widen(struct run *run, const struct lq_work *work, struct range r, struct lq_error *err)
{
    for (size_t i = 0; i < r.n; i++) {
        if (!atomic_load(&work->overflowed[i]) || drop_statistics(run, r.first + i)) continue;
        struct lq_plan_entry *entry = &run->plan->entries[r.first + i];
        const char *before = lq_format_name(entry->type);
        char reason[sizeof entry->reason], message[256];
        snprintf(reason, sizeof reason, "weights overflow %s", before);
        if (!lq_plan_widen(run->plan, r.first + i, reason))
            return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                                "%s: tensor '%s': weights overflow %s, and no larger type holds them", work->half->path,
                                entry->tensor->name, before);
        run->without[r.first + i] = false;
        snprintf(message, sizeof message, "tensor '%s': weights overflow %s: %s instead", entry->tensor->name, before,
                 lq_format_name(entry->type));
        say(run, LQ_LOG_WARN, message);
    }
    return LQ_OK;
}

/* Names the tensors that had to do without their statistics. */
static void say_without(const struct run *run)
{
    for (size_t i = 0; i < run->plan->n_entries; i++) {
        struct lq_plan_entry *entry = &run->plan->entries[i];
        char reason[sizeof entry->reason], message[256];
        if (!run->without[i]) continue;
        memcpy(reason, entry->reason, sizeof reason);
        snprintf(entry->reason, sizeof entry->reason, "without statistics, whose scales overflow; %.80s", reason);
        snprintf(message, sizeof message, "tensor '%s': scales overflow %s under the statistics: encoded without them",
                 entry->tensor->name, lq_format_name(entry->type));
        say(run, LQ_LOG_WARN, message);
    }
}

static void collect_outcome(struct lq_quantize_outcome *outcome, const struct lq_item *item, const struct lq_use *use)
{
    outcome->plain += item->output[0];
    outcome->written += item->output[1];
    outcome->kept += item->kept;
    if (item->fed) outcome->fed += item->n_rows;
    else if (use->input != NULL) outcome->alone += item->n_rows;
    outcome->method = use->input != NULL && outcome->fed == 0 ? LQ_METHOD_IMATRIX : use->method;
}

/* Adds up what the items of a finished half left, in their order. */
static void collect(struct run *run, const struct lq_work *work, struct range r)
{
    lq_content_add(&run->content, work->entries, r.n, &work->items);
    for (size_t i = 0; i < work->items.n; i++) {
        const struct lq_item *item = &work->items.items[i];
        run->result.error_sq[r.first + item->entry] += item->sums[0];
        run->result.weight_sq[r.first + item->entry] += item->sums[1];
        collect_outcome(&run->result.outcome[r.first + item->entry], item, &work->uses[item->entry]);
    }
}

static struct lq_work work_on(struct run *run, enum lq_half half)
{
    struct range r = range_of(run->plan, half);
    return (struct lq_work){.model = run->model,
                            .half = run->model->half[half],
                            .entries = run->plan->entries + r.first,
                            .n_entries = r.n,
                            .output = run->output,
                            .files = run->result.files,
                            .first = r.first,
                            .stats = run->options->stats,
                            .method = run->options->method,
                            .in_sequence = run->options->sequential != NULL,
                            .sequential = run->sequential,
                            .without = run->without + r.first,
                            .meter = &run->meter,
                            .effort = run->options->effort,
                            .memory = run->options->memory,
                            .resident = run->resident};
}

/* More memory than usual, where none was asked for. */
static void say_memory(const struct run *run, const struct lq_work *work)
{
    char message[512];
    if (run->options->memory > 0 || work->largest == NULL || work->all_bytes <= LQ_QUANTIZE_MEMORY) return;
    snprintf(message, sizeof message,
             "%s: error feedback will take up to %" PRIu64 " MB of memory, most of it for tensor '%s'",
             work->half->path, work->all_bytes / 1000000, work->largest->name);
    say(run, LQ_LOG_WARN, message);
}

/* Whether there is memory enough, before anything is written. */
static enum lq_status check_memory(struct run *run, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (int h = 0; status == LQ_OK && h < LQ_HALVES; h++) {
        if (run->model->half[h] == NULL) continue;
        struct lq_work work = work_on(run, h);
        status = lq_work_plan(&work, run->threads, err);
        if (status == LQ_OK) say_memory(run, &work);
        run->passes += work.passes;
        lq_work_release(&work);
    }
    return status;
}

/* What is wrong with the statistics that tensors are encoded with. */
static void say_doubts(const struct run *run)
{
    const struct lq_stats *stats = run->options->stats;
    const char *first = "";
    char message[1024];
    size_t few = 0;
    if (stats == NULL) return;
    for (size_t i = 0; i < run->plan->n_entries; i++) {
        const struct lq_plan_entry *entry = &run->plan->entries[i];
        const struct lq_stats_entry *seen = lq_stats_find(stats, entry->tensor->name);
        bool used = lq_use_of(entry, stats, run->options->method).method != LQ_METHOD_PLAIN;
        if (used && seen != NULL && seen->few > 0 && few++ == 0) first = entry->tensor->name;
    }
    snprintf(message, sizeof message,
             "%s: the run that gathered these statistics was interrupted after %" PRIu64 " of %" PRIu64
             " records and windows; 'llava-quantize calibrate' with the same options and --resume finishes it",
             stats->path, stats->done, stats->total);
    if (stats->done < stats->total) say(run, LQ_LOG_WARN, message);
    snprintf(message, sizeof message,
             "%s: %zu %s fewer than %d tokens, '%s' first, and gain little from them; calibrate with more data",
             stats->path, few, few == 1 ? "matrix met" : "matrices met", LQ_STATS_FEW, first);
    if (few > 0) say(run, LQ_LOG_WARN, message);
}

static enum lq_status encode_half(struct run *run, enum lq_half half, struct lq_error *err)
{
    struct range r = range_of(run->plan, half);
    struct lq_work work = work_on(run, half);
    enum lq_status status = lq_work_run(&work, run->threads, err);
    run->widened = status == LQ_OK && work.n_overflowed > 0;
    if (run->widened) status = widen(run, &work, r, err);
    else if (status == LQ_OK) collect(run, &work, r);
    lq_work_release(&work);
    return status;
}

/* Says which files are larger than asked for. */
static void say_large(const struct run *run, const struct lq_quantize_file *file)
{
    char message[512];
    uint64_t limit = run->options->split_size;
    bool shards = run->model->half[file->half]->n_files > 1;
    if (file->half == LQ_VISION && ((limit > 0 && file->bytes > limit) || (run->options->keep_split && shards)))
        snprintf(message, sizeof message, "%s: stays one file of %" PRIu64 " bytes: llama.cpp loads no split mmproj",
                 file->path, file->bytes);
    else if (limit > 0 && file->bytes > limit)
        snprintf(message, sizeof message, "%s: %" PRIu64 " bytes with one tensor alone, '%s'", file->path, file->bytes,
                 run->plan->entries[file->first].tensor->name);
    else return;
    say(run, LQ_LOG_WARN, message);
}

/* Fresh files for the plan as it is now, and nothing counted yet. */
static enum lq_status begin(struct run *run, struct lq_error *err)
{
    struct lq_quantize_result *result = &run->result;
    const char *paths[LQ_OUTPUT_FILES];
    lq_output_close(run->output);
    lq_quantize_files_free(result->files, result->n_files);
    run->output = NULL;
    result->files = NULL;
    result->n_files = 0;
    lq_meter_rewind(&run->meter, 0);
    memset(result->error_sq, 0, result->n_entries * sizeof *result->error_sq);
    memset(result->weight_sq, 0, result->n_entries * sizeof *result->weight_sq);
    memset(result->outcome, 0, result->n_entries * sizeof *result->outcome);
    enum lq_status status = lq_content_begin(&run->content, err);
    if (status == LQ_OK)
        status = lq_quantize_files(&result->files, &result->n_files, run->model, run->plan, run->options, err);
    if (status != LQ_OK) return status;
    for (size_t i = 0; i < result->n_files; i++) paths[i] = result->files[i].path;
    return lq_output_open(&run->output, paths, result->n_files, run->options->force, err);
}

/* A quantised model that is the original still. */
static enum lq_status begin_sequence(struct run *run, struct lq_error *err)
{
    char message[160];
    if (run->options->sequential == NULL) return LQ_OK;
    lq_sequential_free(run->sequential);
    run->sequential = NULL;
    snprintf(message, sizeof message, "block after block: %u times all data through both models", run->passes);
    say(run, LQ_LOG_WARN, message);
    return lq_sequential_open(&run->sequential, run->options->sequential, run->threads, err);
}

/* All headers first, so that space is checked for everything before any work. */
static enum lq_status encode_all(struct run *run, struct lq_error *err)
{
    enum lq_status status = begin(run, err);
    for (size_t i = 0; status == LQ_OK && i < run->result.n_files; i++)
        status = lq_files_begin(run->output, run->result.files, i, run->model, run->plan, run->options, err);
    if (status == LQ_OK) status = begin_sequence(run, err);
    run->widened = false;
    for (int h = 0; status == LQ_OK && !run->widened && h < LQ_HALVES; h++)
        if (run->model->half[h] != NULL) status = encode_half(run, h, err);
    return status;
}

/* Until nothing overflows its type; nearly always that is once. A larger type may move tensors to other files. */
static enum lq_status encode(struct run *run, struct lq_error *err)
{
    enum lq_status status;
    do status = encode_all(run, err);
    while (status == LQ_OK && run->widened);
    for (size_t i = 0; status == LQ_OK && i < run->result.n_files; i++) say_large(run, &run->result.files[i]);
    if (status == LQ_OK) say_without(run);
    return status;
}

/* An earlier output of the same name that is split otherwise has not been replaced, and would be found as well. */
static void say_other(const struct run *run, const struct lq_quantize_file *files)
{
    char message[1024], *other = lq_path_find_other(files, files[0].count);
    if (other == NULL) return;
    snprintf(message, sizeof message,
             "%s: an earlier output, split otherwise, stays beside the new one; delete it if it "
             "is not wanted",
             other);
    say(run, LQ_LOG_WARN, message);
    free(other);
}

/* What the result says of each half. */
static void sum_up(struct run *run)
{
    struct lq_quantize_result *result = &run->result;
    for (size_t i = 0; i < result->n_files; i++) {
        const struct lq_quantize_file *file = &result->files[i];
        result->file_bytes[file->half] += file->bytes;
        if (file->number > 1) continue;
        result->path[file->half] = file->path;
        say_other(run, file);
    }
}

static enum lq_status commit(struct run *run, struct lq_error *err)
{
    struct lq_quantize_result *result = &run->result;
    lq_content_id(&run->content, result->pair_id);
    enum lq_status status = lq_meter_check(&run->meter, err);
    if (status == LQ_OK) status = lq_output_commit(run->output, result->pair_id, err);
    if (status == LQ_OK) sum_up(run);
    return status;
}

static enum lq_status allocate(struct run *run, struct lq_error *err)
{
    size_t n = run->plan->n_entries;
    run->result.n_entries = n;
    run->result.error_sq = calloc(n + 1, sizeof *run->result.error_sq);
    run->result.weight_sq = calloc(n + 1, sizeof *run->result.weight_sq);
    run->result.outcome = calloc(n + 1, sizeof *run->result.outcome);
    run->without = calloc(n + 1, sizeof *run->without);
    if (run->result.error_sq == NULL || run->result.weight_sq == NULL || run->result.outcome == NULL ||
        run->without == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the results of %zu tensors", n);
    return LQ_OK;
}

enum lq_status lq_quantize(const struct lq_model *model, struct lq_plan *plan,
                           const struct lq_quantize_options *options, struct lq_quantize_result *result,
                           struct lq_error *err)
{
    struct run run = {.model = model, .plan = plan, .options = options};
    run.threads = options->threads > 0 ? options->threads : lq_cpu_count();
    run.resident = options->memory > 0 ? resident_bytes() : 0;
    lq_meter_init(&run.meter, options->hooks, input_bytes(plan));
    enum lq_status status = allocate(&run, err);
    if (status == LQ_OK) status = check_memory(&run, err);
    if (status == LQ_OK) say_doubts(&run);
    if (status == LQ_OK) status = encode(&run, err);
    if (status == LQ_OK) status = commit(&run, err);
    if (status != LQ_OK) goto done;
    run.result.seconds = lq_meter_seconds(&run.meter);
    *result = run.result;
    run.result = (struct lq_quantize_result){0};
done:
    lq_output_close(run.output);
    lq_sequential_free(run.sequential);
    lq_content_release(&run.content);
    free(run.without);
    lq_quantize_result_release(&run.result);
    lq_meter_release(&run.meter);
    return status;
}

void lq_quantize_result_release(struct lq_quantize_result *result)
{
    lq_quantize_files_free(result->files, result->n_files);
    free(result->error_sq);
    free(result->weight_sq);
    free(result->outcome);
    *result = (struct lq_quantize_result){0};
}
