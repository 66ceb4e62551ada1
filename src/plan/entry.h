/* One entry of a plan: what makes its type legal, however it was chosen.
 *
 * Enters: an entry whose tensor and type are set. Leaves: the same entry with its size, or the reason why it cannot be.
 * Invariants: an entry that passed lq_entry_finish can be encoded.
 *
 *     entry->type = lq_entry_fit(LQ_TYPE_Q4_K, tensor->ne[0]);     // 1152 columns: iq4_nl
 *     lq_entry_finish(entry, half->path, request, &err);
 */
#ifndef LQ_PLAN_ENTRY_H
#define LQ_PLAN_ENTRY_H

#include "llava_quantize/plan.h"
#include "plan/tower.h"

/* An empty plan: every tensor in the plan's order, in the type it has anyway. */
enum lq_status lq_plan_new(struct lq_plan **out, const struct lq_model *model, struct lq_error *err);

/* An entry that leaves its tensor as it is. */
struct lq_plan_entry lq_entry_of(const struct lq_tensor *tensor);
/* An entry as an empty plan has it. */
struct lq_plan_entry lq_entry_kept(const struct lq_tensor *tensor);

/* Gives an entry the shape that its tensor has in a tower of that hidden size; one outside the feed-forwards stays. */
void lq_entry_set_hidden(struct lq_plan_entry *entry, const struct lq_tower *tower, uint64_t hidden);
/* Puts "padded 4304 -> 4352 for q4_k, exact" before the reason of a padded entry. LQ_TYPE_NONE: for no type. */
void lq_entry_say_padding(struct lq_plan_entry *entry, enum lq_type type);
/* Does the reason speak of the padding that the entry has, and of none if it has none? */
bool lq_entry_tells_padding(const struct lq_plan_entry *entry);

/* `wanted`, or the smallest type no smaller than it that fits the row; f16 fits every row. */
enum lq_type lq_entry_fit(enum lq_type wanted, uint64_t columns);

/* Sets entry->bytes. Errors: LQ_ERR_USAGE for a type that does not fit or a tensor that is never quantised;
 * LQ_ERR_UNSUPPORTED for a quantised input without allow_requantize, or missing importance data (`demanding`: the mix
 * asks for it even where the encoder would do without). */
enum lq_status lq_entry_finish(struct lq_plan_entry *entry, const char *path, const struct lq_plan_request *request,
                               bool demanding, struct lq_error *err);

/* general.file_type that the type holding most weights of this half suggests. */
int lq_plan_file_type(const struct lq_plan *plan, enum lq_half half);

#endif
