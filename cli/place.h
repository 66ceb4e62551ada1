/* Where a result is to go, looked at before the work that makes it. */
#ifndef LQ_CLI_PLACE_H
#define LQ_CLI_PLACE_H

#include "llava_quantize/base.h"

/* LQ_ERR_IO when no ordinary file can be written at `path`; NULL is well. */
enum lq_status cli_place_check(const char *path, struct lq_error *err);
/* LQ_ERR_USAGE when `path` is the existing file `input`; either may be NULL. */
enum lq_status cli_place_apart(const char *path, const char *input, struct lq_error *err);

#endif
