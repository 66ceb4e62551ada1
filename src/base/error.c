#include "llava_quantize/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void put_ellipsis(char *message, size_t size)
{
    memcpy(message + size - 4, "...", 4);
}

enum lq_status lq_error_set(struct lq_error *err, enum lq_status status, const char *fmt, ...)
{
    if (err == NULL) return status;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof err->message) put_ellipsis(err->message, sizeof err->message);
    err->status = status;
    return status;
}

enum lq_status lq_error_prefix(struct lq_error *err, const char *fmt, ...)
{
    if (err == NULL) return LQ_OK;
    char text[sizeof err->message];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    size_t used = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    int m = snprintf(text + used, sizeof text - used, ": %s", err->message);
    if (m < 0 || (size_t)m >= sizeof text - used) put_ellipsis(text, sizeof text);
    memcpy(err->message, text, sizeof text);
    return err->status;
}

const char *lq_version(void)
{
    return LQ_VERSION;
}
