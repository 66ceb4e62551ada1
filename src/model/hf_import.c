#include "model/hf_import.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/hf_config.h"
#include "model/hf_keys.h"
#include "model/hf_shards.h"
#include "model/hf_tokens.h"
#include "model/json_keys.h"
#include "model/names.h"

/* Sizes that shapes are made of; D_END closes a shape. */
enum dim { D_END, D_HIDDEN, D_FF, D_Q, D_KV, D_VOCAB, D_V_HIDDEN, D_V_FF, D_POSITIONS, D_PATCH, D_CHANNELS, D_COUNT };

enum when { ALWAYS, WITH_ATTENTION_BIAS, WITH_MLP_BIAS, UNLESS_TIED, WHEN_COUNT };

/* One expected tensor: canonical and GGUF name (behind a block's prefix where it is in one), shape as ggml counts (row
 * length first). `permute` marks the matrices and biases whose heads are stored as two halves. */
struct part {
    const char *from, *to;
    enum dim dims[5];
    enum when when;
    bool permute;
};

static const struct part language_head[] = {
    {"text.embed_tokens.weight", "token_embd.weight", {D_HIDDEN, D_VOCAB}, ALWAYS, false},
};

static const struct part language_block[] = {
    {"input_layernorm.weight", "attn_norm.weight", {D_HIDDEN}, ALWAYS, false},
    {"self_attn.q_proj.weight", "attn_q.weight", {D_HIDDEN, D_Q}, ALWAYS, true},
    {"self_attn.q_proj.bias", "attn_q.bias", {D_Q}, WITH_ATTENTION_BIAS, true},
    {"self_attn.k_proj.weight", "attn_k.weight", {D_HIDDEN, D_KV}, ALWAYS, true},
    {"self_attn.k_proj.bias", "attn_k.bias", {D_KV}, WITH_ATTENTION_BIAS, true},
    {"self_attn.v_proj.weight", "attn_v.weight", {D_HIDDEN, D_KV}, ALWAYS, false},
    {"self_attn.v_proj.bias", "attn_v.bias", {D_KV}, WITH_ATTENTION_BIAS, false},
    {"self_attn.o_proj.weight", "attn_output.weight", {D_Q, D_HIDDEN}, ALWAYS, false},
    {"self_attn.o_proj.bias", "attn_output.bias", {D_HIDDEN}, WITH_ATTENTION_BIAS, false},
    {"post_attention_layernorm.weight", "ffn_norm.weight", {D_HIDDEN}, ALWAYS, false},
    {"mlp.gate_proj.weight", "ffn_gate.weight", {D_HIDDEN, D_FF}, ALWAYS, false},
    {"mlp.gate_proj.bias", "ffn_gate.bias", {D_FF}, WITH_MLP_BIAS, false},
    {"mlp.up_proj.weight", "ffn_up.weight", {D_HIDDEN, D_FF}, ALWAYS, false},
    {"mlp.up_proj.bias", "ffn_up.bias", {D_FF}, WITH_MLP_BIAS, false},
    {"mlp.down_proj.weight", "ffn_down.weight", {D_FF, D_HIDDEN}, ALWAYS, false},
    {"mlp.down_proj.bias", "ffn_down.bias", {D_HIDDEN}, WITH_MLP_BIAS, false},
};

static const struct part language_tail[] = {
    {"text.norm.weight", "output_norm.weight", {D_HIDDEN}, ALWAYS, false},
    {"head.weight", "output.weight", {D_HIDDEN, D_VOCAB}, UNLESS_TIED, false},
};

