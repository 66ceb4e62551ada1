#include "report/mini.h"

#include <math.h>

#include "report/figure.h"
#include "report/svg.h"

enum { WIDTH = 160, HEIGHT = 18, MARGIN = 6 };

static void open_mini(struct lq_page *page)
{
    lq_page_put(page, "<svg class=\"mini\" viewBox=\"0 0 %d %d\" role=\"img\">", WIDTH, HEIGHT);
}

static void put_base(struct lq_page *page)
{
    lq_page_put(page, "<line class=\"base\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>", MARGIN, WIDTH - MARGIN,
                HEIGHT / 2, HEIGHT / 2);
}

void lq_mini_interval(struct lq_page *page, const struct lq_estimate *e, double most)
{
    if (!lq_is_measured(e)) return;
    struct lq_axis axis = lq_axis_linear(most, MARGIN, WIDTH - MARGIN);
    open_mini(page);
    lq_page_put(page, "<title>%s (%s)</title>", lq_figure_kl(e->value).s, lq_figure_kl_interval(e).s);
    put_base(page);
    if (!isnan(e->low))
        lq_page_put(page, "<line class=\"bar\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>",
                    lq_axis_at(&axis, e->low), lq_axis_at(&axis, e->high), HEIGHT / 2, HEIGHT / 2);
    lq_page_put(page, "<circle class=\"dot\" cx=\"%.1f\" cy=\"%d\" r=\"4\"/></svg>", lq_axis_at(&axis, e->value),
                HEIGHT / 2);
}

void lq_mini_shares(struct lq_page *page, double original, double pair)
{
    if (isnan(pair)) return;
    struct lq_axis axis = {.to = 1, .at_from = MARGIN, .at_to = WIDTH - MARGIN};
    open_mini(page);
    lq_page_put(page, "<title>original %s, pair %s</title>", lq_figure_share(original).s, lq_figure_share(pair).s);
    put_base(page);
    if (!isnan(original)) {
        lq_page_put(page, "<line class=\"%s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>",
                    pair < original ? "bar worse" : "bar better", lq_axis_at(&axis, original), lq_axis_at(&axis, pair),
                    HEIGHT / 2, HEIGHT / 2);
        lq_page_put(page, "<circle class=\"ring\" cx=\"%.1f\" cy=\"%d\" r=\"4\"/>", lq_axis_at(&axis, original),
                    HEIGHT / 2);
    }
    lq_page_put(page, "<circle class=\"dot\" cx=\"%.1f\" cy=\"%d\" r=\"3\"/></svg>", lq_axis_at(&axis, pair),
                HEIGHT / 2);
}
