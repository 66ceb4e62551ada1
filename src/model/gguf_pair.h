/* Opening GGUF files as a model: a folder that holds a pair, a language file with its mmproj, or one half alone.
 *
 * Enters: a path and the caller's options. Leaves: one or two halves in the store.
 * Invariants: a guess is never made: several candidates are refused and listed, widths that do not match too.
 */
#ifndef LQ_MODEL_GGUF_PAIR_H
#define LQ_MODEL_GGUF_PAIR_H

#include "model/store.h"

enum lq_status lq_gguf_open_folder(struct lq_model_store *store, const char *path,
                                   const struct lq_model_options *options, struct lq_error *err);
enum lq_status lq_gguf_open_file(struct lq_model_store *store, const char *path, const struct lq_model_options *options,
                                 struct lq_error *err);

/* The matrix of a vision half whose rows are the projector's output width; NULL where the family is not certain. */
const char *lq_projector_last_matrix(const struct lq_kvs *vision);

#endif
