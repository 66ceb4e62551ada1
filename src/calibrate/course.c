#include "calibrate/course.h"

#include "calibrate/record_dialogue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum lq_status no_memory(const struct lq_course_terms *terms, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for %zu records", terms->data->path, terms->data->n_records);
}

/* ---- records that cannot run ---- */

static enum lq_status leave_out(struct lq_course *course, const struct lq_course_terms *terms,
                                const struct lq_record *record, const char *why, struct lq_error *err)
{
    char text[1100];
    const struct lq_hooks *hooks = terms->hooks;
    course->n_broken++;
    snprintf(text, sizeof text, "%.300s: record '%.60s': %.600s; left out", terms->data->path, record->id, why);
    if (hooks != NULL && hooks->log != NULL) hooks->log(hooks->data, LQ_LOG_WARN, text);
    if (course->n_broken * 10 <= terms->data->n_records) return LQ_OK;
    return lq_error_set(err, LQ_ERR_FORMAT,
                        "%.300s: %zu of %zu records cannot be used, at most a tenth may; the last: %.500s",
                        terms->data->path, course->n_broken, terms->data->n_records, why);
}

/* ---- records ---- */

/* The last token predicts nothing, and a running model never sees it. */
static size_t tokens_behind(const struct lq_lesson *lesson)
{
    return lesson->dialogue.n_text - 1;
}

static size_t tokens_of(const struct lq_lesson *lesson)
{
    return lesson->dialogue.n_head + lesson->picture_tokens + tokens_behind(lesson);
}

static enum lq_status prepare(struct lq_lesson *lesson, size_t *largest, const struct lq_runtime *rt,
                              struct lq_error *err)
{
    size_t context = lq_runtime_trained_context(rt);
    enum lq_status status = lq_dialogue_of_record(&lesson->dialogue, rt, lesson->record, err);
    if (status == LQ_OK) status = lq_view_measure(&lesson->picture_tokens, largest, rt, lesson->record->image, err);
    if (status == LQ_OK && tokens_of(lesson) > context)
        status = lq_error_set(err, LQ_ERR_UNSUPPORTED,
                              "text of %zu tokens and picture of %zu are longer than the model's context of %zu",
                              tokens_of(lesson) - lesson->picture_tokens, lesson->picture_tokens, context);
    return status;
}

/* Takes the lesson over, or leaves its record out. */
static enum lq_status add_lesson(struct lq_course *course, const struct lq_course_terms *terms,
                                 const struct lq_record *record, struct lq_error *err)
{
    struct lq_lesson lesson = {.record = record};
    struct lq_error why = {0};
    size_t largest = 0;
    enum lq_status status = prepare(&lesson, &largest, course->rt, &why);
    if (status != LQ_OK) {
        lq_dialogue_release(&lesson.dialogue);
        if (lq_is_record_fault(status)) return leave_out(course, terms, record, why.message, err);
        return lq_error_set(err, status, "%s", why.message);
    }
    course->tokens[LQ_KIND_TEXT] += lesson.dialogue.n_head;
    course->tokens[LQ_KIND_PICTURE] += lesson.picture_tokens;
    course->tokens[LQ_KIND_AFTER] += tokens_behind(&lesson);
    if (largest > course->lane.together) course->lane.together = (uint32_t)largest;
    if (tokens_of(&lesson) > course->lane.cells) course->lane.cells = (uint32_t)tokens_of(&lesson);
    course->lessons[course->n_lessons++] = lesson;
    return LQ_OK;
}

static bool is_cancelled(const struct lq_hooks *hooks)
{
    return hooks != NULL && hooks->cancelled != NULL && hooks->cancelled(hooks->data);
}

static enum lq_status add_lessons(struct lq_course *course, const struct lq_course_terms *terms, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    course->lessons = calloc(terms->data->n_records + 1, sizeof *course->lessons);
    if (course->lessons == NULL) return no_memory(terms, err);
    for (size_t i = 0; i < terms->data->n_records && status == LQ_OK; i++) {
        status = add_lesson(course, terms, &terms->data->records[i], err);
        if (status == LQ_OK && is_cancelled(terms->hooks)) status = lq_error_set(err, LQ_ERR_CANCELLED, "cancelled");
    }
    if (status == LQ_OK && course->tokens[LQ_KIND_PICTURE] == 0)
        status = lq_error_set(err, LQ_ERR_USAGE, "%s: its records give no picture tokens", terms->data->path);
    return status;
}