static const struct part vision_head[] = {
    {"tower.embeddings.class_embedding", "v.class_embd", {D_V_HIDDEN}, ALWAYS, false},
    {"tower.embeddings.patch_embedding.weight",
     "v.patch_embd.weight",
     {D_PATCH, D_PATCH, D_CHANNELS, D_V_HIDDEN},
     ALWAYS,
     false},
    {"tower.embeddings.position_embedding.weight", "v.position_embd.weight", {D_V_HIDDEN, D_POSITIONS}, ALWAYS, false},
    {"tower.pre_layrnorm.weight", "v.pre_ln.weight", {D_V_HIDDEN}, ALWAYS, false},
    {"tower.pre_layrnorm.bias", "v.pre_ln.bias", {D_V_HIDDEN}, ALWAYS, false},
};

static const struct part vision_attention[] = {
    {"layer_norm1.weight", "ln1.weight", {D_V_HIDDEN}, ALWAYS, false},
    {"layer_norm1.bias", "ln1.bias", {D_V_HIDDEN}, ALWAYS, false},
    {"self_attn.q_proj.weight", "attn_q.weight", {D_V_HIDDEN, D_V_HIDDEN}, ALWAYS, false},
    {"self_attn.q_proj.bias", "attn_q.bias", {D_V_HIDDEN}, ALWAYS, false},
    {"self_attn.k_proj.weight", "attn_k.weight", {D_V_HIDDEN, D_V_HIDDEN}, ALWAYS, false},
    {"self_attn.k_proj.bias", "attn_k.bias", {D_V_HIDDEN}, ALWAYS, false},
    {"self_attn.v_proj.weight", "attn_v.weight", {D_V_HIDDEN, D_V_HIDDEN}, ALWAYS, false},
    {"self_attn.v_proj.bias", "attn_v.bias", {D_V_HIDDEN}, ALWAYS, false},
    {"self_attn.out_proj.weight", "attn_out.weight", {D_V_HIDDEN, D_V_HIDDEN}, ALWAYS, false},
    {"self_attn.out_proj.bias", "attn_out.bias", {D_V_HIDDEN}, ALWAYS, false},
    {"layer_norm2.weight", "ln2.weight", {D_V_HIDDEN}, ALWAYS, false},
    {"layer_norm2.bias", "ln2.bias", {D_V_HIDDEN}, ALWAYS, false},
};

static const struct part vision_ffn[] = {
    {"mlp.fc1.weight", "ffn_up.weight", {D_V_HIDDEN, D_V_FF}, ALWAYS, false},
    {"mlp.fc1.bias", "ffn_up.bias", {D_V_FF}, ALWAYS, false},
    {"mlp.fc2.weight", "ffn_down.weight", {D_V_FF, D_V_HIDDEN}, ALWAYS, false},
    {"mlp.fc2.bias", "ffn_down.bias", {D_V_HIDDEN}, ALWAYS, false},
};

/* llama.cpp swaps the two matrices of a LLaVA tower whose ffn_down rows are as long as the tower is wide (old files
 * named them so): a square feed-forward must be named the old way to come out right. */
static const struct part vision_square_ffn[] = {
    {"mlp.fc1.weight", "ffn_down.weight", {D_V_HIDDEN, D_V_FF}, ALWAYS, false},
    {"mlp.fc1.bias", "ffn_down.bias", {D_V_FF}, ALWAYS, false},
    {"mlp.fc2.weight", "ffn_up.weight", {D_V_FF, D_V_HIDDEN}, ALWAYS, false},
    {"mlp.fc2.bias", "ffn_up.bias", {D_V_HIDDEN}, ALWAYS, false},
};

static const struct part projector[] = {
    {"projector.linear_1.weight", "mm.0.weight", {D_V_HIDDEN, D_HIDDEN}, ALWAYS, false},
    {"projector.linear_1.bias", "mm.0.bias", {D_HIDDEN}, ALWAYS, false},
    {"projector.linear_2.weight", "mm.2.weight", {D_HIDDEN, D_HIDDEN}, ALWAYS, false},
    {"projector.linear_2.bias", "mm.2.bias", {D_HIDDEN}, ALWAYS, false},
};

