#include "model/hf_config.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "model/json_keys.h"

struct number {
    const char *key;
    size_t field;
    uint32_t min, max, fallback;
};

#define FIELD(name) offsetof(struct lq_hf_config, name)
enum { WIDEST = 1 << 20, MOST_BLOCKS = 4096, MOST_TOKENS = 1 << 24 };

/* Defaults of LlamaConfig; kv_heads and head_dim follow from others (0 until then). */
static const struct number text_numbers[] = {
    {"hidden_size", FIELD(hidden), 1, WIDEST, 4096},
    {"intermediate_size", FIELD(ff), 1, WIDEST, 11008},
    {"num_hidden_layers", FIELD(blocks), 1, MOST_BLOCKS, 32},
    {"num_attention_heads", FIELD(heads), 1, WIDEST, 32},
    {"num_key_value_heads", FIELD(kv_heads), 1, WIDEST, 0},
    {"head_dim", FIELD(head_dim), 1, WIDEST, 0},
    {"vocab_size", FIELD(vocab), 1, MOST_TOKENS, 32000},
    {"max_position_embeddings", FIELD(context), 1, INT32_MAX, 2048},
};

/* Defaults of CLIPVisionConfig. */
static const struct number vision_numbers[] = {
    {"hidden_size", FIELD(v_hidden), 1, WIDEST, 768},
    {"intermediate_size", FIELD(v_ff), 1, WIDEST, 3072},
    {"num_hidden_layers", FIELD(v_blocks), 1, MOST_BLOCKS, 12},
    {"num_attention_heads", FIELD(v_heads), 1, WIDEST, 12},
    {"image_size", FIELD(v_image), 1, 1 << 16, 224},
    {"patch_size", FIELD(v_patch), 1, 1 << 12, 32},
    {"projection_dim", FIELD(v_projection), 1, WIDEST, 512},
};

static enum lq_status read_numbers(struct lq_hf_config *c, const struct lq_json_at *at, const struct number *numbers,
                                   size_t n, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < n && status == LQ_OK; i++)
        status = lq_json_u32(at, numbers[i].key, numbers[i].min, numbers[i].max, numbers[i].fallback,
                             (uint32_t *)((char *)c + numbers[i].field), err);
    return status;
}

/* Fails unless the string at `key` (or the default) is one of `allowed`, a list that ends in NULL. */
static enum lq_status require_one_of(const struct lq_json_at *at, const char *key, const char *const *allowed,
                                     const char **found, struct lq_error *err)
{
    char expected[160] = "";
    enum lq_status status = lq_json_string(at, key, allowed[0], found, err);
    if (status != LQ_OK) return status;
    for (size_t i = 0; allowed[i] != NULL; i++) {
        if (strcmp(*found, allowed[i]) == 0) return LQ_OK;
        size_t used = strlen(expected);
        snprintf(expected + used, sizeof expected - used, "%s\"%s\"", i == 0 ? "" : " or ", allowed[i]);
    }
    return lq_json_unexpected(at, key, LQ_ERR_UNSUPPORTED, expected, err);
}

static enum lq_status require(const struct lq_json_at *at, const char *key, const char *only, struct lq_error *err)
{
    const char *found, *allowed[] = {only, NULL};
    return require_one_of(at, key, allowed, &found, err);
}

/* The first of one or several keys that hold a token's number, or a list of them; LQ_HF_NO_TOKEN where none does. */
static enum lq_status read_token(const struct lq_json_at *at, const char *key, uint32_t vocab, uint32_t *out,
                                 struct lq_error *err)
{
    const json_t *v = lq_json_get(at, key);
    const json_t *list = json_is_array(v) && json_array_size(v) > 0 ? json_array_get(v, 0) : v;
    if (v == NULL || *out != LQ_HF_NO_TOKEN) return LQ_OK;
    if (!json_is_integer(list)) return lq_json_unexpected(at, key, LQ_ERR_FORMAT, "the number of a token", err);
    if (json_integer_value(list) < 0) return LQ_OK; /* "none", as some old files write it */
    if (json_integer_value(list) >= vocab)
        return lq_json_unexpected(at, key, LQ_ERR_FORMAT, "a token below vocab_size", err);
    *out = (uint32_t)json_integer_value(list);
    return LQ_OK;
}

static enum lq_status read_tokens(struct lq_hf_config *c, const struct lq_json_at *top, const struct lq_json_at *text,
                                  struct lq_error *err)
{
    const struct {
        const struct lq_json_at *at;
        const char *key;
        uint32_t *out;
    } tokens[] = {
        {text, "bos_token_id", &c->bos},
        {top, "bos_token_id", &c->bos},
        {text, "eos_token_id", &c->eos},
        {top, "eos_token_id", &c->eos},
        {text, "pad_token_id", &c->pad},
        {top, "pad_token_id", &c->pad},
        {top, "image_token_index", &c->image_token},
        {top, "image_token_id", &c->image_token},
    };
    enum lq_status status = LQ_OK;
    c->bos = c->eos = c->pad = c->image_token = LQ_HF_NO_TOKEN;
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0] && status == LQ_OK; i++)
        status = read_token(tokens[i].at, tokens[i].key, c->vocab, tokens[i].out, err);
    return status;
}

