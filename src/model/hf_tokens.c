#include "model/hf_tokens.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "model/json_keys.h"
#include "model/names.h"
#include "model/tokenizer.h"

enum { LARGEST_TOKENIZER = 256 << 20, LARGEST_TEMPLATE = 1 << 20 };

/* llama.cpp's own converter gives these scores to what it adds and to what it fills up with. */
static const float added_score = -1000, filler_score = -10000;

/* Everything read from the folder that concerns tokens. */
struct work {
    const char *folder;
    const struct lq_hf_config *config;
    struct lq_tokenizer tokens;
    size_t n_own;     /* pieces of tokenizer.model itself */
    char *path;       /* of the file in hand */
    json_t *settings; /* tokenizer_config.json, or NULL */
    char *settings_path;
};

static enum lq_status no_memory(struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "not enough memory for the tokenizer");
}

static enum lq_status set_path(struct work *w, const char *file, struct lq_error *err)
{
    free(w->path);
    w->path = lq_path_join(w->folder, file);
    return w->path == NULL ? no_memory(err) : LQ_OK;
}

static enum lq_status read_model(struct work *w, struct lq_error *err)
{
    char *data = NULL;
    size_t size = 0;
    enum lq_status status = set_path(w, "tokenizer.model", err);
    if (status != LQ_OK) return status;
    if (access(w->path, F_OK) != 0 && errno == ENOENT)
        return lq_error_set(
            err, LQ_ERR_IO,
            "%s: missing; the SentencePiece tokenizer is needed (a tokenizer.json alone is not handled)", w->path);
    status = lq_file_load(w->path, LARGEST_TOKENIZER, &data, &size, err);
    if (status == LQ_OK) status = lq_tokenizer_parse(&w->tokens, data, size, w->path, err);
    free(data);
    if (status != LQ_OK) return status;
    w->n_own = w->tokens.n;
    if (w->tokens.model != LQ_PIECE_MODEL_BPE)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                            "%s: model type %d, expected %d (BPE): llama.cpp would split text differently", w->path,
                            w->tokens.model, LQ_PIECE_MODEL_BPE);
    if (w->n_own > w->config->vocab)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: %zu pieces, but vocab_size in config.json is %u", w->path,
                            w->n_own, w->config->vocab);
    return LQ_OK;
}

static enum lq_status fill_up(struct work *w, struct lq_error *err)
{
    char text[32];
    enum lq_status status = LQ_OK;
    while (w->tokens.n < w->config->vocab && status == LQ_OK) {
        int n = snprintf(text, sizeof text, "[PAD%zu]", w->tokens.n);
        status = lq_tokenizer_add(&w->tokens, text, (size_t)n, filler_score, LQ_PIECE_UNUSED, err);
    }
    return status;
}

/* Added tokens are found in text as they stand, so a marked space is a space again. */
static enum lq_status add_token(struct work *w, json_int_t id, const char *text, bool special, struct lq_error *err)
{
    static const char mark[] = "\xe2\x96\x81";
    if (id < 0 || id >= w->config->vocab) return LQ_OK; /* no row of the embedding belongs to it */
    char *copy = strdup(text);
    if (copy == NULL) return no_memory(err);
    for (char *at = special ? NULL : strstr(copy, mark); at != NULL; at = strstr(at, mark)) {
        *at++ = ' ';
        memmove(at, at + 2, strlen(at + 2) + 1);
    }
    enum lq_status status = lq_tokenizer_replace(&w->tokens, (size_t)id, copy, added_score,
                                                 special ? LQ_PIECE_CONTROL : LQ_PIECE_USER_DEFINED, err);
    free(copy);
    return status;
}

static bool looks_special(const char *text)
{
    size_t n = strlen(text);
    return strcmp(text, "<pad>") == 0 || (n > 4 && strncmp(text, "<|", 2) == 0 && strcmp(text + n - 2, "|>") == 0);
}

/* added_tokens.json: {"<image>": 32000} */
static enum lq_status read_added_tokens(struct work *w, struct lq_error *err)
{
    json_t *root = NULL, *value;
    const char *text;
    enum lq_status status = set_path(w, "added_tokens.json", err);
    if (status != LQ_OK || access(w->path, F_OK) != 0) return status;
    status = lq_json_load(w->path, &root, err);
    if (status != LQ_OK) return status;
    json_object_foreach(root, text, value)
    {
        if (status == LQ_OK && !json_is_integer(value))
            status = lq_error_set(err, LQ_ERR_FORMAT, "%s: token '%s' has no number", w->path, text);
        if (status == LQ_OK) status = add_token(w, json_integer_value(value), text, false, err);
    }
    json_decref(root);
    return status;
}

