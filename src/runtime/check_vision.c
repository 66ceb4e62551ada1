#include "runtime/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAX_SIDE 16384
#define MAX_WIDTH (1u << 20)
#define MAX_BLOCKS 512

/* The sizes that the shapes of a LLaVA vision half are made of. */
enum size { ONE, WIDTH, HIDDEN, PATCH, COLOURS, POSITIONS, STACKED, MIDDLE, LANGUAGE, SIZES };

struct tower {
    const struct lq_source *source;
    uint64_t size[SIZES];
    uint64_t blocks;
};

/* What a tensor must look like; "%" stands for the block. Absent ones are passed over unless required. */
struct shape {
    const char *name;
    enum size ne[4];
    bool required, vector; /* a vector is added or multiplied element by element, which takes f32 */
};

static const struct shape once[] = {
    {"v.patch_embd.weight", {PATCH, PATCH, COLOURS, WIDTH}, true, false},
    {"v.patch_embd.bias", {WIDTH, ONE, ONE, ONE}, false, true},
    {"v.class_embd", {WIDTH, ONE, ONE, ONE}, false, true},
    {"v.position_embd.weight", {WIDTH, POSITIONS, ONE, ONE}, true, false},
    {"v.pre_ln.weight", {WIDTH, ONE, ONE, ONE}, false, true},
    {"v.pre_ln.bias", {WIDTH, ONE, ONE, ONE}, false, true},
    {"v.post_ln.weight", {WIDTH, ONE, ONE, ONE}, false, true},
    {"v.post_ln.bias", {WIDTH, ONE, ONE, ONE}, false, true},
};

static const struct shape projector[] = {
    {"mm.0.weight", {STACKED, MIDDLE, ONE, ONE}, true, false},
    {"mm.0.bias", {MIDDLE, ONE, ONE, ONE}, true, true},
    {"mm.2.weight", {MIDDLE, LANGUAGE, ONE, ONE}, true, false},
    {"mm.2.bias", {LANGUAGE, ONE, ONE, ONE}, true, true},
};

/* Yi-VL's, with a norm behind each matrix; llama.cpp tells it by mm.3. */
static const struct shape normed_projector[] = {
    {"mm.0.weight", {STACKED, MIDDLE, ONE, ONE}, true, false},  {"mm.0.bias", {MIDDLE, ONE, ONE, ONE}, true, true},
    {"mm.1.weight", {MIDDLE, ONE, ONE, ONE}, true, true},       {"mm.1.bias", {MIDDLE, ONE, ONE, ONE}, true, true},
    {"mm.3.weight", {MIDDLE, LANGUAGE, ONE, ONE}, true, false}, {"mm.3.bias", {LANGUAGE, ONE, ONE, ONE}, true, true},
    {"mm.4.weight", {LANGUAGE, ONE, ONE, ONE}, true, true},     {"mm.4.bias", {LANGUAGE, ONE, ONE, ONE}, true, true},
};

static const struct shape per_block[] = {
    {"v.blk.%.attn_q.weight", {WIDTH, WIDTH, ONE, ONE}, true, false},
    {"v.blk.%.attn_k.weight", {WIDTH, WIDTH, ONE, ONE}, true, false},
    {"v.blk.%.attn_v.weight", {WIDTH, WIDTH, ONE, ONE}, true, false},
    {"v.blk.%.attn_out.weight", {WIDTH, WIDTH, ONE, ONE}, true, false},
    {"v.blk.%.attn_q.bias", {WIDTH, ONE, ONE, ONE}, false, true},
    {"v.blk.%.attn_k.bias", {WIDTH, ONE, ONE, ONE}, false, true},
    {"v.blk.%.attn_v.bias", {WIDTH, ONE, ONE, ONE}, false, true},
    {"v.blk.%.attn_out.bias", {WIDTH, ONE, ONE, ONE}, false, true},
    {"v.blk.%.ln1.weight", {WIDTH, ONE, ONE, ONE}, true, true},
    {"v.blk.%.ln1.bias", {WIDTH, ONE, ONE, ONE}, false, true},
    {"v.blk.%.ln2.weight", {WIDTH, ONE, ONE, ONE}, true, true},
    {"v.blk.%.ln2.bias", {WIDTH, ONE, ONE, ONE}, false, true},
};

