/* How much an error at a token of a picture costs the answers, and one at a token of text, measured.
 *
 * Enters: a pair, a data set. Leaves: a weight for each kind of token, by which its inputs count in statistics.
 * Method: MBQ (Li et al., arXiv 2412.19509) finds the tokens of pictures to be many times less sensitive than those
 * of text, and weighs calibration by it; it takes gradients, which a runtime without a backward pass has not. Here
 * products are disturbed instead: to every output of every matrix of the language half, but only at the tokens of
 * one kind, a random sign times a small part of what that matrix's outputs usually are is added, and the divergence
 * of the answers from the undisturbed ones is taken, per token disturbed. For small errors that is the mean
 * curvature by which an error at such a token must be weighed, which is what weights of second moments stand for.
 * The ratio of both kinds is averaged over records by its logarithm, because single records differ tenfold.
 * Text without a picture before it takes the weight of text behind one. Measuring it would compare what cannot be
 * compared: the few tokens before a picture are always the same, and questions about a picture that is not there are
 * nothing that the model knows to answer.
 * Invariants: the same pair, data and seed give the same weights on one machine; they are positive and their mean is 1.
 *
 *     double weights[LQ_KINDS];
 *     lq_sensitivity_measure(weights, &(struct lq_runtime_options){.language = l, .mmproj = m}, data, 32, 1, &err);
 */
#ifndef LQ_CALIBRATE_SENSITIVITY_H
#define LQ_CALIBRATE_SENSITIVITY_H

#include "calibrate/stats_file.h"
#include "llava_quantize/dataset.h"
#include "llava_quantize/runtime.h"

/* At most `n_records` records, evenly spread over the data set, each run three times. One whose picture cannot be
 * read is left out, and the log told. Opens the pair, and closes it again. Errors: those of opening it;
 * LQ_ERR_USAGE when no record tells anything; LQ_ERR_RUNTIME, LQ_ERR_MEMORY, LQ_ERR_CANCELLED. On failure `weights`
 * is untouched. */
enum lq_status lq_sensitivity_measure(double weights[LQ_KINDS], const struct lq_runtime_options *pair,
                                      const struct lq_dataset *data, size_t n_records, uint64_t seed,
                                      struct lq_error *err);

#endif
