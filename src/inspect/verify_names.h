/* A half's tensors by name. */
#ifndef LQ_INSPECT_VERIFY_NAMES_H
#define LQ_INSPECT_VERIFY_NAMES_H

#include "llava_quantize/model.h"

/* n_tensors pointers in the order of strcmp, to be freed; NULL when memory is short. */
const struct lq_tensor **lq_names_sort(const struct lq_model_half *half);
/* NULL when none of the `n` has this name. */
const struct lq_tensor *lq_names_find(const struct lq_tensor *const *list, size_t n, const char *name);

#endif
