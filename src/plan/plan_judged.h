/* What a plan file says of an automatic plan, beside its types: members that a plan without them lacks.
 *
 *     "quality": {"goal": "auto-4.2G", "estimate": 0.0123, "measured": 0.0131, "error": 0.0012, "data": "..."}
 *     "judged": {"error": 0.00102, "sensitivity": 0.0123, "divergence": 1.25e-05, "next": "q5_k", "next_bytes": 32768,
 *                "next_gain": 8.1e-06}
 *
 * Enters: a JSON object, or NULL for none. Leaves: the judgement or quality, or the first thing that is wrong.
 * Invariants: numbers are finite and not negative; what is not known is left out; six digits are kept, so that what was
 * read is written again as it was.
 */
#ifndef LQ_PLAN_PLAN_JUDGED_H
#define LQ_PLAN_PLAN_JUDGED_H

#include "llava_quantize/plan.h"

#include <jansson.h>

enum { LQ_PLAN_DIGITS = JSON_REAL_PRECISION(6) };

/* A new reference; NULL where nothing is known, or without memory. */
json_t *lq_judgement_to_json(const struct lq_plan_judgement *judged);
json_t *lq_quality_to_json(const struct lq_plan_quality *quality);

/* `file` and `where` ("blk.0.ffn_up.weight") stand in messages. Errors: LQ_ERR_FORMAT. */
enum lq_status lq_judgement_from_json(struct lq_plan_judgement *out, const json_t *object, const char *file,
                                      const char *where, struct lq_error *err);
enum lq_status lq_quality_from_json(struct lq_plan_quality *out, const json_t *object, const char *file,
                                    struct lq_error *err);

#endif
