#include "calibrate/kind_weights.h"

enum lq_status lq_kind_weights(double weights[LQ_KINDS], const uint64_t tokens[LQ_KINDS], enum lq_weighting weighting,
                               const double ratio[LQ_KINDS], struct lq_error *err)
{
    double wanted[LQ_KINDS], all = 0, sum = 0;
    for (int k = 0; k < LQ_KINDS; k++) {
        double n = (double)tokens[k];
        wanted[k] = n == 0                               ? 0
                    : weighting == LQ_WEIGHTING_COUNTS   ? n
                    : weighting == LQ_WEIGHTING_EQUAL    ? 1
                    : weighting == LQ_WEIGHTING_MEASURED ? n * ratio[k]
                                                         : ratio[k];
        all += n;
        sum += wanted[k];
    }
    if (!(sum > 0)) return lq_error_set(err, LQ_ERR_USAGE, "with these weights no token of the data would count");
    for (int k = 0; k < LQ_KINDS; k++) weights[k] = tokens[k] == 0 ? 0 : wanted[k] / sum * (all / (double)tokens[k]);
    return LQ_OK;
}
