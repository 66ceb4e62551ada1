#include "report/svg.h"

#include <math.h>
#include <string.h>

void lq_range_add(struct lq_range *range, double value)
{
    if (isnan(value) || isinf(value)) return;
    if (value <= 0) {
        range->zero = true;
        return;
    }
    if (!range->any || value < range->least) range->least = value;
    if (!range->any || value > range->most) range->most = value;
    range->any = true;
}

void lq_range_add_estimate(struct lq_range *range, const struct lq_estimate *e)
{
    lq_range_add(range, e->value);
    lq_range_add(range, e->low);
    lq_range_add(range, e->high);
}

/* The next of 1, 2, 5, 10, ... times a power of ten below (or above) a positive value. */
static double round_to_step(double value, bool up)
{
    static const double steps[] = {1, 2, 5, 10};
    double power = pow(10, floor(log10(value)));
    size_t i = 0;
    while (i < 3 && steps[i + 1] * power <= value) i++;
    if (up && i < 3 && steps[i] * power < value) i++;
    return steps[i] * power;
}

struct lq_axis lq_axis_log(const struct lq_range *range, double at_from, double at_to)
{
    enum { PLACE_FOR_ZERO = 26 };
    struct lq_axis axis = {.from = 1e-3, .to = 1, .at_from = at_from, .at_to = at_to, .at_zero = at_from, .log = true};
    axis.has_zero = range->zero;
    if (range->zero) axis.at_from += at_to < at_from ? -PLACE_FOR_ZERO : PLACE_FOR_ZERO;
    if (!range->any) return axis;
    axis.from = round_to_step(fmax(range->least, 1e-30), false);
    axis.to = round_to_step(fmin(range->most, 1e30), true);
    if (axis.to / axis.from < 10) axis.to = axis.from * 10;
    return axis;
}

struct lq_axis lq_axis_linear(double most, double at_from, double at_to)
{
    bool usable = most > 0 && most < 1e300;
    return (struct lq_axis){.to = usable ? most * 1.08 : 1, .at_from = at_from, .at_to = at_to, .at_zero = at_from};
}

struct lq_size_axis lq_size_axis(double most, double at_from, double at_to)
{
    bool large = most >= 1073741824.0;
    struct lq_size_axis axis = {.unit = large ? 1073741824.0 : 1048576.0, .unit_name = large ? "GiB" : "MiB"};
    axis.axis = lq_axis_linear(1.12 * most / axis.unit, at_from, at_to); /* room for the labels of the largest */
    return axis;
}

double lq_size_axis_at(const struct lq_size_axis *axis, double bytes)
{
    return lq_axis_at(&axis->axis, bytes / axis->unit);
}

double lq_axis_at(const struct lq_axis *axis, double value)
{
    if (isnan(value)) value = axis->from;
    if (axis->log && value <= 0) return axis->at_zero;
    value = fmin(fmax(value, axis->from), axis->to);
    double part = axis->log ? log(value / axis->from) / log(axis->to / axis->from)
                            : (value - axis->from) / (axis->to - axis->from);
    return axis->at_from + part * (axis->at_to - axis->at_from);
}

static size_t log_ticks(const struct lq_axis *axis, double ticks[LQ_MAX_TICKS])
{
    static const struct {
        double from; /* decades */
        double steps[3];
    } choices[] = {{4, {1}}, {2, {1, 3}}, {0, {1, 2, 5}}};
    double decades = log10(axis->to / axis->from);
    size_t n = 0, choice = 0;
    while (choice < 2 && decades <= choices[choice].from) choice++;
    int every = 1 + (int)(decades / 8);
    for (int power = (int)floor(log10(axis->from)); n < LQ_MAX_TICKS && pow(10, power) <= axis->to * 1.001;
         power += every)
        for (size_t i = 0; i < 3 && choices[choice].steps[i] > 0 && n < LQ_MAX_TICKS; i++) {
            double tick = choices[choice].steps[i] * pow(10, power);
            if (tick >= axis->from * 0.999 && tick <= axis->to * 1.001) ticks[n++] = tick;
        }
    return n;
}

size_t lq_axis_ticks(const struct lq_axis *axis, double ticks[LQ_MAX_TICKS])
{
    if (axis->log) return log_ticks(axis, ticks);
    double step = round_to_step(axis->to / 6, true);
    size_t n = 0;
    for (int i = 0; n < LQ_MAX_TICKS && i * step <= axis->to; i++) ticks[n++] = i * step;
    return n;
}

static void put_level(struct lq_page *page, const struct lq_frame *frame, double y, const char *text)
{
    lq_page_put(page,
                "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
                "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
                frame->left, frame->right, y, y, frame->left - 6, y + 3.5, text);
}

