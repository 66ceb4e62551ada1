/* Answers to look at: those lost, those gained, and those that moved furthest. */
#include <math.h>
#include <stdlib.h>

#include "report/figure.h"
#include "report/section.h"

enum { MOST_FLIPS = 24, MOST_MOVED = 12 };

static bool is_lost(const struct lq_question_result *q)
{
    return q->answer_original != NULL && q->exact_original && !q->exact;
}

static bool is_gained(const struct lq_question_result *q)
{
    return q->answer_original != NULL && !q->exact_original && q->exact;
}

static void put_answer(struct lq_page *page, const char *who, const char *answer, bool right)
{
    lq_page_put(page, "<dt>%s</dt><dd class=\"%s\" dir=\"auto\">%s<span class=\"mark\">%s</span></dd>\n", who,
                right ? "right" : "wrong", answer != NULL ? answer : "", right ? " ✓" : " ✗");
}

static void put_card(struct lq_page *page, struct lq_album *album, const struct lq_question_result *q)
{
    lq_page_put(page, "<article class=\"card\">\n");
    lq_album_show(album, page, q->image, q->question);
    lq_page_put(page, "<p class=\"question\" dir=\"auto\">%s</p>\n<dl>\n", q->question);
    if (!q->exact && !q->exact_original) lq_page_put(page, "<dt>right</dt><dd dir=\"auto\">%s</dd>\n", q->right);
    put_answer(page, "original", q->answer_original, q->exact_original);
    put_answer(page, "pair", q->answer, q->exact);
    if (!isnan(q->kl)) lq_page_put(page, "<dt>KL</dt><dd>%s</dd>\n", lq_figure_kl(q->kl).s);
    lq_page_put(page, "</dl>\n</article>\n");
}

static void put_flips(struct lq_page *page, struct lq_album *album, const struct lq_evaluation *e, const char *title,
                      bool (*belongs)(const struct lq_question_result *q))
{
    size_t n = 0;
    for (size_t i = 0; i < e->n_questions; i++) n += belongs(&e->questions[i]);
    lq_page_put(page, "<h3>%s: %zu of %zu</h3>\n", title, n, e->n_questions);
    if (n == 0) return;
    lq_page_put(page, "<div class=\"cards\">\n");
    size_t shown = 0;
    for (size_t i = 0; i < e->n_questions && shown < MOST_FLIPS; i++) {
        if (!belongs(&e->questions[i])) continue;
        put_card(page, album, &e->questions[i]);
        shown++;
    }
    lq_page_put(page, "</div>\n");
    if (shown < n) lq_page_put(page, "<p class=\"note\">and %zu more in the result’s JSON</p>\n", n - shown);
}

static int by_kl(const void *a, const void *b)
{
    const struct lq_question_result *p = *(const struct lq_question_result *const *)a;
    const struct lq_question_result *q = *(const struct lq_question_result *const *)b;
    if (p->kl != q->kl) return p->kl > q->kl ? -1 : 1;
    return (p > q) - (p < q);
}

static void put_moved_row(struct lq_page *page, const struct lq_question_result *q)
{
    lq_page_put(page,
                "<tr><th scope=\"row\" dir=\"auto\">%s</th><td class=\"text\" dir=\"auto\">%s</td><td class=\"text\" "
                "dir=\"auto\">%s</td><td class=\"text\" dir=\"auto\">%s</td><td>%s</td></tr>\n",
                q->question, q->right, q->answer_original != NULL ? q->answer_original : "",
                q->answer != NULL ? q->answer : "", lq_figure_kl(q->kl).s);
}

/* The questions whose right answer's tokens diverge most. */
static void put_moved(struct lq_page *page, const struct lq_evaluation *e)
{
    const struct lq_question_result **order = calloc(e->n_questions + 1, sizeof *order);
    size_t n = 0;
    if (order == NULL) {
        page->failed = true;
        return;
    }
    for (size_t i = 0; i < e->n_questions; i++)
        if (!isnan(e->questions[i].kl) && e->questions[i].kl > 0) order[n++] = &e->questions[i];
    qsort(order, n, sizeof *order, by_kl);
    if (n > 0)
        lq_page_put(page,
                    "<h3>Moved furthest</h3>\n<p>The questions whose right answer’s tokens diverge most, flipped or "
                    "not.</p>\n<div class=\"scroll\" role=\"region\" aria-label=\"Answers that moved furthest\" "
                    "tabindex=\"0\">\n<table class=\"moved\"><thead><tr><th scope=\"col\" "
                    "class=\"text\">Question</th><th scope=\"col\" "
                    "class=\"text\">Right</th><th scope=\"col\" class=\"text\">Original</th><th scope=\"col\" "
                    "class=\"text\">Pair</th><th scope=\"col\">KL</th></tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < n && i < MOST_MOVED; i++) put_moved_row(page, order[i]);
    if (n > 0) lq_page_put(page, "</tbody></table>\n</div>\n");
    free(order);
}

void lq_section_answers(struct lq_page *page, const struct lq_candidate *candidate, struct lq_album *album)
{
    const struct lq_evaluation *e = candidate->e;
    const struct lq_answers *a = &e->arm[LQ_ARM_BOTH].answers;
    lq_page_put(page, "<section>\n<h2>Answers that flipped</h2>\n");
    if (e->n_questions == 0 || !lq_is_measured(&a->exact_original)) {
        lq_page_put(page, "<p class=\"none\">not measured</p>\n</section>\n");
        return;
    }
    lq_page_put(page,
                "<p>%lu of %lu answers read differently; %lu turned wrong, %lu turned right (McNemar’s exact test: p "
                "= %s).</p>\n",
                (unsigned long)a->changed, (unsigned long)a->questions, (unsigned long)a->lost,
                (unsigned long)a->gained, lq_figure_kl(a->p).s);
    put_flips(page, album, e, "Lost", is_lost);
    put_flips(page, album, e, "Gained", is_gained);
    put_moved(page, e);
    lq_page_put(page, "</section>\n");
}
