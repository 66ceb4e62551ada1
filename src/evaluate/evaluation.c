#include "evaluate/evaluation.h"

#include <stdlib.h>

#include "evaluate/result_fields.h"

const double lq_dp_percentiles[LQ_DP_PERCENTILES] = {0.1, 1, 5, 50, 95, 99, 99.9};

const char *lq_arm_name(enum lq_arm arm)
{
    static const char *const names[LQ_ARMS] = {"both", "language", "vision"};
    return names[arm];
}

struct lq_evaluation *lq_evaluation_new(void)
{
    struct lq_evaluation *e = calloc(1, sizeof *e);
    if (e == NULL) return NULL;
    lq_fields_clear(&lq_result_fields, e);
    e->arm[LQ_ARM_BOTH].measured = true;
    return e;
}

void lq_evaluation_free(struct lq_evaluation *evaluation)
{
    if (evaluation == NULL) return;
    lq_fields_release(&lq_result_fields, evaluation);
    free(evaluation);
}