void lq_svg_kl_axis(struct lq_page *page, const struct lq_axis *axis, const struct lq_frame *frame)
{
    double ticks[LQ_MAX_TICKS];
    size_t n = lq_axis_ticks(axis, ticks);
    for (size_t i = 0; i < n; i++) put_level(page, frame, lq_axis_at(axis, ticks[i]), lq_figure_tick(ticks[i]).s);
    if (axis->has_zero) put_level(page, frame, axis->at_zero, "0");
}

void lq_svg_size_axis(struct lq_page *page, const struct lq_size_axis *axis, const struct lq_frame *frame)
{
    double ticks[LQ_MAX_TICKS];
    size_t n = lq_axis_ticks(&axis->axis, ticks);
    lq_page_put(page, "<line class=\"base\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n", frame->left,
                frame->right, frame->bottom + 4, frame->bottom + 4);
    for (size_t i = 0; i < n; i++)
        lq_page_put(page, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%g</text>\n",
                    lq_axis_at(&axis->axis, ticks[i]), frame->bottom + 20, ticks[i]);
    lq_page_put(page, "<text class=\"axis\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">size, %s</text>\n", frame->right,
                frame->bottom + 37, axis->unit_name);
}

void lq_svg_point(struct lq_page *page, const struct lq_axis *axis, double x, const struct lq_estimate *e)
{
    if (!isnan(e->low))
        lq_page_put(page, "<line class=\"bar\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", x, x,
                    lq_axis_at(axis, e->low), lq_axis_at(axis, e->high));
    lq_page_put(page, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>", x, lq_axis_at(axis, e->value));
}

static bool overlap(const struct lq_frame *a, const struct lq_frame *b)
{
    return a->left < b->right && b->left < a->right && a->top < b->bottom && b->top < a->bottom;
}

static bool is_free(const struct lq_places *places, const struct lq_frame *box, const struct lq_frame *frame)
{
    if (box->top < frame->top - 8 || box->bottom > frame->bottom + 8) return false;
    if (box->left < frame->left || box->right > frame->right) return false;
    for (size_t i = 0; i < places->n; i++)
        if (overlap(&places->taken[i], box)) return false;
    return true;
}

void lq_places_take(struct lq_places *places, const struct lq_axis *axis, double x, const struct lq_estimate *e)
{
    enum { RADIUS = 4 };
    double top = lq_axis_at(axis, isnan(e->high) ? e->value : e->high);
    double bottom = lq_axis_at(axis, isnan(e->low) ? e->value : e->low);
    if (places->n < sizeof places->taken / sizeof *places->taken)
        places->taken[places->n++] = (struct lq_frame){x - RADIUS, x + RADIUS, top - RADIUS, bottom + RADIUS};
}

enum { LONGEST_LABEL = 18 };

/* Bytes of the first LONGEST_LABEL characters, and how many characters that are. */
static size_t cut(const char *text, size_t *characters)
{
    size_t n = 0;
    *characters = 0;
    for (; text[n] != '\0'; n++) {
        bool begins = ((unsigned char)text[n] & 0xC0) != 0x80;
        if (begins && *characters == LONGEST_LABEL) break;
        *characters += begins;
    }
    return n;
}

/* A place for a label `width` wide: the free one nearest to (x, y), to the right rather than to the left; where nothing
 * is free, the right. *left: which side it became. */
static struct lq_frame find_place(struct lq_places *places, const struct lq_frame *frame, double x, double y,
                                  double width, bool *left)
{
    enum { GAP = 8, HALF = 6, STEPS = 40 };
    for (int step = 0; step < STEPS; step++) {
        int away = (step + 1) / 2;
        double middle = y + (step % 2 ? 6.5 : -6.5) * away;
        for (int side = 0; side < 2; side++) {
            double start = side == 0 ? x + GAP : x - GAP - width;
            struct lq_frame box = {start, start + width, middle - HALF, middle + HALF};
            *left = side == 1;
            if (is_free(places, &box, frame)) return box;
        }
    }
    *left = false;
    return (struct lq_frame){x + GAP, x + GAP + width, y - HALF, y + HALF};
}

void lq_svg_label(struct lq_page *page, struct lq_places *places, const struct lq_frame *frame, double x, double y,
                  const char *text)
{
    char shown[4 * LONGEST_LABEL + 8] = "";
    size_t characters, n = cut(text, &characters);
    if (n + sizeof "…" <= sizeof shown) {
        memcpy(shown, text, n);
        strcpy(shown + n, text[n] == '\0' ? "" : "…");
    }
    bool left;
    struct lq_frame box = find_place(places, frame, x, y, 6.3 * (double)characters + 4, &left);
    if (places->n < sizeof places->taken / sizeof *places->taken) places->taken[places->n++] = box;
    double middle = (box.top + box.bottom) / 2;
    if (fabs(middle - y) > 7)
        lq_page_put(page, "<line class=\"leader\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>",
                    left ? x - 4 : x + 4, y, left ? box.right : box.left - 1, middle);
    lq_page_put(page, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n",
                left ? box.right : box.left, middle + 3.8, left ? "end" : "start", shown);
}
