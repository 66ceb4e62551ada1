#include "model/hf_keys.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "model/json_keys.h"
#include "model/names.h"

struct number {
    const char *key;
    size_t field;
};

#define FIELD(name) offsetof(struct lq_hf_config, name)

static const struct number language_u32[] = {
    {"llama.vocab_size", FIELD(vocab)},
    {"llama.context_length", FIELD(context)},
    {"llama.embedding_length", FIELD(hidden)},
    {"llama.block_count", FIELD(blocks)},
    {"llama.feed_forward_length", FIELD(ff)},
    {"llama.attention.head_count", FIELD(heads)},
    {"llama.attention.head_count_kv", FIELD(kv_heads)},
    {"llama.attention.key_length", FIELD(head_dim)},
    {"llama.attention.value_length", FIELD(head_dim)},
    {"llama.rope.dimension_count", FIELD(head_dim)},
};

static const struct number language_f32[] = {
    {"llama.attention.layer_norm_rms_epsilon", FIELD(rms_eps)},
    {"llama.rope.freq_base", FIELD(rope_theta)},
};

static const struct number vision_u32[] = {
    {"clip.vision.image_size", FIELD(v_image)},           {"clip.vision.patch_size", FIELD(v_patch)},
    {"clip.vision.embedding_length", FIELD(v_hidden)},    {"clip.vision.feed_forward_length", FIELD(v_ff)},
    {"clip.vision.projection_dim", FIELD(v_projection)},  {"clip.vision.block_count", FIELD(v_kept)},
    {"clip.vision.attention.head_count", FIELD(v_heads)},
};

static enum lq_status set_u32s(struct lq_kvs *kvs, const struct lq_hf_config *c, const struct number *keys, size_t n,
                               struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < n && status == LQ_OK; i++)
        status = lq_kvs_set_u32(kvs, keys[i].key, *(const uint32_t *)((const char *)c + keys[i].field), err);
    return status;
}

static enum lq_status set_f32s(struct lq_kvs *kvs, const struct lq_hf_config *c, const struct number *keys, size_t n,
                               struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < n && status == LQ_OK; i++)
        status = lq_kvs_set_f32(kvs, keys[i].key, *(const float *)((const char *)c + keys[i].field), err);
    return status;
}

static enum lq_status set_general(struct lq_kvs *kvs, const char *architecture, const char *type, const char *name,
                                  struct lq_error *err)
{
    enum lq_status status = lq_kvs_set_string(kvs, "general.architecture", architecture, err);
    if (status == LQ_OK) status = lq_kvs_set_string(kvs, "general.type", type, err);
    if (status == LQ_OK) status = lq_kvs_set_string(kvs, "general.name", name, err);
    return status;
}

enum lq_status lq_hf_keys_language(struct lq_kvs *kvs, const char *name, const struct lq_hf_config *c,
                                   struct lq_error *err)
{
    enum lq_status status = set_general(kvs, "llama", "model", name, err);
    if (status == LQ_OK) status = set_u32s(kvs, c, language_u32, sizeof language_u32 / sizeof language_u32[0], err);
    if (status == LQ_OK) status = set_f32s(kvs, c, language_f32, sizeof language_f32 / sizeof language_f32[0], err);
    if (status != LQ_OK || c->rope_factor == 0) return status;
    status = lq_kvs_set_string(kvs, "llama.rope.scaling.type", "linear", err);
    if (status == LQ_OK) status = lq_kvs_set_f32(kvs, "llama.rope.scaling.factor", c->rope_factor, err);
    return status;
}

/* Three finite numbers at `key`, where there is such a key. */
static enum lq_status read_triple(const struct lq_json_at *at, const char *key, float out[3], struct lq_error *err)
{
    const json_t *v = lq_json_get(at, key);
    if (v == NULL) return LQ_OK;
    bool good = json_is_array(v) && json_array_size(v) == 3;
    for (size_t i = 0; i < 3 && good; i++) {
        const json_t *x = json_array_get(v, i);
        good = json_is_number(x) && isfinite(json_number_value(x));
        if (good) out[i] = (float)json_number_value(x);
    }
    return good ? LQ_OK : lq_json_unexpected(at, key, LQ_ERR_FORMAT, "three numbers", err);
}

/* preprocessor_config.json holds the numbers at its top, processor_config.json under "image_processor". */
static enum lq_status read_preprocessor(const char *folder, const char *file, float mean[3], float std[3],
                                        struct lq_error *err)
{
    json_t *root = NULL;
    enum lq_status status = LQ_OK;
    char *path = lq_path_join(folder, file);
    if (path == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: not enough memory", folder);
    if (access(path, F_OK) == 0) status = lq_json_load(path, &root, err);
    if (root != NULL) {
        const json_t *inner = json_object_get(root, "image_processor");
        struct lq_json_at at = {json_is_object(inner) ? inner : root, path, ""};
        status = read_triple(&at, "image_mean", mean, err);
        if (status == LQ_OK) status = read_triple(&at, "image_std", std, err);
    }
    json_decref(root);
    free(path);
    return status;
}

static enum lq_status set_preprocessing(struct lq_kvs *kvs, const char *folder, struct lq_error *err)
{
    float mean[3] = {0.48145466f, 0.4578275f, 0.40821073f}, std[3] = {0.26862954f, 0.26130258f, 0.27577711f};
    enum lq_status status = read_preprocessor(folder, "processor_config.json", mean, std, err);
    if (status == LQ_OK) status = read_preprocessor(folder, "preprocessor_config.json", mean, std, err);
    if (status == LQ_OK) status = lq_kvs_set_array(kvs, "clip.vision.image_mean", LQ_KV_F32, 3, mean, err);
    if (status == LQ_OK) status = lq_kvs_set_array(kvs, "clip.vision.image_std", LQ_KV_F32, 3, std, err);
    return status;
}

enum lq_status lq_hf_keys_vision(struct lq_kvs *kvs, const char *folder, const char *name, const struct lq_hf_config *c,
                                 struct lq_error *err)
{
    int32_t layer = (int32_t)c->feature_layer; /* without this key llama.cpp runs one block too few */
    enum lq_status status = set_general(kvs, "clip", "mmproj", name, err);
    if (status == LQ_OK) status = lq_kvs_set_bool(kvs, "clip.has_vision_encoder", true, err);
    if (status == LQ_OK) status = lq_kvs_set_bool(kvs, "clip.has_llava_projector", true, err);
    if (status == LQ_OK) status = lq_kvs_set_string(kvs, "clip.projector_type", "mlp", err);
    if (status == LQ_OK) status = lq_kvs_set_bool(kvs, "clip.use_gelu", c->v_gelu, err);
    if (status == LQ_OK) status = set_u32s(kvs, c, vision_u32, sizeof vision_u32 / sizeof vision_u32[0], err);
    if (status == LQ_OK) status = lq_kvs_set_f32(kvs, "clip.vision.attention.layer_norm_epsilon", c->v_eps, err);
    if (status == LQ_OK) status = lq_kvs_set_array(kvs, "clip.vision.feature_layer", LQ_KV_I32, 1, &layer, err);
    return status == LQ_OK ? set_preprocessing(kvs, folder, err) : status;
}
