/* A data set as an exam for models: questions as tokens, grouped by picture, and what became of each.
 *
 * Enters: a data set, a runtime's vocabulary and template. Leaves: for each picture the records that ask about it, for
 * each record its dialogue, for each question (one turn of a record) its place and, once it was sat, its answers.
 * Invariants: questions are numbered in the data set's order; a record that cannot be asked (its picture is missing or
 * broken, its text longer than the model's context) is named once, counted, and left out; more than a tenth of them,
 * or one where the exam is strict, is an error.
 *
 *     struct lq_exam exam;
 *     lq_exam_init(&exam, data, strict, hooks, &err);
 *     lq_exam_tokenise(&exam, rt, &err);
 *     lq_exam_sit(&exam, &race, &terms, &err);          // sitting.h
 *     lq_exam_release(&exam);
 */
#ifndef LQ_EVALUATE_EXAM_H
#define LQ_EVALUATE_EXAM_H

#include "evaluate/race.h"
#include "runtime/dialogue.h"

struct lq_exam_question {
    uint32_t record, turn;    /* in the data set */
    uint32_t picture;         /* in the exam */
    struct lq_span span;      /* of the right answer in the record's dialogue */
    size_t first_score;       /* of its tokens in each arm's scores */
    char *answer[LQ_RUNNERS]; /* greedy; NULL where not measured; owned */
};

struct lq_exam_record {
    struct lq_dialogue dialogue;
    size_t first_question;
    bool broken;
};

struct lq_exam_picture {
    const char *path;
    const uint32_t *records; /* those that ask about it, in the data set's order */
    size_t n_records;
    bool compared;                   /* `result` holds */
    struct lq_picture_result result; /* its image is not set */
};

struct lq_exam {
    const struct lq_dataset *data;
    const struct lq_hooks *hooks; /* may be NULL */
    bool strict;
    struct lq_exam_record *records;
    uint32_t *order;                  /* record numbers by picture */
    struct lq_exam_picture *pictures; /* by their first record */
    size_t n_pictures;
    struct lq_exam_question *questions;
    size_t n_questions;
    size_t n_broken; /* records */
};

/* Groups the records; records whose picture is not there are broken from the start. Borrows data and hooks. Errors:
 * LQ_ERR_FORMAT, LQ_ERR_MEMORY. Release the exam on failure too. */
enum lq_status lq_exam_init(struct lq_exam *exam, const struct lq_dataset *data, bool strict,
                            const struct lq_hooks *hooks, struct lq_error *err);
void lq_exam_release(struct lq_exam *exam);
enum lq_status lq_exam_tokenise(struct lq_exam *exam, const struct lq_runtime *rt, struct lq_error *err);

/* Leaves a record out; `why` is a message without the record's name. */
enum lq_status lq_exam_leave_out(struct lq_exam *exam, size_t record, const char *why, struct lq_error *err);
/* Leaves out all records of a picture that cannot be used; `why` names the picture. */
enum lq_status lq_exam_leave_out_picture(struct lq_exam *exam, size_t picture, const char *why, struct lq_error *err);

const struct lq_turn *lq_exam_turn(const struct lq_exam *exam, const struct lq_exam_question *question);
/* It was asked: neither left out nor still to come. */
bool lq_exam_asked(const struct lq_exam *exam, const struct lq_exam_question *question);

#endif
