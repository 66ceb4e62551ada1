/* One run from an input to a written pair, or to a plan: what `quantize`, `convert` and `plan` share.
 *
 * Enters: the command line as a struct. Leaves: files, a table or JSON on stdout, an exit status.
 * Invariants: with dry_run nothing is written but the plan file asked for.
 */
#ifndef LQ_CLI_JOB_H
#define LQ_CLI_JOB_H

#include "command.h"
#include "llava_quantize/gather.h"
#include "progress.h"
#include "target.h"

struct cli_job {
    const char *command; /* its name, for messages and JSON */
    const char *input, *output;
    const char *spec; /* bits, type, file type or recipe; NULL: the default */
    const char *vision, *language, *mmproj, *stats, *plan, *save_plan;
    const char *data, *text, *weighting, *cap,
        *save_stats;                       /* what to calibrate on, how, and where to keep the result */
    struct lq_calibrate_options calibrate; /* weighting and cap, read */
    struct cli_list rules;                 /* "PATTERN=TYPE" */
    struct cli_target target;              /* a size or a quality instead of `spec` */
    const char *curve, *explain;           /* `plan` alone: where the curve of sizes goes; a tensor or role */
    bool planning;                         /* `plan`: nothing is quantised */
    int only;                              /* enum lq_half, or -1 */
    uint32_t threads, limit, seed;
    uint64_t split_size; /* bytes; 0: one file for each half */
    uint64_t memory;     /* bytes; 0: the library's default */
    int effort;          /* enum lq_effort */
    int method;          /* enum lq_method, or -1: the most that the statistics allow */
    bool sequential;     /* see struct lq_quantize_options */
    bool keep_split, dry_run, allow_requantize, no_pad, force, json, quiet, verbose;
    bool hugging_face_only; /* refuse an input that is GGUF already */
    bool fix_feature_layer; /* convert alone: see fix_feature_layer.h */
};

int cli_job_run(const struct cli_job *job);
enum cli_verbosity cli_job_verbosity(const struct cli_job *job);

#endif
