/* What the writer and the reader of an evaluation's JSON share.
 *
 * The object has, in this order, "format", "version", "verdict", "name", "original_name", "counts", "kl", "agreement",
 * "dp", "perplexity", "exact", "vqa", "flips", "embedding", "by_half", "kinds", "halves", "questions", "pictures",
 * "tensors", "speed", "provenance". docs/output.md says what is in each.
 */
#ifndef LQ_EVALUATE_RESULT_H
#define LQ_EVALUATE_RESULT_H

#include "llava_quantize/evaluate.h"

#define LQ_RESULT_FORMAT "llava-quantize evaluation"
enum { LQ_RESULT_VERSION = 1 };

extern const char *const lq_result_halves[LQ_HALVES]; /* "vision", "language" */

/* The same as lq_evaluation_load for a text in memory; `name` stands in messages. */
enum lq_status lq_evaluation_parse(struct lq_evaluation **out, const char *text, size_t size, const char *name,
                                   struct lq_error *err);

#endif
