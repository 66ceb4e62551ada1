/* Writing GGUF files so that nobody ever sees half of one.
 *
 * Enters: metadata, tensor shapes and types, then encoded bytes at any time from any thread. Leaves: one or two finished
 * files under their final names, or the state as it was before.
 * Invariants: before commit nothing carries a final name (an unnamed O_TMPFILE where the file system has it, else a hidden
 * temporary name that does not end in ".gguf"); commit syncs, re-opens through lq_source, compares structure, and renames
 * both or neither; a crash between the two renames is rolled forward by the next lq_output_open on the same paths.
 *
 *     struct lq_output *o = NULL;
 *     lq_output_open(&o, paths, force, &err);                  // checks place, permissions, existing files, leftovers
 *     lq_output_begin(o, LQ_VISION, kvs, tensors, n, align, &err); // checks space for this half
 *     lq_output_write(o, LQ_VISION, tensor_index, offset, bytes, size, &err);  // any thread
 *     lq_output_commit(o, pair_id, &err);
 *     lq_output_close(o);                                      // discards what was not committed
 */
#ifndef LQ_WRITE_WRITE_H
#define LQ_WRITE_WRITE_H

#include "llava_quantize/model.h"
#include "source/kv.h"

struct lq_output;

struct lq_output_tensor {
    const char *name;
    enum lq_type type;
    uint32_t n_dims;
    uint64_t ne[4];
};

/* `path[half]` NULL: that half is not written. If the folder that holds the files does not exist it is made on commit. */
enum lq_status lq_output_open(struct lq_output **out, const char *const path[LQ_HALVES], bool force, struct lq_error *err);
/* Lays out one half and writes its header. `kvs` must hold "llava_quantize.pair_id" as a 32-character placeholder when
 * commit is to fill it in. Calling it again for the same half starts that half anew. Both halves' space is checked against the
 * file system: the message gives bytes needed and free. */
enum lq_status lq_output_begin(struct lq_output *o, enum lq_half half, const struct lq_kvs *kvs,
                               const struct lq_output_tensor *tensors, size_t n_tensors, uint32_t alignment, struct lq_error *err);
/* Bytes of one tensor's data at `offset` within it. Thread-safe. */
enum lq_status lq_output_write(struct lq_output *o, enum lq_half half, size_t tensor, uint64_t offset, const void *data,
                               uint64_t size, struct lq_error *err);
/* Puts pair_id (32 hex characters) in place of the placeholder, syncs, re-opens and verifies (structure, types, shapes; scales
 * were validated by the encoder as they were written), then gives both files their names. */
enum lq_status lq_output_commit(struct lq_output *o, const char *pair_id, struct lq_error *err);
uint64_t lq_output_file_bytes(const struct lq_output *o, enum lq_half half);
void lq_output_close(struct lq_output *o);

#endif
