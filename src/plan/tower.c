#include "plan/tower.h"

#include "source/kv.h"

#include <string.h>

/* What a block's feed-forward is made of, by the names that newer files use. */
static const struct part {
    const char *name;
    bool first, gate, bias; /* first: it makes the hidden values */
} parts[] = {
    {"up.weight", true, false, false}, {"gate.weight", true, true, false}, {"down.weight", false, false, false},
    {"up.bias", true, false, true},    {"gate.bias", true, true, true},    {"down.bias", false, false, true},
};

/* What follows "v.blk.N.ffn_", or NULL. */
static const char *part_name(const char *tensor)
{
    static const char prefix[] = "v.blk.", infix[] = ".ffn_";
    if (strncmp(tensor, prefix, sizeof prefix - 1) != 0) return NULL;
    tensor += sizeof prefix - 1;
    tensor += strspn(tensor, "0123456789");
    return strncmp(tensor, infix, sizeof infix - 1) == 0 ? tensor + sizeof infix - 1 : NULL;
}

static const struct part *part_of(const struct lq_tensor *tensor)
{
    const char *name = part_name(tensor->name);
    for (size_t i = 0; name != NULL && i < sizeof parts / sizeof parts[0]; i++)
        if (strcmp(name, parts[i].name) == 0) return &parts[i];
    return NULL;
}

/* Do its rows count the hidden values? */
static bool is_first(const struct lq_tower *tower, const struct part *part)
{
    return part->gate || part->first != tower->swapped;
}

static void shape_of(const struct lq_tower *tower, const struct part *part, uint64_t hidden, uint64_t ne[4])
{
    bool first = is_first(tower, part);
    uint64_t columns = first ? tower->width : hidden, rows = first ? hidden : tower->width;
    ne[0] = part->bias ? rows : columns;
    ne[1] = part->bias ? 1 : rows;
    ne[2] = ne[3] = 1;
}

/* Sizes from the metadata; false where they leave any doubt. Were ffn_down's rows as long as the tower is wide,
 * llama.cpp would take the file for an old one. */
static bool read_sizes(struct lq_tower *tower, const struct lq_model_half *half)
{
    return lq_kvs_get_u64(half->kvs, "clip.vision.embedding_length", &tower->width) &&
           lq_kvs_get_u64(half->kvs, LQ_TOWER_HIDDEN_KEY, &tower->hidden) && tower->hidden > 0 &&
           tower->hidden < UINT32_MAX && tower->hidden != tower->width;
}

/* What is no part of a feed-forward but named like one is harmless only where it is a norm as wide as the tower. */
static bool is_safe(const struct lq_tower *tower, const struct lq_tensor *t)
{
    uint64_t ne[4];
    const struct part *part = part_of(t);
    const struct lq_format *f = lq_format_get(t->type);
    if (part != NULL && (f == NULL || (f->flags & (LQ_FORMAT_FLOAT | LQ_FORMAT_QUANTISED)) == 0)) return false;
    if (part == NULL) return part_name(t->name) == NULL || (t->role == LQ_ROLE_NORM && t->ne[0] == tower->width);
    shape_of(tower, part, tower->hidden, ne);
    return memcmp(ne, t->ne, sizeof ne) == 0;
}

bool lq_tower_find(struct lq_tower *out, const struct lq_model_half *half)
{
    struct lq_tower tower = {0};
    size_t ups = 0, downs = 0;
    if (half->half != LQ_VISION || !read_sizes(&tower, half)) return false;
    for (size_t i = 0; i < half->n_tensors; i++) {
        const struct part *part = part_of(&half->tensors[i]);
        if (part == NULL || part->bias) continue;
        ups += part->first && !part->gate;
        downs += !part->first;
        tower.swapped |= !part->first && half->tensors[i].role == LQ_ROLE_VISION_FFN_UP;
    }
    for (size_t i = 0; i < half->n_tensors; i++)
        if (!is_safe(&tower, &half->tensors[i])) return false;
    if (ups == 0 || ups != downs) return false;
    *out = tower;
    return true;
}

bool lq_tower_shape(const struct lq_tower *tower, const struct lq_tensor *tensor, uint64_t hidden, uint64_t ne[4])
{
    const struct part *part = tensor->half == LQ_VISION ? part_of(tensor) : NULL;
    if (part == NULL || (part->bias && !is_first(tower, part))) return false;
    shape_of(tower, part, hidden, ne);
    return true;
}
