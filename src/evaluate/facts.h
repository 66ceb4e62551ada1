/* What is known of a pair without running it: files, sizes, types, errors, reasons. */
#ifndef LQ_EVALUATE_FACTS_H
#define LQ_EVALUATE_FACTS_H

#include "llava_quantize/evaluate.h"

/* Reads the half's first file once, for its hash. Errors: LQ_ERR_IO, LQ_ERR_MEMORY, LQ_ERR_CANCELLED. */
enum lq_status lq_facts_of_half(struct lq_half_facts *out, const struct lq_model_half *half,
                                const struct lq_hooks *hooks, struct lq_error *err);
/* The recipe that the language half records, else its file's name without ".gguf"; *out: free(). */
enum lq_status lq_facts_name(char **out, const struct lq_model *model, struct lq_error *err);
/* LQ_ERR_USAGE, naming both files, unless both language models' embeddings are equally wide. */
enum lq_status lq_facts_same_width(const struct lq_model *a, const struct lq_model *b, struct lq_error *err);
/* Bytes that one token's keys and values take in F16, as the metadata have it; 0 where they do not say. */
uint64_t lq_facts_token_bytes(const struct lq_model *model);

/* Fills evaluation->tensors: with `original`, which may be NULL, all data of both are read once; `plan`, a plan file,
 * may be NULL too. */
enum lq_status lq_facts_of_tensors(struct lq_evaluation *evaluation, const struct lq_model *pair,
                                   const struct lq_model *original, const char *plan, unsigned threads,
                                   const struct lq_hooks *hooks, struct lq_error *err);

#endif
