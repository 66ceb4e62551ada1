/* Writing GGUF files so that nobody ever sees half of one.
 *
 * Enters: metadata, tensor shapes and types, then encoded bytes at any time from any thread. Leaves: finished
 * files under their final names, or the state as it was before.
 * Invariants: before commit nothing carries a final name (an unnamed O_TMPFILE where the file system has it, else a
 * hidden temporary name that does not end in ".gguf"); commit syncs, re-opens through lq_source, compares structure,
 * and renames all or none; a crash between two renames is rolled forward by the next lq_output_open on the same paths.
 *
 *     struct lq_output *o = NULL;
 *     lq_output_open(&o, paths, n_files, force, &err);         // checks place, permissions, existing files, leftovers
 *     lq_output_begin(o, 0, kvs, tensors, n, align, &err);     // checks space for this file
 *     lq_output_write(o, 0, tensor_index, offset, bytes, size, &err);  // any thread
 *     lq_output_commit(o, pair_id, &err);
 *     lq_output_close(o);                                      // discards what was not committed
 */
#ifndef LQ_WRITE_WRITE_H
#define LQ_WRITE_WRITE_H

#include "llava_quantize/codec.h"
#include "source/kv.h"

enum { LQ_OUTPUT_FILES = 256 }; /* so many at most: each takes descriptors until all have their names */

struct lq_output;

struct lq_output_tensor {
    const char *name;
    enum lq_type type;
    uint32_t n_dims;
    uint64_t ne[4];
};

/* Files are numbered as their paths are, all in one folder. A missing folder is made on commit, with those above it.
 * Errors: LQ_ERR_USAGE (no path or too many, a file exists and `force` is not given, a path that is a folder),
 * LQ_ERR_IO (not a folder, not writable, another run is writing there), LQ_ERR_FORMAT (a damaged commit record). On
 * failure *out is untouched. */
enum lq_status lq_output_open(struct lq_output **out, const char *const *paths, size_t n, bool force,
                              struct lq_error *err);
/* Lays out one file, looks whether there is space for it and writes its header. `kvs` must hold "llava_quantize.pair_id" as a 32-character
 * placeholder when commit is to fill it in. All is copied. To be called once for each file.
 * Errors: LQ_ERR_IO (the message gives the bytes needed by all files begun and those free), LQ_ERR_USAGE (a tensor
 * that no GGUF file can hold), LQ_ERR_MEMORY. On failure this file is not begun. */
enum lq_status lq_output_begin(struct lq_output *o, size_t file, const struct lq_kvs *kvs,
                               const struct lq_output_tensor *tensors, size_t n_tensors, uint32_t alignment,
                               struct lq_error *err);
/* Bytes of one tensor's data at `offset` within it; each byte is written once. The first writes take space for all of
 * the file. Thread-safe. Errors: LQ_ERR_IO, and LQ_ERR_USAGE for bytes outside the tensor. */
enum lq_status lq_output_write(struct lq_output *o, size_t file, size_t tensor, uint64_t offset, const void *data,
                               uint64_t size, struct lq_error *err);
/* Puts pair_id (32 hex characters) in place of the placeholder, syncs, re-opens and verifies (structure, types, shapes;
 * scales were validated by the encoder as they were written), then gives the files their names. Errors: LQ_ERR_USAGE (a
 * tensor that was not written in full; a name that was taken meanwhile), LQ_ERR_IO (also a file that reads back
 * differently). On failure no file has its name; see write/commit.h for a disk that fails in between. */
enum lq_status lq_output_commit(struct lq_output *o, const char *pair_id, struct lq_error *err);
/* Discards what was not committed. NULL is legal. */
void lq_output_close(struct lq_output *o);

#endif
