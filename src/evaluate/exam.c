#include "evaluate/exam.h"

#include "calibrate/record_dialogue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum lq_status no_memory(const struct lq_exam *exam, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for %zu records", exam->data->path, exam->data->n_records);
}

/* ---- records that cannot be asked ---- */

static void warn(const struct lq_exam *exam, const char *text)
{
    if (exam->hooks != NULL && exam->hooks->log != NULL) exam->hooks->log(exam->hooks->data, LQ_LOG_WARN, text);
}

/* Counts `n` records more; `text` says which and why. */
static enum lq_status count_broken(struct lq_exam *exam, size_t n, const char *text, struct lq_error *err)
{
    exam->n_broken += n;
    if (exam->strict) return lq_error_set(err, LQ_ERR_FORMAT, "%s", text);
    char line[1100];
    snprintf(line, sizeof line, "%s; left out", text);
    warn(exam, line);
    if (exam->n_broken * 10 <= exam->data->n_records) return LQ_OK;
    return lq_error_set(err, LQ_ERR_FORMAT,
                        "%.300s: %zu of %zu records cannot be used, at most a tenth may; the last: %s",
                        exam->data->path, exam->n_broken, exam->data->n_records, text);
}

enum lq_status lq_exam_leave_out(struct lq_exam *exam, size_t record, const char *why, struct lq_error *err)
{
    char text[1024];
    exam->records[record].broken = true;
    snprintf(text, sizeof text, "%.300s: record '%.60s': %s", exam->data->path, exam->data->records[record].id, why);
    return count_broken(exam, 1, text, err);
}

enum lq_status lq_exam_leave_out_picture(struct lq_exam *exam, size_t picture, const char *why, struct lq_error *err)
{
    const struct lq_exam_picture *p = &exam->pictures[picture];
    size_t n = 0;
    for (size_t i = 0; i < p->n_records; i++) {
        n += !exam->records[p->records[i]].broken;
        exam->records[p->records[i]].broken = true;
    }
    return n == 0 ? LQ_OK : count_broken(exam, n, why, err);
}

/* ---- grouping ---- */

static int compare_numbers(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

static int by_path(const void *a, const void *b, void *records)
{
    const struct lq_record *all = records;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int order = strcmp(all[x].image, all[y].image);
    return order != 0 ? order : compare_numbers(x, y);
}

static int by_first_record(const void *a, const void *b)
{
    return compare_numbers(*((const struct lq_exam_picture *)a)->records,
                           *((const struct lq_exam_picture *)b)->records);
}

static enum lq_status group_by_picture(struct lq_exam *exam, struct lq_error *err)
{
    const struct lq_dataset *data = exam->data;
    exam->order = calloc(data->n_records, sizeof *exam->order);
    exam->pictures = calloc(data->n_records, sizeof *exam->pictures);
    if (exam->order == NULL || exam->pictures == NULL) return no_memory(exam, err);
    for (size_t i = 0; i < data->n_records; i++) exam->order[i] = (uint32_t)i;
    qsort_r(exam->order, data->n_records, sizeof *exam->order, by_path, (void *)data->records);
    for (size_t i = 0; i < data->n_records; i++) {
        const char *path = data->records[exam->order[i]].image;
        bool next = exam->n_pictures == 0 || strcmp(exam->pictures[exam->n_pictures - 1].path, path) != 0;
        if (next) exam->pictures[exam->n_pictures++] = (struct lq_exam_picture){path, &exam->order[i], 0, false, {0}};
        exam->pictures[exam->n_pictures - 1].n_records++;
    }
    qsort(exam->pictures, exam->n_pictures, sizeof *exam->pictures, by_first_record);
    return LQ_OK;
}

static enum lq_status number_questions(struct lq_exam *exam, struct lq_error *err)
{
    const struct lq_dataset *data = exam->data;
    exam->records = calloc(data->n_records, sizeof *exam->records);
    exam->questions = calloc(data->n_turns, sizeof *exam->questions);
    if (exam->records == NULL || exam->questions == NULL) return no_memory(exam, err);
    for (size_t i = 0; i < data->n_records; i++) {
        exam->records[i].first_question = exam->n_questions;
        for (size_t t = 0; t < data->records[i].n_turns; t++)
            exam->questions[exam->n_questions++] =
                (struct lq_exam_question){(uint32_t)i, (uint32_t)t, 0, {0, 0}, 0, {0}};
    }
    for (size_t p = 0; p < exam->n_pictures; p++)
        for (size_t i = 0; i < exam->pictures[p].n_records; i++) {
            uint32_t r = exam->pictures[p].records[i];
            for (size_t t = 0; t < data->records[r].n_turns; t++)
                exam->questions[exam->records[r].first_question + t].picture = (uint32_t)p;
        }
    return LQ_OK;
}

/* A wrong folder should cost no waiting. */
static enum lq_status look_for_pictures(struct lq_exam *exam, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t p = 0; p < exam->n_pictures && status == LQ_OK; p++) {
        const char *path = exam->pictures[p].path;
        if (access(path, R_OK) == 0) continue;
        char why[1024];
        snprintf(why, sizeof why, "%.700s: %s; relative paths start from --images DIR, or the data file's folder", path,
                 strerror(errno));
        status = lq_exam_leave_out_picture(exam, p, why, err);
    }
    return status;
}

