/* What reaches the language model: the projector's output for each picture, beside the original's. */
#include <math.h>
#include <stdlib.h>

#include "report/section.h"
#include "report/svg.h"

enum { WIDTH = 960, ROW = 46, TOP = 22, LANES = 11 };
static const double left = 150, right = 932, dot = 2.2, apart = 3.5;

static bool measured(const struct lq_candidate *candidate)
{
    return candidate->e->embedding.pictures > 0;
}

/* How far from 1, as far as floats can tell; the axis is one of nines: 0.9, 0.99, 0.999, ... */
static double distance(double cosine)
{
    return 1 - cosine < 1e-7 ? 0 : 1 - cosine;
}

static struct lq_axis nines_axis(const struct lq_view *view)
{
    struct lq_range range = {0};
    for (size_t c = 0; c < view->n; c++)
        for (size_t i = 0; measured(&view->candidates[c]) && i < view->candidates[c].e->n_pictures; i++)
            lq_range_add(&range, distance(view->candidates[c].e->pictures[i].cosine));
    return lq_axis_log(&range, right, left);
}

static int by_cosine(const void *a, const void *b)
{
    const struct lq_picture_result *p = *(const struct lq_picture_result *const *)a;
    const struct lq_picture_result *q = *(const struct lq_picture_result *const *)b;
    if (p->cosine != q->cosine) return p->cosine < q->cosine ? -1 : 1;
    return (p > q) - (p < q);
}

/* Pictures from the worst to the best; free() it. */
static const struct lq_picture_result **sorted(const struct lq_evaluation *e)
{
    const struct lq_picture_result **order = calloc(e->n_pictures + 1, sizeof *order);
    for (size_t i = 0; order != NULL && i < e->n_pictures; i++) order[i] = &e->pictures[i];
    if (order != NULL) qsort(order, e->n_pictures, sizeof *order, by_cosine);
    return order;
}

/* The lane in which a dot at x touches none before it; where all are taken, the one that was taken first. */
static size_t free_lane(double last[LANES], double x)
{
    size_t lane = 0;
    for (size_t i = 0; i < LANES; i++) {
        if (x >= last[i] + apart) {
            lane = i;
            break;
        }
        if (last[i] < last[lane]) lane = i;
    }
    last[lane] = x;
    return lane;
}

/* Dots in the order of their cosine, side by side where they would lie on one another. */
static void put_dots(struct lq_page *page, const struct lq_evaluation *e, const struct lq_axis *axis, double y)
{
    double last[LANES];
    for (size_t i = 0; i < LANES; i++) last[i] = -apart;
    const struct lq_picture_result **order = sorted(e);
    if (order == NULL) {
        page->failed = true;
        return;
    }
    for (size_t i = 0; i < e->n_pictures; i++) {
        double x = lq_axis_at(axis, distance(order[i]->cosine));
        size_t lane = free_lane(last, x);
        size_t away = (lane + 1) / 2; /* lanes from the middle, by turns below and above */
        double shift = (lane % 2 ? -apart : apart) * (double)away;
        lq_page_put(page,
                    "<circle class=\"item\" tabindex=\"%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"><title>%s: cosine "
                    "%.6f</title></circle>\n",
                    i == 0 ? 0 : -1, x, y + shift, dot, order[i]->image, order[i]->cosine);
    }
    free(order);
}

static void put_ticks(struct lq_page *page, const struct lq_axis *axis, double bottom)
{
    double ticks[LQ_MAX_TICKS];
    size_t n = lq_axis_ticks(axis, ticks);
    for (size_t i = 0; i < n; i++) {
        int digits = (int)ceil(-log10(ticks[i]) - 1e-9);
        lq_page_put(
            page,
            "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%.1f\"/><text class=\"tick\" x=\"%.1f\" "
            "y=\"%d\" text-anchor=\"middle\">%s</text>\n",
            lq_axis_at(axis, ticks[i]), lq_axis_at(axis, ticks[i]), TOP - 4, bottom, lq_axis_at(axis, ticks[i]),
            TOP - 9, lq_figure_number(1 - ticks[i], digits < 1 ? 1 : digits).s);
    }
    if (axis->has_zero)
        lq_page_put(page, "<text class=\"tick\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">1</text>\n", axis->at_zero,
                    TOP - 9);
}

