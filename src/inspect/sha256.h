/* SHA-256 of a stretch of a file, in hexadecimal. */
#ifndef LQ_INSPECT_SHA256_H
#define LQ_INSPECT_SHA256_H

#include "llava_quantize/base.h"

enum { LQ_SHA256_LENGTH = 64 };

struct lq_sha256 {
    char text[LQ_SHA256_LENGTH + 1];
};

/* Bytes [from, to) of `fd`; `name` stands in messages. `cancelled` may be NULL; it is asked every few megabytes.
 * Errors: LQ_ERR_IO, LQ_ERR_MEMORY, LQ_ERR_CANCELLED. Thread-safe. */
enum lq_status lq_sha256_file(struct lq_sha256 *out, int fd, const char *name, uint64_t from, uint64_t to,
                              const struct lq_hooks *hooks, struct lq_error *err);

#endif