enum lq_status lq_exam_init(struct lq_exam *exam, const struct lq_dataset *data, bool strict,
                            const struct lq_hooks *hooks, struct lq_error *err)
{
    *exam = (struct lq_exam){.data = data, .hooks = hooks, .strict = strict};
    enum lq_status status = group_by_picture(exam, err);
    if (status == LQ_OK) status = number_questions(exam, err);
    if (status == LQ_OK) status = look_for_pictures(exam, err);
    return status;
}

void lq_exam_release(struct lq_exam *exam)
{
    for (size_t i = 0; exam->records != NULL && i < exam->data->n_records; i++)
        lq_dialogue_release(&exam->records[i].dialogue);
    for (size_t i = 0; i < exam->n_questions; i++)
        for (size_t r = 0; r < LQ_RUNNERS; r++) free(exam->questions[i].answer[r]);
    free(exam->records);
    free(exam->order);
    free(exam->pictures);
    free(exam->questions);
    *exam = (struct lq_exam){0};
}

/* ---- tokens ---- */

static enum lq_status build_dialogue(struct lq_exam *exam, size_t record, const struct lq_runtime *rt,
                                     struct lq_error *err)
{
    struct lq_error why = {0};
    enum lq_status status =
        lq_dialogue_of_record(&exam->records[record].dialogue, rt, &exam->data->records[record], &why);
    if (status == LQ_ERR_USAGE || status == LQ_ERR_UNSUPPORTED)
        return lq_exam_leave_out(exam, record, why.message, err);
    return status == LQ_OK ? LQ_OK : lq_error_set(err, status, "%s", why.message);
}

enum lq_status lq_exam_tokenise(struct lq_exam *exam, const struct lq_runtime *rt, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < exam->data->n_records && status == LQ_OK; i++) {
        struct lq_exam_record *record = &exam->records[i];
        if (record->broken) continue;
        status = build_dialogue(exam, i, rt, err);
        for (size_t t = 0; status == LQ_OK && t < record->dialogue.n_turns; t++)
            exam->questions[record->first_question + t].span = record->dialogue.answers[t];
    }
    return status;
}

const struct lq_turn *lq_exam_turn(const struct lq_exam *exam, const struct lq_exam_question *question)
{
    return &exam->data->records[question->record].turns[question->turn];
}

bool lq_exam_asked(const struct lq_exam *exam, const struct lq_exam_question *question)
{
    return !exam->records[question->record].broken && question->answer[LQ_RUNNER_ARM + LQ_ARM_BOTH] != NULL;
}
