/* What `bench` measures: the rows it works on, and how results are printed.
 *
 * The JSON object keeps its shape from version to version; new members may be added:
 *   {
 *     "command", "version", "kernels": "avx2", "rows": "normal" | "heavy" | "outlier" | the model's path,
 *     "columns"*, "weights", "importance": true | false, "effort", "threads",
 *     "types": [
 *       {"type", "bpw", "weights" (looked at for the errors), "relative_error", "ggml_relative_error", "error_ratio",
 *        "encode"**, "decode"**, "copy"**, "encode_share"**}, ...
 *     ]
 *   }
 * Errors are weighted as llava_quantize/bench.h says; "error_ratio" is our sum of squares to ggml's, null where ggml's
 * is nothing or not finite. Speeds are bytes of f32 weights per second, "encode_share" is encoding's
 * to copying's, the median of rounds. Members marked * are absent for a model, ** with --seconds 0.
 */
#ifndef LQ_CLI_BENCH_H
#define LQ_CLI_BENCH_H

#include <jansson.h>

#include "llava_quantize/bench.h"

struct cli_bench_job {
    const char *types, *rows;
    int effort; /* enum lq_effort */
    bool importance, json;
    uint32_t columns, threads;
    double seconds;
};

/* Owned. */
struct cli_bench_rows {
    struct lq_bench_matrix *matrices;
    size_t n;
    bool model; /* they come from a model */
};

/* Makes rows up, or opens the model that job->rows names and takes rows of every matrix in it. Errors: those of
 * lq_model_open and lq_model_weights; LQ_ERR_MEMORY. Release the rows on failure too. */
enum lq_status cli_bench_rows_load(struct cli_bench_rows *rows, const struct cli_bench_job *job, struct lq_error *err);
void cli_bench_rows_release(struct cli_bench_rows *rows);
/* Whether a type's blocks divide a matrix's columns. */
bool cli_bench_fits(const struct lq_bench_matrix *matrix, enum lq_type type);

struct cli_bench_result {
    enum lq_type type;
    uint64_t weights;
    struct lq_bench_error error;
    struct lq_bench_speed speed; /* zeros where it was not measured */
};

void cli_bench_head(const struct cli_bench_job *job, const struct cli_bench_rows *rows);
void cli_bench_line(const struct cli_bench_result *result);
/* NULL when memory is short. */
json_t *cli_bench_type_to_json(const struct cli_bench_result *result);
/* Takes `types`, which may be NULL. */
json_t *cli_bench_to_json(const struct cli_bench_job *job, const struct cli_bench_rows *rows, json_t *types);

#endif
