/* The best plan at each size: what was expected and what was measured, with the evaluated pairs beside it. */
#include <math.h>

#include "report/section.h"
#include "report/svg.h"

enum { WIDTH = 420, HEIGHT = 300 };
static const struct lq_frame frame = {58, 404, 14, 252};

/* What was measured of a plan, with its 95 % interval. */
static struct lq_estimate measured(const struct lq_curve_point *point)
{
    double half = 1.96 * point->error;
    return (struct lq_estimate){point->measured, fmax(point->measured - half, isnan(half) ? NAN : 0),
                                point->measured + half};
}

static double expected(const struct lq_curve_point *point)
{
    return point->estimate;
}

static double found(const struct lq_curve_point *point)
{
    return point->measured;
}

struct scales {
    struct lq_size_axis x;
    struct lq_axis y;
};

/* An interval that reaches down to 0 ends at the axis: 0 gets a place of its own for values alone. */
static void add(struct lq_range *range, const struct lq_estimate *e)
{
    lq_range_add(range, e->value);
    lq_range_add(range, e->high);
    if (e->low > 0) lq_range_add(range, e->low);
}

static struct scales scale(const struct lq_view *view)
{
    struct lq_range range = {0};
    double most = 0;
    for (size_t i = 0; i < view->curve->n; i++) {
        const struct lq_curve_point *point = &view->curve->points[i];
        struct lq_estimate e = measured(point);
        add(&range, &e);
        lq_range_add(&range, point->estimate);
        most = fmax(most, (double)point->bytes);
    }
    for (size_t i = 0; i < view->n; i++) {
        const struct lq_evaluation *e = view->candidates[i].e;
        if (!lq_is_measured(&e->arm[LQ_ARM_BOTH].answer.kl)) continue;
        add(&range, &e->arm[LQ_ARM_BOTH].answer.kl);
        most = fmax(most, (double)lq_pair_bytes(e->pair));
    }
    return (struct scales){.x = lq_size_axis(most, frame.left, frame.right),
                           .y = lq_axis_log(&range, frame.bottom, frame.top)};
}

/* A line through what `of` tells of each point; where it tells nothing the line is broken. */
static void put_line(struct lq_page *page, const char *class, const struct lq_curve *curve, const struct scales *s,
                     double (*of)(const struct lq_curve_point *point))
{
    const char *command = "M";
    lq_page_put(page, "<path class=\"%s\" d=\"M0 0", class);
    for (size_t i = 0; i < curve->n; i++) {
        double value = of(&curve->points[i]);
        if (!isnan(value))
            lq_page_put(page, "%s%.1f %.1f", command, lq_size_axis_at(&s->x, (double)curve->points[i].bytes),
                        lq_axis_at(&s->y, value));
        command = isnan(value) ? "M" : "L";
    }
    lq_page_put(page, "\"/>\n");
}

static void put_plan(struct lq_page *page, const struct lq_curve_point *point, const struct scales *s, bool first)
{
    struct lq_estimate e = measured(point);
    bool is_measured = lq_is_measured(&e);
    double x = lq_size_axis_at(&s->x, (double)point->bytes);
    lq_page_put(page,
                "<g class=\"item%s\" tabindex=\"%d\" role=\"img\"><title>best plan at %s (%s bits per weight): KL ",
                is_measured ? "" : " hollow", first ? 0 : -1, lq_figure_size(point->bytes).s,
                lq_figure_number(point->bpw, 2).s);
    if (is_measured) lq_page_put(page, "%s (%s), ", lq_figure_kl(e.value).s, lq_figure_kl_interval(&e).s);
    else e = (struct lq_estimate){point->estimate, NAN, NAN};
    lq_page_put(page, "expected %s</title>", lq_figure_kl(point->estimate).s);
    lq_svg_point(page, &s->y, x, &e);
    lq_page_put(page, "</g>\n");
}

