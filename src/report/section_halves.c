/* Which half does the damage, and which kinds of question suffer. */
#include <math.h>
#include <string.h>

#include "report/figure.h"
#include "report/mini.h"
#include "report/section.h"

static double largest(double most, const struct lq_estimate *e)
{
    return fmax(most, isnan(e->high) ? e->value : e->high);
}

static void put_kl_cells(struct lq_page *page, const struct lq_divergence *d, double most)
{
    if (d->tokens == 0 || !lq_is_measured(&d->kl)) {
        lq_page_put(page, "<td class=\"none\">not measured</td><td></td>");
        return;
    }
    lq_page_put(page, "<td>%s</td><td class=\"chart\">", lq_figure_kl(d->kl.value).s);
    lq_mini_interval(page, &d->kl, most);
    lq_page_put(page, "</td>");
}

static void put_count(struct lq_page *page, bool measured, uint64_t count)
{
    if (measured) lq_page_put(page, "<td>%lu</td>", (unsigned long)count);
    else lq_page_put(page, "<td class=\"none\">not measured</td>");
}

static void put_flip_cells(struct lq_page *page, const struct lq_answers *a)
{
    bool measured = a->questions > 0 && lq_is_measured(&a->exact_original);
    put_count(page, measured, a->lost);
    put_count(page, measured, a->gained);
}

static void put_arm(struct lq_page *page, const struct lq_arm_result *arm, const char *name, double most)
{
    lq_page_put(page, "<tr><th scope=\"row\">%s</th>", name);
    put_kl_cells(page, &arm->answer, most);
    lq_page_put(page, "<td>%s</td>", lq_figure_share(arm->answer.agreement.value).s);
    put_flip_cells(page, &arm->answers);
    lq_page_put(page, "<td>%s</td></tr>\n", lq_figure_kl(arm->text.tokens > 0 ? arm->text.kl.value : NAN).s);
}

void lq_section_halves(struct lq_page *page, const struct lq_candidate *candidate)
{
    static const struct {
        enum lq_arm arm;
        const char *name;
    } rows[] = {{LQ_ARM_VISION, "Vision half alone"}, {LQ_ARM_LANGUAGE, "Language half alone"}, {LQ_ARM_BOTH, "Both"}};
    const struct lq_arm_result *arm = candidate->e->arm;
    lq_page_put(page, "<section>\n<h2>Which half does the damage</h2>\n");
    if (!arm[LQ_ARM_VISION].measured && !arm[LQ_ARM_LANGUAGE].measured) {
        lq_page_put(page, "<p class=\"none\">not measured; eval --by-half swaps one half at a time</p>\n</section>\n");
        return;
    }
    double most = 0;
    for (size_t i = 0; i < 3; i++) most = largest(most, &arm[rows[i].arm].answer.kl);
    lq_page_put(page,
                "<p>One half of the original swapped for the quantised one at a time.</p>\n<div class=\"scroll\" "
                "role=\"region\" aria-label=\"Damage by half\" tabindex=\"0\">\n<table class=\"halves\">\n<thead><tr>"
                "<th scope=\"col\" class=\"text\">Quantised</th><th scope=\"col\" colspan=\"2\">KL, answers</th>"
                "<th scope=\"col\">Agreement</th><th scope=\"col\">Lost</th><th scope=\"col\">Gained</th>"
                "<th scope=\"col\">KL, text</th></tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < 3; i++)
        if (arm[rows[i].arm].measured) put_arm(page, &arm[rows[i].arm], rows[i].name, most);
    lq_page_put(page, "</tbody></table>\n</div>\n</section>\n");
}

static void put_kind(struct lq_page *page, const struct lq_kind_result *kind, double most)
{
    const struct lq_answers *a = &kind->answers;
    lq_page_put(page, "<tr><th scope=\"row\">%s</th><td>%lu</td><td>%s</td><td>%s</td>", kind->kind,
                (unsigned long)a->questions, lq_figure_share(a->exact_original.value).s,
                lq_figure_share(a->exact.value).s);
    lq_page_put(page, "<td class=\"chart\">");
    lq_mini_shares(page, a->exact_original.value, a->exact.value);
    lq_page_put(page, "</td>");
    put_flip_cells(page, a);
    put_kl_cells(page, &kind->answer, most);
    lq_page_put(page, "</tr>\n");
}

void lq_section_kinds(struct lq_page *page, const struct lq_candidate *candidate)
{
    const struct lq_evaluation *e = candidate->e;
    if (e->n_kinds == 0) return;
    double most = 0;
    for (size_t i = 0; i < e->n_kinds; i++) most = largest(most, &e->kinds[i].answer.kl);
    lq_page_put(page,
                "<section>\n<h2>By kind of question</h2>\n<p>Share answered exactly: a ring for the original, a dot "
                "for the pair, on a scale from 0 to 100 %%.</p>\n<div class=\"scroll\" role=\"region\" "
                "aria-label=\"Results by kind of question\" tabindex=\"0\">\n<table class=\"kinds\">\n<thead><tr>"
                "<th scope=\"col\" class=\"text\">Kind</th><th scope=\"col\">Questions</th>"
                "<th scope=\"col\">Original</th><th scope=\"col\">Pair</th><th scope=\"col\" class=\"chart\">"
                "0 – 100 %%</th><th scope=\"col\">Lost</th><th scope=\"col\">Gained</th>"
                "<th scope=\"col\" colspan=\"2\">KL</th></tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < e->n_kinds; i++) put_kind(page, &e->kinds[i], most);
    lq_page_put(page, "</tbody></table>\n</div>\n</section>\n");
}
