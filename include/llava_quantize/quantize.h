/* The pipeline: a model and a plan in, a finished pair of files out.
 *
 * Enters: a model, a plan, an output path. Leaves: both files under their final names, or nothing at all.
 * Invariants: bounded memory whatever the tensor; the same bytes for any number of threads; what got its name has been
 * synced, re-opened and verified.
 *
 *     struct lq_quantize_options options = {.output = "out", .threads = 0};
 *     struct lq_quantize_result result;
 *     enum lq_status s = lq_quantize(model, plan, &options, &result, &err);
 *     if (s == LQ_OK) printf("%s\n", result.path[LQ_LANGUAGE]);
 *     lq_quantize_result_release(&result);
 */
#ifndef LLAVA_QUANTIZE_QUANTIZE_H
#define LLAVA_QUANTIZE_QUANTIZE_H

#include "llava_quantize/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

struct lq_quantize_options {
    const char *output;               /* a folder, or a path ending in ".gguf" */
    bool force;                       /* replace existing output */
    unsigned threads;                 /* 0: lq_cpu_count() */
    const struct lq_imatrix *imatrix; /* the one the plan was built with, or NULL */
    const struct lq_hooks *hooks;     /* may be NULL */
};

struct lq_quantize_result {
    char *path[LQ_HALVES];      /* owned; NULL for a half that was not written */
    char pair_id[40];
    uint64_t file_bytes[LQ_HALVES];
    size_t n_entries;           /* as plan->n_entries */
    double *error_sq;           /* owned, one per entry: sum (w - q)^2 over its weights; 0 for exact copies */
    double *weight_sq;          /* owned, one per entry: sum w^2; relative error = sqrt(error_sq / weight_sq) */
    double seconds;
};

/* The paths that `output` would give, for checks and --dry-run; owned by the caller (free). NULL for an absent half. */
enum lq_status lq_quantize_paths(const struct lq_model *model, const struct lq_plan *plan, const char *output,
                                 char *path[LQ_HALVES], struct lq_error *err);

/* Widens entries of `plan` where the data overflow the planned type's scales (with the reason). */
enum lq_status lq_quantize(const struct lq_model *model, struct lq_plan *plan, const struct lq_quantize_options *options,
                           struct lq_quantize_result *result, struct lq_error *err);
void lq_quantize_result_release(struct lq_quantize_result *result);

#ifdef __cplusplus
}
#endif
#endif
