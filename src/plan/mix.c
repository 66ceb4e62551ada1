/* The mixes as data: a table of file types, and a table of rules that raise or lower single tensors. Every rule names
 * the file types and kinds of tensors it speaks for and the circumstances it needs; the first that applies wins. */
#include "plan/mix.h"

#include "source/kv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* clang-format off */
enum {
    Q1_0, Q2_0, Q4_0, Q4_1, MXFP4_MOE, Q5_0, Q5_1, IQ2_XXS, IQ2_XS, IQ2_S, IQ2_M, IQ1_S, IQ1_M, TQ1_0, TQ2_0,
    Q2_K, Q2_K_S, IQ3_XXS, IQ3_S, IQ3_M, IQ3_XS, Q3_K_S, Q3_K_M, Q3_K_L, IQ4_NL, IQ4_XS, Q4_K_S, Q4_K_M,
    Q5_K_S, Q5_K_M, Q6_K, Q8_0, MIXES
};
/* clang-format on */

static const struct lq_mix mixes[MIXES] = {
    [Q1_0] = {{"Q1_0", "one bit, blocks of 128"}, 40, LQ_TYPE_Q1_0},
    [Q2_0] = {{"Q2_0", "2-bit blocks of 64"}, 41, LQ_TYPE_Q2_0},
    [Q4_0] = {{"Q4_0", "4-bit blocks of 32 with a scale"}, 2, LQ_TYPE_Q4_0},
    [Q4_1] = {{"Q4_1", "4-bit blocks of 32 with scale and offset"}, 3, LQ_TYPE_Q4_1},
    [MXFP4_MOE] = {{"MXFP4_MOE", "experts in 4-bit floats, the rest in 8 bits"}, 38, LQ_TYPE_MXFP4},
    [Q5_0] = {{"Q5_0", "5-bit blocks of 32 with a scale"}, 8, LQ_TYPE_Q5_0},
    [Q5_1] = {{"Q5_1", "5-bit blocks of 32 with scale and offset"}, 9, LQ_TYPE_Q5_1},
    [IQ2_XXS] = {{"IQ2_XXS", "2-bit lattice, smallest; needs importance data"}, 19, LQ_TYPE_IQ2_XXS},
    [IQ2_XS] = {{"IQ2_XS", "2-bit lattice, small; needs importance data"}, 20, LQ_TYPE_IQ2_XS},
    [IQ2_S] = {{"IQ2_S", "2-bit lattice; needs importance data"}, 28, LQ_TYPE_IQ2_XS},
    [IQ2_M] = {{"IQ2_M", "2-bit lattice, medium; needs importance data"}, 29, LQ_TYPE_IQ2_S},
    [IQ1_S] = {{"IQ1_S", "1.6-bit lattice; needs importance data"}, 24, LQ_TYPE_IQ1_S},
    [IQ1_M] = {{"IQ1_M", "1.8-bit lattice; needs importance data"}, 31, LQ_TYPE_IQ1_M},
    [TQ1_0] = {{"TQ1_0", "ternary, 1.7 bits"}, 36, LQ_TYPE_TQ1_0},
    [TQ2_0] = {{"TQ2_0", "ternary, 2 bits"}, 37, LQ_TYPE_TQ2_0},
    [Q2_K] = {{"Q2_K", "2-bit superblocks, more for what matters"}, 10, LQ_TYPE_Q2_K},
    [Q2_K_S] = {{"Q2_K_S", "2-bit superblocks, small; needs importance data"}, 21, LQ_TYPE_Q2_K},
    [IQ3_XXS] = {{"IQ3_XXS", "3-bit lattice, smallest; needs importance data"}, 23, LQ_TYPE_IQ3_XXS},
    [IQ3_S] = {{"IQ3_S", "3-bit lattice"}, 26, LQ_TYPE_IQ3_S},
    [IQ3_M] = {{"IQ3_M", "3-bit lattice, medium"}, 27, LQ_TYPE_IQ3_S},
    [IQ3_XS] = {{"IQ3_XS", "3-bit lattice, small; needs importance data"}, 22, LQ_TYPE_IQ3_S},
    [Q3_K_S] = {{"Q3_K_S", "3-bit superblocks, small"}, 11, LQ_TYPE_Q3_K},
    [Q3_K_M] = {{"Q3_K_M", "3-bit superblocks, medium"}, 12, LQ_TYPE_Q3_K},
    [Q3_K_L] = {{"Q3_K_L", "3-bit superblocks, large"}, 13, LQ_TYPE_Q3_K},
    [IQ4_NL] = {{"IQ4_NL", "4-bit blocks of 32, uneven steps"}, 25, LQ_TYPE_IQ4_NL},
    [IQ4_XS] = {{"IQ4_XS", "4-bit superblocks, uneven steps"}, 30, LQ_TYPE_IQ4_XS},
    [Q4_K_S] = {{"Q4_K_S", "4-bit superblocks, small"}, 14, LQ_TYPE_Q4_K},
    [Q4_K_M] = {{"Q4_K_M", "4-bit superblocks, medium"}, 15, LQ_TYPE_Q4_K},
    [Q5_K_S] = {{"Q5_K_S", "5-bit superblocks, small"}, 16, LQ_TYPE_Q5_K},
    [Q5_K_M] = {{"Q5_K_M", "5-bit superblocks, medium"}, 17, LQ_TYPE_Q5_K},
    [Q6_K] = {{"Q6_K", "6-bit superblocks"}, 18, LQ_TYPE_Q6_K},
    [Q8_0] = {{"Q8_0", "8-bit blocks of 32"}, 7, LQ_TYPE_Q8_0},
};

