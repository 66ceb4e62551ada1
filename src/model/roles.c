#include "model/roles.h"

#include <stdlib.h>
#include <string.h>

static const char *const role_names[LQ_ROLES] = {
    [LQ_ROLE_LANGUAGE_EMBEDDING] = "language.embedding",
    [LQ_ROLE_LANGUAGE_OUTPUT] = "language.output",
    [LQ_ROLE_LANGUAGE_ATTENTION_Q] = "language.attention.q",
    [LQ_ROLE_LANGUAGE_ATTENTION_K] = "language.attention.k",
    [LQ_ROLE_LANGUAGE_ATTENTION_V] = "language.attention.v",
    [LQ_ROLE_LANGUAGE_ATTENTION_QKV] = "language.attention.qkv",
    [LQ_ROLE_LANGUAGE_ATTENTION_OUT] = "language.attention.out",
    [LQ_ROLE_LANGUAGE_FFN_UP] = "language.ffn.up",
    [LQ_ROLE_LANGUAGE_FFN_GATE] = "language.ffn.gate",
    [LQ_ROLE_LANGUAGE_FFN_DOWN] = "language.ffn.down",
    [LQ_ROLE_LANGUAGE_OTHER] = "language.other",
    [LQ_ROLE_VISION_ATTENTION_Q] = "vision.attention.q",
    [LQ_ROLE_VISION_ATTENTION_K] = "vision.attention.k",
    [LQ_ROLE_VISION_ATTENTION_V] = "vision.attention.v",
    [LQ_ROLE_VISION_ATTENTION_QKV] = "vision.attention.qkv",
    [LQ_ROLE_VISION_ATTENTION_OUT] = "vision.attention.out",
    [LQ_ROLE_VISION_FFN_UP] = "vision.ffn.up",
    [LQ_ROLE_VISION_FFN_GATE] = "vision.ffn.gate",
    [LQ_ROLE_VISION_FFN_DOWN] = "vision.ffn.down",
    [LQ_ROLE_VISION_OTHER] = "vision.other",
    [LQ_ROLE_PROJECTOR] = "projector",
    [LQ_ROLE_PATCH_EMBEDDING] = "patch_embedding",
    [LQ_ROLE_POSITION_EMBEDDING] = "position_embedding",
    [LQ_ROLE_CLASS_EMBEDDING] = "class_embedding",
    [LQ_ROLE_NORM] = "norm",
    [LQ_ROLE_BIAS] = "bias",
    [LQ_ROLE_FIXED] = "fixed",
};

const char *lq_role_name(enum lq_role role)
{
    return role_names[role];
}

/* In a pattern '#' stands for digits, '?' for one character, '*' for anything. The first rule that matches decides. */
struct rule {
    const char *pattern;
    enum lq_role role;
    bool quantisable;
};

