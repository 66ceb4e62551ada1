#include "runtime/session.h"

#include "runtime/view.h"

#include <stdlib.h>

#define DEFAULT_CONTEXT 4096
#define STEP 256 /* tokens fed at once */

enum lq_status lq_session_see(struct lq_runtime *rt, const char *path, struct lq_error *err)
{
    struct lq_picture_file file = {0};
    struct lq_view *view = NULL;
    if (path == NULL || path[0] == 0) return lq_error_set(err, LQ_ERR_USAGE, "no picture given");
    enum lq_status status = lq_picture_load(&file, path, err);
    if (status != LQ_OK) return status;
    XXH128_hash_t hash = XXH3_128bits(file.bytes, file.size);
    if (rt->view == NULL || !XXH128_isEqual(rt->seen, hash)) status = lq_view_make(&view, rt, &file, path, err);
    if (view != NULL) {
        lq_view_free(rt->view);
        rt->view = view;
        rt->seen = hash;
    }
    free(file.bytes);
    return status;
}

/* Made for the first question, and again for a picture that must be decoded at once and is larger than those before. */
static enum lq_status prepare_lane(struct lq_runtime *rt, struct lq_error *err)
{
    uint32_t trained = (uint32_t)llama_model_n_ctx_train(rt->model);
    const struct lq_lane_options options = {
        .cells = rt->context != 0            ? rt->context
                 : trained < DEFAULT_CONTEXT ? trained
                                             : DEFAULT_CONTEXT,
        .sequences = 1,
        .together = (uint32_t)rt->view->n_largest,
    };
    if (rt->lane != NULL && lq_lane_takes(rt->lane, rt->view)) {
        lq_lane_clear(rt->lane);
        return LQ_OK;
    }
    lq_lane_free(rt->lane);
    rt->lane = NULL;
    return lq_lane_open(&rt->lane, rt, &options, err);
}

/* The tokens of one feed, those from `first` on with logits. */
static enum lq_status feed(struct lq_runtime *rt, const llama_token *tokens, size_t n, size_t first,
                           lq_logits_fn *logits, void *data, struct lq_error *err)
{
    struct lq_lane_item items[STEP] = {{0}};
    for (size_t i = 0; i < n; i++) items[i] = (struct lq_lane_item){.token = tokens[i], .wanted = i >= first};
    enum lq_status status = lq_lane_feed(rt->lane, items, n, err);
    for (size_t i = first; i < n && status == LQ_OK; i++) logits(data, lq_lane_logits(rt->lane, i));
    return status;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static enum lq_status decode_text(struct lq_runtime *rt, const struct lq_tokens *tokens, size_t first,
                                  lq_logits_fn *logits, void *data, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t at = 0, n = 0; at < tokens->n && status == LQ_OK; at += n) {
        size_t unwanted = first > at ? first - at : 0;
        n = least(least(tokens->n - at, least(lq_lane_most(rt->lane), STEP)), unwanted + lq_lane_most_wanted(rt->lane));
        status = feed(rt, tokens->items + at, n, unwanted, logits, data, err);
    }
    return status;
}

size_t lq_session_room(const struct lq_runtime *rt)
{
    return lq_lane_cells(rt->lane) - lq_lane_length(rt->lane, 0);
}

enum lq_status lq_session_begin(struct lq_runtime *rt, const struct lq_tokens *head, const struct lq_tokens *tail,
                                size_t first, lq_logits_fn *logits, void *data, struct lq_error *err)
{
    enum lq_status status = prepare_lane(rt, err);
    if (status != LQ_OK) return status;
    size_t picture = lq_view_tokens(rt->view), needed = head->n + picture + tail->n;
    if (needed > lq_lane_cells(rt->lane))
        return lq_error_set(err, LQ_ERR_USAGE,
                            "%s: the prompt takes %zu tokens (picture %zu, text %zu), the context holds %u: "
                            "ask less or give a larger context",
                            rt->language, needed, picture, head->n + tail->n, lq_lane_cells(rt->lane));
    status = decode_text(rt, head, head->n, NULL, NULL, err);
    if (status == LQ_OK) status = lq_lane_show(rt->lane, 0, rt->view, err);
    if (status == LQ_OK) status = decode_text(rt, tail, first, logits, data, err);
    return status;
}

enum lq_status lq_session_continue(struct lq_runtime *rt, llama_token token, lq_logits_fn *logits, void *data,
                                   struct lq_error *err)
{
    return feed(rt, &token, 1, 0, logits, data, err);
}
