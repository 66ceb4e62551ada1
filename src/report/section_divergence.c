/* Divergence against size, and its tail: answers after pictures and plain text side by side on one scale. */
#include <math.h>
#include <stdlib.h>

#include "report/section.h"
#include "report/svg.h"

enum { WIDTH = 420, HEIGHT = 300 };
static const struct lq_frame frame = {58, 404, 14, 252};

/* One of the two panels. */
struct panel {
    const char *id, *title;
    const struct lq_divergence *(*of)(const struct lq_arm_result *arm);
};

static const struct lq_divergence *answer_of(const struct lq_arm_result *arm)
{
    return &arm->answer;
}

static const struct lq_divergence *text_of(const struct lq_arm_result *arm)
{
    return &arm->text;
}

static const struct panel panels[] = {{"answers", "Answers after pictures", answer_of},
                                      {"text", "Plain text", text_of}};
enum { N_PANELS = 2 };

/* A point of the first plot; `hollow`: one half alone was swapped. */
struct point {
    const char *label;
    double bytes;
    const struct lq_arm_result *arm;
    bool hollow;
};

struct points {
    struct point *items;
    size_t n;
};

static double swapped_bytes(const struct lq_evaluation *e, enum lq_arm arm)
{
    const struct lq_half_facts *vision = arm == LQ_ARM_LANGUAGE ? e->original : e->pair;
    const struct lq_half_facts *language = arm == LQ_ARM_VISION ? e->original : e->pair;
    return (double)vision[LQ_VISION].bytes + (double)language[LQ_LANGUAGE].bytes;
}

static bool has_kl(const struct lq_divergence *d)
{
    return d->tokens > 0 && lq_is_measured(&d->kl);
}

static bool shown(const struct lq_arm_result *arm)
{
    return has_kl(&arm->answer) || has_kl(&arm->text);
}

/* All candidates; of a single one, the two halves alone as well. */
static struct points collect(const struct lq_view *view)
{
    static const char *const halves[LQ_ARMS] = {NULL, "language alone", "vision alone"};
    struct points points = {calloc(view->n + LQ_ARMS, sizeof *points.items), 0};
    if (points.items == NULL) return points;
    for (size_t i = 0; i < view->n; i++) {
        const struct lq_evaluation *e = view->candidates[i].e;
        for (int a = 0; a < (view->n == 1 ? LQ_ARMS : 1); a++) {
            const char *label = a == LQ_ARM_BOTH ? view->candidates[i].label : halves[a];
            double bytes = swapped_bytes(e, (enum lq_arm)a);
            if ((a == LQ_ARM_BOTH || e->arm[a].measured) && bytes > 0 && shown(&e->arm[a]))
                points.items[points.n++] = (struct point){label, bytes, &e->arm[a], a != LQ_ARM_BOTH};
        }
    }
    return points;
}

static int by_size(const void *a, const void *b)
{
    const struct point *p = a, *q = b;
    return p->bytes != q->bytes ? (p->bytes > q->bytes ? 1 : -1) : (p->arm > q->arm) - (p->arm < q->arm);
}

static void open_plot(struct lq_page *page, const struct panel *panel, const char *kind, const char *what)
{
    lq_page_put(page,
                "<svg class=\"plot\" viewBox=\"0 0 %d %d\" role=\"group\" "
                "aria-labelledby=\"%s-%s-t %s-%s-d\" id=\"%s-%s\">\n<title id=\"%s-%s-t\">%s: %s</title>\n",
                WIDTH, HEIGHT, kind, panel->id, kind, panel->id, kind, panel->id, kind, panel->id, panel->title, what);
}

/* Where the points of a panel stand. */
struct scales {
    struct lq_size_axis x;
    struct lq_axis y;
};

static struct scales scale(const struct points *points)
{
    struct lq_range range = {0};
    double most = 0;
    for (size_t i = 0; i < points->n; i++) {
        most = fmax(most, points->items[i].bytes);
        for (int p = 0; p < N_PANELS; p++)
            if (has_kl(panels[p].of(points->items[i].arm)))
                lq_range_add_estimate(&range, &panels[p].of(points->items[i].arm)->kl);
    }
    return (struct scales){.x = lq_size_axis(most, frame.left, frame.right),
                           .y = lq_axis_log(&range, frame.bottom, frame.top)};
}

/* A line through the candidates that no smaller one equals. */
static void put_frontier(struct lq_page *page, const struct panel *panel, const struct points *points,
                         const struct scales *s)
{
    double least = INFINITY;
    const char *command = "M";
    lq_page_put(page, "<path class=\"frontier\" d=\"");
    for (size_t i = 0; i < points->n; i++) {
        const struct lq_divergence *d = panel->of(points->items[i].arm);
        if (points->items[i].hollow || !has_kl(d) || d->kl.value >= least) continue;
        least = d->kl.value;
        lq_page_put(page, "%s%.1f %.1f", command, lq_size_axis_at(&s->x, points->items[i].bytes),
                    lq_axis_at(&s->y, least));
        command = "L";
    }
    if (*command == 'M') lq_page_put(page, "M0 0");
    lq_page_put(page, "\"/>\n");
}