static const struct rule language_rules[] = {
    {"*.bias", LQ_ROLE_BIAS, false},
    {"*norm*.weight", LQ_ROLE_NORM, false},
    {"token_embd.weight", LQ_ROLE_LANGUAGE_EMBEDDING, true},
    {"output.weight", LQ_ROLE_LANGUAGE_OUTPUT, true},
    {"*blk.#.attn_q.weight", LQ_ROLE_LANGUAGE_ATTENTION_Q, true},
    {"*blk.#.attn_k.weight", LQ_ROLE_LANGUAGE_ATTENTION_K, true},
    {"*blk.#.attn_v.weight", LQ_ROLE_LANGUAGE_ATTENTION_V, true},
    {"*blk.#.attn_qkv.weight", LQ_ROLE_LANGUAGE_ATTENTION_QKV, true},
    {"*blk.#.attn_output.weight", LQ_ROLE_LANGUAGE_ATTENTION_OUT, true},
    {"*blk.#.attn_o.weight", LQ_ROLE_LANGUAGE_ATTENTION_OUT, true},
    /* What llama-quantize leaves alone: routers, tables, small matrices, convolutions, interpolated embeddings. */
    {"*ffn_gate_inp.weight", LQ_ROLE_FIXED, false},
    {"*ffn_gate_tid2eid.weight", LQ_ROLE_FIXED, false},
    {"*altup*", LQ_ROLE_FIXED, false},
    {"*laurel*", LQ_ROLE_FIXED, false},
    {"*per_layer_model_proj*", LQ_ROLE_FIXED, false},
    {"position_embd.weight", LQ_ROLE_POSITION_EMBEDDING, false},
    {"*.position_embd*", LQ_ROLE_POSITION_EMBEDDING, false},
    {"token_types.weight", LQ_ROLE_FIXED, false},
    {"*conv1d*", LQ_ROLE_FIXED, false},
    {"*shortconv.conv.weight", LQ_ROLE_FIXED, false},
    {"posnet.#.conv*", LQ_ROLE_FIXED, false},
    {"convnext.#.dw*", LQ_ROLE_FIXED, false},
    {"*indexer.k_proj.weight", LQ_ROLE_FIXED, false},
    {"*indexer.q_proj.weight", LQ_ROLE_FIXED, false},
    {"*time_mix_first.weight", LQ_ROLE_FIXED, false},
    {"*time_mix_w#.weight", LQ_ROLE_FIXED, false},
    {"*time_mix_v#.weight", LQ_ROLE_FIXED, false},
    {"*time_mix_a#.weight", LQ_ROLE_FIXED, false},
    {"*time_mix_g#.weight", LQ_ROLE_FIXED, false},
    {"*time_mix_decay_w#.weight", LQ_ROLE_FIXED, false},
    {"*time_mix_lerp_fused.weight", LQ_ROLE_FIXED, false},
    {"*attn_rel_b.weight", LQ_ROLE_FIXED, false},
    {"rope_*", LQ_ROLE_FIXED, false},
    {"*sam.pos_embd*", LQ_ROLE_POSITION_EMBEDDING, false},
    {"*sam.neck.*", LQ_ROLE_FIXED, false},
    {"*sam.net_*", LQ_ROLE_FIXED, false},
    {"*.rel_pos*", LQ_ROLE_FIXED, false},
    {"*.patch_embd*", LQ_ROLE_PATCH_EMBEDDING, false},
    {"*.patch_merger*", LQ_ROLE_FIXED, false},
    {"*blk.#.ffn_gate*.weight", LQ_ROLE_LANGUAGE_FFN_GATE, true},
    {"*blk.#.ffn_up*.weight", LQ_ROLE_LANGUAGE_FFN_UP, true},
    {"*blk.#.ffn_down*.weight", LQ_ROLE_LANGUAGE_FFN_DOWN, true},
    {"*weight", LQ_ROLE_LANGUAGE_OTHER, true},
    {"*", LQ_ROLE_FIXED, false},
};

/* llama-quantize's further exceptions for the architecture glm5-next. */
static const struct rule glm5_next_rules[] = {
    {"*hc_*", LQ_ROLE_FIXED, false},
    {"*indexer.attn_q_b*", LQ_ROLE_FIXED, false},
    {"*indexer.attn_k*", LQ_ROLE_FIXED, false},
    {"*indexer.proj*", LQ_ROLE_FIXED, false},
    {"*indexer_compressor_gate*", LQ_ROLE_FIXED, false},
    {"*indexer_compressor_ape*", LQ_ROLE_FIXED, false},
    {"*ssm_f_a.weight", LQ_ROLE_FIXED, false},
    {"*ssm_f_b.weight", LQ_ROLE_FIXED, false},
    {"*ssm_g_a.weight", LQ_ROLE_FIXED, false},
    {"*ssm_g_b.weight", LQ_ROLE_FIXED, false},
    {"*ssm_beta.weight", LQ_ROLE_FIXED, false},
    {"*attn_kv_a_mqa.weight", LQ_ROLE_FIXED, false},
    {"*attn_k_b.weight", LQ_ROLE_FIXED, false},
    {"*attn_v_b.weight", LQ_ROLE_FIXED, false},
};

/* Of the vision half only what llama.cpp's graphs hand to ggml_mul_mat as it is. Not among them: gemma3's
 * mm.input_projection (transposed), patch mergers and peg (convolved), resampler queries, class and newline embeddings.
 */
