/* One verification under way, and its steps.
 *
 * Enters: a model and options. Leaves: check results, findings, and per tensor how far it is from the original.
 * Invariants: findings are added from one thread; a check is passed only by lq_run_pass and failed by its first
 * finding.
 */
#ifndef LQ_INSPECT_VERIFY_RUN_H
#define LQ_INSPECT_VERIFY_RUN_H

#include "llava_quantize/verify.h"
#include "quantize/content.h"
#include "base/meter.h"

struct lq_verify_run {
    const struct lq_model *model;
    struct lq_verify_options options;
    struct lq_verification *result;
    struct lq_content content;
    struct lq_meter meter;
};

/* Adds a finding and fails its check. Errors: LQ_ERR_MEMORY. */
enum lq_status lq_run_find(struct lq_verify_run *run, enum lq_check check, struct lq_error *err, const char *fmt, ...)
    LQ_PRINTF(4, 5);
/* Passes a check that no finding has failed. */
void lq_run_pass(struct lq_verify_run *run, enum lq_check check, const char *fmt, ...) LQ_PRINTF(3, 4);
void lq_run_skip(struct lq_verify_run *run, enum lq_check check, const char *fmt, ...) LQ_PRINTF(3, 4);

/* Keys and shapes. */
enum lq_status lq_verify_shapes(struct lq_verify_run *run, struct lq_error *err);
/* The Llama decoder's part of it, one finding at most. */
enum lq_status lq_verify_llama_shapes(struct lq_verify_run *run, const struct lq_model_half *half,
                                      struct lq_error *err);
/* Bytes that belong to no tensor. */
enum lq_status lq_verify_padding(struct lq_verify_run *run, struct lq_error *err);
/* Which tensors have an original of the same shape: fills `original` of every tensor. */
enum lq_status lq_verify_names(struct lq_verify_run *run, struct lq_error *err);
enum lq_status lq_verify_metadata(struct lq_verify_run *run, struct lq_error *err);
/* Reads all data of one half: values, errors, and what the pair id is made of. */
enum lq_status lq_verify_half(struct lq_verify_run *run, enum lq_half half, struct lq_error *err);
/* The pair id, once all data have been read. */
enum lq_status lq_verify_pair_id(struct lq_verify_run *run, struct lq_error *err);
/* SHA-256, last of all. */
enum lq_status lq_verify_sums(struct lq_verify_run *run, struct lq_error *err);

#endif