/* Kinds of tensors, as far as the rules tell them apart. */
enum kind {
    OUTPUT = 1 << 0, /* also the embedding where the output shares it */
    EMBEDDING = 1 << 1,
    VALUE = 1 << 2,
    KEY = 1 << 3,
    QUERY = 1 << 4,
    ATTENTION_OUT = 1 << 5,
    UP = 1 << 6,
    GATE = 1 << 7,
    DOWN = 1 << 8,
    OTHER = 1 << 9,
    EVERY_KIND = (1 << 10) - 1,
};

/* Circumstances of one tensor. */
enum {
    FALCON = 1 << 0, /* the architecture */
    NOT_FALCON = 1 << 1,
    PINNED = 1 << 2, /* an architecture's own wish for 8 bits */
    MISFIT = 1 << 3, /* the row does not divide into the base type's blocks */
    EXPERT_TENSOR = 1 << 4,
    GROUPED = 1 << 5,   /* at least 4 query heads share one key */
    EXPERTS_4 = 1 << 6, /* at least 4 experts */
    EXPERTS_8 = 1 << 7, /* exactly 8 */
    NOT_EXPERTS_8 = 1 << 8,
    IMATRIX = 1 << 9, /* importance data are there */
    NO_IMATRIX = 1 << 10,
    FIRST_2 = 1 << 11, /* among the first tensors of its kind: two, four, a sixteenth, an eighth of them */
    FIRST_4 = 1 << 12,
    SIXTEENTH = 1 << 13,
    EIGHTH = 1 << 14,
    MIDDLE = 1 << 15,    /* neither in the first nor in the last eighth */
    MORE_BITS = 1 << 16, /* in the first or last eighth, or every third between */
};

#define M(mix) (UINT64_C(1) << (mix))
#define EVERY_MIX (M(MIXES) - 1)
#define IQ1 (M(IQ1_S) | M(IQ1_M))
#define IQ2_LARGE (M(IQ2_S) | M(IQ2_M))
#define LOW (M(IQ2_XXS) | M(IQ2_XS) | IQ2_LARGE | IQ1)
#define BODY (EVERY_MIX & ~LOW & ~M(MXFP4_MOE))

