#include "runtime/view.h"

#include "base/clock.h"
#include "runtime/usage.h"
#include "runtime/watch.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <mtmd-helper.h>
#include <stdlib.h>
#include <string.h>

static enum lq_status no_memory(const char *path, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for the picture", path);
}

/* Decodes the file's bytes into pixels and those into the model's patches. */
static enum lq_status cut(struct lq_view *view, const struct lq_runtime *rt, const struct lq_picture_file *file,
                          const char *path, const struct lq_log *log, struct lq_error *err)
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
    } else if ((view->chunks = mtmd_input_chunks_init()) == NULL) {
        status = no_memory(path, err);
    } else if (mtmd_tokenize_from_parts(rt->vision, view->chunks, parts, 1, false) != 0) {
        status =
            lq_error_set(err, LQ_ERR_RUNTIME, "%s: llama.cpp cannot prepare the picture: %s", path, lq_log_reason(log));
    }
    if (loaded.bitmap != NULL) mtmd_bitmap_free(loaded.bitmap);
    if (loaded.video_ctx != NULL) mtmd_helper_video_free(loaded.video_ctx);
    return status;
}

static bool is_picture(const mtmd_input_chunk *chunk)
{
    return mtmd_input_chunk_get_type(chunk) != MTMD_INPUT_CHUNK_TYPE_TEXT;
}

static void count(struct lq_view *view)
{
    view->n_chunks = mtmd_input_chunks_size(view->chunks);
    view->n_tokens = mtmd_helper_get_n_tokens(view->chunks);
    for (size_t i = 0; i < view->n_chunks; i++) {
        const mtmd_input_chunk *chunk = mtmd_input_chunks_get(view->chunks, i);
        size_t n = is_picture(chunk) ? mtmd_input_chunk_get_n_tokens(chunk) : 0;
        view->rows += n;
        if (n > view->n_largest) view->n_largest = n;
    }
}

static enum lq_status make_room(struct lq_view *view, const struct lq_runtime *rt, const char *path,
                                struct lq_error *err)
{
    count(view);
    view->width = (size_t)llama_model_n_embd_inp(rt->model);
    view->embeddings = calloc(view->rows, view->width * sizeof *view->embeddings);
    return view->embeddings != NULL ? LQ_OK : no_memory(path, err);
}

/* Each picture chunk through the vision tower and the projector. */
static enum lq_status look(struct lq_view *view, struct lq_runtime *rt, const char *path, const struct lq_log *log,
                           struct lq_error *err)
{
    float *next = view->embeddings;
    for (size_t i = 0; i < view->n_chunks; i++) {
        const mtmd_input_chunk *chunk = mtmd_input_chunks_get(view->chunks, i);
        if (lq_runtime_cancelled(&rt->hooks)) return lq_error_set(err, LQ_ERR_CANCELLED, "cancelled");
        if (!is_picture(chunk)) continue;
        double start = lq_clock_seconds();
        if (mtmd_encode_chunk(rt->vision, chunk) != 0)
            return lq_error_set(err, LQ_ERR_RUNTIME, "%s: llama.cpp cannot encode the picture: %s", path,
                                lq_log_reason(log));
        rt->used.picture_seconds += lq_clock_seconds() - start;
        size_t n = mtmd_input_chunk_get_n_tokens(chunk) * view->width;
        memcpy(next, mtmd_get_output_embd(rt->vision), n * sizeof *next);
        next += n;
    }
    rt->used.pictures++;
    return LQ_OK;
}

/* Damaged weights give NaN, which would show in the language model only and be laid to its charge. */
static enum lq_status check_rows(const struct lq_view *view, struct lq_error *err)
{
    bool bad = false;
    for (size_t i = 0; i < view->rows * view->width; i++) bad |= !(fabsf(view->embeddings[i]) <= FLT_MAX);
    if (!bad) return LQ_OK;
    return lq_error_set(err, LQ_ERR_RUNTIME, "%s: the vision half computes NaN or infinity: its weights are damaged",
                        view->mmproj);
}

static enum lq_status see(struct lq_view *view, struct lq_runtime *rt, const struct lq_picture_file *file,
                          const char *path, const struct lq_log *log, struct lq_error *err)
{
    view->mmproj = strdup(rt->mmproj);
    if (view->mmproj == NULL) return no_memory(path, err);
    enum lq_status status = cut(view, rt, file, path, log, err);
    if (status == LQ_OK) status = make_room(view, rt, path, err);
    if (status == LQ_OK) status = look(view, rt, path, log, err);
    if (status == LQ_OK) status = lq_watch_check(rt->watch, err);
    return status == LQ_OK ? check_rows(view, err) : status;
}

enum lq_status lq_view_make(struct lq_view **out, struct lq_runtime *rt, const struct lq_picture_file *file,
                            const char *path, struct lq_error *err)
{
    struct lq_usage usage = lq_usage_start(rt);
    struct lq_log log;
    struct lq_view *view = calloc(1, sizeof *view);
    if (view == NULL) return no_memory(path, err);
    lq_log_begin(&log, &rt->hooks);
    enum lq_status status = see(view, rt, file, path, &log, err);
    lq_log_end(&log);
    lq_usage_stop(&usage, rt, view->rows * view->width * sizeof *view->embeddings);
    if (status == LQ_OK) *out = view;
    else lq_view_free(view);
    return status;
}

enum lq_status lq_view_open(struct lq_view **out, struct lq_runtime *rt, const char *path, struct lq_error *err)
{
    struct lq_picture_file file = {0};
    enum lq_status status = lq_picture_load(&file, path, err);
    if (status == LQ_OK) status = lq_view_make(out, rt, &file, path, err);
    free(file.bytes);
    return status;
}

enum lq_status lq_view_measure(size_t *tokens, size_t *largest, const struct lq_runtime *rt, const char *path,
                               struct lq_error *err)
{
    struct lq_picture_file file = {0};
    struct lq_view view = {0};
    struct lq_log log;
    enum lq_status status = lq_picture_load(&file, path, err);
    if (status != LQ_OK) return status;
    lq_log_begin(&log, &rt->hooks);
    status = cut(&view, rt, &file, path, &log, err);
    lq_log_end(&log);
    if (status == LQ_OK) {
        count(&view);
        *tokens = view.n_tokens;
        *largest = view.n_largest;
    }
    if (view.chunks != NULL) mtmd_input_chunks_free(view.chunks);
    free(file.bytes);
    return status;
}

void lq_view_free(struct lq_view *view)
{
    if (view == NULL) return;
    if (view->chunks != NULL) mtmd_input_chunks_free(view->chunks);
    free(view->embeddings);
    free(view->mmproj);
    free(view);
}

size_t lq_view_tokens(const struct lq_view *view)
{
    return view->n_tokens;
}

const float *lq_view_embeddings(const struct lq_view *view, size_t *rows, size_t *width)
{
    *rows = view->rows;
    *width = view->width;
    return view->embeddings;
}