static void put_point(struct lq_page *page, const struct lq_divergence *d, const struct point *point,
                      const struct scales *s, size_t first)
{
    lq_page_put(page, "<g class=\"item%s\" tabindex=\"%d\" role=\"img\"><title>%s: %s, KL %s",
                point->hollow ? " hollow" : "", first == 0 ? 0 : -1, point->label,
                lq_figure_size((uint64_t)fmin(point->bytes, 1.8e19)).s, lq_figure_kl(d->kl.value).s);
    if (!isnan(d->kl.low)) lq_page_put(page, " (%s)", lq_figure_kl_interval(&d->kl).s);
    lq_page_put(page, "</title>");
    lq_svg_point(page, &s->y, lq_size_axis_at(&s->x, point->bytes), &d->kl);
    lq_page_put(page, "</g>\n");
}

static void put_points(struct lq_page *page, const struct panel *panel, const struct points *points,
                       const struct scales *s)
{
    struct lq_places places = {.n = 0};
    size_t n = 0;
    for (size_t i = 0; i < points->n; i++) {
        const struct lq_divergence *d = panel->of(points->items[i].arm);
        if (!has_kl(d)) continue;
        put_point(page, d, &points->items[i], s, n++);
        lq_places_take(&places, &s->y, lq_size_axis_at(&s->x, points->items[i].bytes), &d->kl);
    }
    for (size_t i = 0; i < points->n; i++) {
        const struct lq_divergence *d = panel->of(points->items[i].arm);
        if (has_kl(d))
            lq_svg_label(page, &places, &frame, lq_size_axis_at(&s->x, points->items[i].bytes),
                         lq_axis_at(&s->y, d->kl.value), points->items[i].label);
    }
}

/* Whether a panel has anything to show; else says that it has not. */
static bool begin_panel(struct lq_page *page, const struct panel *panel, const struct lq_view *view, const char *kind,
                        const char *what)
{
    bool any = false;
    for (size_t c = 0; c < view->n && !any; c++) any = has_kl(panel->of(&view->candidates[c].e->arm[LQ_ARM_BOTH]));
    lq_page_put(page, "<figure>\n<figcaption>%s</figcaption>\n", panel->title);
    if (any) open_plot(page, panel, kind, what);
    else lq_page_put(page, "<p class=\"none\">not measured</p>\n</figure>\n");
    return any;
}

static void end_panel(struct lq_page *page)
{
    lq_page_put(page, "</svg>\n<p class=\"detail\" role=\"status\"></p>\n</figure>\n");
}

static void put_against_size(struct lq_page *page, const struct lq_view *view, const struct points *points)
{
    struct scales s = scale(points);
    lq_page_put(page, "<div class=\"panels\">\n");
    for (int p = 0; p < N_PANELS; p++) {
        if (!begin_panel(page, &panels[p], view, "size", "divergence against size")) continue;
        lq_page_put(page,
                    "<desc id=\"size-%s-d\">Mean KL from the original on a logarithmic scale, with 95 %% intervals, "
                    "against the size of the files in %s. The table of candidates has the figures.</desc>\n",
                    panels[p].id, s.x.unit_name);
        lq_svg_kl_axis(page, &s.y, &frame);
        lq_svg_size_axis(page, &s.x, &frame);
        if (points->n > 2) put_frontier(page, &panels[p], points, &s);
        put_points(page, &panels[p], points, &s);
        end_panel(page);
    }
    lq_page_put(page, "</div>\n");
}

/* The tail: the KL that all but a part of the tokens stay below. */
enum { N_QUANTILES = 5 };
static const char *const quantile_names[N_QUANTILES] = {"half", "90 %", "99 %", "99.9 %", "all"};

static double quantile(const struct lq_divergence *d, int i)
{
    const double at[N_QUANTILES] = {d->kl_median, d->kl_p90, d->kl_p99, d->kl_p999, d->kl_max};
    return at[i];
}

static const struct lq_frame tail_frame = {58, 310, 14, 252};

static double quantile_at(int i)
{
    return tail_frame.left + 14 + i * (tail_frame.right - tail_frame.left - 14) / (N_QUANTILES - 1);
}

static struct lq_axis tail_axis(const struct lq_view *view)
{
    struct lq_range range = {0};
    for (size_t c = 0; c < view->n; c++)
        for (int p = 0; p < N_PANELS; p++) {
            const struct lq_divergence *d = panels[p].of(&view->candidates[c].e->arm[LQ_ARM_BOTH]);
            for (int i = 0; i < N_QUANTILES && has_kl(d); i++) lq_range_add(&range, quantile(d, i));
        }
    return lq_axis_log(&range, tail_frame.bottom, tail_frame.top);
}

