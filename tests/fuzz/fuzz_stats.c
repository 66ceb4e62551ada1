/* Any bytes as an importance matrix, in both forms: an error, or finite values that are not negative. */
#include "anonymous.h"
#include "llava_quantize/calibrate.h"

#include <math.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_values(const struct lq_stats *im, const char *name)
{
    for (uint64_t n = 1; n <= 64; n++) {
        const struct lq_tensor t = {.name = name, .ne = {n, 1, 1, 1}};
        const float *v = lq_stats_importance(im, &t);
        for (uint64_t i = 0; v != NULL && i < n; i++)
            if (!isfinite(v[i]) || v[i] < 0) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lq_stats *im = NULL;
    struct lq_error err = {0};
    char path[64];
    int fd = anonymous_file(data, size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    enum lq_status status = lq_stats_load(&im, path, &err);
    close(fd);
    if (status != LQ_OK) {
        if (im != NULL || err.status != status || err.message[0] == 0) abort();
        return 0;
    }
    check_values(im, "blk.0.attn_q.weight");
    check_values(im, "w");
    lq_stats_free(im);
    return 0;
}
