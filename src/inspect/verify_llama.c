/* The shapes of a Llama decoder, as its metadata give them. */
#include "inspect/verify_names.h"
#include "inspect/verify_run.h"
#include "source/kv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum size { ONE, WIDTH, VOCABULARY, QUERIES, KEYS, VALUES, MIXED, HIDDEN, SIZES };

struct decoder {
    const struct lq_model_half *half;
    const struct lq_tensor **tensors; /* of the half, by name */
    uint64_t size[SIZES];
    uint64_t blocks;
    bool experts; /* feed-forwards of another form: not looked at */
};

/* "%" stands for the block. */
struct shape {
    const char *name;
    enum size columns, rows;
    bool required, feed_forward;
};

static const struct shape once[] = {
    {"token_embd.weight", WIDTH, VOCABULARY, true, false},
    {"output.weight", WIDTH, VOCABULARY, false, false},
    {"output_norm.weight", WIDTH, ONE, true, false},
};

static const struct shape per_block[] = {
    {"blk.%.attn_norm.weight", WIDTH, ONE, true, false},     {"blk.%.attn_q.weight", WIDTH, QUERIES, true, false},
    {"blk.%.attn_k.weight", WIDTH, KEYS, true, false},       {"blk.%.attn_v.weight", WIDTH, VALUES, true, false},
    {"blk.%.attn_output.weight", MIXED, WIDTH, true, false}, {"blk.%.attn_q.bias", QUERIES, ONE, false, false},
    {"blk.%.attn_k.bias", KEYS, ONE, false, false},          {"blk.%.attn_v.bias", VALUES, ONE, false, false},
    {"blk.%.attn_output.bias", WIDTH, ONE, false, false},    {"blk.%.ffn_norm.weight", WIDTH, ONE, true, false},
    {"blk.%.ffn_gate.weight", WIDTH, HIDDEN, true, true},    {"blk.%.ffn_up.weight", WIDTH, HIDDEN, true, true},
    {"blk.%.ffn_down.weight", HIDDEN, WIDTH, true, true},    {"blk.%.ffn_gate.bias", HIDDEN, ONE, false, true},
    {"blk.%.ffn_up.bias", HIDDEN, ONE, false, true},         {"blk.%.ffn_down.bias", WIDTH, ONE, false, true},
};

static enum lq_status check_shape(struct lq_verify_run *run, const struct decoder *d, const struct shape *shape,
                                  uint64_t block, bool *good, struct lq_error *err)
{
    char name[64];
    const char *mark = strchr(shape->name, '%');
    if (mark == NULL) snprintf(name, sizeof name, "%s", shape->name);
    else snprintf(name, sizeof name, "%.*s%" PRIu64 "%s", (int)(mark - shape->name), shape->name, block, mark + 1);
    const struct lq_tensor *t = lq_names_find(d->tensors, d->half->n_tensors, name);
    uint64_t columns = d->size[shape->columns], rows = d->size[shape->rows];
    if (t == NULL ? !shape->required : t->ne[0] == columns && t->rows == rows) return LQ_OK;
    *good = false;
    if (t == NULL) return lq_run_find(run, LQ_CHECK_SHAPES, err, "%s: tensor '%s' is missing", d->half->path, name);
    return lq_run_find(run, LQ_CHECK_SHAPES, err,
                       "%s: tensor '%s' has %" PRIu64 " columns and %" PRIu64 " rows, expected %" PRIu64
                       " and %" PRIu64,
                       d->half->path, name, t->ne[0], t->rows, columns, rows);
}

static enum lq_status check_list(struct lq_verify_run *run, const struct decoder *d, const struct shape *list, size_t n,
                                 uint64_t block, bool *good, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < n && *good && status == LQ_OK; i++)
        if (!d->experts || !list[i].feed_forward) status = check_shape(run, d, &list[i], block, good, err);
    return status;
}

/* False when a key that the shapes follow from is missing, a list (one value for each block), or makes no sense: then
 * they are not looked at; what the runtime demands of the keys has been checked before. */
static bool measure(struct decoder *d)
{
    const struct lq_kvs *kvs = d->half->kvs;
    const struct lq_kv *tokens = lq_kvs_find(kvs, "tokenizer.ggml.tokens");
    uint64_t heads = 0, groups = 0, experts = 0;
    if (!lq_kvs_get_u64(kvs, "llama.embedding_length", &d->size[WIDTH]) ||
        !lq_kvs_get_u64(kvs, "llama.feed_forward_length", &d->size[HIDDEN]) ||
        !lq_kvs_get_u64(kvs, "llama.block_count", &d->blocks) ||
        !lq_kvs_get_u64(kvs, "llama.attention.head_count", &heads) || heads == 0 || tokens == NULL)
        return false;
    if (lq_kvs_find(kvs, "llama.attention.head_count_kv") == NULL) groups = heads;
    else if (!lq_kvs_get_u64(kvs, "llama.attention.head_count_kv", &groups)) return false;
    uint64_t key = d->size[WIDTH] / heads, value = key;
    lq_kvs_get_u64(kvs, "llama.attention.key_length", &key);
    lq_kvs_get_u64(kvs, "llama.attention.value_length", &value);
    lq_kvs_get_u64(kvs, "llama.expert_count", &experts);
    d->size[ONE] = 1;
    d->size[VOCABULARY] = tokens->count;
    d->size[QUERIES] = heads * key;
    d->size[KEYS] = groups * key;
    d->size[VALUES] = groups * value;
    d->size[MIXED] = heads * value;
    d->experts = experts > 0;
    return true;
}

enum lq_status lq_verify_llama_shapes(struct lq_verify_run *run, const struct lq_model_half *half, struct lq_error *err)
{
    struct decoder d = {.half = half};
    bool good = run->result->check[LQ_CHECK_SHAPES].state != LQ_CHECK_FAILED;
    if (!good || strcmp(half->architecture, "llama") != 0 || !measure(&d)) return LQ_OK;
    d.tensors = lq_names_sort(half);
    if (d.tensors == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory to list %zu tensors", half->n_tensors);
    enum lq_status status = check_list(run, &d, once, sizeof once / sizeof *once, 0, &good, err);
    for (uint64_t i = 0; i < d.blocks && good && status == LQ_OK; i++)
        status = check_list(run, &d, per_block, sizeof per_block / sizeof *per_block, i, &good, err);
    free(d.tensors);
    return status;
}
