/* What the files of an output are called.
 *
 *     char *path = lq_path_of_half(model, plan, "out", LQ_LANGUAGE);   // "out/llava-Q4_K_M.gguf"
 *     char *shard = lq_path_of_shard(path, 2, 3);                      // "out/llava-Q4_K_M-00002-of-00003.gguf"
 */
#ifndef LQ_QUANTIZE_PATHS_H
#define LQ_QUANTIZE_PATHS_H

#include "llava_quantize/quantize.h"

/* To be freed, both; NULL when memory is short. */
char *lq_path_of_half(const struct lq_model *model, const struct lq_plan *plan, const char *output, enum lq_half half);
char *lq_path_of_shard(const char *path, uint32_t number, uint32_t count);
/* LQ_ERR_USAGE when `path` is also a file of the input. */
enum lq_status lq_path_check_not_input(const struct lq_model *model, const char *path, struct lq_error *err);
/* A file of the same name, whole or a shard of another count, that stands beside a half's `files` and is none of them:
 * an earlier output. To be freed; NULL where there is none. */
char *lq_path_find_other(const struct lq_quantize_file *files, size_t n);

#endif