static enum lq_status add_decoded(struct work *w, const char *number, const json_t *token, struct lq_error *err)
{
    char *end;
    struct lq_json_at at = {token, w->settings_path, "added_tokens_decoder."};
    const char *text = NULL;
    bool special = false;
    long id = strtol(number, &end, 10);
    enum lq_status status = LQ_OK;
    if (end == number || *end != '\0' || !json_is_object(token))
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: added_tokens_decoder: '%s' is no token", w->settings_path, number);
    status = lq_json_string(&at, "content", NULL, &text, err);
    if (status == LQ_OK) status = lq_json_bool(&at, "special", false, &special, err);
    if (status == LQ_OK && text == NULL) status = lq_json_unexpected(&at, "content", LQ_ERR_FORMAT, "a text", err);
    return status == LQ_OK ? add_token(w, id, text, special || looks_special(text), err) : status;
}

/* tokenizer_config.json: {"added_tokens_decoder": {"32000": {"content": "<image>", "special": true}}} */
static enum lq_status read_settings(struct work *w, struct lq_error *err)
{
    const char *number;
    json_t *token;
    enum lq_status status = LQ_OK;
    w->settings_path = lq_path_join(w->folder, "tokenizer_config.json");
    if (w->settings_path == NULL) return no_memory(err);
    if (access(w->settings_path, F_OK) != 0) return LQ_OK;
    status = lq_json_load(w->settings_path, &w->settings, err);
    if (status != LQ_OK) return status;
    json_object_foreach(json_object_get(w->settings, "added_tokens_decoder"), number, token)
    {
        if (status == LQ_OK) status = add_decoded(w, number, token, err);
    }
    return status;
}

/* Tokens that only config.json knows: without a file that names them they get their usual names. */
static enum lq_status add_from_config(struct work *w, struct lq_error *err)
{
    const struct {
        uint32_t id;
        const char *text;
    } known[] = {
        {w->config->image_token, "<image>"},
        {w->config->pad, "<pad>"},
    };
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < sizeof known / sizeof known[0] && status == LQ_OK; i++) {
        bool open = known[i].id != LQ_HF_NO_TOKEN && w->tokens.pieces[known[i].id].type == LQ_PIECE_UNUSED;
        if (open && lq_tokenizer_find(&w->tokens, known[i].text) < 0)
            status = add_token(w, known[i].id, known[i].text, true, err);
    }
    return status;
}

static int compare_texts(const void *a, const void *b)
{
    const struct lq_piece *x = *(const struct lq_piece *const *)a, *y = *(const struct lq_piece *const *)b;
    int order = memcmp(x->text, y->text, x->length < y->length ? x->length : y->length);
    if (order != 0) return order;
    return x->length < y->length ? -1 : x->length > y->length;
}

static enum lq_status check_unique(const struct work *w, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    size_t n = w->tokens.n;
    const struct lq_piece **sorted = malloc(n * sizeof *sorted);
    if (sorted == NULL) return no_memory(err);
    for (size_t i = 0; i < n; i++) sorted[i] = &w->tokens.pieces[i];
    qsort(sorted, n, sizeof *sorted, compare_texts);
    for (size_t i = 1; i < n && status == LQ_OK; i++)
        if (compare_texts(&sorted[i - 1], &sorted[i]) == 0)
            status = lq_error_set(err, LQ_ERR_FORMAT, "%s: tokens %td and %td are both '%.80s'", w->folder,
                                  sorted[i - 1] - w->tokens.pieces, sorted[i] - w->tokens.pieces, sorted[i]->text);
    free(sorted);
    return status;
}

/* tokenizer.ggml.tokens, .scores and .token_type */
static enum lq_status set_lists(struct lq_kvs *kvs, const struct lq_tokenizer *t, struct lq_error *err)
{
    const char **texts = malloc(t->n * sizeof *texts);
    size_t *lengths = malloc(t->n * sizeof *lengths);
    float *scores = malloc(t->n * sizeof *scores);
    int32_t *types = malloc(t->n * sizeof *types);
    enum lq_status status = texts && lengths && scores && types ? LQ_OK : no_memory(err);
    for (size_t i = 0; i < t->n && status == LQ_OK; i++) {
        texts[i] = t->pieces[i].text;
        lengths[i] = t->pieces[i].length;
        scores[i] = t->pieces[i].score;
        types[i] = t->pieces[i].type;
    }
    if (status == LQ_OK) status = lq_kvs_set_strings(kvs, "tokenizer.ggml.tokens", texts, lengths, t->n, err);
    if (status == LQ_OK) status = lq_kvs_set_array(kvs, "tokenizer.ggml.scores", LQ_KV_F32, t->n, scores, err);
    if (status == LQ_OK) status = lq_kvs_set_array(kvs, "tokenizer.ggml.token_type", LQ_KV_I32, t->n, types, err);
    free(texts);
    free(lengths);
    free(scores);
    free(types);
    return status;
}

