#include "runtime/check.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "llava_quantize/model.h"

enum lq_status lq_check_number(const struct lq_source *source, const char *key, uint64_t low, uint64_t high,
                               uint64_t *out, struct lq_error *err)
{
    uint64_t value = 0;
    if (lq_kvs_find(&source->kvs, key) == NULL)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: key '%s' is missing", source->path, key);
    if (!lq_kvs_get_u64(&source->kvs, key, &value))
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: key '%s' is no whole number", source->path, key);
    if (value < low || value > high)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: key '%s' is %" PRIu64 ", expected %" PRIu64 " to %" PRIu64,
                            source->path, key, value, low, high);
    *out = value;
    return LQ_OK;
}

enum lq_status lq_check_epsilon(const struct lq_source *source, const char *key, struct lq_error *err)
{
    double value = 0;
    if (lq_kvs_find(&source->kvs, key) == NULL) return LQ_OK;
    if (lq_kvs_get_f64(&source->kvs, key, &value) && isfinite(value) && value >= 0) return LQ_OK;
    return lq_error_set(err, LQ_ERR_FORMAT, "%s: key '%s' is %g, expected a small number above 0", source->path, key,
                        value);
}

bool lq_check_is(const struct lq_source *source, const char *key, const char *value)
{
    const char *text = NULL;
    size_t length = 0;
    return lq_kvs_get_string(&source->kvs, key, &text, &length) && length == strlen(value) &&
           memcmp(text, value, length) == 0;
}

static enum lq_status open_half(struct lq_source **out, const char *path, bool vision, struct lq_error *err)
{
    static const char *const wanted[] = {"a language file", "an mmproj file"};
    struct lq_source *source = NULL;
    enum lq_status status = lq_source_open(&source, path, err);
    if (status != LQ_OK) return status;
    if (source->kind != LQ_SOURCE_GGUF)
        status = lq_error_set(err, LQ_ERR_USAGE, "%s: not a GGUF file, but %s is expected; `convert` makes one", path,
                              wanted[vision]);
    else if (lq_check_is(source, "general.architecture", "clip") != vision)
        status =
            lq_error_set(err, LQ_ERR_USAGE, "%s: holds %s, but %s is expected", path, wanted[!vision], wanted[vision]);
    if (status == LQ_OK) *out = source;
    else lq_source_close(source);
    return status;
}

static bool is_split(const struct lq_source *source)
{
    uint64_t count = 0;
    return lq_kvs_get_u64(&source->kvs, "split.count", &count) && count > 1;
}

/* llama.cpp finds the other shards by itself, but wants the first one named; all of them pass our reader here. */
static enum lq_status check_language_shards(const struct lq_source *source, struct lq_error *err)
{
    struct lq_model *model = NULL;
    struct lq_model_options options = {.only = LQ_LANGUAGE};
    if (!is_split(source)) return LQ_OK;
    enum lq_status status = lq_model_open(&model, source->path, &options, err);
    if (status == LQ_OK && strcmp(model->half[LQ_LANGUAGE]->path, source->path) != 0)
        status = lq_error_set(err, LQ_ERR_USAGE, "%s: not the first shard; name %s", source->path,
                              model->half[LQ_LANGUAGE]->path);
    lq_model_free(model);
    return status;
}

static enum lq_status check_whole(const struct lq_source *source, struct lq_error *err)
{
    if (!is_split(source)) return LQ_OK;
    return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                        "%s: one shard of several, but llama.cpp loads no split mmproj; 'llava-quantize quantize PAIR "
                        "OUTPUT copy' joins them",
                        source->path);
}

enum lq_status lq_runtime_check(const char *language, const char *mmproj, bool *llava, struct lq_error *err)
{
    struct lq_source *source[2] = {NULL, NULL};
    uint64_t width = 0;
    enum lq_status status = open_half(&source[0], language, false, err);
    if (status == LQ_OK) status = open_half(&source[1], mmproj, true, err);
    if (status == LQ_OK) status = check_language_shards(source[0], err);
    if (status == LQ_OK) status = check_whole(source[1], err);
    if (status == LQ_OK) status = lq_check_language(source[0], &width, err);
    if (status == LQ_OK) status = lq_check_vision(source[1], width, llava, err);
    lq_source_close(source[0]);
    lq_source_close(source[1]);
    return status;
}
