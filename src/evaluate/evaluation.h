/* An evaluation in which nothing is measured yet, for whoever fills one. */
#ifndef LQ_EVALUATE_EVALUATION_H
#define LQ_EVALUATE_EVALUATION_H

#include "llava_quantize/evaluate.h"

/* All numbers NaN, all texts and lists NULL, LQ_ARM_BOTH measured. NULL without memory; lq_evaluation_free. */
struct lq_evaluation *lq_evaluation_new(void);

#endif
