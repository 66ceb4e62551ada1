/* What runs through a pair to be calibrated: the records of a data set, then the windows of a text.
 *
 * Enters: an open runtime, a data set, perhaps a text. Leaves: steps, numbered from 0, each of which can be run alone.
 * Invariants: every step's tokens are known before anything runs; a record whose picture or text cannot be used is
 * named and left out, more than a tenth of them is an error; each batch that a step runs holds tokens of one kind.
 *
 *     struct lq_course course;
 *     lq_course_init(&course, rt, &terms, &err);
 *     for (size_t i = 0; i < course.n; i++) lq_course_run(&course, i, lane, set_kind, me, &err);
 */
#ifndef LQ_CALIBRATE_COURSE_H
#define LQ_CALIBRATE_COURSE_H

#include "calibrate/stats_file.h"
#include "calibrate/windows.h"
#include "llava_quantize/dataset.h"
#include "runtime/dialogue.h"
#include "runtime/lane.h"

/* A record that runs. */
struct lq_lesson {
    const struct lq_record *record;
    struct lq_dialogue dialogue;
    size_t picture_tokens;
};

struct lq_course {
    struct lq_runtime *rt;
    struct lq_lesson *lessons;
    size_t n_lessons, n_broken;
    struct lq_windows windows; /* all zero without a text */
    size_t n;                  /* steps: lessons, then windows */
    uint64_t tokens[LQ_KINDS];
    struct lq_lane_options lane; /* that takes every step */
};

struct lq_course_terms {
    const struct lq_dataset *data;
    const char *text; /* NULL: none */
    uint32_t window;
    size_t limit;                 /* of windows */
    const struct lq_hooks *hooks; /* may be NULL */
};

/* Errors: LQ_ERR_USAGE (no picture tokens at all), LQ_ERR_FORMAT (too many records left out), those of the text and the
 * tokenizer, LQ_ERR_CANCELLED. Release the course on failure too. */
enum lq_status lq_course_init(struct lq_course *course, struct lq_runtime *rt, const struct lq_course_terms *terms,
                              struct lq_error *err);
void lq_course_release(struct lq_course *course);
/* Tokens of one step, of all kinds. */
uint64_t lq_course_tokens(const struct lq_course *course, size_t step);

/* Called before tokens of a kind run. */
typedef void lq_kind_fn(void *data, enum lq_kind kind);
/* Runs one step; `lane` NULL: its picture through the vision half alone. */
enum lq_status lq_course_run(const struct lq_course *course, size_t step, struct lq_lane *lane, lq_kind_fn *kind,
                             void *data, struct lq_error *err);

#endif
