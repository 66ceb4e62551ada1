/* A text as windows of tokens, cut as llama-perplexity and llama-imatrix cut it.
 *
 * Enters: a UTF-8 file, a runtime's vocabulary. Leaves: the tokens of all windows, one behind the other.
 * Invariants: tokens that do not fill a last window are left out; each window starts anew, its first token to be replaced
 * by the begin token where the model wants one. (llama.cpp 0.5.0, tools/perplexity/perplexity.cpp, tools/imatrix/imatrix.cpp)
 */
#ifndef LQ_CALIBRATE_WINDOWS_H
#define LQ_CALIBRATE_WINDOWS_H

#include "llava_quantize/runtime.h"

struct lq_windows {
    int32_t *tokens;
    uint32_t window; /* tokens of one */
    size_t n;        /* windows */
    int32_t begin;   /* -1: none */
    char hash[33];   /* XXH3-128 of the file, hexadecimal */
};

enum { LQ_USUAL_WINDOW = 512, LQ_SMALLEST_WINDOW = 8 };

/* window 0: LQ_USUAL_WINDOW, or the model's context where that is shorter; at most `limit` windows, 0: all. Errors:
 * LQ_ERR_IO, LQ_ERR_USAGE (a window longer than the context, a text shorter than a window), those of the tokenizer. On
 * failure *out is untouched; else lq_windows_release it. */
enum lq_status lq_windows_load(struct lq_windows *out, const char *path, const struct lq_runtime *rt, uint32_t window,
                               size_t limit, struct lq_error *err);
void lq_windows_release(struct lq_windows *windows);

#endif
