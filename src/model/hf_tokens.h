/* The tokenizer of a Hugging Face folder as GGUF keys.
 *
 * Enters: the folder's tokenizer.model, added_tokens.json, tokenizer_config.json and chat template, and its config.
 * Leaves: tokenizer.* keys as llama.cpp expects them.
 * Invariants: exactly vocab_size tokens, no two alike (llama.cpp aborts on twins).
 */
#ifndef LQ_MODEL_HF_TOKENS_H
#define LQ_MODEL_HF_TOKENS_H

#include "model/hf_config.h"
#include "source/kv.h"

enum lq_status lq_hf_tokens_import(struct lq_kvs *kvs, const char *folder, const struct lq_hf_config *config,
                                   struct lq_error *err);

#endif
