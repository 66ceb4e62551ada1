#include "runtime/session.h"

#include "runtime/picture.h"

#include <inttypes.h>
#include <mtmd-helper.h>
#include <stdlib.h>
#include <string.h>

static bool cancelled(const struct lq_runtime *rt)
{
    return rt->hooks.cancelled != NULL && rt->hooks.cancelled(rt->hooks.data);
}

static enum lq_status stopped(struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_CANCELLED, "cancelled");
}

static void picture_release(struct lq_picture *p)
{
    for (size_t i = 0; p->embeddings != NULL && i < p->n_chunks; i++) free(p->embeddings[i]);
    free(p->embeddings);
    if (p->chunks != NULL) mtmd_input_chunks_free(p->chunks);
    *p = (struct lq_picture){0};
}

void lq_session_forget(struct lq_runtime *rt)
{
    picture_release(&rt->picture);
}

/* Decodes the file's bytes into pixels and those into the model's patches. */
static enum lq_status cut(struct lq_picture *p, const struct lq_runtime *rt, const struct lq_picture_file *file,
                          const char *path, struct lq_error *err)
{
    struct mtmd_helper_bitmap_wrapper loaded = mtmd_helper_bitmap_init_from_buf(
        rt->vision, (const unsigned char *)file->bytes, file->size, false, mtmd_helper_init_opt_default());
    enum lq_status status = LQ_OK;
    const struct mtmd_input_part part = {.bitmap = loaded.bitmap}, *parts[] = {&part};
    if (loaded.bitmap == NULL || loaded.video_ctx != NULL) {
        status = lq_error_set(err, LQ_ERR_FORMAT,
                              "%s: the %s data (%" PRIu32 " x %" PRIu32 ") are damaged or of a kind that "
                              "llama.cpp does not read",
                              path, file->kind, file->width, file->height);
    } else if ((p->chunks = mtmd_input_chunks_init()) == NULL) {
        status = lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for the picture", path);
    } else if (mtmd_tokenize_from_parts(rt->vision, p->chunks, parts, 1, false) != 0) {
        status = lq_error_set(err, LQ_ERR_RUNTIME, "%s: llama.cpp cannot prepare the picture: %s", path,
                              lq_log_reason(&rt->log));
    }
    if (loaded.bitmap != NULL) mtmd_bitmap_free(loaded.bitmap);
    if (loaded.video_ctx != NULL) mtmd_helper_video_free(loaded.video_ctx);
    return status;
}