static const struct rule {
    uint64_t mixes;
    unsigned kinds, when;
    enum lq_type type;
} rules[] = {
    {EVERY_MIX, EVERY_KIND, PINNED, LQ_TYPE_Q8_0},

    {M(MXFP4_MOE), EVERY_KIND, EXPERT_TENSOR, LQ_TYPE_MXFP4},
    {M(MXFP4_MOE), EVERY_KIND, 0, LQ_TYPE_Q8_0},

    {EVERY_MIX, OUTPUT, FALCON, LQ_TYPE_Q8_0},
    {EVERY_MIX, OUTPUT, MISFIT, LQ_TYPE_Q8_0},
    {LOW | M(IQ3_XXS), OUTPUT, 0, LQ_TYPE_Q5_K},
    {EVERY_MIX & ~M(Q8_0), OUTPUT, 0, LQ_TYPE_Q6_K},

    {M(IQ2_XXS) | M(IQ2_XS) | IQ1, EMBEDDING, 0, LQ_TYPE_Q2_K},
    {IQ2_LARGE | M(IQ3_XXS), EMBEDDING, 0, LQ_TYPE_IQ3_S},
    {M(TQ1_0) | M(TQ2_0) | M(Q2_0), EMBEDDING, 0, LQ_TYPE_Q4_K},

    {LOW, VALUE, GROUPED, LQ_TYPE_Q4_K},
    {LOW, VALUE, EXPERTS_4, LQ_TYPE_Q4_K},
    {IQ2_LARGE, VALUE, 0, LQ_TYPE_IQ3_S},
    {LOW, VALUE, 0, LQ_TYPE_Q2_K},
    {BODY, VALUE, EXPERTS_8, LQ_TYPE_Q8_0},
    {M(Q2_K) | M(Q2_K_S) | M(IQ3_XXS) | M(IQ3_XS) | M(IQ3_S), VALUE, GROUPED, LQ_TYPE_Q4_K},
    {M(Q2_K), VALUE, 0, LQ_TYPE_Q3_K},
    {M(IQ3_XXS), VALUE, NO_IMATRIX, LQ_TYPE_IQ3_S},
    {M(Q3_K_M), VALUE, FIRST_2, LQ_TYPE_Q5_K},
    {M(IQ3_M) | M(Q3_K_M), VALUE, 0, LQ_TYPE_Q4_K},
    {M(Q3_K_L), VALUE, 0, LQ_TYPE_Q5_K},
    {M(IQ4_NL) | M(IQ4_XS), VALUE, GROUPED, LQ_TYPE_Q5_K},
    {M(Q4_K_M) | M(Q5_K_M), VALUE, MORE_BITS, LQ_TYPE_Q6_K},
    {M(Q4_K_S), VALUE, FIRST_4, LQ_TYPE_Q5_K},

    {LOW, KEY, EXPERTS_8, LQ_TYPE_Q4_K},
    {BODY, KEY, EXPERTS_8, LQ_TYPE_Q8_0},
    {M(IQ3_XS), KEY | QUERY, 0, LQ_TYPE_IQ3_XXS},
    {M(IQ3_XXS), KEY | QUERY, 0, LQ_TYPE_IQ2_S},

    {LOW, ATTENTION_OUT, EXPERTS_8, LQ_TYPE_Q5_K},
    {IQ1, ATTENTION_OUT, 0, LQ_TYPE_IQ2_XXS},
    {IQ2_LARGE, ATTENTION_OUT, 0, LQ_TYPE_IQ3_S},
    {M(Q3_K_L), ATTENTION_OUT, FALCON, LQ_TYPE_Q4_K},
    {M(Q2_K) | M(IQ3_XXS) | M(IQ3_XS) | M(IQ3_S) | M(IQ3_M) | M(Q3_K_S) | M(Q3_K_M) | M(IQ4_NL) | M(IQ4_XS) |
         M(Q4_K_S) | M(Q4_K_M),
     ATTENTION_OUT, NOT_FALCON | EXPERTS_8, LQ_TYPE_Q5_K},
    {M(Q2_K), ATTENTION_OUT, NOT_FALCON, LQ_TYPE_Q3_K},
    {M(IQ3_XXS), ATTENTION_OUT, NOT_FALCON, LQ_TYPE_IQ3_S},
    {M(Q3_K_M) | M(IQ3_M), ATTENTION_OUT, NOT_FALCON, LQ_TYPE_Q4_K},
    {M(Q3_K_L), ATTENTION_OUT, NOT_FALCON | NOT_EXPERTS_8, LQ_TYPE_Q5_K},

    {IQ2_LARGE, DOWN, EIGHTH, LQ_TYPE_IQ3_S},
    {LOW, DOWN, EIGHTH, LQ_TYPE_Q2_K},
    {M(Q2_K), DOWN, 0, LQ_TYPE_Q3_K},
    {M(Q2_K_S), DOWN, EIGHTH, LQ_TYPE_Q4_K},
    {M(IQ3_XXS), DOWN, NO_IMATRIX | EIGHTH, LQ_TYPE_Q4_K},
    {M(IQ3_XXS), DOWN, NO_IMATRIX, LQ_TYPE_Q3_K},
    {M(IQ3_M), DOWN, EIGHTH, LQ_TYPE_Q4_K},
    {M(IQ3_M), DOWN, EXPERTS_8 | MORE_BITS, LQ_TYPE_Q4_K},
    {M(Q3_K_M), DOWN, SIXTEENTH, LQ_TYPE_Q5_K},
    {M(Q3_K_M), DOWN, NOT_FALCON, LQ_TYPE_Q4_K},
    {M(Q3_K_M), DOWN, MORE_BITS, LQ_TYPE_Q4_K},
    {M(Q3_K_L), DOWN, FALCON, LQ_TYPE_Q4_K},
    {M(Q3_K_L), DOWN, 0, LQ_TYPE_Q5_K},
    {M(IQ4_NL) | M(IQ4_XS), DOWN, NO_IMATRIX | EIGHTH, LQ_TYPE_Q5_K},
    {M(Q4_K_S), DOWN, NOT_FALCON | EIGHTH, LQ_TYPE_Q5_K},
    {M(Q4_K_M), DOWN, FALCON | SIXTEENTH, LQ_TYPE_Q6_K},
    {M(Q4_K_M), DOWN, FALCON | MORE_BITS, LQ_TYPE_Q5_K},
    {M(Q4_K_M), DOWN, NOT_FALCON | MORE_BITS, LQ_TYPE_Q6_K},
    {M(Q5_K_M), DOWN, MORE_BITS, LQ_TYPE_Q6_K},
    {M(Q4_0), DOWN, IMATRIX | EIGHTH, LQ_TYPE_Q4_1},
    {M(Q5_0), DOWN, IMATRIX | EIGHTH, LQ_TYPE_Q5_1},

    {M(IQ3_XS), UP | GATE, MIDDLE, LQ_TYPE_IQ3_XXS},
};

