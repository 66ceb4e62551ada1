/* Ctrl-C and friends: the first signal asks for an orderly end, a second one ends the process at once. */
#ifndef LQ_CLI_SIGNALS_H
#define LQ_CLI_SIGNALS_H

#include <stdbool.h>

/* Catches SIGINT, SIGTERM and SIGHUP; ignores SIGPIPE and SIGXFSZ, so that a closed pipe and a file that may
 * not grow are ordinary write errors. */
void cli_signals_install(void);
/* True after the first signal. A `cancelled` hook: safe from any thread; `data` is not used. */
bool cli_signals_caught(void *data);

#endif