struct import {
    struct lq_model_store *store;
    const char *folder;
    struct lq_hf_config config;
    struct lq_hf_shards shards;
    uint64_t sizes[D_COUNT];
    bool holds[WHEN_COUNT];
};

static void fill_sizes(struct import *im)
{
    const struct lq_hf_config *c = &im->config;
    uint64_t side = c->v_image / c->v_patch;
    uint64_t *s = im->sizes;
    s[D_HIDDEN] = c->hidden;
    s[D_FF] = c->ff;
    s[D_Q] = (uint64_t)c->heads * c->head_dim;
    s[D_KV] = (uint64_t)c->kv_heads * c->head_dim;
    s[D_VOCAB] = c->vocab;
    s[D_V_HIDDEN] = c->v_hidden;
    s[D_V_FF] = c->v_ff;
    s[D_POSITIONS] = side * side + 1;
    s[D_PATCH] = c->v_patch;
    s[D_CHANNELS] = 3;
    if (c->tied_if_absent && lq_hf_shards_find(&im->shards, "head.weight") == NULL) im->config.tied = true;
    im->holds[ALWAYS] = true;
    im->holds[WITH_ATTENTION_BIAS] = c->attention_bias;
    im->holds[WITH_MLP_BIAS] = c->mlp_bias;
    im->holds[UNLESS_TIED] = !im->config.tied;
}

/* "[64, 32]" in PyTorch's order, the one that users of the folder know. */
static void print_shape(char *out, size_t size, const uint64_t *ne, uint32_t n)
{
    size_t used = (size_t)snprintf(out, size, "[");
    for (uint32_t i = n; i > 0 && used < size; i--)
        used += (size_t)snprintf(out + used, size - used, "%" PRIu64 "%s", ne[i - 1], i > 1 ? ", " : "]");
}

static enum lq_status check_tensor(const struct import *im, const struct part *p, const struct lq_hf_tensor *t,
                                   struct lq_error *err)
{
    char found[128], expected[128];
    uint64_t ne[5];
    uint32_t n = 0;
    for (; p->dims[n] != D_END; n++) ne[n] = im->sizes[p->dims[n]];
    const struct lq_source_tensor *s = t->tensor;
    if (s->type != LQ_TYPE_F32 && s->type != LQ_TYPE_F16 && s->type != LQ_TYPE_BF16)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: tensor '%s' is of type %s, expected f32, f16 or bf16",
                            t->source->path, s->name, lq_format_name(s->type));
    if (s->n_dims == n && memcmp(s->ne, ne, n * sizeof ne[0]) == 0) return LQ_OK;
    print_shape(found, sizeof found, s->ne, s->n_dims);
    print_shape(expected, sizeof expected, ne, n);
    return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s': shape %s, expected %s from config.json", t->source->path,
                        s->name, found, expected);
}

static enum lq_status add_part(struct import *im, enum lq_half half, const struct part *p, const char *from,
                               const char *to, struct lq_error *err)
{
    char spelt[512];
    const char *name;
    if (!im->holds[p->when]) return LQ_OK;
    struct lq_hf_tensor *t = lq_hf_shards_find(&im->shards, from);
    if (t == NULL) {
        lq_hf_shards_spell(&im->shards, from, spelt, sizeof spelt);
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s' is missing", im->folder, spelt);
    }
    enum lq_status status = check_tensor(im, p, t, err);
    if (status == LQ_OK) status = lq_store_text(im->store, to, &name, err);
    if (status != LQ_OK) return status;
    t->used = true;
    struct lq_origin origin = {t->source, t->tensor, p->permute ? im->config.head_dim : 0};
    struct lq_tensor *added = lq_store_add_tensor(&im->store->halves[half], name, origin);
    if (!added->quantisable) added->keep = LQ_TYPE_F32;
    return LQ_OK;
}

