/* The sections of a page, each in a file of its own.
 *
 * Enters: the evaluations, ready to be shown. Leaves: markup in a page, in the order of the functions below.
 * Invariants: a section that has nothing to show says "not measured" and why, or leaves itself out where the question
 * does not arise.
 */
#ifndef LQ_REPORT_SECTION_H
#define LQ_REPORT_SECTION_H

#include "llava_quantize/report.h"
#include "report/album.h"
#include "report/page.h"

/* One evaluation under the name by which the page knows it. */
struct lq_candidate {
    const struct lq_evaluation *e;
    char *label;   /* owned: its name, numbered where it comes twice */
    char *verdict; /* owned: free() */
    size_t number; /* from 1, for links */
};

struct lq_view {
    struct lq_candidate *candidates;
    size_t n;
    const struct lq_curve *curve; /* NULL: none */
    struct lq_album album;
};

/* Bytes of a pair's files; 0 when not known. */
uint64_t lq_pair_bytes(const struct lq_half_facts halves[LQ_HALVES]);

/* Of the whole page. */
void lq_section_head(struct lq_page *page, const struct lq_view *view);
void lq_section_candidates(struct lq_page *page, const struct lq_view *view);
void lq_section_divergence(struct lq_page *page, const struct lq_view *view);
void lq_section_curve(struct lq_page *page, const struct lq_view *view);
void lq_section_embedding(struct lq_page *page, const struct lq_view *view);
void lq_section_foot(struct lq_page *page, const struct lq_view *view);

/* Of one candidate. */
void lq_section_halves(struct lq_page *page, const struct lq_candidate *candidate);
void lq_section_kinds(struct lq_page *page, const struct lq_candidate *candidate);
void lq_section_tensors(struct lq_page *page, const struct lq_candidate *candidate);
void lq_section_answers(struct lq_page *page, const struct lq_candidate *candidate, struct lq_album *album);
void lq_section_provenance(struct lq_page *page, const struct lq_candidate *candidate);

#endif
