#include "evaluate/facts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inspect/sha256.h"
#include "source/kv.h"

static const char recipe_key[] = "llava_quantize.recipe";

static enum lq_status no_memory(struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the facts about a model");
}

/* ---- halves ---- */

static enum lq_status size_of_file(uint64_t *out, const char *path, struct lq_error *err)
{
    struct stat info;
    if (stat(path, &info) != 0) return lq_error_set(err, LQ_ERR_IO, "%s: %s", path, strerror(errno));
    *out = (uint64_t)info.st_size;
    return LQ_OK;
}

static enum lq_status hash_file(char *out, const char *path, uint64_t size, const struct lq_hooks *hooks,
                                struct lq_error *err)
{
    struct lq_sha256 sum;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return lq_error_set(err, LQ_ERR_IO, "%s: %s", path, strerror(errno));
    enum lq_status status = lq_sha256_file(&sum, fd, path, 0, size, hooks, err);
    if (status == LQ_OK) memcpy(out, sum.text, sizeof sum.text);
    close(fd);
    return status;
}

static void count_weights(struct lq_half_facts *out, const struct lq_model_half *half)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < half->n_tensors; i++) {
        out->weights += half->tensors[i].ne[0] * half->tensors[i].rows;
        bytes += half->tensors[i].bytes;
    }
    out->bpw = out->weights == 0 ? 0 : (double)bytes * 8 / (double)out->weights;
}

static char *copy_of_recipe(const struct lq_model_half *half)
{
    const char *text = NULL;
    size_t length = 0;
    bool given = lq_kvs_get_string(half->kvs, recipe_key, &text, &length) && length > 0;
    return given ? strndup(text, length) : NULL;
}

enum lq_status lq_facts_of_half(struct lq_half_facts *out, const struct lq_model_half *half,
                                const struct lq_hooks *hooks, struct lq_error *err)
{
    uint64_t size = 0, first = 0;
    out->path = strdup(half->path);
    if (out->path == NULL) return no_memory(err);
    out->bytes = out->weights = 0;
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < half->n_files && status == LQ_OK; i++) {
        status = size_of_file(&size, half->files[i].path, err);
        out->bytes += size;
        if (i == 0) first = size;
    }
    count_weights(out, half);
    out->recipe = copy_of_recipe(half);
    if (status == LQ_OK) status = hash_file(out->sha256, half->files[0].path, first, hooks, err);
    return status;
}

enum lq_status lq_facts_name(char **out, const struct lq_model *model, struct lq_error *err)
{
    static const char ending[] = ".gguf";
    const struct lq_model_half *half = model->half[LQ_LANGUAGE];
    const char *slash = strrchr(half->path, '/'), *file = slash == NULL ? half->path : slash + 1;
    size_t n = strlen(file), m = strlen(ending);
    if (n > m && strcmp(file + n - m, ending) == 0) n -= m;
    char *recipe = copy_of_recipe(half), *name = recipe != NULL ? recipe : strndup(file, n);
    if (name == NULL) return no_memory(err);
    *out = name;
    return LQ_OK;
}

/* ---- what the metadata say of the language model ---- */

static bool language_key(const struct lq_model *model, const char *key, uint64_t *out)
{
    const struct lq_model_half *half = model->half[LQ_LANGUAGE];
    char name[128];
    snprintf(name, sizeof name, "%.64s.%s", half->architecture, key);
    return lq_kvs_get_u64(half->kvs, name, out);
}

enum lq_status lq_facts_same_width(const struct lq_model *a, const struct lq_model *b, struct lq_error *err)
{
    uint64_t x = 0, y = 0;
    bool known = language_key(a, "embedding_length", &x) && language_key(b, "embedding_length", &y);
    if (!known || x == y) return LQ_OK;
    return lq_error_set(err, LQ_ERR_USAGE,
                        "%s: embeddings are %" PRIu64 " wide, those of %s %" PRIu64 ": they are not of one model",
                        a->half[LQ_LANGUAGE]->path, x, b->half[LQ_LANGUAGE]->path, y);
}

uint64_t lq_facts_token_bytes(const struct lq_model *model)
{
    uint64_t blocks = 0, width = 0, heads = 0, kv_heads = 0;
    if (!language_key(model, "block_count", &blocks) || !language_key(model, "embedding_length", &width)) return 0;
    if (blocks > UINT16_MAX || width > UINT32_MAX) return 0;
    bool shared = language_key(model, "attention.head_count", &heads) &&
                  language_key(model, "attention.head_count_kv", &kv_heads) && heads > kv_heads;
    return UINT64_C(2) * 2 * blocks * (shared ? width * kv_heads / heads : width);
}
