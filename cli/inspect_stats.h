/* What `inspect` prints of statistics: text, or one JSON object.
 *
 * The JSON object keeps its shape from version to version; new members may be added:
 *   {
 *     "command", "version", "path", "format": "statistics" | "imatrix" | "imatrix-legacy",
 *     "pair_id"*, "datasets": [...], "chunks", "done"*, "total"*,
 *     "weights"*: {"picture", "after", "text"},
 *     "moment_bytes", "moments_count", "measured": {"errors", "divergences"},
 *     "model"**, "missing"**: [names of the model's matrices that have no data],
 *     "tensors": [
 *       {"name", "half", "input", "columns", "experts", "tokens", "fewest_tokens",
 *        "kinds"*: {"picture", "after", "text"}, "few", "dead", "outliers", "ratio",
 *        "worst": [{"expert", "column", "ratio"}, ...], "moment_bytes"}, ...
 *     ]
 *   }
 * "input" names the tensor under which an input shared by several stands. "tokens" are those of all experts, and
 * "fewest_tokens" those of the expert with the fewest; both are 0 in the older form, which does not tell. "few" counts
 * experts with fewer than 64 tokens, "dead" columns that met nothing but zeros, "outliers" columns whose mean square
 * lies far above the others' (llava_quantize/inspect.h says how far), "worst" the largest of those; "ratio" is the
 * largest column's to the median. "moments_count" is false where an unfinished run left second moments of fewer tokens than the
 * rest. Members marked * stand in files that `calibrate` made, ** with --against.
 */
#ifndef LQ_CLI_INSPECT_STATS_H
#define LQ_CLI_INSPECT_STATS_H

#include "llava_quantize/inspect.h"

void cli_stats_text(const struct lq_stats_inspection *seen);
/* Errors: LQ_ERR_MEMORY. */
enum lq_status cli_stats_json(const struct lq_stats_inspection *seen, struct lq_error *err);

#endif
