/* A file of SHA-256 sums as sha256sum writes and checks them.
 *
 * Enters: its text. Leaves: which sum it gives for a name.
 * Invariants: names are compared without folders. Lines that begin with "#" are comments to sha256sum; "#data SUM NAME"
 * is ours: the sum of the tensor data alone.
 *
 *     3b01...e9  model.gguf
 *     #data 77ac...01  model.gguf
 */
#ifndef LQ_INSPECT_SUMS_FILE_H
#define LQ_INSPECT_SUMS_FILE_H

#include "inspect/sha256.h"

enum lq_sum_of { LQ_SUM_FILE, LQ_SUM_DATA, LQ_SUMS };

struct lq_sums_file {
    char *text; /* owned */
    size_t size;
};

/* Reads the file and looks at every line. Errors: LQ_ERR_IO, LQ_ERR_MEMORY, LQ_ERR_FORMAT for a line of another form.
 */
enum lq_status lq_sums_load(struct lq_sums_file *out, const char *path, struct lq_error *err);
void lq_sums_release(struct lq_sums_file *sums);
/* False when the file has none for this name. */
bool lq_sums_find(const struct lq_sums_file *sums, enum lq_sum_of what, const char *name, struct lq_sha256 *out);

#endif