static enum lq_status set_ids(struct lq_kvs *kvs, const struct work *w, struct lq_error *err)
{
    const struct lq_hf_config *c = w->config;
    const struct {
        const char *key;
        uint32_t given;
        int32_t own;
    } ids[] = {
        {"tokenizer.ggml.bos_token_id", c->bos, w->tokens.bos},
        {"tokenizer.ggml.eos_token_id", c->eos, w->tokens.eos},
        {"tokenizer.ggml.unknown_token_id", LQ_HF_NO_TOKEN, w->tokens.unk},
        {"tokenizer.ggml.padding_token_id", c->pad, w->tokens.pad},
    };
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < sizeof ids / sizeof ids[0] && status == LQ_OK; i++) {
        int64_t id = ids[i].given != LQ_HF_NO_TOKEN ? (int64_t)ids[i].given : ids[i].own;
        if (id >= 0 && id < c->vocab) status = lq_kvs_set_u32(kvs, ids[i].key, (uint32_t)id, err);
    }
    return status;
}

static enum lq_status set_flags(struct lq_kvs *kvs, const struct work *w, struct lq_error *err)
{
    struct lq_json_at at = {w->settings, w->settings_path, ""};
    bool bos, eos, space;
    enum lq_status status = lq_json_bool(&at, "add_bos_token", true, &bos, err);
    if (status == LQ_OK) status = lq_json_bool(&at, "add_eos_token", false, &eos, err);
    if (status == LQ_OK) status = lq_json_bool(&at, "add_prefix_space", w->tokens.add_dummy_prefix, &space, err);
    if (status == LQ_OK) status = lq_kvs_set_bool(kvs, "tokenizer.ggml.add_bos_token", bos, err);
    if (status == LQ_OK) status = lq_kvs_set_bool(kvs, "tokenizer.ggml.add_eos_token", eos, err);
    if (status == LQ_OK) status = lq_kvs_set_bool(kvs, "tokenizer.ggml.add_space_prefix", space, err);
    return status;
}

/* A template stands as a text, or as a list of named ones of which "default" counts. */
static const char *template_in(const json_t *root)
{
    const json_t *value = json_object_get(root, "chat_template");
    size_t i;
    json_t *item;
    json_array_foreach(value, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name != NULL && strcmp(name, "default") == 0) return json_string_value(json_object_get(item, "template"));
    }
    return json_string_value(value);
}

static enum lq_status set_template(struct lq_kvs *kvs, const char *text, struct lq_error *err)
{
    return text == NULL ? LQ_OK : lq_kvs_set_string(kvs, "tokenizer.chat_template", text, err);
}

/* chat_template.jinja, else chat_template.json, else tokenizer_config.json. */
static enum lq_status copy_template(struct lq_kvs *kvs, struct work *w, struct lq_error *err)
{
    char *text = NULL;
    size_t size;
    json_t *root = NULL;
    enum lq_status status = set_path(w, "chat_template.jinja", err);
    if (status == LQ_OK && access(w->path, F_OK) == 0) {
        status = lq_file_load(w->path, LARGEST_TEMPLATE, &text, &size, err);
        if (status == LQ_OK) status = set_template(kvs, text, err);
        free(text);
        return status;
    }
    if (status == LQ_OK) status = set_path(w, "chat_template.json", err);
    if (status == LQ_OK && access(w->path, F_OK) == 0) status = lq_json_load(w->path, &root, err);
    if (status == LQ_OK) status = set_template(kvs, template_in(root != NULL ? root : w->settings), err);
    json_decref(root);
    return status;
}

static enum lq_status collect(struct work *w, struct lq_error *err)
{
    enum lq_status status = read_model(w, err);
    if (status == LQ_OK) status = fill_up(w, err);
    if (status == LQ_OK) status = read_added_tokens(w, err);
    if (status == LQ_OK) status = read_settings(w, err);
    if (status == LQ_OK) status = add_from_config(w, err);
    if (status == LQ_OK) status = check_unique(w, err);
    return status;
}

enum lq_status lq_hf_tokens_import(struct lq_kvs *kvs, const char *folder, const struct lq_hf_config *config,
                                   struct lq_error *err)
{
    struct work w = {.folder = folder, .config = config};
    enum lq_status status = collect(&w, err);
    if (status == LQ_OK) status = lq_kvs_set_string(kvs, "tokenizer.ggml.model", "llama", err);
    if (status == LQ_OK) status = lq_kvs_set_string(kvs, "tokenizer.ggml.pre", "default", err);
    if (status == LQ_OK) status = set_lists(kvs, &w.tokens, err);
    if (status == LQ_OK) status = set_ids(kvs, &w, err);
    if (status == LQ_OK) status = set_flags(kvs, &w, err);
    if (status == LQ_OK) status = copy_template(kvs, &w, err);
    lq_tokenizer_release(&w.tokens);
    json_decref(w.settings);
    free(w.settings_path);
    free(w.path);
    return status;
}
