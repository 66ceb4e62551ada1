/* LLaVA towers whose file does not say where the features are taken from, and the key that says it. */
#include "llava_quantize/inspect.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "quantize/metadata.h"
#include "base/meter.h"
#include "source/kv.h"
#include "write/layout.h"
#include "write/write.h"

static const char feature_layer[] = "clip.vision.feature_layer";
enum { COPIED_AT_ONCE = 1 << 20 }; /* bytes */

/* CLIP's released towers before anything was cut off: llama.cpp leaves the last of their blocks out, as LLaVA does. */
static const struct {
    uint64_t width, blocks;
    const char *name;
} whole_towers[] = {
    {768, 12, "ViT-B"}, {1024, 24, "ViT-L"}, {1280, 32, "ViT-H"}, {1408, 40, "ViT-g"}, {1664, 48, "ViT-bigG"},
};

static const char *whole_tower(uint64_t width, uint64_t blocks)
{
    for (size_t i = 0; i < sizeof whole_towers / sizeof whole_towers[0]; i++)
        if (whole_towers[i].width == width && whole_towers[i].blocks == blocks) return whole_towers[i].name;
    return NULL;
}

static bool key_is(const struct lq_kvs *kvs, const char *key, const char *expected)
{
    const char *value;
    size_t length;
    return lq_kvs_get_string(kvs, key, &value, &length) && length == strlen(expected) &&
           memcmp(value, expected, length) == 0;
}

/* The projector of LLaVA-1.5 behind a CLIP, which begins with a class embedding; other towers do not. */
static bool is_llava_clip(const struct lq_model_half *half)
{
    const struct lq_kvs *kvs = half->kvs;
    bool mlp = key_is(kvs, "clip.projector_type", "mlp") || key_is(kvs, "clip.vision.projector_type", "mlp");
    for (size_t i = 0; mlp && i < half->n_tensors; i++)
        if (half->tensors[i].role == LQ_ROLE_CLASS_EMBEDDING) return true;
    return false;
}

enum lq_status lq_feature_layer_check(const struct lq_model *model, struct lq_feature_layer *out, struct lq_error *err)
{
    const struct lq_model_half *half = model->half[LQ_VISION];
    uint64_t blocks = 0, width = 0;
    if (half == NULL) return lq_error_set(err, LQ_ERR_USAGE, "%s: has no vision half", model->path);
    if (model->hugging_face)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: is a Hugging Face folder; converting it writes %s", half->path,
                            feature_layer);
    if (lq_model_has_key(half, feature_layer))
        return lq_error_set(err, LQ_ERR_USAGE, "%s: has the key %s already", half->path, feature_layer);
    if (!is_llava_clip(half))
        return lq_error_set(err, LQ_ERR_USAGE,
                            "%s: is no LLaVA tower: expected a CLIP with a class embedding and projector type 'mlp'",
                            half->path);
    if (!lq_kvs_get_u64(half->kvs, "clip.vision.block_count", &blocks) || blocks == 0 || blocks > INT32_MAX)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: key 'clip.vision.block_count' is missing or makes no sense",
                            half->path);
    lq_kvs_get_u64(half->kvs, "clip.vision.embedding_length", &width);
    if (whole_tower(width, blocks) != NULL)
        return lq_error_set(err, LQ_ERR_USAGE,
                            "%s: holds all %" PRIu64 " blocks of CLIP %s; llama.cpp runs all but the last, as LLaVA is "
                            "trained, so there is nothing to fix",
                            half->path, blocks, whole_tower(width, blocks));
    *out = (struct lq_feature_layer){(uint32_t)blocks, (uint32_t)blocks - 1, (uint32_t)blocks};
    return LQ_OK;
}