/* A list of parts; `from` and `to` are the prefixes of a block, or "". */
static enum lq_status add_parts(struct import *im, enum lq_half half, const struct part *parts, size_t n,
                                const char *from, const char *to, struct lq_error *err)
{
    char canonical[128], name[64];
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < n && status == LQ_OK; i++) {
        snprintf(canonical, sizeof canonical, "%s%s", from, parts[i].from);
        snprintf(name, sizeof name, "%s%s", to, parts[i].to);
        status = add_part(im, half, &parts[i], canonical, name, err);
    }
    return status;
}

#define ADD(half, parts, from, to) add_parts(im, half, parts, sizeof(parts) / sizeof(parts)[0], from, to, err)

static enum lq_status add_language(struct import *im, struct lq_error *err)
{
    char from[64], to[64];
    enum lq_status status = ADD(LQ_LANGUAGE, language_head, "", "");
    for (uint32_t i = 0; i < im->config.blocks && status == LQ_OK; i++) {
        snprintf(from, sizeof from, "text.layers.%u.", i);
        snprintf(to, sizeof to, "blk.%u.", i);
        status = ADD(LQ_LANGUAGE, language_block, from, to);
    }
    return status == LQ_OK ? ADD(LQ_LANGUAGE, language_tail, "", "") : status;
}

static enum lq_status add_vision(struct import *im, struct lq_error *err)
{
    char from[64], to[64];
    bool square = im->config.v_ff == im->config.v_hidden;
    enum lq_status status = ADD(LQ_VISION, vision_head, "", "");
    for (uint32_t i = 0; i < im->config.v_kept && status == LQ_OK; i++) {
        snprintf(from, sizeof from, "tower.encoder.layers.%u.", i);
        snprintf(to, sizeof to, "v.blk.%u.", i);
        status = ADD(LQ_VISION, vision_attention, from, to);
        if (status == LQ_OK)
            status = square ? ADD(LQ_VISION, vision_square_ffn, from, to) : ADD(LQ_VISION, vision_ffn, from, to);
    }
    return status == LQ_OK ? ADD(LQ_VISION, projector, "", "") : status;
}

static void swap_square_roles(struct import *im)
{
    struct lq_half_store *half = &im->store->halves[LQ_VISION];
    if (im->config.v_ff != im->config.v_hidden) return;
    for (size_t i = 0; i < half->pub.n_tensors; i++) {
        struct lq_tensor *t = &half->tensors[i];
        if (t->role == LQ_ROLE_VISION_FFN_UP) t->role = LQ_ROLE_VISION_FFN_DOWN;
        else if (t->role == LQ_ROLE_VISION_FFN_DOWN) t->role = LQ_ROLE_VISION_FFN_UP;
    }
}

/* What the runtime never asks for: blocks behind the feature layer, the norm behind them, tables that are computed, the
 * output matrix of a tied model. */
static bool is_superfluous(const struct import *im, const char *name)
{
    unsigned block;
    int used = 0;
    if (sscanf(name, "tower.encoder.layers.%9u.%n", &block, &used) == 1 && used > 0)
        return block >= im->config.v_kept && block < im->config.v_blocks;
    return strncmp(name, "tower.post_layernorm.", 21) == 0 || strcmp(name, "tower.embeddings.position_ids") == 0 ||
           (strncmp(name, "text.", 5) == 0 && lq_name_has_suffix(name, "rotary_emb.inv_freq")) ||
           (im->config.tied && strcmp(name, "head.weight") == 0);
}

static enum lq_status check_leftovers(const struct import *im, struct lq_error *err)
{
    for (size_t i = 0; i < im->shards.n; i++) {
        const struct lq_hf_tensor *t = &im->shards.items[i];
        if (t->used || is_superfluous(im, t->name)) continue;
        return lq_error_set(
            err, LQ_ERR_UNSUPPORTED,
            "%s: tensor '%.200s' has no place in a LLaVA-1.5 model of this config.json; converting would lose it",
            t->source->path, t->tensor->name);
    }
    return LQ_OK;
}

