/* Which file each tensor goes to, and how a file's metadata and tensors are described to the writer.
 *
 * Enters: a model, a plan, the user's wishes about splitting. Leaves: what lq_quantize_files gives, or one file laid
 * out.
 * Invariants: files follow the order of the plan's entries; a size limit counts the whole file, header included.
 */
#ifndef LQ_QUANTIZE_FILES_H
#define LQ_QUANTIZE_FILES_H

#include "llava_quantize/quantize.h"
#include "write/write.h"

/* Lays out the output's file `index`, which is files[index], with the types that the plan gives now. */
enum lq_status lq_files_begin(struct lq_output *output, const struct lq_quantize_file *files, size_t index,
                              const struct lq_model *model, const struct lq_plan *plan,
                              const struct lq_quantize_options *options, struct lq_error *err);

#endif
