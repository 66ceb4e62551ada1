/* The report: one HTML page that shows what a quantised pair lost.
 *
 * Enters: one or more evaluations, and the curve of the best plans beside them. Leaves: one self-contained page: no
 * network, no other file, light and dark, for a screen, a phone and paper.
 * Invariants: text from files is escaped; the same evaluations give the same bytes; the page is written whole or not at
 * all; what was not measured says so.
 *
 *     lq_report_save("report.html", evaluations, 2, NULL, &err);
 */
#ifndef LLAVA_QUANTIZE_REPORT_H
#define LLAVA_QUANTIZE_REPORT_H

#include "llava_quantize/evaluate.h"
#include "llava_quantize/strategy.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The best plan at each size, as `plan --curve` wrote it (docs/output.md). */
struct lq_curve {
    char *model, *effort;
    char *data; /* file; NULL: nothing was measured */
    uint64_t questions;
    size_t n;
    struct lq_curve_point *points; /* what was not measured is NaN */
};

/* Errors: LQ_ERR_IO, LQ_ERR_FORMAT naming the file and the member, LQ_ERR_MEMORY. On failure *out is untouched. */
enum lq_status lq_curve_load(struct lq_curve **out, const char *path, struct lq_error *err);
void lq_curve_free(struct lq_curve *curve);

/* Several evaluations make a page that compares them. `curve`: drawn with the evaluations beside it; NULL: none.
 * Pictures of changed answers are read from the paths in the evaluations and put into the page; one that is missing is
 * named instead. Errors: LQ_ERR_USAGE (no evaluation), LQ_ERR_IO (what stood at `path` stays), LQ_ERR_MEMORY. */
enum lq_status lq_report_save(const char *path, const struct lq_evaluation *const *evaluations, size_t n,
                              const struct lq_curve *curve, struct lq_error *err);

#ifdef __cplusplus
}
#endif
#endif