/* `scaling` is rope_parameters (5.x) or rope_scaling (4.x). */
static enum lq_status read_rope_scaling(struct lq_hf_config *c, const struct lq_json_at *scaling, struct lq_error *err)
{
    static const char *const types[] = {"default", "linear", NULL};
    const char *key = lq_json_get(scaling, "rope_type") != NULL ? "rope_type" : "type", *type;
    double factor, partial;
    enum lq_status status = require_one_of(scaling, key, types, &type, err);
    if (status == LQ_OK) status = lq_json_positive(scaling, "factor", 1, &factor, err);
    if (status == LQ_OK) status = lq_json_positive(scaling, "partial_rotary_factor", 1, &partial, err);
    if (status != LQ_OK) return status;
    if (partial != 1) return lq_json_unexpected(scaling, "partial_rotary_factor", LQ_ERR_UNSUPPORTED, "1", err);
    c->rope_factor = strcmp(type, "linear") == 0 ? (float)factor : 0;
    return LQ_OK;
}

static enum lq_status read_rope(struct lq_hf_config *c, const struct lq_json_at *text, struct lq_error *err)
{
    static const char *const sections[] = {"rope_parameters", "rope_scaling"};
    double theta;
    enum lq_status status = lq_json_positive(text, "rope_theta", 10000, &theta, err);
    c->rope_factor = 0;
    for (size_t i = 0; i < 2 && status == LQ_OK; i++) {
        struct lq_json_at at = {lq_json_get(text, sections[i]), text->file,
                                i == 0 ? "text_config.rope_parameters." : "text_config.rope_scaling."};
        if (at.object == NULL) continue;
        if (!json_is_object(at.object)) return lq_json_unexpected(text, sections[i], LQ_ERR_FORMAT, "an object", err);
        status = read_rope_scaling(c, &at, err);
        if (status == LQ_OK) status = lq_json_positive(&at, "rope_theta", theta, &theta, err);
        if (status == LQ_OK && c->rope_factor != 0) break;
    }
    c->rope_theta = (float)theta;
    return status;
}

static enum lq_status derive_heads(struct lq_hf_config *c, const struct lq_json_at *text, struct lq_error *err)
{
    if (c->kv_heads == 0) c->kv_heads = c->heads;
    if (c->heads % c->kv_heads != 0)
        return lq_json_unexpected(text, "num_key_value_heads", LQ_ERR_FORMAT, "a divisor of num_attention_heads", err);
    if (c->head_dim == 0 && c->hidden % c->heads != 0)
        return lq_json_unexpected(text, "num_attention_heads", LQ_ERR_FORMAT, "a divisor of hidden_size", err);
    if (c->head_dim == 0) c->head_dim = c->hidden / c->heads;
    if (c->head_dim % 2 != 0) return lq_json_unexpected(text, "head_dim", LQ_ERR_UNSUPPORTED, "an even number", err);
    return LQ_OK;
}

static enum lq_status read_text(struct lq_hf_config *c, const struct lq_json_at *top, const struct lq_json_at *text,
                                struct lq_error *err)
{
    double eps;
    enum lq_status status = require(text, "model_type", "llama", err);
    if (status == LQ_OK) status = require(text, "hidden_act", "silu", err);
    if (status == LQ_OK)
        status = read_numbers(c, text, text_numbers, sizeof text_numbers / sizeof text_numbers[0], err);
    if (status == LQ_OK) status = lq_json_positive(text, "rms_norm_eps", 1e-6, &eps, err);
    if (status == LQ_OK) c->rms_eps = (float)eps;
    if (status == LQ_OK) status = lq_json_bool(text, "attention_bias", false, &c->attention_bias, err);
    if (status == LQ_OK) status = lq_json_bool(text, "mlp_bias", false, &c->mlp_bias, err);
    if (status == LQ_OK) status = lq_json_bool(top, "tie_word_embeddings", false, &c->tied_if_absent, err);
    if (status == LQ_OK) status = lq_json_bool(text, "tie_word_embeddings", false, &c->tied, err);
    if (status == LQ_OK) status = read_rope(c, text, err);
    if (status == LQ_OK) status = derive_heads(c, text, err);
    if (status == LQ_OK) status = read_tokens(c, top, text, err);
    return status;
}

