/* The compared tensors of a verification, summed by half and role. */
#ifndef LQ_CLI_VERIFY_SUMS_H
#define LQ_CLI_VERIFY_SUMS_H

#include "llava_quantize/verify.h"

struct cli_verify_sum {
    size_t tensors;
    uint64_t weights, types; /* bit i of types: some tensor is ggml type i */
    double error_sq, weight_sq;
    const struct lq_tensor *worst; /* the tensor with the worst block; NULL when nothing was lost */
    const struct lq_verify_tensor *worst_seen;
};

struct cli_verify_sums {
    struct cli_verify_sum role[LQ_HALVES][LQ_ROLES], half[LQ_HALVES], total;
};

/* NULL when memory is short; free with free(). */
struct cli_verify_sums *cli_verify_sums_new(const struct lq_verification *seen);

#endif
