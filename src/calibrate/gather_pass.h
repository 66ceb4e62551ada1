/* Running the passes of a calibration. */
#ifndef LQ_CALIBRATE_GATHER_PASS_H
#define LQ_CALIBRATE_GATHER_PASS_H

#include "calibrate/gathering.h"

/* Tokens that all passes will run, those of an earlier run left out. */
uint64_t lq_tokens_to_run(const struct lq_calibration *c);
/* Sums up all that is missing. LQ_ERR_CANCELLED: up to the end of a step; everything is as if the steps ended there. */
enum lq_status lq_gather_passes(struct lq_calibration *c, struct lq_error *err);

#endif