/* Where a row does not fit: the 32-block type that llama-quantize takes instead. */
static const struct fallback {
    enum lq_type wanted, type;
} fallbacks[] = {
    {LQ_TYPE_IQ1_S, LQ_TYPE_IQ4_NL},  {LQ_TYPE_IQ1_M, LQ_TYPE_IQ4_NL},  {LQ_TYPE_IQ2_XXS, LQ_TYPE_IQ4_NL},
    {LQ_TYPE_IQ2_XS, LQ_TYPE_IQ4_NL}, {LQ_TYPE_IQ2_S, LQ_TYPE_IQ4_NL},  {LQ_TYPE_IQ3_XXS, LQ_TYPE_IQ4_NL},
    {LQ_TYPE_IQ3_S, LQ_TYPE_IQ4_NL},  {LQ_TYPE_IQ4_XS, LQ_TYPE_IQ4_NL}, {LQ_TYPE_Q2_0, LQ_TYPE_Q4_0},
    {LQ_TYPE_Q2_K, LQ_TYPE_Q4_0},     {LQ_TYPE_Q3_K, LQ_TYPE_Q4_0},     {LQ_TYPE_TQ1_0, LQ_TYPE_Q4_0},
    {LQ_TYPE_TQ2_0, LQ_TYPE_Q4_0},    {LQ_TYPE_Q4_K, LQ_TYPE_Q5_0},     {LQ_TYPE_Q5_K, LQ_TYPE_Q5_1},
    {LQ_TYPE_Q6_K, LQ_TYPE_Q8_0},
};

/* Parts of names that llama-quantize never touches: small matrices, tables, positions, routers. */
/* clang-format off */
static const char *const kept_names[] = {
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
    "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight", "time_mix_first.weight",
    "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight", "time_mix_v0.weight", "time_mix_v1.weight",
    "time_mix_v2.weight", "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight", "time_mix_g1.weight",
    "time_mix_g2.weight", "time_mix_decay_w1.weight", "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight",
    "attn_rel_b.weight", ".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd",
    ".patch_merger", "a.rvq.codebook", "mm.a.code_embd", NULL,
};
/* clang-format on */

