/* `convert --fix-feature-layer`: an existing LLaVA mmproj gets the key that says where its features are taken from.
 *
 * Enters: a job whose input is a GGUF with a vision half, and whose output is a path ending in .gguf or a folder.
 * Leaves: a copy of the vision half with the key; before that, on stdout, what it changes. --json prints one object
 * instead:
 *   {"command": "convert", "version", "input", "path", "key", "value": [N], "blocks",
 *    "runs_before", "runs_after", "written": true | false}      // false after --dry-run
 */
#ifndef LQ_CLI_FIX_FEATURE_LAYER_H
#define LQ_CLI_FIX_FEATURE_LAYER_H

#include "job.h"

int cli_fix_feature_layer(const struct cli_job *job);

#endif