/* One chunk through the vision tower and the projector. */
static enum lq_status encode(float **out, const struct lq_runtime *rt, const mtmd_input_chunk *chunk, const char *path,
                             struct lq_error *err)
{
    if (mtmd_encode_chunk(rt->vision, chunk) != 0)
        return lq_error_set(err, LQ_ERR_RUNTIME, "%s: llama.cpp cannot encode the picture: %s", path,
                            lq_log_reason(&rt->log));
    size_t bytes = mtmd_input_chunk_get_n_tokens(chunk) * (size_t)llama_model_n_embd_inp(rt->model) * sizeof(float);
    float *copy = malloc(bytes);
    if (copy == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for the picture", path);
    memcpy(copy, mtmd_get_output_embd(rt->vision), bytes);
    *out = copy;
    return LQ_OK;
}

static enum lq_status look(struct lq_picture *p, struct lq_runtime *rt, const char *path, struct lq_error *err)
{
    p->n_chunks = mtmd_input_chunks_size(p->chunks);
    p->n_tokens = mtmd_helper_get_n_tokens(p->chunks);
    p->n_positions = mtmd_helper_get_n_pos(p->chunks);
    p->embeddings = calloc(p->n_chunks, sizeof *p->embeddings);
    if (p->embeddings == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for the picture", path);
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < p->n_chunks && status == LQ_OK; i++) {
        const mtmd_input_chunk *chunk = mtmd_input_chunks_get(p->chunks, i);
        if (cancelled(rt)) return stopped(err);
        if (mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_TEXT) continue;
        status = encode(&p->embeddings[i], rt, chunk, path, err);
    }
    return status;
}

enum lq_status lq_session_see(struct lq_runtime *rt, const char *path, struct lq_error *err)
{
    struct lq_picture_file file = {0};
    struct lq_picture picture = {0};
    if (path == NULL || path[0] == 0) return lq_error_set(err, LQ_ERR_USAGE, "no picture given");
    enum lq_status status = lq_picture_load(&file, path, err);
    if (status != LQ_OK) return status;
    picture.hash = XXH3_128bits(file.bytes, file.size);
    if (rt->picture.chunks != NULL && XXH128_isEqual(rt->picture.hash, picture.hash)) goto done;
    status = cut(&picture, rt, &file, path, err);
    if (status == LQ_OK) status = look(&picture, rt, path, err);
    if (status != LQ_OK) goto done;
    lq_session_forget(rt);
    rt->picture = picture;
    picture = (struct lq_picture){0};
done:
    free(file.bytes);
    picture_release(&picture);
    return status;
}

static enum lq_status decoded(const struct lq_runtime *rt, int32_t answer, struct lq_error *err)
{
    if (answer == 0) return LQ_OK;
    if (answer == 2 || cancelled(rt)) return stopped(err);
    return lq_error_set(err, LQ_ERR_RUNTIME, "%s: llama.cpp cannot decode (%d): %s", rt->language, answer,
                        lq_log_reason(&rt->log));
}

/* Hands on the logits that the last decode gave for tokens i .. n of the batch. */
static enum lq_status collect(struct lq_runtime *rt, int32_t i, int32_t n, lq_logits_fn *logits, void *data,
                              struct lq_error *err)
{
    for (; i < n; i++) {
        const float *row = llama_get_logits_ith(rt->context, i);
        if (row == NULL) return lq_error_set(err, LQ_ERR_RUNTIME, "%s: the model gives no logits", rt->language);
        if (logits != NULL) logits(data, row);
    }
    return LQ_OK;
}

static enum lq_status decode_text(struct lq_runtime *rt, const llama_token *tokens, size_t n, size_t first,
                                  lq_logits_fn *logits, void *data, struct lq_error *err)
{
    int32_t size = (int32_t)llama_n_ubatch(rt->context);
    struct llama_batch batch = llama_batch_init(size, 0, 1);
    enum lq_status status = LQ_OK;
    for (size_t at = 0; at < n && status == LQ_OK; at += (size_t)size) {
        batch.n_tokens = n - at < (size_t)size ? (int32_t)(n - at) : size;
        int32_t keep = first <= at ? 0 : first - at < (size_t)batch.n_tokens ? (int32_t)(first - at) : batch.n_tokens;
        for (int32_t i = 0; i < batch.n_tokens; i++) {
            batch.token[i] = tokens[at + (size_t)i];
            batch.pos[i] = rt->n_past++;
            batch.n_seq_id[i] = 1;
            batch.seq_id[i][0] = 0;
            batch.logits[i] = i >= keep;
        }
        status = decoded(rt, llama_decode(rt->context, batch), err);
        if (status == LQ_OK) status = collect(rt, keep, batch.n_tokens, logits, data, err);
    }
    llama_batch_free(batch);
    return status;
}

static enum lq_status decode_picture(struct lq_runtime *rt, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    int32_t size = (int32_t)llama_n_ubatch(rt->context);
    for (size_t i = 0; i < rt->picture.n_chunks && status == LQ_OK; i++) {
        const mtmd_input_chunk *chunk = mtmd_input_chunks_get(rt->picture.chunks, i);
        if (rt->picture.embeddings[i] == NULL) {
            size_t n = 0;
            const llama_token *tokens = mtmd_input_chunk_get_tokens_text(chunk, &n);
            status = decode_text(rt, tokens, n, n, NULL, NULL, err);
        } else {
            int32_t answer = mtmd_helper_decode_image_chunk(rt->vision, rt->context, chunk, rt->picture.embeddings[i],
                                                            rt->n_past, 0, size, &rt->n_past, NULL, NULL);
            status = decoded(rt, answer, err);
        }
    }
    return status;
}

size_t lq_session_room(const struct lq_runtime *rt)
{
    uint32_t context = llama_n_ctx_seq(rt->context);
    return (uint32_t)rt->n_past < context ? context - (uint32_t)rt->n_past : 0;
}

enum lq_status lq_session_begin(struct lq_runtime *rt, const struct lq_tokens *head, const struct lq_tokens *tail,
                                size_t first, lq_logits_fn *logits, void *data, struct lq_error *err)
{
    size_t needed = head->n + rt->picture.n_tokens + tail->n;
    if (needed > llama_n_ctx_seq(rt->context))
        return lq_error_set(err, LQ_ERR_USAGE,
                            "%s: the prompt takes %zu tokens (picture %zu, text %zu), the context holds %u: "
                            "ask less or give a larger context",
                            rt->language, needed, rt->picture.n_tokens, head->n + tail->n,
                            llama_n_ctx_seq(rt->context));
    llama_memory_clear(llama_get_memory(rt->context), false);
    rt->n_past = 0;
    enum lq_status status = decode_text(rt, head->items, head->n, head->n, NULL, NULL, err);
    if (status == LQ_OK) status = decode_picture(rt, err);
    if (status == LQ_OK) status = decode_text(rt, tail->items, tail->n, first, logits, data, err);
    return status;
}

enum lq_status lq_session_continue(struct lq_runtime *rt, llama_token token, struct lq_error *err)
{
    return decode_text(rt, &token, 1, 0, NULL, NULL, err);
}
