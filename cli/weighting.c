#include "weighting.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

static const struct {
    const char *name;
    enum lq_weighting weighting;
} names[] = {{"counts", LQ_WEIGHTING_COUNTS}, {"equal", LQ_WEIGHTING_EQUAL}, {"measured", LQ_WEIGHTING_MEASURED}};

/* A number from 0 on; NULL when there is none. */
static const char *read_number(double *out, const char *text)
{
    char *end = NULL;
    *out = strtod(text, &end);
    bool starts = (*text >= '0' && *text <= '9') || *text == '.';
    return starts && isfinite(*out) ? end : NULL;
}

static bool read_ratio(double ratio[3], const char *text)
{
    for (int k = 0; k < 3; k++) {
        text = read_number(&ratio[k], text);
        if (text == NULL || *text != (k < 2 ? ':' : '\0')) return false;
        text++;
    }
    return ratio[0] + ratio[1] + ratio[2] > 0;
}

static bool read_weighting(struct lq_calibrate_options *options, const char *text)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        options->weighting = names[i].weighting;
        if (strcmp(text, names[i].name) == 0) return true;
    }
    options->weighting = LQ_WEIGHTING_RATIO;
    return read_ratio(options->ratio, text);
}

static bool read_cap(double *cap, const char *text)
{
    *cap = 0;
    if (strcmp(text, "off") == 0) return true;
    const char *end = read_number(cap, text);
    return end != NULL && *end == '\0' && *cap > 0;
}

int cli_weighting_parse(struct lq_calibrate_options *options, const char *command, const char *weighting,
                        const char *cap)
{
    if (weighting != NULL && !read_weighting(options, weighting))
        return cli_wrong_use(command, "--weighting: '%s' is none of " CLI_WEIGHTING_ARGUMENT ", such as 1:1:0.5",
                             weighting);
    if (cap != NULL && !read_cap(&options->cap, cap))
        return cli_wrong_use(command, "--cap: '%s' is neither a number above 0 nor 'off'", cap);
    return CLI_GO;
}
