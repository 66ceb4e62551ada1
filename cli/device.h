/* `--device`: names for the memory and the fast types of devices that many people have.
 *
 * Enters: the command line. Leaves: other options. Invariants: a preset is nothing but other options, and what is given
 * beside it wins.
 *
 *     int status = cli_device_apply(&target, "plan");      // --device pi5-8g: --fit 6.5G --only-fast-on cpu
 */
#ifndef LQ_CLI_DEVICE_H
#define LQ_CLI_DEVICE_H

#include "target.h"

/* CLI_GO, or the exit status after a message: a device that is not known. */
int cli_device_apply(struct cli_target *target, const char *command);
/* The presets, for --help. */
void cli_device_details(FILE *out);

#endif