static void put_strip(struct lq_page *page, const struct lq_view *view)
{
    struct lq_axis axis = nines_axis(view);
    size_t rows = 0;
    for (size_t c = 0; c < view->n; c++) rows += measured(&view->candidates[c]);
    double height = TOP + ROW * (double)rows;
    lq_page_put(
        page,
        "<div class=\"scroll\" role=\"region\" aria-label=\"Cosine of each picture\" tabindex=\"0\">\n<svg "
        "class=\"strip\" viewBox=\"0 0 %d %.0f\" role=\"group\" aria-labelledby=\"strip-t strip-d\" id=\"strip\">\n"
        "<title id=\"strip-t\">Cosine of each picture’s embedding to the original’s</title>\n<desc "
        "id=\"strip-d\">One dot for each picture, on a scale of nines; the table below has the smallest, the first "
        "per cent and the mean.</desc>\n",
        WIDTH, height);
    put_ticks(page, &axis, height);
    size_t row = 0;
    for (size_t c = 0; c < view->n; c++) {
        if (!measured(&view->candidates[c])) continue;
        double y = TOP + ROW * ((double)row++ + 0.5);
        struct lq_places places = {.n = 0};
        lq_svg_label(page, &places, &(struct lq_frame){0, WIDTH, 0, height}, -8, y, view->candidates[c].label);
        put_dots(page, view->candidates[c].e, &axis, y);
    }
    lq_page_put(page, "</svg>\n</div>\n<p class=\"detail\" role=\"status\"></p>\n");
}

static void put_row(struct lq_page *page, const struct lq_candidate *candidate)
{
    const struct lq_embedding *m = &candidate->e->embedding;
    const double values[] = {m->cosine_min, m->cosine_p1, m->cosine_mean};
    lq_page_put(page, "<tr><th scope=\"row\">%s</th>", candidate->label);
    if (!measured(candidate)) {
        lq_page_put(page, "<td colspan=\"6\" class=\"none\">not measured</td></tr>\n");
        return;
    }
    lq_page_put(page, "<td>%lu</td>", (unsigned long)m->pictures);
    for (size_t i = 0; i < 3; i++) lq_page_put(page, "<td>%s</td>", lq_figure_number(values[i], 5).s);
    lq_page_put(page, "<td>%s</td><td>%s</td></tr>\n", lq_figure_percent(m->error_mean, 2).s,
                lq_figure_percent(m->error_max, 2).s);
}

void lq_section_embedding(struct lq_page *page, const struct lq_view *view)
{
    bool any = false;
    for (size_t c = 0; c < view->n; c++) any = any || measured(&view->candidates[c]);
    lq_page_put(page, "<section id=\"embedding\">\n<h2>What reaches the language model</h2>\n");
    if (!any) {
        lq_page_put(page, "<p class=\"none\">not measured</p>\n</section>\n");
        return;
    }
    lq_page_put(page,
                "<p>The embedding of each picture, as the projector hands it over, beside the original’s: one dot a "
                "picture, 1 is the same.</p>\n");
    put_strip(page, view);
    lq_page_put(page, "<div class=\"scroll\" role=\"region\" aria-label=\"Embeddings in figures\" tabindex=\"0\">\n"
                      "<table class=\"sortable\"><thead><tr><th scope=\"col\" class=\"text\">Candidate</th>"
                      "<th scope=\"col\">Pictures</th><th scope=\"col\">Smallest cosine</th><th scope=\"col\">1 %%</th>"
                      "<th scope=\"col\">Mean</th><th scope=\"col\">Mean error</th><th scope=\"col\">Largest error</th>"
                      "</tr></thead>\n<tbody>\n");
    for (size_t c = 0; c < view->n; c++) put_row(page, &view->candidates[c]);
    lq_page_put(page, "</tbody></table>\n</div>\n</section>\n");
}
