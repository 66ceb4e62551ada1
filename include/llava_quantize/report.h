/* The report: one HTML page that shows what a quantised pair lost.
 *
 * Enters: one or more evaluations. Leaves: one self-contained page: no network, no other file, light and dark, for a
 * screen, a phone and paper.
 * Invariants: text from files is escaped; the same evaluations give the same bytes; the page is written whole or not at
 * all; what was not measured says so.
 *
 *     lq_report_save("report.html", evaluations, 2, &err);
 */
#ifndef LLAVA_QUANTIZE_REPORT_H
#define LLAVA_QUANTIZE_REPORT_H

#include "llava_quantize/evaluate.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Several evaluations make a page that compares them. Pictures of changed answers are read from the paths in the
 * evaluations and put into the page; one that is missing is named instead. Errors: LQ_ERR_USAGE (no evaluation),
 * LQ_ERR_IO (what stood at `path` stays), LQ_ERR_MEMORY. */
enum lq_status lq_report_save(const char *path, const struct lq_evaluation *const *evaluations, size_t n,
                              struct lq_error *err);

#ifdef __cplusplus
}
#endif
#endif