static enum lq_status check_not_input(const struct lq_model_half *half, const char *path, struct lq_error *err)
{
    struct stat in, out;
    if (stat(path, &out) != 0) return LQ_OK;
    for (size_t i = 0; i < half->n_files; i++)
        if (stat(half->files[i].path, &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
            return lq_error_set(err, LQ_ERR_USAGE, "%s: is also the input; choose another output", path);
    return LQ_OK;
}

static enum lq_status begin(struct lq_output *o, const struct lq_model_half *half, int32_t value, struct lq_error *err)
{
    struct lq_kvs kvs = {0};
    struct lq_output_tensor *tensors = calloc(half->n_tensors + 1, sizeof *tensors);
    enum lq_status status = tensors != NULL ? lq_kvs_copy(&kvs, half->kvs, err)
                                            : lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory", half->path);
    lq_metadata_remove_split(&kvs);
    if (status == LQ_OK) status = lq_kvs_set_array(&kvs, feature_layer, LQ_KV_I32, 1, &value, err);
    for (size_t i = 0; status == LQ_OK && i < half->n_tensors; i++) {
        const struct lq_tensor *t = &half->tensors[i];
        tensors[i] = (struct lq_output_tensor){.name = t->name, .type = t->type, .n_dims = t->n_dims};
        memcpy(tensors[i].ne, t->ne, sizeof tensors[i].ne);
    }
    if (status == LQ_OK) status = lq_output_begin(o, 0, &kvs, tensors, half->n_tensors, half->alignment, err);
    lq_kvs_release(&kvs);
    free(tensors);
    return status;
}

static enum lq_status copy_tensor(struct lq_output *o, const struct lq_model *model, size_t index,
                                  struct lq_meter *meter, struct lq_error *err)
{
    const struct lq_tensor *t = &model->half[LQ_VISION]->tensors[index];
    uint64_t row = t->bytes / t->rows, at_once = row >= COPIED_AT_ONCE ? 1 : COPIED_AT_ONCE / row;
    if (at_once > t->rows) at_once = t->rows;
    void *buffer = malloc(at_once * row);
    enum lq_status status = buffer != NULL ? LQ_OK
                                           : lq_error_set(err, LQ_ERR_MEMORY, "%s: tensor '%s': no memory",
                                                          model->half[LQ_VISION]->path, t->name);
    for (uint64_t done = 0, n; status == LQ_OK && done < t->rows; done += n) {
        n = t->rows - done < at_once ? t->rows - done : at_once;
        status = lq_meter_check(meter, err);
        if (status == LQ_OK) status = lq_model_read(model, t, done, n, buffer, err);
        if (status == LQ_OK) status = lq_output_write(o, 0, index, done * row, buffer, n * row, err);
        if (status == LQ_OK) lq_meter_add(meter, t->name, n * row);
    }
    free(buffer);
    return status;
}

static enum lq_status copy_tensors(struct lq_output *o, const struct lq_model *model, const struct lq_hooks *hooks,
                                   struct lq_error *err)
{
    const struct lq_model_half *half = model->half[LQ_VISION];
    struct lq_meter meter;
    uint64_t total = 0;
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < half->n_tensors; i++) total += half->tensors[i].bytes;
    lq_meter_init(&meter, hooks, total);
    for (size_t i = 0; status == LQ_OK && i < half->n_tensors; i++) status = copy_tensor(o, model, i, &meter, err);
    lq_meter_release(&meter);
    return status;
}

/* The id that the file has, terminated; NULL where it has none of the usual form, which is then copied as it is. */
static const char *pair_id_of(const struct lq_model_half *half, char id[LQ_PAIR_ID_LENGTH + 1])
{
    const char *text;
    size_t length;
    if (!lq_kvs_get_string(half->kvs, LQ_PAIR_ID_KEY, &text, &length) || length != LQ_PAIR_ID_LENGTH) return NULL;
    memcpy(id, text, length);
    id[length] = '\0';
    return strlen(id) == length ? id : NULL;
}

enum lq_status lq_feature_layer_fix(const struct lq_model *model, const char *path, bool force,
                                    const struct lq_hooks *hooks, struct lq_error *err)
{
    const struct lq_model_half *half = model->half[LQ_VISION];
    struct lq_feature_layer layer;
    struct lq_output *o = NULL;
    char id[LQ_PAIR_ID_LENGTH + 1];
    enum lq_status status = lq_feature_layer_check(model, &layer, err);
    if (status == LQ_OK) status = check_not_input(half, path, err);
    if (status == LQ_OK) status = lq_output_open(&o, &path, 1, force, err);
    if (status == LQ_OK) status = begin(o, half, (int32_t)layer.value, err);
    if (status == LQ_OK) status = copy_tensors(o, model, hooks, err);
    if (status == LQ_OK) status = lq_output_commit(o, pair_id_of(half, id), err);
    lq_output_close(o);
    return status;
}