static const struct rule vision_rules[] = {
    {"*.bias", LQ_ROLE_BIAS, false},
    {"*patch_embd*", LQ_ROLE_PATCH_EMBEDDING, false},
    {"*pos_embd*", LQ_ROLE_POSITION_EMBEDDING, false},
    {"*pos_embed*", LQ_ROLE_POSITION_EMBEDDING, false},
    {"*position_embd*", LQ_ROLE_POSITION_EMBEDDING, false},
    {"v.class_embd", LQ_ROLE_CLASS_EMBEDDING, false},
    {"?.blk.#.attn_q.weight", LQ_ROLE_VISION_ATTENTION_Q, true},
    {"?.blk.#.attn_k.weight", LQ_ROLE_VISION_ATTENTION_K, true},
    {"?.blk.#.attn_v.weight", LQ_ROLE_VISION_ATTENTION_V, true},
    {"?.blk.#.attn_qkv.weight", LQ_ROLE_VISION_ATTENTION_QKV, true},
    {"?.blk.#.attn_out.weight", LQ_ROLE_VISION_ATTENTION_OUT, true},
    {"?.blk.#.attn_output.weight", LQ_ROLE_VISION_ATTENTION_OUT, true},
    {"?.blk.#.ffn_up.weight", LQ_ROLE_VISION_FFN_UP, true},
    {"?.blk.#.ffn_gate.weight", LQ_ROLE_VISION_FFN_GATE, true},
    {"?.blk.#.ffn_down.weight", LQ_ROLE_VISION_FFN_DOWN, true},
    {"mm.#.weight", LQ_ROLE_PROJECTOR, true},
    {"mm.model.mlp.#.weight", LQ_ROLE_PROJECTOR, true},
    {"mm.model.fc.weight", LQ_ROLE_PROJECTOR, true},
    {"mm.up.weight", LQ_ROLE_PROJECTOR, true},
    {"mm.gate.weight", LQ_ROLE_PROJECTOR, true},
    {"mm.down.weight", LQ_ROLE_PROJECTOR, true},
    {"mm.merger.fc#.weight", LQ_ROLE_PROJECTOR, true},
    {"mm.a.mlp.#.weight", LQ_ROLE_PROJECTOR, true},
    {"v.deepstack.#.fc#.weight", LQ_ROLE_PROJECTOR, true},
    {"resampler.attn.*.weight", LQ_ROLE_PROJECTOR, true},
    {"resampler.kv.weight", LQ_ROLE_PROJECTOR, true},
    {"*norm*", LQ_ROLE_NORM, false},
    {"*ln#.*", LQ_ROLE_NORM, false},
    {"*_ln.*", LQ_ROLE_NORM, false},
    {"*.ln_*", LQ_ROLE_NORM, false},
    {"*", LQ_ROLE_FIXED, false},
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* At most two stars stand in a pattern, so the recursion stays short. */
static bool matches(const char *pattern, const char *name)
{
    for (; *pattern != '\0' && *pattern != '*'; pattern++) {
        if (*pattern == '#') {
            if (!is_digit(*name)) return false;
            while (is_digit(*name)) name++;
        } else if (*name == '\0' || (*pattern != '?' && *pattern != *name)) {
            return false;
        } else {
            name++;
        }
    }
    if (*pattern == '\0') return *name == '\0';
    for (;; name++) {
        if (matches(pattern + 1, name)) return true;
        if (*name == '\0') return false;
    }
}

static const struct rule *find_rule(const struct rule *rules, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (matches(rules[i].pattern, name)) return &rules[i];
    return NULL;
}

#define FIND(rules, name) find_rule(rules, sizeof(rules) / sizeof(rules)[0], name)

static const struct rule *rule_of(const struct lq_tensor *t, const char *architecture)
{
    if (t->half == LQ_VISION) return FIND(vision_rules, t->name);
    const struct rule *special = NULL;
    if (strcmp(architecture, "glm5-next") == 0) special = FIND(glm5_next_rules, t->name);
    return special != NULL ? special : FIND(language_rules, t->name);
}

/* Dimensions without trailing ones, as ggml counts them. */
static int real_dims(const struct lq_tensor *t)
{
    int n = 4;
    while (n > 1 && t->ne[n - 1] == 1) n--;
    return n;
}

/* Vision matrices have two dimensions (a third one is a convolution's), language ones may be stacks of experts. */
static bool may_quantise(const struct lq_tensor *t)
{
    const struct lq_format *format = lq_format_get(t->type);
    int dims = real_dims(t);
    return format != NULL && format->flags != 0 && dims >= 2 && dims <= (t->half == LQ_VISION ? 2 : 3);
}

static int block_of(const char *name)
{
    const char *at = strstr(name, "blk.");
    if (at == NULL || !is_digit(at[4])) return -1;
    long block = strtol(at + 4, NULL, 10);
    return block > 1000000 ? -1 : (int)block;
}

void lq_role_assign(struct lq_tensor *tensor, const char *architecture)
{
    const struct rule *rule = rule_of(tensor, architecture);
    tensor->role = rule->role;
    tensor->quantisable = rule->quantisable && may_quantise(tensor);
    if (rule->quantisable && !tensor->quantisable)
        tensor->role = real_dims(tensor) == 1 && tensor->half == LQ_VISION ? LQ_ROLE_NORM : LQ_ROLE_FIXED;
    tensor->block = block_of(tensor->name);
}

bool lq_role_ffn_may_be_swapped(const char *projector)
{
    static const char *const projectors[] = {
        "mlp",     "ldp",    "ldpv2",    "qwen2vl_merger", "qwen2.5vl_merger", "exaone4_5",
        "adapter", "gemma3", "idefics3", "resampler",      "minicpmv4_6",
    };
    for (size_t i = 0; i < sizeof projectors / sizeof projectors[0]; i++)
        if (strcmp(projector, projectors[i]) == 0) return true;
    return false;
}
