/* What `inspect` prints on stdout: text, or one JSON object.
 *
 * The JSON object keeps its shape from version to version; new members may be added:
 *   {
 *     "command", "version", "path", "name", "format": "gguf" | "hugging-face",
 *     "halves": {
 *       "vision": {
 *         "path", "paths" (all shards; none from Hugging Face), "architecture", "tensors", "weights", "bytes", "bpw",
 *         "roles": [{"role", "tensors", "weights", "bytes", "bpw", "types": ["q4_k", ...]}, ...],
 *         "metadata": {KEY: VALUE, ...}
 *       },
 *       "language": {as above; a half that is absent has no member}
 *     },
 *     "tokenizer"*: {"model", "tokens", "bos", "eos", "chat_template"},
 *     "findings": [{"id", "half": "vision" | "language" | "pair", "tensor"*, "tensors"*, "text", "remedy"}, ...],
 *     "tensors"*: [
 *       {"name", "half", "role", "block", "type", "shape", "bytes", "bpw",
 *        "weights"**: {"min", "max", "rms", "outliers", "outlier_share", "nan", "infinite", "dead_rows"}}, ...
 *     ]
 *   }
 * "metadata" holds the keys of general.*, quantize.* and llava_quantize.*, with --all every key. A value is a JSON
 * value of its kind; an array of more than 16 elements is {"type", "count", "first": [the first 16]}; a number above
 * 2^63 - 1 is text; a real that is not finite is null; text ends at its first zero byte. bos and eos are null where
 * the file gives none. "block" is -1 outside any block. Members marked * are absent where there is nothing to say
 * ("tensors" without --all and --weights), ** without --weights and for types that hold no weights. Ids of findings
 * are listed in llava_quantize/inspect.h.
 */
#ifndef LQ_CLI_INSPECT_PRINT_H
#define LQ_CLI_INSPECT_PRINT_H

#include "llava_quantize/inspect.h"

/* Whether a key is shown without --all. */
bool cli_key_is_short(const struct lq_key *key);

/* `all`: every key and tensor. Statistics are printed where the inspection has them. */
void cli_inspect_text(const struct lq_inspection *seen, bool all);
/* Errors: LQ_ERR_MEMORY. */
enum lq_status cli_inspect_json(const struct lq_inspection *seen, bool all, struct lq_error *err);

#endif