/* Files of the old scripts have the two names swapped, which llama.cpp tells by ffn_down's row length. */
static const struct shape feed_forward[2][4] = {
    {{"v.blk.%.ffn_up.weight", {WIDTH, HIDDEN, ONE, ONE}, true, false},
     {"v.blk.%.ffn_up.bias", {HIDDEN, ONE, ONE, ONE}, false, true},
     {"v.blk.%.ffn_down.weight", {HIDDEN, WIDTH, ONE, ONE}, true, false},
     {"v.blk.%.ffn_down.bias", {WIDTH, ONE, ONE, ONE}, false, true}},
    {{"v.blk.%.ffn_up.weight", {HIDDEN, WIDTH, ONE, ONE}, true, false},
     {"v.blk.%.ffn_up.bias", {WIDTH, ONE, ONE, ONE}, false, true},
     {"v.blk.%.ffn_down.weight", {WIDTH, HIDDEN, ONE, ONE}, true, false},
     {"v.blk.%.ffn_down.bias", {HIDDEN, ONE, ONE, ONE}, false, true}},
};

static void block_name(char name[64], const char *pattern, uint64_t block)
{
    const char *mark = strchr(pattern, '%');
    if (mark == NULL) snprintf(name, 64, "%s", pattern);
    else snprintf(name, 64, "%.*s%" PRIu64 "%s", (int)(mark - pattern), pattern, block, mark + 1);
}

static enum lq_status check_type(const struct tower *t, const struct lq_source_tensor *tensor, bool vector,
                                 struct lq_error *err)
{
    bool patch = strcmp(tensor->name, "v.patch_embd.weight") == 0;
    const struct lq_format *f = lq_format_get(tensor->type);
    const char *wanted = vector ? "f32" : patch ? "f32, f16 or bf16" : "a type for weights";
    bool fits = vector ? tensor->type == LQ_TYPE_F32
                       : f != NULL && (f->flags & (patch ? LQ_FORMAT_FLOAT : LQ_FORMAT_TARGET)) != 0;
    if (fits) return LQ_OK;
    return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s' is %s, expected %s", t->source->path, tensor->name,
                        lq_format_name(tensor->type), wanted);
}

static enum lq_status check_shape(const struct tower *t, const struct shape *shape, uint64_t block,
                                  struct lq_error *err)
{
    char name[64];
    block_name(name, shape->name, block);
    const struct lq_source_tensor *tensor = lq_source_find(t->source, name);
    if (tensor == NULL && !shape->required) return LQ_OK;
    if (tensor == NULL) return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s' is missing", t->source->path, name);
    uint64_t want[4];
    for (int i = 0; i < 4; i++) want[i] = t->size[shape->ne[i]];
    if (memcmp(want, tensor->ne, sizeof want) != 0)
        return lq_error_set(err, LQ_ERR_FORMAT,
                            "%s: tensor '%s' is %" PRIu64 " x %" PRIu64 " x %" PRIu64 " x %" PRIu64
                            ", expected %" PRIu64 " x %" PRIu64 " x %" PRIu64 " x %" PRIu64,
                            t->source->path, name, tensor->ne[0], tensor->ne[1], tensor->ne[2], tensor->ne[3], want[0],
                            want[1], want[2], want[3]);
    return check_type(t, tensor, shape->vector, err);
}

static enum lq_status check_list(const struct tower *t, const struct shape *list, size_t n, uint64_t block,
                                 struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < n && status == LQ_OK; i++) status = check_shape(t, &list[i], block, err);
    return status;
}

static enum lq_status check_block(struct tower *t, uint64_t block, struct lq_error *err)
{
    char name[64];
    block_name(name, "v.blk.%.ffn_down.weight", block);
    const struct lq_source_tensor *down = lq_source_find(t->source, name);
    if (down == NULL) return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s' is missing", t->source->path, name);
    bool swapped = down->ne[0] == t->size[WIDTH];
    t->size[HIDDEN] = down->ne[swapped ? 1 : 0];
    enum lq_status status = check_list(t, per_block, sizeof per_block / sizeof *per_block, block, err);
    return status == LQ_OK ? check_list(t, feed_forward[swapped], 4, block, err) : status;
}

