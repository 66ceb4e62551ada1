#include "report/figure.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define NOT_MEASURED "not measured"

const char lq_not_measured[] = NOT_MEASURED;
static const struct lq_figure not_measured = {NOT_MEASURED};

/* "2.4×10⁻⁷", with so many digits behind the point. */
static struct lq_figure with_power(double value, int digits)
{
    static const char *const raised[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    char text[32];
    struct lq_figure figure;
    snprintf(text, sizeof text, "%.*e", digits, value);
    size_t mantissa = strcspn(text, "e");
    int n = snprintf(figure.s, sizeof figure.s, "%.*s×10", (int)mantissa, text);
    const char *power = text + mantissa + 1;
    n += snprintf(figure.s + n, sizeof figure.s - (size_t)n, "%s", *power == '-' ? "⁻" : "");
    for (power += strspn(power, "+-0"); *power != '\0'; power++)
        n += snprintf(figure.s + n, sizeof figure.s - (size_t)n, "%s", raised[*power - '0']);
    return figure;
}

/* So many digits that count, as a plain number where that is readable. */
static struct lq_figure significant(double value, int digits)
{
    struct lq_figure figure;
    if (isnan(value)) return not_measured;
    if (isinf(value)) return value < 0 ? (struct lq_figure){"−∞"} : (struct lq_figure){"∞"};
    double size = fabs(value);
    if (size > 0 && (size < 1e-4 || size >= 1e6)) return with_power(value, 1);
    int behind = size == 0 ? 0 : digits - 1 - (int)floor(log10(size));
    snprintf(figure.s, sizeof figure.s, "%.*f", behind < 0 ? 0 : behind, value);
    return figure;
}

struct lq_figure lq_figure_kl(double nats)
{
    return significant(nats, 3);
}

struct lq_figure lq_figure_tick(double value)
{
    static const char one[] = "1×";
    struct lq_figure figure;
    if (value >= 9e-4 || value <= 0) snprintf(figure.s, sizeof figure.s, "%g", value);
    else figure = with_power(value, 0);
    size_t n = strncmp(figure.s, one, strlen(one)) == 0 ? strlen(one) : 0; /* "10⁻⁵" */
    memmove(figure.s, figure.s + n, strlen(figure.s + n) + 1);
    return figure;
}

static struct lq_figure shorter_kl(double nats)
{
    return significant(nats, 2);
}

struct lq_figure lq_figure_number(double value, int digits)
{
    struct lq_figure figure;
    if (isnan(value)) return not_measured;
    if (fabs(value) >= 1e9) return lq_figure_kl(value);
    snprintf(figure.s, sizeof figure.s, "%.*f", digits, value);
    return figure;
}

struct lq_figure lq_figure_percent(double share, int digits)
{
    struct lq_figure figure = lq_figure_number(share * 100, digits);
    if (!isnan(share)) strcat(figure.s, " %");
    return figure;
}

struct lq_figure lq_figure_share(double share)
{
    return lq_figure_percent(share, 1);
}

struct lq_figure lq_figure_size(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    struct lq_figure figure;
    if (bytes == 0) return not_measured;
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024; unit++) value /= 1024;
    snprintf(figure.s, sizeof figure.s, "%.*f %s",
             unit == 0 || value >= 100 ? 0
             : value < 10              ? 2
                                       : 1,
             value, units[unit]);
    return figure;
}

struct lq_figure lq_figure_time(double seconds)
{
    struct lq_figure figure;
    if (isnan(seconds) || seconds < 0 || seconds > 1e9) return not_measured;
    if (seconds < 60) {
        snprintf(figure.s, sizeof figure.s, "%.1f s", seconds);
        return figure;
    }
    bool long_time = seconds >= 3600;
    uint64_t total = (uint64_t)(long_time ? seconds / 60 : seconds);
    snprintf(figure.s, sizeof figure.s, "%" PRIu64 " %s %" PRIu64 " %s", total / 60, long_time ? "h" : "min",
             total % 60, long_time ? "min" : "s");
    return figure;
}

bool lq_is_measured(const struct lq_estimate *e)
{
    return !isnan(e->value);
}

static struct lq_figure interval(const struct lq_estimate *e, struct lq_figure (*figure)(double), const char *unit)
{
    struct lq_figure text = {""};
    if (isnan(e->value) || isnan(e->low) || isnan(e->high)) return text;
    struct lq_figure low = figure(e->low), high = figure(e->high);
    snprintf(text.s, sizeof text.s, "%.24s – %.24s%s", low.s, high.s, unit);
    return text;
}

struct lq_figure lq_figure_kl_interval(const struct lq_estimate *e)
{
    return interval(e, shorter_kl, "");
}

static struct lq_figure bare_percent(double share)
{
    return lq_figure_number(share * 100, 1);
}

struct lq_figure lq_figure_share_interval(const struct lq_estimate *e)
{
    return interval(e, bare_percent, " %");
}
