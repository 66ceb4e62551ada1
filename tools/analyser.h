/* For clang-tidy only (tools/check-tidy.sh): its analyser looks at one file at a time and has to be told that
 * lq_error_set returns the status it was given, never LQ_OK for a failure. */
#ifndef LQ_TOOLS_ANALYSER_H
#define LQ_TOOLS_ANALYSER_H

#include "llava_quantize/base.h"

#define lq_error_set(err, status, ...) ((void)lq_error_set(err, status, __VA_ARGS__), (status))

#endif