/* The layers whose outputs are stacked, in ascending order, each once; *n is 1 where the file names none. */
static enum lq_status count_features(const struct tower *t, uint64_t *n, struct lq_error *err)
{
    static const char *const key = "clip.vision.feature_layer";
    const struct lq_kv *kv = lq_kvs_find(&t->source->kvs, key);
    int64_t previous = -1;
    *n = 1;
    if (kv == NULL) return LQ_OK;
    if (kv->type != LQ_KV_ARRAY || kv->element != LQ_KV_I32 || kv->count == 0)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: key '%s' is no list of i32", t->source->path, key);
    for (uint64_t i = 0; i < kv->count; i++) {
        int32_t layer;
        memcpy(&layer, kv->raw + 4 * i, sizeof layer);
        if (layer <= previous || (uint64_t)layer > t->blocks)
            return lq_error_set(err, LQ_ERR_FORMAT,
                                "%s: key '%s' holds %" PRId32 ", expected rising numbers from 0 to %" PRIu64,
                                t->source->path, key, layer, t->blocks);
        previous = layer;
    }
    *n = kv->count;
    return LQ_OK;
}

static enum lq_status read_numbers(struct tower *t, uint64_t *side, uint64_t *heads, struct lq_error *err)
{
    const struct {
        const char *key;
        uint64_t high;
        uint64_t *out;
    } numbers[] = {
        {"clip.vision.embedding_length", MAX_WIDTH, &t->size[WIDTH]},
        {"clip.vision.attention.head_count", MAX_WIDTH, heads},
        {"clip.vision.image_size", MAX_SIDE, side},
        {"clip.vision.patch_size", MAX_SIDE, &t->size[PATCH]},
        {"clip.vision.block_count", MAX_BLOCKS, &t->blocks},
    };
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && status == LQ_OK; i++)
        status = lq_check_number(t->source, numbers[i].key, 1, numbers[i].high, numbers[i].out, err);
    return status;
}

/* Optional keys that repeat what others say: the graph takes both for granted. */
static enum lq_status check_repeated(const struct tower *t, uint64_t heads, struct lq_error *err)
{
    const struct {
        const char *key;
        uint64_t expected;
    } repeated[] = {
        {"clip.vision.attention.head_count_kv", heads},
        {"clip.vision.attention.head_dim", t->size[WIDTH] / heads},
    };
    for (size_t i = 0; i < sizeof repeated / sizeof *repeated; i++) {
        uint64_t found = 0, expected = repeated[i].expected;
        if (lq_kvs_find(&t->source->kvs, repeated[i].key) == NULL) continue;
        enum lq_status status = lq_check_number(t->source, repeated[i].key, expected, expected, &found, err);
        if (status != LQ_OK) return status;
    }
    return LQ_OK;
}

/* Sizes that the shapes are checked against: from the keys, and the projector's inner width from its first matrix. */
static enum lq_status measure(struct tower *t, uint64_t language, struct lq_error *err)
{
    uint64_t side = 0, heads = 0, features = 0;
    enum lq_status status = read_numbers(t, &side, &heads, err);
    if (status == LQ_OK) status = count_features(t, &features, err);
    if (status != LQ_OK) return status;
    if (side % t->size[PATCH] != 0)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: patches of %" PRIu64 " pixels do not divide a picture of %" PRIu64,
                            t->source->path, t->size[PATCH], side);
    if (t->size[WIDTH] % heads != 0)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: %" PRIu64 " heads do not divide the width %" PRIu64,
                            t->source->path, heads, t->size[WIDTH]);
    status = check_repeated(t, heads, err);
    if (status != LQ_OK) return status;
    const struct lq_source_tensor *first = lq_source_find(t->source, "mm.0.weight");
    uint64_t grid = side / t->size[PATCH];
    t->size[POSITIONS] = grid * grid + (lq_source_find(t->source, "v.class_embd") != NULL);
    t->size[STACKED] = t->size[WIDTH] * features;
    t->size[MIDDLE] = first == NULL ? 0 : first->ne[1];
    t->size[LANGUAGE] = language;
    return LQ_OK;
}

static enum lq_status check_projector(const struct tower *t, bool normed, struct lq_error *err)
{
    return normed ? check_list(t, normed_projector, sizeof normed_projector / sizeof *normed_projector, 0, err)
                  : check_list(t, projector, sizeof projector / sizeof *projector, 0, err);
}

