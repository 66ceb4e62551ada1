/* A Hugging Face LLaVA-1.5 folder as the GGUF pair that it would become.
 *
 * Enters: config.json, *.safetensors, tokenizer.model. Leaves: both halves in the store, with llama.cpp's names, keys
 * and shapes; no weight has been read.
 * Invariants: every tensor of the folder is used, known to be superfluous, or refused by name; shapes equal what
 * config.json says.
 */
#ifndef LQ_MODEL_HF_IMPORT_H
#define LQ_MODEL_HF_IMPORT_H

#include "model/store.h"

/* True for a folder with config.json that holds safetensors, or no GGUF file either. */
bool lq_hf_is_folder(const char *path);
enum lq_status lq_hf_open(struct lq_model_store *store, const char *path, const struct lq_model_options *options,
                          struct lq_error *err);

#endif
