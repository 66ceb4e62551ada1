#include "runtime/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WIDTH (1u << 20)
#define MAX_BLOCKS 512
#define MAX_EXPERTS 512

/* Keys under the architecture's name that llama.cpp asserts on. */
static const struct {
    const char *name;
    uint64_t low, high;
    bool required;
} numbers[] = {
    {"block_count", 1, MAX_BLOCKS, true},
    {"context_length", 1, UINT32_MAX, true},
    {"expert_count", 0, MAX_EXPERTS, false},
    {"embedding_length", 1, MAX_WIDTH, true},
};

static enum lq_status architecture_key(char key[160], const struct lq_source *source, const char *name,
                                       struct lq_error *err)
{
    const char *text = NULL;
    size_t length = 0;
    if (!lq_kvs_get_string(&source->kvs, "general.architecture", &text, &length) || length == 0 || length > 64)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: key 'general.architecture' is missing or malformed", source->path);
    snprintf(key, 160, "%.*s.%s", (int)length, text, name);
    return LQ_OK;
}

static enum lq_status check_numbers(const struct lq_source *source, uint64_t *width, struct lq_error *err)
{
    char key[160];
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        enum lq_status status = architecture_key(key, source, numbers[i].name, err);
        if (status != LQ_OK) return status;
        if (!numbers[i].required && lq_kvs_find(&source->kvs, key) == NULL) continue;
        status = lq_check_number(source, key, numbers[i].low, numbers[i].high, width, err);
        if (status != LQ_OK) return status;
    }
    return LQ_OK; /* the table ends with the width */
}

/* A Llama's heads: the graph asserts that they divide and that keys, values and rotation are equally wide. */
static enum lq_status check_heads(const struct lq_source *source, uint64_t width, struct lq_error *err)
{
    static const char *const sizes[] = {"llama.attention.key_length", "llama.attention.value_length",
                                        "llama.rope.dimension_count"};
    static const char *const shared = "llama.attention.head_count_kv";
    uint64_t heads = 0, size = 0, groups = 0;
    enum lq_status status = lq_check_number(source, "llama.attention.head_count", 1, width, &heads, err);
    if (status != LQ_OK) return status;
    uint64_t head = width / heads;
    if (!lq_kvs_get_u64(&source->kvs, sizes[0], &head) && width % heads != 0)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: %" PRIu64 " heads do not divide the width %" PRIu64, source->path,
                            heads, width);
    if (head == 0 || head % 2 != 0)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: a head is %" PRIu64 " wide, expected an even number", source->path,
                            head);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (lq_kvs_get_u64(&source->kvs, sizes[i], &size) && size != head)
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: key '%s' is %" PRIu64 ", but a head is %" PRIu64 " wide",
                                source->path, sizes[i], size, head);
    if (lq_kvs_get_u64(&source->kvs, shared, &groups) && (groups == 0 || heads % groups != 0))
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: key '%s' is %" PRIu64 ", which does not divide %" PRIu64 " heads",
                            source->path, shared, groups, heads);
    return LQ_OK;
}

static enum lq_status check_rope(const struct lq_source *source, struct lq_error *err)
{
    static const char *const known[] = {"none", "linear", "yarn", "longrope"};
    char key[160];
    enum lq_status status = architecture_key(key, source, "rope.scaling.type", err);
    if (status != LQ_OK || lq_kvs_find(&source->kvs, key) == NULL) return status;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (lq_check_is(source, key, known[i])) return LQ_OK;
    return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: key '%s' names a scaling that llama.cpp does not know",
                        source->path, key);
}

static enum lq_status check_epsilons(const struct lq_source *source, struct lq_error *err)
{
    static const char *const names[] = {"attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"};
    char key[160];
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < 2 && status == LQ_OK; i++) {
        status = architecture_key(key, source, names[i], err);
        if (status == LQ_OK) status = lq_check_epsilon(source, key, err);
    }
    return status;
}

/* A token's text, up to a zero byte where it holds one: llama.cpp reads no further. */
struct word {
    const char *text;
    uint64_t length;
};

static int compare_words(const void *a, const void *b)
{
    const struct word *x = a, *y = b;
    uint64_t shorter = x->length < y->length ? x->length : y->length;
    int order = memcmp(x->text, y->text, shorter);
    return order != 0 ? order : (x->length > y->length) - (x->length < y->length);
}

/* The byte tokens of SentencePiece: without them llama.cpp cannot spell a character that is not in the vocabulary. */
static enum lq_status check_bytes(const struct lq_source *source, const struct word *words, size_t n,
                                  struct lq_error *err)
{
    for (int i = 0; i < 256; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
        const struct word wanted = {.text = name, .length = strlen(name)};
        if (bsearch(&wanted, words, n, sizeof *words, compare_words) == NULL)
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: the tokenizer has no token '%s'", source->path, name);
    }
    return LQ_OK;
}

static enum lq_status check_words(const struct lq_source *source, const struct word *words, size_t n,
                                  struct lq_error *err)
{
    for (size_t i = 1; i < n; i++)
        if (words[i].length > 0 && compare_words(&words[i - 1], &words[i]) == 0)
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: the tokenizer holds the token '%.*s' twice", source->path,
                                words[i].length < 64 ? (int)words[i].length : 64, words[i].text);
    return lq_check_is(source, "tokenizer.ggml.model", "llama") ? check_bytes(source, words, n, err) : LQ_OK;
}

static enum lq_status check_tokens(const struct lq_source *source, struct lq_error *err)
{
    const struct lq_kv *kv = lq_kvs_find(&source->kvs, "tokenizer.ggml.tokens");
    if (kv == NULL || kv->type != LQ_KV_ARRAY || kv->element != LQ_KV_STRING || kv->count == 0)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: key 'tokenizer.ggml.tokens' is missing or no list of strings",
                            source->path);
    struct word *words = calloc(kv->count, sizeof *words);
    if (words == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for %" PRIu64 " tokens", source->path, kv->count);
    const uint8_t *at = kv->raw;
    for (uint64_t i = 0; i < kv->count; i++) {
        memcpy(&words[i].length, at, sizeof words[i].length);
        words[i].text = (const char *)at + 8;
        at += 8 + words[i].length;
        words[i].length = strnlen(words[i].text, words[i].length);
    }
    qsort(words, kv->count, sizeof *words, compare_words);
    enum lq_status status = check_words(source, words, kv->count, err);
    free(words);
    return status;
}

enum lq_status lq_check_language(const struct lq_source *source, uint64_t *width, struct lq_error *err)
{
    enum lq_status status = check_numbers(source, width, err);
    if (status == LQ_OK && lq_check_is(source, "general.architecture", "llama"))
        status = check_heads(source, *width, err);
    if (status == LQ_OK) status = check_rope(source, err);
    if (status == LQ_OK) status = check_epsilons(source, err);
    if (status == LQ_OK) status = check_tokens(source, err);
    return status;
}
