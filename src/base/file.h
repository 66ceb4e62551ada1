/* Positioned whole reads and writes: the only places where the program meets short counts and EINTR. */
#ifndef LQ_BASE_FILE_H
#define LQ_BASE_FILE_H

#include "llava_quantize/base.h"

/* `name` stands in the message. A file that ends early is LQ_ERR_IO ("... ends at byte N of M"). */
enum lq_status lq_file_read(int fd, const char *name, uint64_t offset, void *dst, uint64_t n, struct lq_error *err);
enum lq_status lq_file_write(int fd, const char *name, uint64_t offset, const void *src, uint64_t n,
                             struct lq_error *err);
/* A whole small file (at most `limit` bytes), terminated by an extra 0; free() it. */
enum lq_status lq_file_load(const char *path, uint64_t limit, char **out, size_t *size, struct lq_error *err);
/* Writes a small file under a temporary name, syncs and renames it. Never over a device or a pipe. */
enum lq_status lq_file_save(const char *path, const void *data, size_t size, struct lq_error *err);

#endif
