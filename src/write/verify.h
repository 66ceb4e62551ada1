/* Reading a finished file back before anybody else can.
 *
 * Enters: the descriptor of a synced file, and what it is meant to hold. Leaves: LQ_OK, or the first difference.
 * The file is parsed by the reader that will open it later, so that what is compared is what users will get: every key
 * with its value, every tensor's name, type, shape and position, the size of the file.
 */
#ifndef LQ_WRITE_VERIFY_H
#define LQ_WRITE_VERIFY_H

#include "write/layout.h"

/* Errors: LQ_ERR_IO (the file differs from what was written), and those of lq_source_open_fd. */
enum lq_status lq_verify(int fd, const char *path, const struct lq_layout *layout, const struct lq_kvs *kvs,
                         struct lq_error *err);

#endif