static enum lq_status check_llava(const struct lq_source *source, uint64_t width, struct lq_error *err)
{
    struct tower tower = {.source = source, .size = {[ONE] = 1, [COLOURS] = 3}};
    const struct lq_source_tensor *normed = lq_source_find(source, "mm.3.weight");
    const struct lq_source_tensor *last = normed != NULL ? normed : lq_source_find(source, "mm.2.weight");
    if (last != NULL && last->ne[1] != width)
        return lq_error_set(err, LQ_ERR_USAGE,
                            "%s: its pictures are %" PRIu64 " wide, the language file's tokens %" PRIu64
                            ": the two files are no pair",
                            source->path, last->ne[1], width);
    enum lq_status status = measure(&tower, width, err);
    if (status == LQ_OK) status = check_list(&tower, once, sizeof once / sizeof *once, 0, err);
    if (status == LQ_OK) status = check_projector(&tower, normed != NULL, err);
    for (uint64_t i = 0; i < tower.blocks && status == LQ_OK; i++) status = check_block(&tower, i, err);
    return status;
}

/* The keys that llama.cpp's loader reads without asking for their type. */
static const struct {
    const char *key;
    enum lq_kv_type type;
} typed[] = {
    {"general.name", LQ_KV_STRING},
    {"general.description", LQ_KV_STRING},
    {"clip.projector_type", LQ_KV_STRING},
    {"clip.has_vision_encoder", LQ_KV_BOOL},
    {"clip.has_audio_encoder", LQ_KV_BOOL},
    {"clip.has_gen_audio_encoder", LQ_KV_BOOL},
    {"clip.use_gelu", LQ_KV_BOOL},
    {"clip.use_silu", LQ_KV_BOOL},
    {"clip.minicpmv_version", LQ_KV_I32},
    {"clip.minicpmv_query_num", LQ_KV_U32},
    {"clip.vision.projector_type", LQ_KV_STRING},
    {"clip.vision.mm_patch_merge_type", LQ_KV_STRING},
    {"clip.vision.image_size", LQ_KV_U32},
    {"clip.vision.patch_size", LQ_KV_U32},
    {"clip.vision.embedding_length", LQ_KV_U32},
    {"clip.vision.feed_forward_length", LQ_KV_U32},
    {"clip.vision.projection_dim", LQ_KV_U32},
    {"clip.vision.block_count", LQ_KV_U32},
    {"clip.vision.attention.head_count", LQ_KV_U32},
    {"clip.vision.attention.head_count_kv", LQ_KV_U32},
    {"clip.vision.attention.head_dim", LQ_KV_U32},
    {"clip.vision.attention.layer_norm_epsilon", LQ_KV_F32},
};

static enum lq_status check_types(const struct lq_source *source, struct lq_error *err)
{
    static const char *const names[LQ_KV_TYPES] = {[LQ_KV_STRING] = "a string",
                                                   [LQ_KV_BOOL] = "a bool",
                                                   [LQ_KV_I32] = "an i32",
                                                   [LQ_KV_U32] = "a u32",
                                                   [LQ_KV_F32] = "an f32"};
    for (size_t i = 0; i < sizeof typed / sizeof *typed; i++) {
        const struct lq_kv *kv = lq_kvs_find(&source->kvs, typed[i].key);
        if (kv != NULL && kv->type != typed[i].type)
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: key '%s' is not %s", source->path, typed[i].key,
                                names[typed[i].type]);
    }
    return lq_check_epsilon(source, "clip.vision.attention.layer_norm_epsilon", err);
}

/* True when the projector's type is one of `types`, a list that ends with NULL. */
static bool has_projector(const struct lq_source *source, const char *const *types)
{
    static const char *const keys[] = {"clip.projector_type", "clip.vision.projector_type"};
    for (; *types != NULL; types++)
        if (lq_check_is(source, keys[0], *types) || lq_check_is(source, keys[1], *types)) return true;
    return false;
}

enum lq_status lq_check_vision(const struct lq_source *source, uint64_t width, bool *llava, struct lq_error *err)
{
    static const char *const plain[] = {"mlp", NULL}, *const all[] = {"mlp", "ldp", "ldpv2", NULL};
    bool has_tower = false;
    if (!lq_kvs_get_bool(&source->kvs, "clip.has_vision_encoder", &has_tower) || !has_tower)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: key 'clip.has_vision_encoder' is missing or false", source->path);
    enum lq_status status = check_types(source, err);
    if (status != LQ_OK) return status;
    *llava = has_projector(source, all);
    return has_projector(source, plain) ? check_llava(source, width, err) : LQ_OK;
}