/* ---- life ---- */

enum lq_status lq_course_init(struct lq_course *course, struct lq_runtime *rt, const struct lq_course_terms *terms,
                              struct lq_error *err)
{
    *course = (struct lq_course){.rt = rt, .lane = {.sequences = 1, .all = true}};
    enum lq_status status = LQ_OK;
    if (terms->text != NULL)
        status = lq_windows_load(&course->windows, terms->text, rt, terms->window, terms->limit, err);
    if (status == LQ_OK) status = add_lessons(course, terms, err);
    if (course->windows.window > course->lane.cells) course->lane.cells = course->windows.window;
    course->tokens[LQ_KIND_TEXT] += (uint64_t)course->windows.n * course->windows.window;
    course->n = course->n_lessons + course->windows.n;
    return status;
}

void lq_course_release(struct lq_course *course)
{
    for (size_t i = 0; i < course->n_lessons; i++) lq_dialogue_release(&course->lessons[i].dialogue);
    free(course->lessons);
    lq_windows_release(&course->windows);
    *course = (struct lq_course){0};
}

uint64_t lq_course_tokens(const struct lq_course *course, size_t step)
{
    return step < course->n_lessons ? tokens_of(&course->lessons[step]) : course->windows.window;
}

/* ---- running ---- */

enum { MOST_ITEMS = 256 };

/* tokens[0 .. n) into the lane's only sequence; `first` replaces the first of them unless it is -1. No token is left to
 * be fed alone, for which llama.cpp would sum up as many parts as it has threads. */
static enum lq_status feed(struct lq_lane *lane, const int32_t *tokens, size_t n, int32_t first, struct lq_error *err)
{
    struct lq_lane_item items[MOST_ITEMS] = {{0}};
    size_t most = lq_lane_most(lane) < MOST_ITEMS ? lq_lane_most(lane) : MOST_ITEMS;
    enum lq_status status = LQ_OK;
    for (size_t at = 0, k; at < n && status == LQ_OK; at += k) {
        k = n - at < most ? n - at : most;
        if (n - at == most + 1) k--;
        for (size_t i = 0; i < k; i++) items[i].token = tokens[at + i];
        if (at == 0 && first >= 0) items[0].token = first;
        status = lq_lane_feed(lane, items, k, err);
    }
    return status;
}

static enum lq_status run_lesson(const struct lq_course *course, const struct lq_lesson *lesson, struct lq_lane *lane,
                                 lq_kind_fn *kind, void *data, struct lq_error *err)
{
    const struct lq_dialogue *d = &lesson->dialogue;
    struct lq_view *view = NULL;
    kind(data, LQ_KIND_PICTURE);
    enum lq_status status = lq_view_open(&view, course->rt, lesson->record->image, err);
    if (status != LQ_OK || lane == NULL) goto done;
    lq_lane_clear(lane);
    kind(data, LQ_KIND_TEXT);
    status = feed(lane, d->head, d->n_head, -1, err);
    kind(data, LQ_KIND_PICTURE);
    if (status == LQ_OK) status = lq_lane_show(lane, 0, view, err);
    kind(data, LQ_KIND_AFTER);
    if (status == LQ_OK) status = feed(lane, d->text, tokens_behind(lesson), -1, err);
done:
    lq_view_free(view);
    return status;
}

enum lq_status lq_course_run(const struct lq_course *course, size_t step, struct lq_lane *lane, lq_kind_fn *kind,
                             void *data, struct lq_error *err)
{
    const struct lq_windows *w = &course->windows;
    if (step < course->n_lessons) return run_lesson(course, &course->lessons[step], lane, kind, data, err);
    if (lane == NULL) return LQ_OK;
    lq_lane_clear(lane);
    kind(data, LQ_KIND_TEXT);
    return feed(lane, w->tokens + (step - course->n_lessons) * w->window, w->window, w->begin, err);
}
