#include "inspect/verify_run.h"

#include "base/file.h"
#include "model/store.h"

#include <inttypes.h>

/* The first byte that is not zero in [from, to) of a file; `to` when there is none. */
static enum lq_status first_byte(const struct lq_source *source, uint64_t from, uint64_t to, uint64_t *out,
                                 struct lq_error *err)
{
    uint8_t bytes[4096];
    *out = to;
    for (uint64_t at = from; at < to; at += sizeof bytes) {
        uint64_t n = to - at < sizeof bytes ? to - at : sizeof bytes;
        enum lq_status status = lq_file_read(source->fd, source->path, at, bytes, n, err);
        if (status != LQ_OK) return status;
        uint64_t zeros = 0;
        while (zeros < n && bytes[zeros] == 0) zeros++;
        *out = at + zeros;
        if (zeros < n) return LQ_OK;
    }
    return LQ_OK;
}

static enum lq_status check_gap(struct lq_verify_run *run, const struct lq_source *source, const char *tensor,
                                uint64_t from, uint64_t to, struct lq_error *err)
{
    uint64_t found = to;
    enum lq_status status = first_byte(source, from, to, &found, err);
    if (status != LQ_OK || found == to) return status;
    return lq_run_find(run, LQ_CHECK_PADDING, err,
                       "%s: byte %" PRIu64 ", in the padding behind tensor '%s', is not zero", source->path, found,
                       tensor);
}

/* Behind the last tensor of a file stands less than one alignment. */
static enum lq_status check_end(struct lq_verify_run *run, const struct lq_source *source, const char *tensor,
                                uint64_t from, struct lq_error *err)
{
    if (source->file_bytes - from < source->alignment)
        return check_gap(run, source, tensor, from, source->file_bytes, err);
    return lq_run_find(run, LQ_CHECK_PADDING, err, "%s: %" PRIu64 " bytes stand behind the last tensor, '%s'",
                       source->path, source->file_bytes - from, tensor);
}

static enum lq_status check_half(struct lq_verify_run *run, const struct lq_model_half *half, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < half->n_tensors && status == LQ_OK; i++) {
        const struct lq_origin *origin = half->tensors[i].origin;
        const struct lq_origin *next = i + 1 < half->n_tensors ? half->tensors[i + 1].origin : NULL;
        uint64_t end = origin->tensor->offset + origin->tensor->bytes;
        status = next != NULL && next->source == origin->source
                     ? check_gap(run, origin->source, half->tensors[i].name, end, next->tensor->offset, err)
                     : check_end(run, origin->source, half->tensors[i].name, end, err);
    }
    return status;
}

enum lq_status lq_verify_padding(struct lq_verify_run *run, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (int h = 0; h < LQ_HALVES && status == LQ_OK; h++)
        if (run->model->half[h] != NULL) status = check_half(run, run->model->half[h], err);
    if (status == LQ_OK) lq_run_pass(run, LQ_CHECK_PADDING, "zero between and behind all tensors");
    return status;
}
