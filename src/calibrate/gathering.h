/* One calibration under way: what gather.c opens, gather_look.c sums up, gather_pass.c runs and stats_save.c writes.
 *
 * Invariants: sums of an input hold the steps [0, sums_done), its second moments [0, moments_done[input]); steps that
 * an earlier run has added are not added again.
 */
#ifndef LQ_CALIBRATE_GATHERING_H
#define LQ_CALIBRATE_GATHERING_H

#include "base/hash.h"
#include "calibrate/course.h"
#include "calibrate/input_sums.h"
#include "calibrate/passes.h"
#include "calibrate/second_moments.h"
#include "llava_quantize/gather.h"
#include "source/source.h"
#include "write/write.h"

/* What the observer works with while a step runs. */
struct lq_look {
    bool census; /* the first record, to see what there is */
    unsigned pass;
    size_t step;
    enum lq_kind kind;
    double *squares, *scales, *room; /* of the rows in hand */
    size_t capacity;
    struct lq_error err; /* the first */
};

struct lq_calibration {
    struct lq_calibrate_options options; /* strings borrowed */
    struct lq_hooks hooks;               /* for the runtime: they cancel only where `cancellable` */
    bool cancellable;
    struct lq_model *model;
    struct lq_runtime *rt;
    struct lq_lane *lane;
    struct lq_course course;
    struct lq_census census;
    struct lq_passes passes;
    struct lq_calibration_plan plan;
    char *terms, *pair, *spill_folder;
    double weights[LQ_KINDS];   /* in the language half */
    struct lq_input_sums *sums; /* of each input */
    size_t *first_matrix;       /* of each input: its experts' second moments are matrices[first_matrix[i]] and on */
    struct lq_second_moments *matrices;
    size_t n_matrices;
    uint64_t sums_done, *moments_done;
    struct lq_source *earlier; /* an unfinished file that is resumed, or NULL */
    struct lq_output *output;
    struct lq_spill spill;
    struct lq_moments_bench bench;
    struct lq_look look;
};

/* An observer's callbacks; `data` is the calibration. */
bool lq_look_wants(void *data, const char *weight);
void lq_look_sees(void *data, const struct lq_observation *observation);
void lq_look_shares(void *data, const char *weight, const char *first);
/* An lq_kind_fn. */
void lq_look_kind(void *data, enum lq_kind kind);
/* Ends the chunks of the step in hand; the error of a callback, if there was one. */
enum lq_status lq_look_end_step(struct lq_calibration *c, struct lq_error *err);

/* Whether second moments of the input are summed up in the pass at all. */
bool lq_gathers(const struct lq_calibration *c, size_t input, unsigned pass);

/* All settings that decide the numbers, a line each; *out: free(). */
enum lq_status lq_terms_text(char **out, const struct lq_calibration *c, struct lq_error *err);
/* A hash of names, shapes, types and the first row of every tensor. */
enum lq_status lq_terms_pair(char out[LQ_HASH_DIGITS + 1], const struct lq_model *model, struct lq_error *err);
/* Whether two such texts differ; `text` then has the first setting that does: "cap: 0, now 4". */
bool lq_terms_differ(const char *found, const char *wanted, char *text, size_t size);
/* LQ_ERR_USAGE naming the first setting in which `found`, of the file `path`, differs from `wanted`. */
enum lq_status lq_terms_compare(const char *path, const char *found, const char *wanted, struct lq_error *err);

/* Opens the unfinished file at options.output as c->earlier, where there is one, and takes over how far it is. Errors:
 * LQ_ERR_USAGE (not of these settings), LQ_ERR_FORMAT (damaged, or no statistics). */
enum lq_status lq_stats_resume(struct lq_calibration *c, struct lq_error *err);
/* Reads its sums, and the second moments of one input into its matrices. */
enum lq_status lq_stats_resume_sums(struct lq_calibration *c, struct lq_error *err);
enum lq_status lq_stats_resume_moments(struct lq_calibration *c, size_t input, struct lq_error *err);

/* Bytes of the finished file. */
enum lq_status lq_stats_file_bytes(uint64_t *out, const struct lq_calibration *c, struct lq_error *err);
/* Writes the file from sums, matrices and, for second moments that no pass has come to, the earlier file. */
enum lq_status lq_stats_save(struct lq_calibration *c, struct lq_error *err);

#endif