static enum lq_status check_vision(const struct lq_hf_config *c, const struct lq_json_at *vision, struct lq_error *err)
{
    uint32_t channels;
    enum lq_status status = lq_json_u32(vision, "num_channels", 3, 3, 3, &channels, err);
    if (status != LQ_OK) return status;
    if (c->v_hidden % c->v_heads != 0)
        return lq_json_unexpected(vision, "num_attention_heads", LQ_ERR_FORMAT, "a divisor of hidden_size", err);
    if (c->v_patch > c->v_image)
        return lq_json_unexpected(vision, "patch_size", LQ_ERR_FORMAT, "at most image_size", err);
    return LQ_OK;
}

static enum lq_status read_vision(struct lq_hf_config *c, const struct lq_json_at *vision, struct lq_error *err)
{
    static const char *const acts[] = {"quick_gelu", "gelu", "gelu_new", "gelu_pytorch_tanh", NULL};
    const char *act;
    double eps;
    enum lq_status status = require(vision, "model_type", "clip_vision_model", err);
    if (status == LQ_OK) status = require_one_of(vision, "hidden_act", acts, &act, err);
    if (status == LQ_OK)
        status = read_numbers(c, vision, vision_numbers, sizeof vision_numbers / sizeof vision_numbers[0], err);
    if (status == LQ_OK) status = lq_json_positive(vision, "layer_norm_eps", 1e-5, &eps, err);
    if (status != LQ_OK) return status;
    c->v_gelu = strcmp(act, acts[0]) != 0;
    c->v_eps = (float)eps;
    return check_vision(c, vision, err);
}

/* One layer, counted from the front (0 is the tower's input) or, negative, from the back (-1 is its output). */
static enum lq_status read_feature_layer(struct lq_hf_config *c, const struct lq_json_at *top, struct lq_error *err)
{
    const char *key = "vision_feature_layer";
    const json_t *given = lq_json_get(top, key);
    if (json_is_array(given) && json_array_size(given) > 1)
        return lq_json_unexpected(top, key, LQ_ERR_UNSUPPORTED, "one layer: several feature layers are not handled",
                                  err);
    const json_t *value = json_is_array(given) ? json_array_get(given, 0) : given;
    json_int_t layer = given == NULL ? -2 : json_integer_value(value);
    if (layer < 0) layer += (json_int_t)c->v_blocks + 1;
    if ((given != NULL && !json_is_integer(value)) || layer < 0 || layer > c->v_blocks)
        return lq_json_unexpected(top, key, LQ_ERR_FORMAT, "a layer of the vision tower", err);
    c->feature_layer = (uint32_t)layer;
    c->v_kept = layer == 0 ? 1 : (uint32_t)layer;
    return LQ_OK;
}

static enum lq_status read_projector(const struct lq_json_at *top, struct lq_error *err)
{
    bool bias;
    enum lq_status status = require(top, "projector_hidden_act", "gelu", err);
    if (status == LQ_OK) status = require(top, "vision_feature_select_strategy", "default", err);
    if (status == LQ_OK) status = lq_json_bool(top, "multimodal_projector_bias", true, &bias, err);
    if (status == LQ_OK && !bias)
        status = lq_json_unexpected(top, "multimodal_projector_bias", LQ_ERR_UNSUPPORTED, "true", err);
    return status;
}

/* What is no LLaVA-1.5 folder of Hugging Face's form at all. */
static enum lq_status check_kind(const struct lq_json_at *top, struct lq_error *err)
{
    if (lq_json_get(top, "mm_vision_tower") != NULL)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                            "%s: the original LLaVA layout (key 'mm_vision_tower'), whose vision tower lies elsewhere; "
                            "use the model's Hugging Face form",
                            top->file);
    if (lq_json_get(top, "quantization_config") != NULL)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                            "%s: already quantised (key 'quantization_config'); start from the full-precision model",
                            top->file);
    static const char *const needed[] = {"model_type", "text_config", "vision_config"};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (lq_json_get(top, needed[i]) == NULL)
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: key '%s' is missing", top->file, needed[i]);
    for (size_t i = 1; i < sizeof needed / sizeof needed[0]; i++)
        if (!json_is_object(lq_json_get(top, needed[i])))
            return lq_json_unexpected(top, needed[i], LQ_ERR_FORMAT, "an object", err);
    return require(top, "model_type", "llava", err);
}

enum lq_status lq_hf_config_read(struct lq_hf_config *out, const json_t *root, const char *file, struct lq_error *err)
{
    struct lq_hf_config c = {0};
    struct lq_json_at top = {root, file, ""};
    enum lq_status status = check_kind(&top, err);
    if (status != LQ_OK) return status;
    struct lq_json_at text = {lq_json_get(&top, "text_config"), file, "text_config."};
    struct lq_json_at vision = {lq_json_get(&top, "vision_config"), file, "vision_config."};
    status = read_text(&c, &top, &text, err);
    if (status == LQ_OK) status = read_vision(&c, &vision, err);
    if (status == LQ_OK) status = read_feature_layer(&c, &top, err);
    if (status == LQ_OK) status = read_projector(&top, err);
    if (status == LQ_OK) *out = c;
    return status;
}
