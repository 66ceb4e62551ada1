/* What a finished run prints on stdout: the table and the next commands, or one JSON object.
 *
 * Enters: the model, the plan as carried out, and the result (NULL after --dry-run).
 *
 * The JSON object keeps its shape from version to version; new members may be added:
 *   {
 *     "command", "version", "recipe", "effort", "pair_id"*, "feedback"*: {"tensors", "lowered"},
 *     "halves": {
 *       "vision": {"path"*, "paths", "bytes"*, "tensors", "weights", "bytes_before", "bytes_after", "bpw",
 *                  "relative_error"*},
 *       "language": {as above; a half that is absent has no member}
 *     },
 *     "plan": [
 *       {"name", "half", "role", "from", "to", "bytes_before", "bytes_after", "relative_error"*, "method"*,
 *        "output_error_plain"+, "output_error"+, "rows_fed"+, "rows_kept"+, "rows_alone"+, "reason"}, ...
 *     ]
 *   }
 * Members marked * are absent after --dry-run; those marked + stand with tensors of method "feedback" alone, and struct
 * lq_quantize_outcome explains them. `lowered` is the share of the output error that error feedback took away, the mean
 * over the tensors that it was used on. `paths` are all files of the half, `path` is the first of them and `bytes` their
 * size; bytes_before and bytes_after are tensor data; relative_error is the root of the summed squared error over that of
 * the summed squared weights.
 */
#ifndef LQ_CLI_REPORT_H
#define LQ_CLI_REPORT_H

#include "llava_quantize/quantize.h"

struct cli_report {
    const char *command; /* "quantize" or "convert" */
    const char *output;  /* as given by the user */
    const struct lq_model *model;
    const struct lq_plan *plan;
    enum lq_effort effort;
    bool verbose;                         /* the table lists what error feedback did to each tensor */
    const struct lq_quantize_file *files; /* written, or to be written */
    size_t n_files;
    const struct lq_quantize_result *result; /* NULL after --dry-run */
};

/* "TITLE:", then a line for each file, the language half's first. */
void cli_report_files(const struct cli_report *report, const char *title);
/* Errors: LQ_ERR_MEMORY. */
enum lq_status cli_report_table(const struct cli_report *report, struct lq_error *err);
enum lq_status cli_report_json(const struct cli_report *report, struct lq_error *err);

#endif
