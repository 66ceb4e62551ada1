/* Statistics of a run's own: `quantize --data` and `plan --data` calibrate first. Where statistics are given as well,
 * the data are for measuring alone.
 *
 * Enters: the command line, the model. Leaves: statistics in a hidden folder beside the output, or where --save-stats
 * says, and the pair that was run: the model itself, or F16 files made of a Hugging Face folder.
 * Invariants: the hidden folder goes with cli_calibrated_release, however the run ended.
 *
 *     struct cli_calibrated calibrated = {0};
 *     if (cli_calibrate_first(&calibrated, job, model, &err) == LQ_OK) lq_stats_load(&stats, calibrated.stats, &err);
 *     cli_calibrated_release(&calibrated);     // after lq_stats_free
 */
#ifndef LQ_CLI_JOB_CALIBRATE_H
#define LQ_CLI_JOB_CALIBRATE_H

#include "job.h"
#include "llava_quantize/dataset.h"
#include "llava_quantize/model.h"

/* All owned. */
struct cli_calibrated {
    char *folder, *stats;    /* NULL where there was no need of them */
    char *language, *mmproj; /* the pair that was run */
    struct lq_dataset *data;
    double weights[3]; /* of a token of each kind */
};

/* Errors: LQ_ERR_USAGE for a model of one half, LQ_ERR_UNSUPPORTED for a quantised one without --allow-requantize, and
 * those of converting, of the data set and of calibrating. Release in any case. */
enum lq_status cli_calibrate_first(struct cli_calibrated *out, const struct cli_job *job, const struct lq_model *model,
                                   struct lq_error *err);
/* The pair alone, where it is not there yet. Errors and release as above. */
enum lq_status cli_calibrated_find(struct cli_calibrated *out, const struct cli_job *job, const struct lq_model *model,
                                   struct lq_error *err);
/* What the calibration was told, and found of weights; borrows from all three. */
struct lq_calibrate_options cli_calibrated_terms(const struct cli_calibrated *calibrated, const struct cli_job *job,
                                                 const struct lq_hooks *hooks);
void cli_calibrated_release(struct cli_calibrated *calibrated);

#endif
