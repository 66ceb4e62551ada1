/* Running the passes of a calibration. */
#ifndef LQ_CALIBRATE_GATHER_PASS_H
#define LQ_CALIBRATE_GATHER_PASS_H

#include "calibrate/gathering.h"

/* Sums up all that is missing. LQ_ERR_CANCELLED: up to the end of a step; everything is as if the steps ended there. */
enum lq_status lq_gather_passes(struct lq_calibration *c, struct lq_error *err);

#endif
