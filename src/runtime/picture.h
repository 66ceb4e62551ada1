/* A picture's file, checked before any decoder sees it.
 *
 * Enters: a path. Leaves: the file's bytes, known to begin like a PNG, JPEG, BMP or GIF of a sane size.
 * Invariants: at most 64 MiB of file, 65535 pixels a side and 64 million in all (PNG: 32), so that decoding takes less
 * than a gigabyte.
 */
#ifndef LQ_RUNTIME_PICTURE_H
#define LQ_RUNTIME_PICTURE_H

#include "llava_quantize/base.h"

struct lq_picture_file {
    char *bytes; /* free() */
    size_t size;
    uint32_t width, height; /* as the header says */
    const char *kind;       /* "PNG", ... */
};

/* Errors, naming the path: LQ_ERR_IO (missing, unreadable), LQ_ERR_FORMAT (empty, no picture, damaged header),
 * LQ_ERR_UNSUPPORTED (too large). */
enum lq_status lq_picture_load(struct lq_picture_file *out, const char *path, struct lq_error *err);

#endif
