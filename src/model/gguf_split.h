/* The files of one GGUF model: one, or the shards that llama.cpp's gguf-split makes of it.
 *
 * Enters: the path of a file, which may be any shard. Leaves: all files opened in the store, in order.
 * Invariants: a shard is called STEM-0000I-of-0000N.gguf and says so in split.no and split.count; all shards are there
 * and none beyond them, belong to one model, and hold as many tensors as split.tensors.count promises, none twice. The
 * first one has the metadata.
 *
 *     struct lq_gguf_files files;
 *     if (lq_gguf_files_open(&files, store, "llava-00002-of-00003.gguf", &err) == LQ_OK)
 *         puts(lq_gguf_files_at(store, &files, 0)->path);   // llava-00001-of-00003.gguf
 */
#ifndef LQ_MODEL_GGUF_SPLIT_H
#define LQ_MODEL_GGUF_SPLIT_H

#include "model/store.h"

struct lq_gguf_files {
    size_t first, n; /* within the store's sources */
    size_t n_tensors;
};

/* Errors: LQ_ERR_IO (a missing shard, by the path expected), LQ_ERR_FORMAT (a surplus or foreign one, by its path). A
 * file that is no GGUF counts as one file. */
enum lq_status lq_gguf_files_open(struct lq_gguf_files *out, struct lq_model_store *store, const char *path,
                                  struct lq_error *err);
const struct lq_source *lq_gguf_files_at(const struct lq_model_store *store, const struct lq_gguf_files *files,
                                         size_t i);
/* NULL when no file has it; else also its place among all tensors of the files. */
const struct lq_source_tensor *lq_gguf_files_find(const struct lq_model_store *store, const struct lq_gguf_files *files,
                                                  const char *name, size_t *place);

#endif
