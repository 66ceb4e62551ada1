/* A hand-made pair for tests of the plan room: a small LLaVA with one tensor of each role, no weights behind it. */
#ifndef LQ_TESTS_PLAN_MODELS_H
#define LQ_TESTS_PLAN_MODELS_H

#include "llava_quantize/plan.h"
#include "source/kv.h"

#define LANGUAGE(n, r, b, ...) \
    { \
        .name = n, .half = LQ_LANGUAGE, .role = LQ_ROLE_##r, .block = b, .quantisable = true, .ne = __VA_ARGS__ \
    }
#define VISION(n, r, b, ...) \
    { \
        .name = n, .half = LQ_VISION, .role = LQ_ROLE_##r, .block = b, .quantisable = true, .ne = __VA_ARGS__ \
    }

enum { VISION_TENSORS = 12, LANGUAGE_TENSORS = 12 };

/* Rows of 1152 do not fit superblocks, rows of 4304 no block at all. */
static const struct lq_tensor vision_tensors[VISION_TENSORS] = {
    VISION("v.class_embd", CLASS_EMBEDDING, -1, {512}),
    VISION("v.patch_embd.weight", PATCH_EMBEDDING, -1, {14, 14, 3, 512}),
    VISION("v.position_embd.weight", POSITION_EMBEDDING, -1, {512, 65}),
    VISION("v.blk.0.attn_q.weight", VISION_ATTENTION_Q, 0, {512, 512}),
    VISION("v.blk.0.attn_v.weight", VISION_ATTENTION_V, 0, {512, 512}),
    VISION("v.blk.0.attn_out.weight", VISION_ATTENTION_OUT, 0, {1152, 512}),
    VISION("v.blk.0.attn_q.bias", BIAS, 0, {512}),
    VISION("v.blk.0.ffn_up.weight", VISION_FFN_UP, 0, {512, 1280}),
    VISION("v.blk.0.ffn_down.weight", VISION_FFN_DOWN, 0, {1280, 512}),
    VISION("v.blk.1.ffn_up.weight", VISION_FFN_UP, 1, {1152, 4304}),
    VISION("v.blk.1.ffn_down.weight", VISION_FFN_DOWN, 1, {4304, 1152}),
    VISION("mm.0.weight", PROJECTOR, -1, {512, 768}),
};

static const struct lq_tensor language_tensors[LANGUAGE_TENSORS] = {
    LANGUAGE("token_embd.weight", LANGUAGE_EMBEDDING, -1, {768, 1000}),
    LANGUAGE("blk.0.attn_norm.weight", NORM, 0, {768}),
    LANGUAGE("blk.0.attn_q.weight", LANGUAGE_ATTENTION_Q, 0, {768, 768}),
    LANGUAGE("blk.0.attn_k.weight", LANGUAGE_ATTENTION_K, 0, {768, 256}),
    LANGUAGE("blk.0.attn_v.weight", LANGUAGE_ATTENTION_V, 0, {768, 256}),
    LANGUAGE("blk.0.attn_output.weight", LANGUAGE_ATTENTION_OUT, 0, {768, 768}),
    LANGUAGE("blk.0.ffn_up.weight", LANGUAGE_FFN_UP, 0, {768, 2048}),
    LANGUAGE("blk.0.ffn_gate.weight", LANGUAGE_FFN_GATE, 0, {768, 2048}),
    LANGUAGE("blk.0.ffn_down.weight", LANGUAGE_FFN_DOWN, 0, {2048, 768}),
    LANGUAGE("blk.0.extra.weight", LANGUAGE_OTHER, 0, {768, 768}),
    LANGUAGE("output_norm.weight", NORM, -1, {768}),
    LANGUAGE("output.weight", LANGUAGE_OUTPUT, -1, {768, 1000}),
};

struct pair {
    struct lq_tensor vision[VISION_TENSORS], language[LANGUAGE_TENSORS];
    struct lq_kvs kvs;
    struct lq_model_half half[LQ_HALVES];
    struct lq_model model;
};

static inline void fill_tensors(struct lq_tensor *dst, const struct lq_tensor *src, size_t n, enum lq_type type)
{
    for (size_t i = 0; i < n; i++) {
        struct lq_tensor t = src[i];
        for (int d = 0; d < 4; d++)
            if (t.ne[d] == 0) t.ne[d] = 1;
        t.n_dims = t.ne[3] > 1 ? 4 : t.ne[1] > 1 ? 2 : 1;
        t.quantisable = t.role < LQ_ROLE_PATCH_EMBEDDING;
        t.type = t.keep = t.quantisable ? type : LQ_TYPE_F32;
        t.rows = t.ne[1] * t.ne[2] * t.ne[3];
        t.bytes = t.rows * lq_format_row_bytes(t.type, t.ne[0]);
        dst[i] = t;
    }
}

/* Every matrix in `type`. */
static inline void pair_init(struct pair *p, enum lq_type type)
{
    *p = (struct pair){.model = {.path = "pair", .name = "pair", .source = "pair"}};
    fill_tensors(p->vision, vision_tensors, VISION_TENSORS, type);
    fill_tensors(p->language, language_tensors, LANGUAGE_TENSORS, type);
    p->half[LQ_VISION] =
        (struct lq_model_half){LQ_VISION, "mmproj.gguf", "clip", &p->kvs, 32, VISION_TENSORS, p->vision, 0, NULL};
    p->half[LQ_LANGUAGE] =
        (struct lq_model_half){LQ_LANGUAGE, "model.gguf", "llama", &p->kvs, 32, LANGUAGE_TENSORS, p->language, 0, NULL};
    for (int h = 0; h < LQ_HALVES; h++) p->model.half[h] = &p->half[h];
}

#endif
