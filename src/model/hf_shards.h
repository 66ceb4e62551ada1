/* The safetensors files of a Hugging Face folder, all opened, and their tensors under one canonical name each.
 *
 * Enters: a folder. Leaves: a sorted list of tensors; "text.layers.0.mlp.up_proj.weight", "head.weight",
 * "tower.encoder.layers.0.mlp.fc1.weight", "projector.linear_1.weight" whichever of the three layouts the files follow.
 * Invariants: no canonical name twice; names that belong to no part of a LLaVA keep their own name behind "?".
 */
#ifndef LQ_MODEL_HF_SHARDS_H
#define LQ_MODEL_HF_SHARDS_H

#include "model/store.h"

struct lq_hf_tensor {
    char *name; /* canonical, owned */
    const struct lq_source *source;
    const struct lq_source_tensor *tensor;
    bool used;
};

struct lq_hf_shards {
    struct lq_hf_tensor *items;
    size_t n;
};

/* The sources go to the store. Errors: no weights, a missing shard, a tensor that the index promises and no shard has,
 * a tensor that stands twice. */
enum lq_status lq_hf_shards_open(struct lq_hf_shards *out, struct lq_model_store *store, const char *folder,
                                 struct lq_error *err);
void lq_hf_shards_release(struct lq_hf_shards *shards);
struct lq_hf_tensor *lq_hf_shards_find(const struct lq_hf_shards *shards, const char *canonical);
/* What `canonical` is called in these files, for messages. */
void lq_hf_shards_spell(const struct lq_hf_shards *shards, const char *canonical, char *out, size_t size);

#endif
