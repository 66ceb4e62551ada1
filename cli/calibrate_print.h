/* What `calibrate` will do and has done, for people and programs.
 *
 * The JSON object keeps its shape from version to version; new members may be added:
 *   {
 *     "command", "version", "output" (null with --dry-run alone), "finished": true | false, "records", "windows",
 *     "broken", "resumed" (records and windows that an earlier run had finished), "inputs", "matrices",
 *     "tokens": {"picture", "after_picture", "text"}, "weights": {the same},
 *     "bytes": {"sums", "second_moments", "file", "memory", "disk", "one_pass"}, "passes", "on_disk": true | false,
 *     "seconds" (estimated), "threads",
 *     "measured": {"token_seconds", "picture_seconds", "flops", "disk_bytes_per_second"}
 *   }
 * Weights are those of one token in the language half. "bytes.memory" is what the run takes beside the model,
 * "bytes.disk" what it spills, "bytes.one_pass" the memory with which it would need neither several passes nor a disk.
 */
#ifndef LQ_CLI_CALIBRATE_PRINT_H
#define LQ_CLI_CALIBRATE_PRINT_H

#include <stdio.h>

#include "llava_quantize/gather.h"

void cli_calibrate_print(FILE *out, const struct lq_calibration_plan *plan);
enum lq_status cli_calibrate_json(const struct lq_calibration_plan *plan, const char *output, bool finished,
                                  struct lq_error *err);

#endif