static void put_pair(struct lq_page *page, const struct lq_candidate *candidate, const struct scales *s,
                     struct lq_places *places)
{
    const struct lq_estimate *kl = &candidate->e->arm[LQ_ARM_BOTH].answer.kl;
    uint64_t bytes = lq_pair_bytes(candidate->e->pair);
    double x = lq_size_axis_at(&s->x, (double)bytes);
    lq_page_put(page, "<g class=\"item pair\" tabindex=\"-1\" role=\"img\"><title>%s: %s, KL %s", candidate->label,
                lq_figure_size(bytes).s, lq_figure_kl(kl->value).s);
    if (!isnan(kl->low)) lq_page_put(page, " (%s)", lq_figure_kl_interval(kl).s);
    lq_page_put(page, "</title>");
    lq_svg_point(page, &s->y, x, kl);
    lq_page_put(page, "</g>\n");
    lq_places_take(places, &s->y, x, kl);
}

/* Points first, so that no label lies on one. */
static void put_points(struct lq_page *page, const struct lq_view *view, const struct scales *s)
{
    struct lq_places places = {.n = 0};
    for (size_t i = 0; i < view->curve->n; i++) {
        const struct lq_curve_point *point = &view->curve->points[i];
        struct lq_estimate e = measured(point);
        if (!lq_is_measured(&e)) e = (struct lq_estimate){point->estimate, NAN, NAN};
        if (isnan(e.value)) continue;
        put_plan(page, point, s, places.n == 0);
        lq_places_take(&places, &s->y, lq_size_axis_at(&s->x, (double)point->bytes), &e);
    }
    for (size_t i = 0; i < view->n; i++)
        if (lq_is_measured(&view->candidates[i].e->arm[LQ_ARM_BOTH].answer.kl))
            put_pair(page, &view->candidates[i], s, &places);
    for (size_t i = 0; i < view->n; i++) {
        const struct lq_evaluation *e = view->candidates[i].e;
        const struct lq_estimate *kl = &e->arm[LQ_ARM_BOTH].answer.kl;
        if (lq_is_measured(kl))
            lq_svg_label(page, &places, &frame, lq_size_axis_at(&s->x, (double)lq_pair_bytes(e->pair)),
                         lq_axis_at(&s->y, kl->value), view->candidates[i].label);
    }
}

static void put_plot(struct lq_page *page, const struct lq_view *view)
{
    struct scales s = scale(view);
    lq_page_put(
        page,
        "<figure>\n<figcaption>Answers after pictures</figcaption>\n<svg class=\"plot\" viewBox=\"0 0 %d %d\" "
        "role=\"group\" aria-labelledby=\"curve-t curve-d\" id=\"curve-plot\">\n<title id=\"curve-t\">Answers after "
        "pictures: divergence of the best plan at each size</title>\n<desc id=\"curve-d\">A line through the best "
        "plans' divergence against the size of their files in %s, a dashed line through what was expected, and "
        "a point for each evaluated pair. The table of candidates has the pairs' figures.</desc>\n",
        WIDTH, HEIGHT, s.x.unit_name);
    lq_svg_kl_axis(page, &s.y, &frame);
    lq_svg_size_axis(page, &s.x, &frame);
    put_line(page, "expected", view->curve, &s, expected);
    put_line(page, "frontier best", view->curve, &s, found);
    put_points(page, view, &s);
    lq_page_put(page, "</svg>\n<p class=\"detail\" role=\"status\"></p>\n</figure>\n");
}

static bool any(const struct lq_curve *curve, double (*of)(const struct lq_curve_point *point))
{
    for (size_t i = 0; i < curve->n; i++)
        if (!isnan(of(&curve->points[i]))) return true;
    return false;
}

void lq_section_curve(struct lq_page *page, const struct lq_view *view)
{
    const struct lq_curve *curve = view->curve;
    bool is_measured = any(curve, found);
    lq_page_put(page, "<section id=\"curve\">\n<h2>The best plan at each size</h2>\n");
    if (!is_measured && !any(curve, expected)) {
        lq_page_put(page, "<p class=\"none\">not measured: no sensitivity was known when the plans were made</p>\n");
    } else {
        lq_page_put(page, "<p>Plans for %s, effort %s. The dashed line is what its model of errors expected",
                    curve->model, curve->effort);
        if (is_measured)
            lq_page_put(
                page,
                ", the full one what was measured on %zu questions of %s: mean KL for each answer token, bars are "
                "95 %% intervals",
                (size_t)curve->questions, curve->data == NULL ? "the data" : curve->data);
        lq_page_put(page, ". Rings are the evaluated pairs, each by its own evaluation's data.</p>\n");
        put_plot(page, view);
    }
    lq_page_put(page, "</section>\n");
}
