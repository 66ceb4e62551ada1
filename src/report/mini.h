/* Plots of a line's height that stand in table cells, all rows of a column on one scale.
 *
 *     lq_mini_interval(page, &divergence->kl, most);
 */
#ifndef LQ_REPORT_MINI_H
#define LQ_REPORT_MINI_H

#include "llava_quantize/evaluate.h"
#include "report/page.h"

/* A value with its interval on a scale from 0 to `most`. */
void lq_mini_interval(struct lq_page *page, const struct lq_estimate *e, double most);
/* Two shares on a scale from 0 to 1: a ring for the original, a dot for the pair. */
void lq_mini_shares(struct lq_page *page, double original, double pair);

#endif
