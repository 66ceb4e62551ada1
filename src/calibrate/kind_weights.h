/* How much one token of each kind counts, from how many there are of each.
 *
 * Enters: tokens of each kind, a recipe. Leaves: a weight for each kind; weights times tokens add up to the tokens, so
 * that "all the same" gives exactly 1 to each.
 */
#ifndef LQ_CALIBRATE_KIND_WEIGHTS_H
#define LQ_CALIBRATE_KIND_WEIGHTS_H

#include "calibrate/stats_file.h"
#include "llava_quantize/gather.h"

/* `ratio`: what the kinds' sums are to be, for LQ_WEIGHTING_RATIO; a token's weight, for LQ_WEIGHTING_MEASURED. Errors:
 * LQ_ERR_USAGE when nothing would count. */
enum lq_status lq_kind_weights(double weights[LQ_KINDS], const uint64_t tokens[LQ_KINDS], enum lq_weighting weighting,
                               const double ratio[LQ_KINDS], struct lq_error *err);

#endif
