#include "message.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

void cli_put_clean(FILE *out, const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        putc((c < 0x20 && c != '\n') || c == 0x7f ? '?' : c, out);
    }
}

static void put_message(const char *fmt, va_list args)
{
    char text[2048];
    vsnprintf(text, sizeof text, fmt, args);
    fputs("llava-quantize: ", stderr);
    cli_put_clean(stderr, text);
}

void cli_error(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    put_message(fmt, args);
    va_end(args);
    putc('\n', stderr);
}

int cli_wrong_use(const char *command, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    put_message(fmt, args);
    va_end(args);
    fprintf(stderr, "; see 'llava-quantize%s%s --help'\n", *command == '\0' ? "" : " ", command);
    return CLI_WRONG_USE;
}

int cli_fail(const struct lq_error *err)
{
    cli_error("%s", err->message);
    return err->status == LQ_ERR_USAGE ? CLI_WRONG_USE : CLI_FAILED;
}

/* True when stdout is a pipe or socket whose reader has closed it. */
static bool reader_is_gone(void)
{
    struct pollfd p = {.fd = STDOUT_FILENO};
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLHUP)) != 0;
}

int cli_finish(int status)
{
    errno = 0;
    bool lost = fflush(stdout) != 0 || ferror(stdout) != 0;
    int cause = errno;
    if (!lost || cause == EPIPE || reader_is_gone()) return status;
    cli_error("standard output: %s", cause == 0 ? "write failed" : strerror(cause));
    return CLI_FAILED;
}
