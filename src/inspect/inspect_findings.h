/* What looks wrong about a model, and what to do: the checks behind lq_inspection.findings.
 *
 * Enters: a model and, in `out`, whatever has been learnt of its weights. Leaves: findings, in the order of the checks.
 */
#ifndef LQ_INSPECT_INSPECT_FINDINGS_H
#define LQ_INSPECT_INSPECT_FINDINGS_H

#include "llava_quantize/inspect.h"

/* Appends to out->findings. Errors: LQ_ERR_MEMORY. */
enum lq_status lq_inspect_findings(const struct lq_model *model, enum lq_backend backend, struct lq_inspection *out,
                                   struct lq_error *err);

#endif
