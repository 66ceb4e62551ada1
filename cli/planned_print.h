/* What `plan` prints on stdout: sentences and a table, or one JSON object.
 *
 * The JSON object keeps its shape from version to version; new members may be added. What was not measured is null:
 *   {
 *     "command", "version", "model",
 *     "plan"*: {"recipe", "bytes", "bpw", "estimate", "measured", "error", "first", "bound", "swaps", "neighbours"},
 *     "roles"*: [{"role", "tensors", "types": {"q4_k": 3, ...}, "weights", "bytes_before", "bytes_after",
 *                 "divergence"}, ...],
 *     "fit"*: {"memory", "context", "tokens", "language", "vision", "output"},
 *     "curve"*: [{"bytes", "bpw", "estimate", "measured", "error"}, ...],
 *     "search": {"effort", "tensors", "choices", "groups", "known", "smallest", "original", "power", "checks", "ratio",
 *                "ratio_low", "ratio_high", "records", "pictures", "tokens", "answer_tokens", "measurements",
 *                "seconds"}
 *   }
 * "plan" and "roles" are absent without a target, "fit" without --fit, "curve" without --curve. docs/output.md explains
 * the members.
 */
#ifndef LQ_CLI_PLANNED_PRINT_H
#define LQ_CLI_PLANNED_PRINT_H

#include "job.h"
#include "llava_quantize/plan.h"

/* `plan` NULL: a curve alone. Errors: LQ_ERR_MEMORY. */
enum lq_status cli_planned_report(const struct cli_job *job, const struct lq_model *model, const struct lq_plan *plan,
                                  const struct cli_planned *planned, struct lq_error *err);
/* One line for `quantize`: what was chosen, and what it will lose. */
void cli_planned_put_line(const struct cli_planned *planned, const struct lq_plan *plan);

/* The JSON alone. */
enum lq_status cli_planned_json(const struct cli_job *job, const struct lq_model *model, const struct lq_plan *plan,
                                const struct cli_planned *planned, struct lq_error *err);

#endif
