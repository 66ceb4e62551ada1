/* The metadata that llama.cpp needs to load an imported half.
 *
 * Enters: a config. Leaves: general.*, llama.* or clip.* keys (file type and quantization version come when the half is
 * written).
 */
#ifndef LQ_MODEL_HF_KEYS_H
#define LQ_MODEL_HF_KEYS_H

#include "model/hf_config.h"
#include "source/kv.h"

/* The `clip` half; mean and deviation come from the folder's preprocessor files, else they are CLIP's. */
enum lq_status lq_hf_keys_vision(struct lq_kvs *kvs, const char *folder, const char *name, const struct lq_hf_config *c,
                                 struct lq_error *err);
/* The `llama` half, without its tokenizer. */
enum lq_status lq_hf_keys_language(struct lq_kvs *kvs, const char *name, const struct lq_hf_config *c,
                                   struct lq_error *err);

#endif