/* The same for the architecture glm5-next alone, and what it wants in 8 bits. */
/* clang-format off */
static const char *const glm5_kept_names[] = {
    "hc_", "indexer.attn_q_b", "indexer.attn_k", "indexer.proj", "indexer_compressor_gate", "indexer_compressor_ape",
    "ssm_f_a.weight", "ssm_f_b.weight", "ssm_g_a.weight", "ssm_g_b.weight", "ssm_beta.weight", "attn_kv_a_mqa.weight",
    "attn_k_b.weight", "attn_v_b.weight", NULL,
};
/* clang-format on */
static const char *const glm5_pinned_names[] = {"attn_q_a", "attn_q_b", "nextn.eh_proj", NULL};

/* Tensor names by what they contain; the first line that fits holds. */
static const struct {
    const char *part;
    enum kind kind;
} kinds[] = {
    {"attn_qkv.weight", VALUE}, {"attn_kv_b.weight", VALUE},           {"attn_v.weight", VALUE}, {"attn_k.weight", KEY},
    {"attn_q.weight", QUERY},   {"attn_output.weight", ATTENTION_OUT}, {"ffn_up", UP},           {"ffn_gate", GATE},
    {"ffn_down", DOWN},
};

/* Architectures whose model with this many blocks llama.cpp calls a 70B. */
static const struct {
    const char *architecture;
    uint64_t blocks;
    bool grouped; /* only with fewer key heads than query heads, and not with 8 experts */
} seventy_b[] = {
    {"llama", 80, true}, {"llama-embed", 80, true}, {"qwen2", 80, false},
    {"deci", 80, false}, {"olmo", 80, false},       {"jais2", 68, false},
};

/* What the mixes ask of a file as a whole, and how far the walk over its tensors has come. */
struct walk {
    const struct lq_mix *mix;
    const char *architecture;
    uint64_t blocks, experts;
    unsigned circumstances; /* those that hold for every tensor */
    bool tied, seventy_b, tower;
    uint64_t n_value;               /* tensors of kind VALUE */
    uint64_t value, up, gate, down; /* of each kind, tensors already met */
};

const struct lq_mix *lq_mix_at(size_t i)
{
    return i < MIXES ? &mixes[i] : NULL;
}

const struct lq_mix *lq_mix_find(const char *name)
{
    for (size_t i = 0; i < MIXES; i++)
        if (strcasecmp(mixes[i].info.name, name) == 0) return &mixes[i];
    return NULL;
}

static bool name_has(const char *name, const char *const *parts)
{
    for (; *parts != NULL; parts++)
        if (strstr(name, *parts) != NULL) return true;
    return false;
}

static bool is_embedding(const char *name)
{
    return strcmp(name, "token_embd.weight") == 0 || strcmp(name, "per_layer_token_embd.weight") == 0;
}

static enum kind kind_of(const char *name)
{
    if (strcmp(name, "output.weight") == 0) return OUTPUT;
    if (is_embedding(name)) return EMBEDDING;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strstr(name, kinds[i].part) != NULL) return kinds[i].kind;
    return OTHER;
}

static bool ends_with_weight(const char *name)
{
    size_t n = strlen(name);
    return n >= 6 && strcmp(name + n - 6, "weight") == 0;
}

/* llama-quantize's own rule, and ours. */
static bool is_allowed(const struct walk *w, const struct lq_tensor *t)
{
    if (!t->quantisable || (t->ne[1] <= 1 && t->ne[2] <= 1 && t->ne[3] <= 1)) return false;
    if (!ends_with_weight(t->name) || name_has(t->name, kept_names)) return false;
    if (strcmp(t->name, "position_embd.weight") == 0 || strcmp(t->name, "token_types.weight") == 0) return false;
    return strcmp(w->architecture, "glm5-next") != 0 || !name_has(t->name, glm5_kept_names);
}

/* An integer key of the architecture; of an array the first element. */
static uint64_t get_number(const struct lq_model_half *half, const char *what, uint64_t otherwise)
{
    char key[160];
    snprintf(key, sizeof key, "%s.%s", half->architecture, what);
    const struct lq_kv *kv = lq_kvs_find(half->kvs, key);
    if (kv == NULL || kv->count == 0) return otherwise;
    struct lq_kv first = *kv;
    first.type = kv->element;
    first.raw_size = kv->raw_size / kv->count;
    first.count = 1;
    struct lq_kvs single = {&first, 1, 1};
    uint64_t value = otherwise;
    lq_kvs_get_u64(&single, key, &value);
    return value;
}

