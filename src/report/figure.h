/* Figures as a reader wants them: few digits, a unit, and "not measured" for NaN.
 *
 *     lq_page_put(page, "<td>%s</td>", lq_figure_kl(divergence->kl.value).s);
 */
#ifndef LQ_REPORT_FIGURE_H
#define LQ_REPORT_FIGURE_H

#include "llava_quantize/evaluate.h"
#include "report/page.h"

struct lq_figure {
    char s[64];
};

extern const char lq_not_measured[]; /* what every figure is that is NaN */

/* Three digits that count: "0.0123", "1.20", "4.1×10⁻⁶", "0". */
struct lq_figure lq_figure_kl(double nats);
/* A round number at an axis: "0.02", "5×10⁻⁶". */
struct lq_figure lq_figure_tick(double value);
/* `digits` behind the point. */
struct lq_figure lq_figure_number(double value, int digits);
/* A share as per cent, with `digits` behind the point. */
struct lq_figure lq_figure_percent(double share, int digits);
/* "512 B", "3.20 MiB", "13.2 GiB"; 0 is not measured. */
struct lq_figure lq_figure_size(uint64_t bytes);
/* "4.2 s", "3 min 20 s", "2 h 5 min". */
struct lq_figure lq_figure_time(double seconds);

bool lq_is_measured(const struct lq_estimate *e);
/* Per cent with one digit. */
struct lq_figure lq_figure_share(double share);
/* "0.010 – 0.014" and "89.3 – 93.3 %"; empty without an interval. */
struct lq_figure lq_figure_kl_interval(const struct lq_estimate *e);
struct lq_figure lq_figure_share_interval(const struct lq_estimate *e);

#endif
