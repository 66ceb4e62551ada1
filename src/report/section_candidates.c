/* The table of candidates: one row each, sortable by every column. */
#include <math.h>
#include <string.h>

#include "report/figure.h"
#include "report/section.h"

enum {
    SIZE,
    VISION_BPW,
    LANGUAGE_BPW,
    KL,
    KL_P99,
    TEXT_KL,
    AGREEMENT,
    EXACT,
    LOST,
    GAINED,
    VQA,
    RATIO,
    SPEED,
    MEMORY,
    N_COLUMNS
};

static struct lq_figure bytes_figure(double bytes)
{
    return lq_figure_size(bytes > 0 && bytes < 1.8e19 ? (uint64_t)bytes : 0);
}

static struct lq_figure two_digits(double value)
{
    return lq_figure_number(value, 2);
}

static struct lq_figure four_digits(double value)
{
    return lq_figure_number(value, 4);
}

static struct lq_figure whole(double value)
{
    return lq_figure_number(value, 0);
}

static const struct {
    const char *title, *hint;
    struct lq_figure (*figure)(double value);
    struct lq_figure (*interval)(const struct lq_estimate *e); /* NULL: not shown */
} columns[N_COLUMNS] = {
    [SIZE] = {"Size", "of the pair’s files", bytes_figure, NULL},
    [VISION_BPW] = {"bpw vision", "bits per weight of the vision half", two_digits, NULL},
    [LANGUAGE_BPW] = {"bpw language", "bits per weight of the language half", two_digits, NULL},
    [KL] = {"KL, answers", "mean over answer tokens after pictures, nats", lq_figure_kl, lq_figure_kl_interval},
    [KL_P99] = {"KL 99 %", "99 % of the answer tokens have a smaller one", lq_figure_kl, NULL},
    [TEXT_KL] = {"KL, text", "mean over tokens of plain text, nats", lq_figure_kl, lq_figure_kl_interval},
    [AGREEMENT] = {"Agree", "answer tokens with the same likeliest token", lq_figure_share, NULL},
    [EXACT] = {"Exact", "questions answered exactly", lq_figure_share, NULL},
    [LOST] = {"Lost", "right answers that became wrong", whole, NULL},
    [GAINED] = {"Gained", "wrong answers that became right", whole, NULL},
    [VQA] = {"VQA", "soft accuracy of the VQA data set", lq_figure_share, NULL},
    [RATIO] = {"Perplexity ratio", "of the right answers, pair to original", four_digits, NULL},
    [SPEED] = {"Tokens/s", "of this run", whole, NULL},
    [MEMORY] = {"Memory", "that opening and running the pair took", bytes_figure, NULL},
};

static struct lq_estimate plain(double value)
{
    return (struct lq_estimate){value, NAN, NAN};
}

static void fill_pair(struct lq_estimate row[N_COLUMNS], const struct lq_evaluation *e)
{
    const struct lq_divergence *answer = &e->arm[LQ_ARM_BOTH].answer;
    const struct lq_answers *answers = &e->arm[LQ_ARM_BOTH].answers;
    bool flips = answers->questions > 0 && lq_is_measured(&answers->exact_original);
    row[SIZE] = plain((double)lq_pair_bytes(e->pair));
    row[VISION_BPW] = plain(e->pair[LQ_VISION].bpw);
    row[LANGUAGE_BPW] = plain(e->pair[LQ_LANGUAGE].bpw);
    row[KL] = answer->kl;
    row[KL_P99] = plain(answer->kl_p99);
    row[TEXT_KL] = e->arm[LQ_ARM_BOTH].text.kl;
    row[AGREEMENT] = answer->agreement;
    row[EXACT] = answers->exact;
    row[LOST] = plain(flips ? (double)answers->lost : NAN);
    row[GAINED] = plain(flips ? (double)answers->gained : NAN);
    row[VQA] = answers->vqa;
    row[RATIO] = answer->perplexity_ratio;
    row[SPEED] = plain(e->speed.tokens_per_second);
    row[MEMORY] = plain((double)e->speed.memory);
}