static void put_curve(struct lq_page *page, const struct lq_divergence *d, const struct lq_axis *axis,
                      const char *label, size_t first)
{
    lq_page_put(page, "<g class=\"item curve\" tabindex=\"%d\" role=\"img\"><title>%s: KL", first == 0 ? 0 : -1, label);
    for (int i = 0; i < N_QUANTILES; i++)
        lq_page_put(page, "%s %s below %s", i > 0 ? "," : "", quantile_names[i], lq_figure_kl(quantile(d, i)).s);
    lq_page_put(page, "</title><path d=\"");
    for (int i = 0; i < N_QUANTILES; i++)
        lq_page_put(page, "%s%.1f %.1f", i > 0 ? "L" : "M", quantile_at(i), lq_axis_at(axis, quantile(d, i)));
    lq_page_put(page, "\"/>");
    for (int i = 0; i < N_QUANTILES; i++)
        lq_page_put(page, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"/>", quantile_at(i),
                    lq_axis_at(axis, quantile(d, i)));
    lq_page_put(page, "</g>\n");
}

struct curve {
    const struct lq_divergence *of;
    const char *label;
};

static int by_largest(const void *a, const void *b)
{
    const struct curve *p = a, *q = b;
    if (p->of->kl_max != q->of->kl_max) return p->of->kl_max > q->of->kl_max ? -1 : 1;
    return (p->of > q->of) - (p->of < q->of);
}

static void put_curves(struct lq_page *page, const struct lq_view *view, const struct panel *panel,
                       const struct lq_axis *axis)
{
    static const struct lq_frame beside = {310, WIDTH, 14, 252}; /* right of the curves */
    struct lq_places places = {.n = 0};
    struct curve *curves = calloc(view->n, sizeof *curves);
    size_t n = 0;
    for (size_t c = 0; c < view->n && curves != NULL; c++) {
        const struct lq_divergence *d = panel->of(&view->candidates[c].e->arm[LQ_ARM_BOTH]);
        if (has_kl(d)) curves[n++] = (struct curve){d, view->candidates[c].label};
    }
    if (curves == NULL) page->failed = true;
    else qsort(curves, n, sizeof *curves, by_largest); /* so that labels come from the top down */
    for (size_t i = 0; i < n; i++) {
        put_curve(page, curves[i].of, axis, curves[i].label, i);
        lq_svg_label(page, &places, &beside, quantile_at(N_QUANTILES - 1),
                     lq_axis_at(axis, quantile(curves[i].of, N_QUANTILES - 1)), curves[i].label);
    }
    free(curves);
}

static void put_tails(struct lq_page *page, const struct lq_view *view)
{
    struct lq_axis axis = tail_axis(view);
    lq_page_put(page,
                "<h3>The tail</h3>\n<p>What half of the tokens, 90 %%, 99 %% … stay below: a low mean with a high "
                "tail is a model that is seldom, but badly, wrong.</p>\n<div class=\"panels\">\n");
    for (int p = 0; p < N_PANELS; p++) {
        if (!begin_panel(page, &panels[p], view, "tail", "percentiles of the divergence")) continue;
        lq_page_put(page,
                    "<desc id=\"tail-%s-d\">The KL below which half, 90, 99 and 99.9 %% of the tokens stay, and the "
                    "largest, on a logarithmic scale; one line for each candidate.</desc>\n",
                    panels[p].id);
        lq_svg_kl_axis(page, &axis, &tail_frame);
        for (int i = 0; i < N_QUANTILES; i++)
            lq_page_put(page, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n",
                        quantile_at(i), tail_frame.bottom + 20, quantile_names[i]);
        lq_page_put(page,
                    "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">share of tokens below</text>\n",
                    tail_frame.right, tail_frame.bottom + 37);
        put_curves(page, view, &panels[p], &axis);
        end_panel(page);
    }
    lq_page_put(page, "</div>\n");
}

void lq_section_divergence(struct lq_page *page, const struct lq_view *view)
{
    struct points points = collect(view);
    if (points.items == NULL) {
        page->failed = true;
        return;
    }
    qsort(points.items, points.n, sizeof *points.items, by_size);
    lq_page_put(page, "<section id=\"divergence\">\n<h2>Divergence against size</h2>\n");
    if (points.n == 0) lq_page_put(page, "<p class=\"none\">not measured: no original to compare with</p>\n");
    else {
        lq_page_put(page,
                    "<p>Mean KL divergence from the original for each token, in nats; bars are 95 %% intervals. Down "
                    "is closer, left is smaller.</p>\n");
        put_against_size(page, view, &points);
        put_tails(page, view);
    }
    lq_page_put(page, "</section>\n");
    free(points.items);
}
