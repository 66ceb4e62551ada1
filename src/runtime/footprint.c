/* What llama.cpp allocates beside the weights, by its own log lines: its C API does not tell. */
#include "runtime/backend.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include "runtime/state.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_CONTEXT 4096
#define MOST_CONTEXT (UINT32_C(1) << 22)
#define MIB 1048576.0
#define HALF_A_STEP 0.005 /* MiB: what llama.cpp's figures of two digits may hide */

/* Collects what llama.cpp logs of its buffers, and hands its lines on. */
struct ledger {
    const struct lq_hooks *hooks; /* the caller's, or NULL */
    struct lq_footprint *out;
    uint64_t *compute; /* of the half that is being prepared */
};

/* The figure of MiB behind `name` in a line; 0 where there is none. */
static uint64_t figure(const char *line, const char *name)
{
    const char *at = strstr(line, name);
    double mib = at != NULL ? strtod(at + strlen(name), NULL) : 0;
    return mib > 0 && mib < 1e9 ? (uint64_t)ceil((mib + HALF_A_STEP) * MIB) : 0;
}

static void note(void *data, enum lq_log_level level, const char *line)
{
    struct ledger *ledger = data;
    *ledger->compute += figure(line, " compute buffer size = ");
    ledger->out->output += figure(line, " output buffer size = ");
    if (strstr(line, " cells, ") != NULL) ledger->out->memory += figure(line, ": size = ");
    if (ledger->hooks != NULL && ledger->hooks->log != NULL) ledger->hooks->log(ledger->hooks->data, level, line);
}

static enum lq_status refused(const struct lq_log *log, const char *path, const char *what, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_RUNTIME, "%s: llama.cpp cannot %s: %s", path, what, lq_log_reason(log));
}

/* A context over a model without weights: its buffers are sized, not allocated. */
static enum lq_status size_language(struct llama_model *model, const struct lq_runtime_options *options,
                                    struct lq_footprint *out, const struct lq_log *log, struct lq_error *err)
{
    struct llama_context_params params = llama_context_default_params();
    uint32_t trained = (uint32_t)llama_model_n_ctx_train(model);
    params.n_ctx = options->context != 0 ? options->context : trained < DEFAULT_CONTEXT ? trained : DEFAULT_CONTEXT;
    params.swa_full = false; /* as the clients have it */
    struct llama_context *context = llama_init_from_model(model, params);
    if (context == NULL) return refused(log, options->language, "size a context", err);
    out->context = llama_n_ctx(context);
    llama_free(context);
    return LQ_OK;
}

/* mtmd's C API cannot but load the weights of the tower. */
static enum lq_status size_vision(struct llama_model *model, const struct lq_runtime_options *options,
                                  const struct lq_log *log, struct lq_error *err)
{
    struct mtmd_context_params params = mtmd_context_params_default();
    params.use_gpu = false;
    params.print_timings = false;
    mtmd_context *vision = mtmd_init_from_file(options->mmproj, model, params);
    if (vision == NULL) return refused(log, options->mmproj, "size the vision half", err);
    mtmd_free(vision);
    return LQ_OK;
}

static enum lq_status size_pair(struct lq_footprint *out, struct ledger *ledger,
                                const struct lq_runtime_options *options, const struct lq_log *log,
                                struct lq_error *err)
{
    ggml_backend_dev_t no_devices[] = {NULL};
    struct llama_model_params params = llama_model_default_params();
    params.devices = no_devices;
    params.n_gpu_layers = 0;
    params.no_alloc = true;
    params.load_mode = LLAMA_LOAD_MODE_NONE;
    struct llama_model *model = llama_model_load_from_file(options->language, params);
    if (model == NULL) return refused(log, options->language, "load the model", err);
    enum lq_status status = size_language(model, options, out, log, err);
    ledger->compute = &out->vision;
    if (status == LQ_OK) status = size_vision(model, options, log, err);
    llama_model_free(model);
    return status;
}

static enum lq_status check(const struct lq_runtime_options *options, struct lq_error *err)
{
    bool llava = false;
    if (options->language == NULL || options->mmproj == NULL)
        return lq_error_set(err, LQ_ERR_USAGE, "the memory of a pair takes both of its halves: the %s is missing",
                            options->language == NULL ? "language file" : "mmproj file");
    if (options->context > MOST_CONTEXT)
        return lq_error_set(err, LQ_ERR_USAGE, "a context of %" PRIu32 " tokens: at most %" PRIu32 " are possible",
                            options->context, MOST_CONTEXT);
    return lq_runtime_check(options->language, options->mmproj, &llava, err);
}

enum lq_status lq_footprint_measure(struct lq_footprint *out, const struct lq_runtime_options *options,
                                    struct lq_error *err)
{
    struct lq_footprint sizes = {0};
    struct ledger ledger = {.hooks = options->hooks, .out = &sizes, .compute = &sizes.language};
    struct lq_hooks hooks = {.log = note, .data = &ledger};
    struct lq_log log;
    enum lq_status status = check(options, err);
    if (status == LQ_OK) status = lq_backend_prepare(err);
    if (status != LQ_OK) return status;
    lq_log_begin(&log, &hooks);
    status = size_pair(&sizes, &ledger, options, &log, err);
    lq_log_end(&log);
    if (status != LQ_OK) return status;
    if (sizes.memory == 0 || sizes.language == 0 || sizes.vision == 0)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                            "%s: llama.cpp does not say what memory it takes for this pair: give a size instead",
                            options->language);
    *out = sizes;
    return LQ_OK;
}

uint64_t lq_footprint_total(const struct lq_footprint *footprint)
{
    return footprint->memory + footprint->language + footprint->vision + footprint->output;
}

enum lq_status lq_footprint_files(uint64_t *out, const struct lq_footprint *footprint, uint64_t memory,
                                  struct lq_error *err)
{
    uint64_t total = lq_footprint_total(footprint);
    if (memory <= total)
        return lq_error_set(err, LQ_ERR_USAGE,
                            "%.1f MiB do not hold what llama.cpp takes beside the weights, %.1f MiB at a context of "
                            "%" PRIu32 " tokens (tokens %.1f, language half %.1f, vision half %.1f, output %.1f): "
                            "give more memory or a smaller context",
                            (double)memory / MIB, (double)total / MIB, footprint->context,
                            (double)footprint->memory / MIB, (double)footprint->language / MIB,
                            (double)footprint->vision / MIB, (double)footprint->output / MIB);
    *out = memory - total;
    return LQ_OK;
}
