#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "message.h"
#include "plan_print.h"
#include "signals.h"

enum { USUAL_WIDTH = 80 };
static const double seconds_between_drawings = 0.1;

/* A terminal on which a line can be rewritten. */
static bool can_rewrite(void)
{
    const char *kind = getenv("TERM");
    return isatty(STDERR_FILENO) == 1 && kind != NULL && strcmp(kind, "dumb") != 0;
}

static size_t terminal_width(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return USUAL_WIDTH;
    return size.ws_col;
}

/* Ends the text after at most `columns` UTF-8 characters. */
static void cut(char *text, size_t columns)
{
    size_t seen = 0;
    for (char *p = text; *p != '\0'; p++) {
        if (((unsigned char)*p & 0xC0) == 0x80) continue;
        if (seen++ == columns) {
            *p = '\0';
            return;
        }
    }
}

static double share_of(const struct lq_progress *now)
{
    return now->done >= now->total ? 1.0 : (double)now->done / (double)now->total;
}

static double megabytes_per_second(const struct lq_progress *now)
{
    return now->seconds > 0 ? (double)now->done / 1e6 / now->seconds : 0;
}

/* "  42 %  123 MB/s  1:05 left": the speed where bytes are counted, the clock once there is something to go by. */
static void format_state(char *text, size_t size, const struct lq_progress *now)
{
    double share = share_of(now);
    int used = snprintf(text, size, "%3.0f %%", share * 100);
    if (!now->counted) used += snprintf(text + used, size - (size_t)used, "  %4.0f MB/s", megabytes_per_second(now));
    if (share <= 0) return;
    unsigned long left = (unsigned long)(now->seconds * (1 - share) / share + 0.5);
    snprintf(text + used, size - (size_t)used, "  %lu:%02lu left", left / 60, left % 60);
}

static void draw(struct cli_progress *p, const struct lq_progress *now)
{
    bool finished = now->done >= now->total;
    if (p->drawn && !finished && now->seconds - p->drawn_at < seconds_between_drawings) return;
    char state[64], line[512];
    format_state(state, sizeof state, now);
    snprintf(line, sizeof line, "%s  %s", state, now->what);
    cut(line, terminal_width() - 1);
    fputs("\r\033[K", stderr);
    cli_put_clean(stderr, line);
    p->drawn = true;
    p->drawn_at = now->seconds;
}

static void print_tenths(struct cli_progress *p, const struct lq_progress *now)
{
    unsigned tenths = (unsigned)(share_of(now) * 10);
    if (now->counted != p->counted) p->tenths = 0; /* another part of the work */
    p->counted = now->counted;
    if (tenths <= p->tenths) return;
    p->tenths = tenths;
    char state[64];
    format_state(state, sizeof state, now);
    fprintf(stderr, "%s  ", state);
    cli_put_clean(stderr, now->what);
    putc('\n', stderr);
}

/* Announces every tensor up to and including the one in hand; at the end, all that are left. */
static void print_tensors(struct cli_progress *p, const struct lq_progress *now)
{
    const struct lq_plan *plan = p->plan;
    size_t end = p->next_entry;
    while (end < plan->n_entries && strcmp(plan->entries[end].tensor->name, now->what) != 0) end++;
    if (now->done >= now->total) end = plan->n_entries;
    else if (end == plan->n_entries) return;
    else end++;
    struct cli_plan_widths widths = cli_plan_widths(plan);
    while (p->next_entry < end) cli_plan_put_entry(stderr, plan, p->next_entry++, &widths);
}

static void on_progress(void *data, const struct lq_progress *now)
{
    struct cli_progress *p = data;
    if (p->verbosity == CLI_QUIET) return;
    if (p->verbosity == CLI_VERBOSE && p->plan != NULL) print_tensors(p, now);
    else if (p->terminal) draw(p, now);
    else print_tenths(p, now);
    fflush(stderr);
}

static void on_log(void *data, enum lq_log_level level, const char *message)
{
    struct cli_progress *p = data;
    if (p->verbosity == CLI_QUIET || (level != LQ_LOG_WARN && p->verbosity != CLI_VERBOSE)) return;
    cli_progress_end(p);
    cli_put_clean(stderr, message);
    if (*message == '\0' || message[strlen(message) - 1] != '\n') putc('\n', stderr);
}

void cli_progress_init(struct cli_progress *p, enum cli_verbosity verbosity, const struct lq_plan *plan)
{
    *p = (struct cli_progress){
        .hooks = {.data = p, .log = on_log, .progress = on_progress, .cancelled = cli_signals_caught},
        .verbosity = verbosity,
        .plan = plan,
        .terminal = can_rewrite(),
    };
}

void cli_progress_end(struct cli_progress *p)
{
    if (!p->drawn) return;
    fputs("\r\033[K", stderr);
    fflush(stderr); /* results follow on stdout */
    p->drawn = false;
}
