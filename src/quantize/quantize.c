#include "llava_quantize/quantize.h"

#include "quantize/metadata.h"
#include "quantize/work.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One call of lq_quantize. */
struct run {
    const struct lq_model *model;
    struct lq_plan *plan;
    const struct lq_quantize_options *options;
    unsigned threads;
    struct lq_output *output;
    struct lq_meter meter;
    XXH3_state_t *digest; /* of everything written, in order */
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

/* Lays the half out in the output, with the types that the plan gives now. */
static enum lq_status begin_half(struct run *run, enum lq_half half, struct range r, struct lq_error *err)
{
    const struct lq_model_half *in = run->model->half[half];
    struct lq_plan part = *run->plan;
    part.entries += r.first;
    part.n_entries = r.n;
    struct lq_kvs kvs = {0};
    struct lq_output_tensor *tensors = calloc(r.n + 1, sizeof *tensors);
    enum lq_status status = tensors != NULL ? lq_metadata_build(&kvs, run->model, in, &part, run->options->imatrix, err)
                                            : lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu tensors", r.n);
    if (status != LQ_OK) goto done;
    for (size_t i = 0; i < r.n; i++) {
        const struct lq_tensor *t = part.entries[i].tensor;
        tensors[i] = (struct lq_output_tensor){.name = t->name, .type = part.entries[i].type, .n_dims = t->n_dims};
        memcpy(tensors[i].ne, t->ne, sizeof tensors[i].ne);
    }
    status = lq_output_begin(run->output, half, &kvs, tensors, r.n, in->alignment, err);
done:
    free(tensors);
    lq_kvs_release(&kvs);
    return status;
}

static void say(const struct run *run, enum lq_log_level level, const char *message)
{
    const struct lq_hooks *hooks = run->options->hooks;
    if (hooks != NULL && hooks->log != NULL) hooks->log(hooks->data, level, message);
}

/* Gives every entry whose weights overflow its type a larger one. */
static enum lq_status widen(struct run *run, const struct lq_work *work, struct range r, struct lq_error *err)
{
    for (size_t i = 0; i < r.n; i++) {
        if (!atomic_load(&work->overflowed[i])) continue;
        struct lq_plan_entry *entry = &run->plan->entries[r.first + i];
        const char *before = lq_format_name(entry->type);
        char reason[sizeof entry->reason], message[256];
        snprintf(reason, sizeof reason, "weights overflow %s", before);
        if (!lq_plan_widen(run->plan, r.first + i, reason))
            return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                                "%s: tensor '%s': weights overflow %s, and no larger type holds them", work->half->path,
                                entry->tensor->name, before);
        snprintf(message, sizeof message, "tensor '%s': weights overflow %s: %s instead", entry->tensor->name, before,
                 lq_format_name(entry->type));
        say(run, LQ_LOG_WARN, message);
    }
    return LQ_OK;
}

static void add_shape(XXH3_state_t *digest, const struct lq_plan_entry *entry)
{
    int32_t type = entry->type;
    XXH3_128bits_update(digest, entry->tensor->name, strlen(entry->tensor->name) + 1);
    XXH3_128bits_update(digest, entry->tensor->ne, sizeof entry->tensor->ne);
    XXH3_128bits_update(digest, &type, sizeof type);
}

/* Adds up what the items of a finished half left, in their order. */
static void collect(struct run *run, const struct lq_work *work, struct range r)
{
    for (size_t i = 0; i < r.n; i++) add_shape(run->digest, &work->entries[i]);
    for (size_t i = 0; i < work->items.n; i++) {
        const struct lq_item *item = &work->items.items[i];
        XXH3_128bits_update(run->digest, &item->hash, sizeof item->hash);
        run->result.error_sq[r.first + item->entry] += item->sums[0];
        run->result.weight_sq[r.first + item->entry] += item->sums[1];
    }
}

