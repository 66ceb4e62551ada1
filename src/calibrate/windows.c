#include "calibrate/windows.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "runtime/dialogue.h"
#include "runtime/lane.h"
#include "runtime/utf8.h"

#define LARGEST_TEXT (UINT64_C(64) << 20)

static enum lq_status choose_window(uint32_t *out, const char *path, const struct lq_runtime *rt, uint32_t asked,
                                    struct lq_error *err)
{
    size_t context = lq_runtime_trained_context(rt);
    if (asked == 0) asked = context < LQ_USUAL_WINDOW ? (uint32_t)context : LQ_USUAL_WINDOW;
    if (asked > context || asked < LQ_SMALLEST_WINDOW)
        return lq_error_set(err, LQ_ERR_USAGE,
                            "%s: a window of %u tokens; %d to %zu, the model's context, are possible", path, asked,
                            LQ_SMALLEST_WINDOW, context);
    *out = asked;
    return LQ_OK;
}

/* The begin token is what an empty text gives. */
static enum lq_status find_begin(int32_t *out, const struct lq_runtime *rt, struct lq_error *err)
{
    int32_t *tokens = NULL;
    size_t n = 0;
    enum lq_status status = lq_runtime_tokenise(&tokens, &n, rt, "", 0, err);
    if (status == LQ_OK) *out = n > 0 ? tokens[0] : -1;
    free(tokens);
    return status;
}

enum lq_status lq_windows_load(struct lq_windows *out, const char *path, const struct lq_runtime *rt, uint32_t window,
                               size_t limit, struct lq_error *err)
{
    struct lq_windows w = {.begin = -1};
    char *text = NULL;
    size_t size = 0, n = 0;
    enum lq_status status = choose_window(&w.window, path, rt, window, err);
    if (status == LQ_OK) status = lq_file_load(path, LARGEST_TEXT, &text, &size, err);
    if (status == LQ_OK && (strlen(text) != size || !lq_utf8_valid(text)))
        status = lq_error_set(err, LQ_ERR_FORMAT, "%s: not a text in UTF-8", path);
    if (status == LQ_OK) status = find_begin(&w.begin, rt, err);
    if (status == LQ_OK && (status = lq_runtime_tokenise(&w.tokens, &n, rt, text, size, err)) != LQ_OK)
        lq_error_prefix(err, "%s", path);
    if (status != LQ_OK) goto done;
    w.n = n / w.window;
    if (limit != 0 && w.n > limit) w.n = limit;
    lq_hash_text(w.hash, XXH3_128bits(text, size));
    if (w.n == 0)
        status = lq_error_set(err, LQ_ERR_USAGE,
                              "%s: %zu tokens, but a window takes %u: give a longer text or a smaller --window", path,
                              n, w.window);
done:
    free(text);
    if (status == LQ_OK) *out = w;
    else lq_windows_release(&w);
    return status;
}

void lq_windows_release(struct lq_windows *windows)
{
    free(windows->tokens);
    *windows = (struct lq_windows){0};
}