static bool is_seventy_b(const struct lq_model_half *half, uint64_t blocks, uint64_t experts, bool grouped)
{
    for (size_t i = 0; i < sizeof seventy_b / sizeof seventy_b[0]; i++)
        if (strcmp(half->architecture, seventy_b[i].architecture) == 0 && blocks == seventy_b[i].blocks)
            return !seventy_b[i].grouped || (grouped && experts != 8);
    return false;
}

static void walk_init(struct walk *w, const struct lq_mix *mix, const struct lq_model_half *half, bool has_imatrix,
                      bool tower)
{
    *w = (struct walk){.mix = mix, .architecture = half->architecture, .tied = true, .tower = tower};
    bool falcon = strcmp(half->architecture, "falcon") == 0;
    w->circumstances = (falcon ? FALCON : NOT_FALCON) | (has_imatrix ? IMATRIX : NO_IMATRIX);
    uint64_t heads = 0, key_heads = 0;
    if (strcmp(half->architecture, "clip") != 0) { /* llama-quantize reads no numbers from a vision file */
        w->blocks = get_number(half, "block_count", 0);
        w->experts = get_number(half, "expert_count", 0);
        heads = get_number(half, "attention.head_count", 0);
        key_heads = get_number(half, "attention.head_count_kv", heads);
        uint64_t next = get_number(half, "nextn_predict_layers", 0);
        w->seventy_b = is_seventy_b(half, w->blocks - next, w->experts, heads != key_heads);
    } else if (tower) {
        w->blocks = get_number(half, "vision.block_count", 0);
    }
    if (key_heads != 0 && heads / key_heads >= 4) w->circumstances |= GROUPED;
    if (w->experts >= 4) w->circumstances |= EXPERTS_4;
    w->circumstances |= w->experts == 8 ? EXPERTS_8 : NOT_EXPERTS_8;
    for (size_t i = 0; i < half->n_tensors; i++) {
        enum kind kind = kind_of(half->tensors[i].name);
        w->n_value += kind == VALUE;
        if (kind == OUTPUT) w->tied = false;
    }
}

/* Where the i-th of n tensors of one kind stands. */
static unsigned position(uint64_t i, uint64_t n)
{
    bool eighth = i < n / 8, last = i >= 7 * n / 8;
    unsigned at = 0;
    if (i < 2) at |= FIRST_2;
    if (i < 4) at |= FIRST_4;
    if (i < n / 16) at |= SIXTEENTH;
    if (eighth) at |= EIGHTH;
    if (!eighth && !last) at |= MIDDLE;
    if (eighth || last || (i - n / 8) % 3 == 2) at |= MORE_BITS;
    return at;
}

/* Feed-forward tensors are counted as they come, but a file with experts says the block in the name, and so does a
 * tower whose blocks count. */
static unsigned ffn_position(const struct walk *w, const struct lq_tensor *t, uint64_t count)
{
    bool low = (M(w->mix - mixes) & LOW) != 0;
    bool by_name = (w->tower || (w->experts > 1 && !low)) && t->block >= 0;
    return position(by_name ? (uint64_t)t->block : count, w->blocks);
}

static unsigned circumstances(const struct walk *w, const struct lq_tensor *t, enum kind kind)
{
    unsigned c = w->circumstances;
    bool glm5 = strcmp(w->architecture, "glm5-next") == 0, ling = strcmp(w->architecture, "bailingmoe3") == 0;
    if (glm5 && name_has(t->name, glm5_pinned_names)) c |= PINNED;
    if (lq_format_row_bytes(w->mix->base, t->ne[0]) == 0) c |= MISFIT;
    if (t->ne[2] > 1 && (!ling || (kind & (UP | GATE | DOWN)) != 0)) c |= EXPERT_TENSOR;
    if (kind == VALUE) c |= position(w->value, w->n_value);
    if (kind == UP) c |= ffn_position(w, t, w->up);
    if (kind == GATE) c |= ffn_position(w, t, w->gate);
    if (kind == DOWN) c |= ffn_position(w, t, w->down);
    return c;
}

static enum lq_type apply_rules(const struct walk *w, enum kind kind, unsigned c)
{
    uint64_t mix = M(w->mix - mixes);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if ((rules[i].mixes & mix) != 0 && (rules[i].kinds & kind) != 0 && (rules[i].when & c) == rules[i].when)
            return rules[i].type;
    return w->mix->base;
}