/* Until no weight overflows its type; nearly always that is once. */
static enum lq_status encode_half(struct run *run, enum lq_half half, struct lq_error *err)
{
    struct range r = range_of(run->plan, half);
    uint64_t done_before = run->meter.done;
    for (bool again = true; again;) {
        struct lq_work work = {.model = run->model,
                               .half = run->model->half[half],
                               .entries = run->plan->entries + r.first,
                               .n_entries = r.n,
                               .output = run->output,
                               .imatrix = run->options->imatrix,
                               .meter = &run->meter};
        enum lq_status status = lq_work_run(&work, run->threads, err);
        again = status == LQ_OK && work.n_overflowed > 0;
        if (again) status = widen(run, &work, r, err);
        else if (status == LQ_OK) collect(run, &work, r);
        lq_work_release(&work);
        if (status == LQ_OK && again) {
            lq_meter_rewind(&run->meter, done_before);
            status = begin_half(run, half, r, err);
        }
        if (status != LQ_OK) return status;
    }
    return LQ_OK;
}

/* Both headers first, so that space is checked for the whole pair before any work. */
static enum lq_status encode_halves(struct run *run, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (int h = 0; status == LQ_OK && h < LQ_HALVES; h++)
        if (run->model->half[h] != NULL) status = begin_half(run, h, range_of(run->plan, h), err);
    for (int h = 0; status == LQ_OK && h < LQ_HALVES; h++)
        if (run->model->half[h] != NULL) status = encode_half(run, h, err);
    return status;
}

static enum lq_status commit(struct run *run, struct lq_error *err)
{
    struct lq_quantize_result *result = &run->result;
    XXH128_hash_t digest = XXH3_128bits_digest(run->digest);
    snprintf(result->pair_id, sizeof result->pair_id, "%016" PRIx64 "%016" PRIx64, (uint64_t)digest.high64,
             (uint64_t)digest.low64);
    enum lq_status status = lq_meter_check(&run->meter, err);
    if (status == LQ_OK) status = lq_output_commit(run->output, result->pair_id, err);
    for (int h = 0; status == LQ_OK && h < LQ_HALVES; h++)
        if (result->path[h] != NULL) result->file_bytes[h] = lq_output_file_bytes(run->output, h);
    return status;
}

static enum lq_status allocate(struct run *run, struct lq_error *err)
{
    size_t n = run->plan->n_entries;
    run->digest = XXH3_createState();
    run->result.n_entries = n;
    run->result.error_sq = calloc(n + 1, sizeof *run->result.error_sq);
    run->result.weight_sq = calloc(n + 1, sizeof *run->result.weight_sq);
    if (run->digest == NULL || run->result.error_sq == NULL || run->result.weight_sq == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the results of %zu tensors", n);
    XXH3_128bits_reset(run->digest);
    return LQ_OK;
}

enum lq_status lq_quantize(const struct lq_model *model, struct lq_plan *plan,
                           const struct lq_quantize_options *options, struct lq_quantize_result *result,
                           struct lq_error *err)
{
    struct run run = {.model = model, .plan = plan, .options = options};
    run.threads = options->threads > 0 ? options->threads : lq_cpu_count();
    lq_meter_init(&run.meter, options->hooks, input_bytes(plan));
    enum lq_status status = lq_quantize_paths(model, plan, options->output, run.result.path, err);
    if (status == LQ_OK) status = allocate(&run, err);
    if (status == LQ_OK)
        status = lq_output_open(&run.output, (const char *const *)run.result.path, options->force, err);
    if (status == LQ_OK) status = encode_halves(&run, err);
    if (status == LQ_OK) status = commit(&run, err);
    if (status != LQ_OK) goto done;
    run.result.seconds = lq_meter_seconds(&run.meter);
    *result = run.result;
    run.result = (struct lq_quantize_result){0};
done:
    lq_output_close(run.output);
    XXH3_freeState(run.digest);
    lq_quantize_result_release(&run.result);
    lq_meter_release(&run.meter);
    return status;
}

void lq_quantize_result_release(struct lq_quantize_result *result)
{
    for (int h = 0; h < LQ_HALVES; h++) free(result->path[h]);
    free(result->error_sq);
    free(result->weight_sq);
    *result = (struct lq_quantize_result){0};
}
