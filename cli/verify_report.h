/* What `verify` prints on stdout: the checks, the errors by role and what was found, or one JSON object.
 *
 * The JSON object keeps its shape from version to version; new members may be added:
 *   {
 *     "command", "version", "pair", "against"*, "fine",
 *     "checks": [{"name", "state": "passed"|"failed"|"skipped", "note"}, ...],
 *     "findings": [{"check", "text"}, ...],
 *     "halves"*: {"vision": {"path", "original", SUM, "roles": {ROLE: {SUM}, ...}}, "language": {...}},
 *     "tensors"*: [{"name", "half", "role", "from", "to", "relative_error", "worst_block": WORST}, ...],
 *     "keys"*: [{"half", "key", "change": "added"|"removed"|"changed", "expected"}, ...]
 *   }
 * SUM: "tensors", "weights", "relative_error", "worst_block": WORST, of the tensors that were compared.
 * WORST: {"relative_error", "tensor", "row", "column"}, or null where nothing was lost; its error is null where a block
 * of zeros became something else. "tensors" has one row for each tensor that was compared. Members marked * are there
 * only with --against, and in "halves" a half that was not compared has no member. Errors are ratios (0.05 is 5 %).
 */
#ifndef LQ_CLI_VERIFY_REPORT_H
#define LQ_CLI_VERIFY_REPORT_H

#include "llava_quantize/verify.h"

struct cli_verify_report {
    const char *pair, *against; /* as given by the user; against: NULL without */
    const struct lq_model *original;
    const struct lq_verification *seen;
    bool all; /* a line for every tensor and key */
};

/* Errors of both: LQ_ERR_MEMORY. */
enum lq_status cli_verify_table(const struct cli_verify_report *report, struct lq_error *err);
enum lq_status cli_verify_json(const struct cli_verify_report *report, struct lq_error *err);
/* What was found, one line each. */
void cli_verify_findings(const struct lq_verification *seen);

#endif
