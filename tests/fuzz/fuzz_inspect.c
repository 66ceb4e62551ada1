/* Any bytes as a model file: opened leniently, every key walked, every weight measured, every finding made. */
#include "anonymous.h"

#include "llava_quantize/inspect.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk_keys(const struct lq_model_half *half)
{
    volatile char sink = 0;
    for (size_t i = 0; i < lq_key_count(half); i++) {
        struct lq_key key = lq_key_at(half, i);
        struct lq_value v;
        uint64_t at = 0, n = 0;
        for (; lq_key_next(&key, &at, &v); n++)
            for (size_t c = 0; v.kind == LQ_VALUE_TEXT && c < v.length; c++) sink = v.text[c];
        if (n != key.count) abort();
    }
    (void)sink;
}

static void look(const struct lq_model *model)
{
    for (int backend = LQ_BACKEND_NONE; backend <= LQ_BACKEND_VULKAN; backend++) {
        struct lq_inspect_options options = {.weights = backend == LQ_BACKEND_NONE, .threads = 1, .backend = backend};
        struct lq_inspection *seen = NULL;
        if (lq_inspect(&seen, model, &options, NULL) == LQ_OK) lq_inspection_free(seen);
    }
    for (int h = 0; h < LQ_HALVES; h++)
        if (model->half[h] != NULL) walk_keys(model->half[h]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lq_model_options options = {.only = -1, .lenient = true};
    struct lq_model *model = NULL;
    char path[64];
    int fd = anonymous_file(data, size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (lq_model_open(&model, path, &options, NULL) == LQ_OK) look(model);
    lq_model_free(model);
    close(fd);
    return 0;
}
