#include "llava_quantize/report.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "report/figure.h"
#include "report/section.h"

static const char *name_of(const struct lq_evaluation *e)
{
    return e->name != NULL && *e->name != '\0' ? e->name : "pair";
}

/* The evaluation's name, with a number where an earlier candidate bears it already. */
static char *label_of(const struct lq_evaluation *const *evaluations, size_t i)
{
    const char *name = name_of(evaluations[i]);
    size_t before = 0;
    for (size_t k = 0; k < i; k++) before += strcmp(name_of(evaluations[k]), name) == 0;
    char *label = NULL;
    if (before == 0) return strdup(name);
    return asprintf(&label, "%s (%zu)", name, before + 1) < 0 ? NULL : label;
}

static enum lq_status view_init(struct lq_view *view, const struct lq_evaluation *const *evaluations, size_t n,
                                struct lq_error *err)
{
    view->candidates = calloc(n, sizeof *view->candidates);
    if (view->candidates == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu evaluations", n);
    view->n = n;
    for (size_t i = 0; i < n; i++) {
        struct lq_candidate *candidate = &view->candidates[i];
        *candidate = (struct lq_candidate){.e = evaluations[i], .label = label_of(evaluations, i), .number = i + 1};
        if (candidate->label == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a name");
        enum lq_status status = lq_evaluation_verdict(&candidate->verdict, candidate->e, err);
        if (status != LQ_OK) return status;
    }
    return LQ_OK;
}

static void view_release(struct lq_view *view)
{
    for (size_t i = 0; i < view->n; i++) {
        free(view->candidates[i].label);
        free(view->candidates[i].verdict);
    }
    free(view->candidates);
    lq_album_release(&view->album);
}

static void put_summary(struct lq_page *page, const struct lq_candidate *candidate)
{
    const struct lq_arm_result *arm = &candidate->e->arm[LQ_ARM_BOTH];
    lq_page_put(page, "<summary><h2>%s</h2> <span class=\"note\">%s, KL %s, agreement %s</span></summary>\n",
                candidate->label, lq_figure_size(lq_pair_bytes(candidate->e->pair)).s,
                lq_figure_kl(arm->answer.kl.value).s, lq_figure_share(arm->answer.agreement.value).s);
}

static void put_candidate(struct lq_page *page, struct lq_view *view, const struct lq_candidate *candidate)
{
    if (view->n > 1) {
        lq_page_put(page, "<details class=\"candidate\" id=\"c%zu\">\n", candidate->number);
        put_summary(page, candidate);
        lq_page_put(page, "<p class=\"verdict\">%s.</p>\n", candidate->verdict);
    }
    lq_section_halves(page, candidate);
    lq_section_kinds(page, candidate);
    lq_section_answers(page, candidate, &view->album);
    lq_section_tensors(page, candidate);
    lq_section_provenance(page, candidate);
    if (view->n > 1) lq_page_put(page, "</details>\n");
}

static void put_page(struct lq_page *page, struct lq_view *view)
{
    lq_section_head(page, view);
    lq_section_candidates(page, view);
    lq_section_divergence(page, view);
    if (view->curve != NULL) lq_section_curve(page, view);
    lq_section_embedding(page, view);
    for (size_t i = 0; i < view->n; i++) put_candidate(page, view, &view->candidates[i]);
    lq_section_foot(page, view);
}

static enum lq_status save(const char *path, const struct lq_evaluation *const *evaluations, size_t n,
                           const struct lq_curve *curve, struct lq_error *err)
{
    struct lq_view view = {.curve = curve};
    struct lq_page page = {0};
    enum lq_status status = view_init(&view, evaluations, n, err);
    if (status != LQ_OK) goto done;
    put_page(&page, &view);
    status = lq_page_status(&page, err);
    if (status == LQ_OK) status = lq_file_save(path, page.text, page.n, err);
done:
    free(page.text);
    view_release(&view);
    return status;
}

enum lq_status lq_report_save(const char *path, const struct lq_evaluation *const *evaluations, size_t n,
                              const struct lq_curve *curve, struct lq_error *err)
{
    if (n == 0) return lq_error_set(err, LQ_ERR_USAGE, "%s: a report needs at least one evaluation", path);
    /* Figures are written with a point whatever the caller's language is. */
    locale_t plain = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (plain == (locale_t)0) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for the report", path);
    locale_t before = uselocale(plain);
    enum lq_status status = save(path, evaluations, n, curve, err);
    uselocale(before);
    freelocale(plain);
    return status;
}
