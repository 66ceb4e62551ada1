/* What --weighting and --cap say, for the commands that gather statistics. */
#ifndef LQ_CLI_WEIGHTING_H
#define LQ_CLI_WEIGHTING_H

#include "llava_quantize/gather.h"

#define CLI_WEIGHTING_ARGUMENT "counts|equal|V:A:T|measured"
/* clang-format off */
#define CLI_WEIGHTING_HELP \
    "what tokens of pictures, of text behind one and of plain text count: each the same (counts, the default), each " \
    "kind's sum the same (equal), the kinds' sums as V to A to T, or a token as much as an error at it costs the " \
    "answers (measured, on 32 records)"
#define CLI_CAP_HELP \
    "a token whose square is above X times its batch's median counts as if it were that; default: off"
/* clang-format on */

/* Either text may be NULL: the default. CLI_GO, or the exit status after a message. */
int cli_weighting_parse(struct lq_calibrate_options *options, const char *command, const char *weighting,
                        const char *cap);

#endif
