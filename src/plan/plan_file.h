/* Plan files: JSON that a person can read, edit and hand back.
 *
 *     {"format": "llava-quantize plan", "version": 1, "recipe": "layered", "tag": "layered",
 *      "file_type": {"vision": 15, "language": 7}, "tensors": [
 *      {"name": "v.blk.0.ffn_up.weight", "half": "vision", "role": "vision.ffn.up", "shape": [64, 256], "from": "f16",
 *       "type": "q4_k", "reason": "q4_k: layered"},   (one line each)
 *      ...]}
 *
 * and, of an automatic plan, what plan_judged.h shows. docs/plan.schema.json describes all of it.
 *
 * Enters: text. Leaves: the plan it says, or the first thing in it that is wrong.
 * Invariants: saving and loading gives the same plan; a type that was changed shows, since its reason names another,
 * and the plan then says "edited" and no longer what it was judged by. Text is bounded in size and depth before it is
 * believed.
 */
#ifndef LQ_PLAN_PLAN_FILE_H
#define LQ_PLAN_PLAN_FILE_H

#include "llava_quantize/plan.h"

/* lq_plan_load over text in memory; `name` stands in messages. */
enum lq_status lq_plan_parse(struct lq_plan **out, const char *text, size_t size, const char *name,
                             const struct lq_model *model, const struct lq_plan_request *request, struct lq_error *err);

#endif
