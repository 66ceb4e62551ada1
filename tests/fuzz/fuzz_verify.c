/* Any bytes as a model file, verified against itself; the same bytes as a file of sums. */
#include "anonymous.h"

#include "inspect/sums_file.h"
#include "llava_quantize/verify.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void verify(const struct lq_model *model)
{
    struct lq_verify_options options = {.original = model, .limit_error = true, .threads = 1};
    struct lq_verification *seen = NULL;
    if (lq_verify_model(&seen, model, &options, NULL) != LQ_OK) return;
    for (size_t i = 0; i < seen->n_findings; i++) /* nothing differs from itself */
        if (seen->findings[i].check == LQ_CHECK_TENSORS || seen->findings[i].check == LQ_CHECK_METADATA) abort();
    lq_verification_free(seen);
}

static void read_sums(const char *path)
{
    struct lq_sums_file sums = {0};
    struct lq_sha256 sum;
    if (lq_sums_load(&sums, path, NULL) != LQ_OK) return;
    for (int what = 0; what < LQ_SUMS; what++) lq_sums_find(&sums, (enum lq_sum_of)what, "model.gguf", &sum);
    lq_sums_release(&sums);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lq_model_options options = {.only = -1, .lenient = true};
    struct lq_model *model = NULL;
    char path[64];
    int fd = anonymous_file(data, size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (lq_model_open(&model, path, &options, NULL) == LQ_OK) verify(model);
    lq_model_free(model);
    read_sums(path);
    close(fd);
    return 0;
}
