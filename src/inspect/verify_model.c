#include "inspect/verify_run.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[LQ_CHECKS] = {
    [LQ_CHECK_STRUCTURE] = "structure", [LQ_CHECK_SHAPES] = "shapes",   [LQ_CHECK_VALUES] = "values",
    [LQ_CHECK_PADDING] = "padding",     [LQ_CHECK_PAIR_ID] = "pair-id", [LQ_CHECK_CONTENT] = "content",
    [LQ_CHECK_SUMS] = "sums",           [LQ_CHECK_TENSORS] = "tensors", [LQ_CHECK_METADATA] = "metadata",
    [LQ_CHECK_ERROR] = "error",
};

const char *lq_check_name(enum lq_check check)
{
    return names[check];
}

enum lq_status lq_run_find(struct lq_verify_run *run, enum lq_check check, struct lq_error *err, const char *fmt, ...)
{
    struct lq_verification *v = run->result;
    struct lq_verify_finding *longer = realloc(v->findings, (v->n_findings + 1) * sizeof *longer);
    if (longer == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu findings", v->n_findings + 1);
    v->findings = longer;
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int length = vasprintf(&text, fmt, args);
    va_end(args);
    if (length < 0) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a finding");
    v->findings[v->n_findings++] = (struct lq_verify_finding){.check = check, .text = text};
    v->check[check] = (struct lq_check_result){.state = LQ_CHECK_FAILED};
    return LQ_OK;
}

static void set_result(struct lq_verify_run *run, enum lq_check check, enum lq_check_state state, const char *fmt,
                       va_list args)
{
    struct lq_check_result *result = &run->result->check[check];
    if (result->state == LQ_CHECK_FAILED) return;
    result->state = state;
    vsnprintf(result->note, sizeof result->note, fmt, args);
}

void lq_run_pass(struct lq_verify_run *run, enum lq_check check, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    set_result(run, check, LQ_CHECK_PASSED, fmt, args);
    va_end(args);
}

void lq_run_skip(struct lq_verify_run *run, enum lq_check check, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    set_result(run, check, LQ_CHECK_SKIPPED, fmt, args);
    va_end(args);
}

static enum lq_status allocate(struct lq_verify_run *run, struct lq_error *err)
{
    run->result = calloc(1, sizeof *run->result);
    if (run->result == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a verification");
    run->result->model = run->model;
    size_t n = 0;
    for (int h = 0; h < LQ_HALVES; h++) {
        if (run->model->half[h] == NULL) continue;
        n += run->model->half[h]->n_tensors;
        run->result->tensors[h] = calloc(run->model->half[h]->n_tensors + 1, sizeof *run->result->tensors[h]);
        if (run->result->tensors[h] == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu tensors", n);
    }
    lq_run_pass(run, LQ_CHECK_STRUCTURE, "%zu tensors", n);
    return lq_content_begin(&run->content, err);
}

/* Bytes that the data pass will read. */
static uint64_t work_bytes(const struct lq_verify_run *run)
{
    uint64_t total = 0;
    for (int h = 0; h < LQ_HALVES; h++) {
        const struct lq_model_half *half = run->model->half[h];
        for (size_t i = 0; half != NULL && i < half->n_tensors; i++) {
            const struct lq_tensor *original = run->result->tensors[h][i].original;
            total += half->tensors[i].bytes + (original == NULL ? 0 : original->bytes);
        }
    }
    return total;
}

static enum lq_status read_data(struct lq_verify_run *run, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    lq_meter_init(&run->meter, run->options.hooks, work_bytes(run));
    for (int h = 0; status == LQ_OK && h < LQ_HALVES; h++)
        if (run->model->half[h] != NULL) status = lq_verify_half(run, h, err);
    lq_meter_release(&run->meter);
    if (status == LQ_OK) lq_run_pass(run, LQ_CHECK_VALUES, "all finite");
    if (status == LQ_OK && run->options.limit_error) lq_run_pass(run, LQ_CHECK_ERROR, "every tensor within the limit");
    return status;
}

/* Cheap checks first. */
static enum lq_status carry_out(struct lq_verify_run *run, struct lq_error *err)
{
    enum lq_status status = allocate(run, err);
    if (status == LQ_OK) status = lq_verify_shapes(run, err);
    if (status == LQ_OK) status = lq_verify_padding(run, err);
    if (status == LQ_OK && run->options.original != NULL) status = lq_verify_names(run, err);
    if (status == LQ_OK && run->options.original != NULL) status = lq_verify_metadata(run, err);
    if (status == LQ_OK) status = read_data(run, err);
    if (status == LQ_OK) status = lq_verify_pair_id(run, err);
    if (status == LQ_OK && run->options.sums != NULL) status = lq_verify_sums(run, err);
    return status;
}

enum lq_status lq_verify_model(struct lq_verification **out, const struct lq_model *model,
                               const struct lq_verify_options *options, struct lq_error *err)
{
    if (model->hugging_face)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: is a Hugging Face folder, expected a GGUF pair", model->path);
    struct lq_verify_run run = {.model = model};
    if (options != NULL) run.options = *options;
    if (run.options.threads == 0) run.options.threads = lq_cpu_count();
    enum lq_status status = carry_out(&run, err);
    lq_content_release(&run.content);
    if (status == LQ_OK) *out = run.result;
    else lq_verification_free(run.result);
    return status;
}

void lq_verification_free(struct lq_verification *v)
{
    if (v == NULL) return;
    for (size_t i = 0; i < v->n_findings; i++) free(v->findings[i].text);
    for (int h = 0; h < LQ_HALVES; h++) free(v->tensors[h]);
    free(v->findings);
    free(v->keys);
    free(v);
}
