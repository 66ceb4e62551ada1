/* A plan, and the errors made when it was carried out, summed by half and role: what the table and the JSON show.
 *
 *     struct cli_summary *s = cli_summary_new(plan, result);     // result NULL: a plan alone
 *     printf("%.2f bits per weight\n", cli_sum_bpw(&s->total));
 *     free(s);
 */
#ifndef LQ_CLI_SUMMARY_H
#define LQ_CLI_SUMMARY_H

#include "llava_quantize/quantize.h"

struct cli_sum {
    size_t tensors;
    uint64_t weights, weights_before; /* as written and as read: zeros may be added */
    uint64_t before, after;           /* bytes */
    uint64_t types;                   /* bit i: some tensor is written in ggml type i */
    double error_sq, weight_sq;
};

struct cli_summary {
    struct cli_sum role[LQ_HALVES][LQ_ROLES], half[LQ_HALVES], total;
};

/* NULL when memory is short; free with free(). */
struct cli_summary *cli_summary_new(const struct lq_plan *plan, const struct lq_quantize_result *result);

/* Bits per weight over all tensors summed, as llama.cpp counts it. */
double cli_sum_bpw(const struct cli_sum *sum);
/* The same of the input. */
double cli_sum_bpw_before(const struct cli_sum *sum);
/* Root of the summed squared error over the root of the summed squared weights; 0 when nothing was lost. */
double cli_relative_error(double error_sq, double weight_sq);

/* What error feedback did: to how many tensors, and by what share it lowered their output error, in the mean. */
struct cli_feedback {
    size_t tensors;
    double lowered;
};
/* `result` may be NULL. */
struct cli_feedback cli_feedback_sum(const struct lq_quantize_result *result);
/* The same of one tensor: 0.5 where half of the error is left. */
double cli_feedback_lowered(const struct lq_quantize_outcome *outcome);

/* "vision", "language". */
const char *cli_half_name(int half);

#endif
