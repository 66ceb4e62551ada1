/* How fast this machine runs this pair, measured on a record, and sums up second moments. */
#ifndef LQ_CALIBRATE_GATHER_RATES_H
#define LQ_CALIBRATE_GATHER_RATES_H

#include "calibrate/gathering.h"

struct lq_rates {
    double token_seconds, picture_seconds; /* of one */
    double flops;                          /* of summing second moments; 0 where none are wanted */
    double full_seconds, vision_seconds;   /* of one pass over all steps that are to come; the vision half's share */
    double moments_seconds;                /* of summing all second moments */
};

/* Runs the first record once more, unless it takes long: then the time of its first run must do. */
enum lq_status lq_rates_measure(struct lq_rates *out, struct lq_calibration *c, struct lq_error *err);
/* Tokens that one input is still to see, by what the first record gave. */
double lq_rows_to_come(const struct lq_calibration *c, size_t input);
/* Steps that all sums hold. */
uint64_t lq_steps_done(const struct lq_calibration *c);

#endif