/* Of the columns that an original has. */
static void fill_original(struct lq_estimate row[N_COLUMNS], const struct lq_evaluation *e)
{
    const struct lq_answers *answers = &e->arm[LQ_ARM_BOTH].answers;
    row[SIZE] = plain((double)lq_pair_bytes(e->original));
    row[VISION_BPW] = plain(e->original[LQ_VISION].bpw);
    row[LANGUAGE_BPW] = plain(e->original[LQ_LANGUAGE].bpw);
    row[EXACT] = answers->exact_original;
    row[VQA] = answers->vqa_original;
    row[SPEED] = plain(e->speed_original.tokens_per_second);
    row[MEMORY] = plain((double)e->speed_original.memory);
}

static void put_head(struct lq_page *page)
{
    lq_page_put(page, "<thead><tr><th scope=\"col\" class=\"text\">Candidate</th>");
    for (size_t i = 0; i < N_COLUMNS; i++)
        lq_page_put(page, "<th scope=\"col\" title=\"%s\">%s</th>", columns[i].hint, columns[i].title);
    lq_page_put(page, "</tr></thead>\n");
}

static void put_cell(struct lq_page *page, size_t column, const struct lq_estimate *e)
{
    struct lq_figure figure = columns[column].figure(e->value);
    if (strcmp(figure.s, lq_not_measured) == 0) {
        lq_page_put(page, "<td class=\"none\">%s</td>", lq_not_measured);
        return;
    }
    lq_page_put(page, "<td data-v=\"%.9g\">%s", e->value, figure.s);
    if (columns[column].interval != NULL) lq_page_put(page, "<small>%s</small>", columns[column].interval(e).s);
    lq_page_put(page, "</td>");
}

static void put_candidate(struct lq_page *page, const struct lq_view *view, const struct lq_candidate *candidate)
{
    struct lq_estimate row[N_COLUMNS];
    fill_pair(row, candidate->e);
    lq_page_put(page, "<tr><th scope=\"row\">");
    if (view->n > 1) lq_page_put(page, "<a href=\"#c%zu\">%s</a></th>", candidate->number, candidate->label);
    else lq_page_put(page, "%s</th>", candidate->label);
    for (size_t i = 0; i < N_COLUMNS; i++) put_cell(page, i, &row[i]);
    lq_page_put(page, "</tr>\n");
}

static bool same_original(const struct lq_view *view)
{
    const char *first = view->candidates[0].e->original[LQ_LANGUAGE].path;
    for (size_t i = 1; i < view->n && first != NULL; i++) {
        const char *path = view->candidates[i].e->original[LQ_LANGUAGE].path;
        if (path == NULL || strcmp(path, first) != 0) return false;
    }
    return first != NULL;
}

static void put_original(struct lq_page *page, const struct lq_evaluation *e)
{
    struct lq_estimate row[N_COLUMNS] = {{0, 0, 0}};
    fill_original(row, e);
    lq_page_put(page, "<tbody class=\"original\"><tr><th scope=\"row\">%s<small>the original</small></th>",
                e->original_name != NULL ? e->original_name : "");
    for (size_t i = 0; i < N_COLUMNS; i++) {
        if (row[i].value != 0) put_cell(page, i, &row[i]);
        else lq_page_put(page, "<td></td>");
    }
    lq_page_put(page, "</tr></tbody>\n");
}

void lq_section_candidates(struct lq_page *page, const struct lq_view *view)
{
    lq_page_put(page,
                "<section id=\"candidates\">\n<h2>%s</h2>\n"
                "<div class=\"scroll\" role=\"region\" aria-label=\"Table of candidates\" tabindex=\"0\">\n"
                "<table class=\"sortable\">\n",
                view->n > 1 ? "Candidates" : "Beside the original");
    put_head(page);
    if (same_original(view)) put_original(page, view->candidates[0].e);
    lq_page_put(page, "<tbody class=\"rows\">\n");
    for (size_t i = 0; i < view->n; i++) put_candidate(page, view, &view->candidates[i]);
    lq_page_put(page, "</tbody></table>\n</div>\n</section>\n");
}
