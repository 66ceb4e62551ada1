/* How far long work is, on stderr: one line rewritten in place on a terminal, plain lines elsewhere (a dumb
 * terminal included).
 *
 * Enters: the library's hooks. Leaves: text on stderr, never longer than the terminal is wide.
 * Invariants: quiet prints nothing; the line is wiped before anything else is printed.
 *
 *     struct cli_progress progress;
 *     cli_progress_init(&progress, CLI_NORMAL, plan);
 *     options.hooks = &progress.hooks;
 *     ...
 *     cli_progress_end(&progress);
 */
#ifndef LQ_CLI_PROGRESS_H
#define LQ_CLI_PROGRESS_H

#include "llava_quantize/plan.h"

enum cli_verbosity { CLI_QUIET, CLI_NORMAL, CLI_VERBOSE };

struct cli_progress {
    struct lq_hooks hooks; /* pass on; `data` points back here, so the struct must not move */
    enum cli_verbosity verbosity;
    const struct lq_plan *plan; /* for the lines of --verbose; may be NULL */
    bool terminal;
    bool drawn;        /* a line stands on the terminal that must be wiped */
    double drawn_at;   /* seconds */
    unsigned tenths;   /* plain lines: tenths of the work announced */
    bool counted;      /* the latest report was: see struct lq_progress */
    size_t next_entry; /* --verbose: first entry of the plan not yet announced */
};

void cli_progress_init(struct cli_progress *p, enum cli_verbosity verbosity, const struct lq_plan *plan);
/* Wipes the terminal's line. */
void cli_progress_end(struct cli_progress *p);

#endif