/* In a 70B eight query heads share one value head: the value matrix is small, and more bits for it cost little. */
static enum lq_type raise_value_of_70b(const struct walk *w, enum kind kind, enum lq_type type)
{
    bool raised = w->seventy_b && kind == VALUE && (M(w->mix - mixes) & BODY) != 0;
    return raised && (type == LQ_TYPE_Q3_K || type == LQ_TYPE_Q4_K) ? LQ_TYPE_Q5_K : type;
}

static void count(struct walk *w, enum kind kind)
{
    w->value += kind == VALUE;
    w->up += kind == UP;
    w->gate += kind == GATE;
    w->down += kind == DOWN;
}

/* LQ_TYPE_NONE where llama-quantize gives up. */
static enum lq_type fit(enum lq_type wanted, uint64_t columns)
{
    if (lq_format_row_bytes(wanted, columns) != 0) return wanted;
    if (lq_format_get(wanted)->block <= 32) return LQ_TYPE_F16;
    for (size_t i = 0; i < sizeof fallbacks / sizeof fallbacks[0]; i++)
        if (fallbacks[i].wanted == wanted)
            return lq_format_row_bytes(fallbacks[i].type, columns) != 0 ? fallbacks[i].type : LQ_TYPE_F16;
    return LQ_TYPE_NONE;
}

static enum lq_status choose(struct walk *w, const struct lq_model_half *half, const struct lq_tensor *t,
                             struct lq_mix_choice *choice, struct lq_error *err)
{
    *choice = (struct lq_mix_choice){t->keep, t->keep, is_allowed(w, t)};
    if (!choice->allowed) return LQ_OK;
    enum kind kind = kind_of(t->name);
    if (kind == EMBEDDING && w->tied) kind = OUTPUT;
    unsigned c = circumstances(w, t, kind);
    choice->wanted = raise_value_of_70b(w, kind, apply_rules(w, kind, c));
    count(w, kind);
    choice->type = fit(choice->wanted, t->ne[0]);
    if (choice->type != LQ_TYPE_NONE) return LQ_OK;
    const struct lq_format *f = lq_format_get(choice->wanted);
    return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                        "%s: tensor '%s': %llu columns do not divide into %s blocks of %u, and %s names no other type",
                        half->path, t->name, (unsigned long long)t->ne[0], f->name, f->block, w->mix->info.name);
}

/* llama-quantize walks by the block in "blk.N.", then by name. */
static long block_of(const char *name)
{
    return strncmp(name, "blk.", 4) == 0 ? strtol(name + 4, NULL, 10) : -1;
}

static int compare_names(const void *a, const void *b)
{
    const struct lq_tensor *const *x = a, *const *y = b;
    long bx = block_of((*x)->name), by = block_of((*y)->name);
    return bx != by ? (bx > by) - (bx < by) : strcmp((*x)->name, (*y)->name);
}

enum lq_status lq_mix_choose(const struct lq_mix *mix, const struct lq_model_half *half, bool has_imatrix, bool tower,
                             struct lq_mix_choice *choices, struct lq_error *err)
{
    size_t n = half->n_tensors;
    if (n == 0) return LQ_OK;
    const struct lq_tensor **order = calloc(n, sizeof *order);
    if (order == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for %zu tensors", half->path, n);
    for (size_t i = 0; i < n; i++) order[i] = &half->tensors[i];
    qsort(order, n, sizeof *order, compare_names);
    struct walk w;
    walk_init(&w, mix, half, has_imatrix, tower);
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < n && status == LQ_OK; i++)
        status = choose(&w, half, order[i], &choices[order[i] - half->tensors], err);
    free(order);
    return status;
}

bool lq_mix_demands_importance(const struct lq_mix *mix, const struct lq_tensor *tensor, enum lq_type type)
{
    if (is_embedding(tensor->name) || strcmp(tensor->name, "output.weight") == 0) return false;
    switch (type) {
    case LQ_TYPE_IQ3_XXS:
    case LQ_TYPE_IQ2_XXS:
    case LQ_TYPE_IQ2_XS:
    case LQ_TYPE_IQ2_S:
    case LQ_TYPE_IQ1_M:
    case LQ_TYPE_IQ1_S: return true;
    case LQ_TYPE_Q2_K: return mix == &mixes[Q2_K_S];
    default: return false;
    }
}
