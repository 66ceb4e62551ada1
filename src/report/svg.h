/* Plots as inline SVG: axes, ticks, labels that do not lie on one another.
 *
 * Enters: values. Leaves: markup in a page; colours come from the page's style by class.
 * Invariants: coordinates are finite whatever the values are; each plot has a title and a description.
 */
#ifndef LQ_REPORT_SVG_H
#define LQ_REPORT_SVG_H

#include "llava_quantize/evaluate.h"
#include "report/figure.h"
#include "report/page.h"

/* Where values stand along one side, in user units. On a logarithmic axis values of 0 and less stand at `at_zero`. */
struct lq_axis {
    double from, to, at_from, at_to, at_zero;
    bool log, has_zero;
};

enum { LQ_MAX_TICKS = 16 };

/* The smallest positive and the largest of some values, to make an axis of. Starts as all zero. */
struct lq_range {
    double least, most; /* of positive values */
    bool any, zero;     /* a positive value, one of 0 or less was seen */
};

void lq_range_add(struct lq_range *range, double value); /* NaN is let pass */
void lq_range_add_estimate(struct lq_range *range, const struct lq_estimate *e);

/* An axis from one round number to another over at least a decade. With a 0 among the values, a place of its own is
 * kept for it at the low end. */
struct lq_axis lq_axis_log(const struct lq_range *range, double at_from, double at_to);
/* From 0 to a little over `most`. */
struct lq_axis lq_axis_linear(double most, double at_from, double at_to);
double lq_axis_at(const struct lq_axis *axis, double value);
/* Round numbers along the axis, without 0 on a logarithmic one; returns how many. */
size_t lq_axis_ticks(const struct lq_axis *axis, double ticks[LQ_MAX_TICKS]);

/* Sizes of files from 0 to a little over `most` bytes, told in MiB or GiB. */
struct lq_size_axis {
    struct lq_axis axis;
    double unit; /* bytes */
    const char *unit_name;
};
struct lq_size_axis lq_size_axis(double most, double at_from, double at_to);
double lq_size_axis_at(const struct lq_size_axis *axis, double bytes);

/* A box in which plots draw: left, right, top, bottom in user units. */
struct lq_frame {
    double left, right, top, bottom;
};

/* Tick lines and figures of a KL axis at the frame's left side. */
void lq_svg_kl_axis(struct lq_page *page, const struct lq_axis *axis, const struct lq_frame *frame);

/* Line and figures of a size axis below the frame. */
void lq_svg_size_axis(struct lq_page *page, const struct lq_size_axis *axis, const struct lq_frame *frame);
/* A point with a bar over its interval, if it has one. */
void lq_svg_point(struct lq_page *page, const struct lq_axis *axis, double x, const struct lq_estimate *e);

/* Places already taken by labels and points. */
struct lq_places {
    struct lq_frame taken[128];
    size_t n;
};

/* What lq_svg_point draws. */
void lq_places_take(struct lq_places *places, const struct lq_axis *axis, double x, const struct lq_estimate *e);
/* A label beside the point (x, y), to the right or to the left, moved up or down past what is there, with a line to its
 * point where it had to go far. Long names are cut. */
void lq_svg_label(struct lq_page *page, struct lq_places *places, const struct lq_frame *frame, double x, double y,
                  const char *text);

#endif