static enum lq_status read_config(struct import *im, struct lq_error *err)
{
    json_t *root = NULL;
    char *path = lq_path_join(im->folder, "config.json");
    if (path == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: not enough memory", im->folder);
    enum lq_status status = lq_json_load(path, &root, err);
    if (status == LQ_OK) status = lq_hf_config_read(&im->config, root, path, err);
    json_decref(root);
    free(path);
    return status;
}

static enum lq_status begin(struct import *im, enum lq_half half, const char *architecture, struct lq_error *err)
{
    enum lq_status status = lq_store_begin_half(im->store, half, im->shards.n, err);
    if (status != LQ_OK) return status;
    struct lq_half_store *h = &im->store->halves[half];
    h->pub.path = im->folder;
    h->pub.architecture = architecture;
    h->pub.kvs = &h->kvs;
    h->pub.alignment = 32;
    return LQ_OK;
}

static enum lq_status import_vision(struct import *im, const char *name, struct lq_error *err)
{
    enum lq_status status = begin(im, LQ_VISION, "clip", err);
    if (status == LQ_OK)
        status = lq_hf_keys_vision(&im->store->halves[LQ_VISION].kvs, im->folder, name, &im->config, err);
    if (status == LQ_OK) status = add_vision(im, err);
    if (status == LQ_OK) swap_square_roles(im);
    return status;
}

static enum lq_status import_language(struct import *im, const char *name, struct lq_error *err)
{
    struct lq_kvs *kvs = &im->store->halves[LQ_LANGUAGE].kvs;
    enum lq_status status = begin(im, LQ_LANGUAGE, "llama", err);
    if (status == LQ_OK) status = lq_hf_keys_language(kvs, name, &im->config, err);
    if (status == LQ_OK) status = lq_hf_tokens_import(kvs, im->folder, &im->config, err);
    if (status == LQ_OK) status = add_language(im, err);
    return status;
}

/* Both halves are always read, so that the folder is checked as a whole; `only` hides one of them afterwards. */
enum lq_status lq_hf_open(struct lq_model_store *store, const char *path, const struct lq_model_options *options,
                          struct lq_error *err)
{
    char name[256];
    struct import im = {.store = store};
    if (options->mmproj != NULL)
        return lq_error_set(err, LQ_ERR_USAGE,
                            "%s: a Hugging Face folder holds both halves; --mmproj goes with a language model's GGUF",
                            path);
    enum lq_status status = lq_store_text(store, path, &im.folder, err);
    lq_name_of_folder(path, name, sizeof name);
    if (status == LQ_OK) status = read_config(&im, err);
    if (status == LQ_OK) status = lq_hf_shards_open(&im.shards, store, path, err);
    if (status == LQ_OK) fill_sizes(&im);
    if (status == LQ_OK) status = import_vision(&im, name, err);
    if (status == LQ_OK) status = import_language(&im, name, err);
    if (status == LQ_OK) status = check_leftovers(&im, err);
    if (status == LQ_OK && options->only == LQ_VISION) store->pub.half[LQ_LANGUAGE] = NULL;
    if (status == LQ_OK && options->only == LQ_LANGUAGE) store->pub.half[LQ_VISION] = NULL;
    lq_hf_shards_release(&im.shards);
    return status;
}

bool lq_hf_is_folder(const char *path)
{
    struct lq_names weights = {0}, ggufs = {0};
    char *config = lq_path_join(path, "config.json");
    bool found = config != NULL && access(config, F_OK) == 0;
    free(config);
    if (!found || lq_names_list(&weights, path, "", ".safetensors", NULL) != LQ_OK) return false;
    if (lq_names_list(&ggufs, path, "", ".gguf", NULL) == LQ_OK) found = weights.n > 0 || ggufs.n == 0;
    lq_names_release(&weights);
    lq_names_release(&ggufs);
    return found;
}
