/* What the program says besides its results: one line on stderr, and the exit status that goes with it.
 *
 * Enters: a format or a library error. Leaves: "llava-quantize: MESSAGE" on stderr.
 * Invariants: control characters in names taken from files never reach the terminal; stdout is checked before exit.
 *
 *     if (lq_model_open(&model, path, NULL, &err) != LQ_OK) return cli_fail(&err);
 */
#ifndef LQ_CLI_MESSAGE_H
#define LQ_CLI_MESSAGE_H

#include <stdio.h>

#include "llava_quantize/base.h"

enum cli_exit { CLI_DONE = 0, CLI_FAILED = 1, CLI_WRONG_USE = 2, CLI_DIFFERS = 3 };

/* Prints "llava-quantize: " and the message. */
void cli_error(const char *fmt, ...) LQ_PRINTF(1, 2);
/* The same for wrong use: adds where to read more ("see 'llava-quantize COMMAND --help'") and returns CLI_WRONG_USE. */
int cli_wrong_use(const char *command, const char *fmt, ...) LQ_PRINTF(2, 3);
/* Prints a library error; returns the exit status for it. */
int cli_fail(const struct lq_error *err);
/* Writes `text` with control characters other than line feeds replaced by '?'. */
void cli_put_clean(FILE *out, const char *text);
/* Flushes stdout and returns `status`, or CLI_FAILED with a message when results were lost. A reader that has gone away
 * (a closed pipe) is no failure. */
int cli_finish(int status);

#endif
