#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "evaluate/evaluation.h"
#include "evaluate/facts.h"
#include "evaluate/outcome.h"
#include "evaluate/provenance.h"
#include "evaluate/sitting.h"
#include "evaluate/text_race.h"

#define LANE_BYTES ((uint64_t)16 << 20) /* keys and values of one lane, where no single picture needs more */

enum { FEWEST_CELLS = 256, MOST_CELLS = 1024 }; /* every token is compared with all cells */

/* One evaluation under way. */
struct work {
    const struct lq_evaluate_options *options;
    struct lq_model *model[LQ_SIDES];
    struct lq_runtime *rt[LQ_SIDES];
    struct lq_exam exam;       /* all zero without data */
    struct lq_windows windows; /* all zero without text */
    struct lq_meter meter;     /* tokens of one runner */
    struct lq_evaluation *result;
};

static const struct lq_pair_paths *paths_of(const struct work *w, enum lq_side side)
{
    return side == LQ_SIDE_PAIR ? &w->options->pair : &w->options->original;
}

static bool has_original(const struct work *w)
{
    return w->options->original.language != NULL;
}

/* ---- before anything runs ---- */

static enum lq_status check_options(const struct lq_evaluate_options *o, struct lq_error *err)
{
    if (o->data == NULL && o->text == NULL)
        return lq_error_set(err, LQ_ERR_USAGE, "nothing to evaluate on: neither a data set nor a text");
    if (o->pair.language == NULL || o->pair.mmproj == NULL)
        return lq_error_set(err, LQ_ERR_USAGE, "evaluating takes both halves of a pair");
    if (o->original.language != NULL && o->original.mmproj == NULL)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: the mmproj of the original is missing", o->original.language);
    if (o->by_half && o->original.language == NULL)
        return lq_error_set(err, LQ_ERR_USAGE, "which half does the damage shows only against an original");
    return LQ_OK;
}

static enum lq_status open_model(struct work *w, enum lq_side side, struct lq_error *err)
{
    const struct lq_pair_paths *paths = paths_of(w, side);
    const struct lq_model_options options = {.mmproj = paths->mmproj, .only = -1, .lenient = true};
    struct lq_half_facts *facts = side == LQ_SIDE_PAIR ? w->result->pair : w->result->original;
    char **name = side == LQ_SIDE_PAIR ? &w->result->name : &w->result->original_name;
    enum lq_status status = lq_model_open(&w->model[side], paths->language, &options, err);
    for (int h = 0; h < LQ_HALVES && status == LQ_OK; h++)
        status = lq_facts_of_half(&facts[h], w->model[side]->half[h], w->options->hooks, err);
    return status == LQ_OK ? lq_facts_name(name, w->model[side], err) : status;
}

static enum lq_status open_runtime(struct work *w, enum lq_side side, struct lq_error *err)
{
    const struct lq_pair_paths *paths = paths_of(w, side);
    const struct lq_runtime_options options = {.language = paths->language,
                                               .mmproj = paths->mmproj,
                                               .threads = w->options->threads,
                                               .stock = w->options->stock,
                                               .hooks = w->options->hooks};
    return lq_runtime_open(&w->rt[side], &options, err);
}

/* A mistyped path or a wrong folder of pictures is found before models are loaded. */
static enum lq_status open_all(struct work *w, struct lq_error *err)
{
    const struct lq_evaluate_options *o = w->options;
    enum lq_status status = LQ_OK;
    if (o->data != NULL) status = lq_exam_init(&w->exam, o->data, o->strict, o->hooks, err);
    for (int s = 0; s < LQ_SIDES && status == LQ_OK; s++)
        if (s == LQ_SIDE_PAIR || has_original(w)) status = open_model(w, (enum lq_side)s, err);
    if (status == LQ_OK && has_original(w))
        status = lq_facts_same_width(w->model[LQ_SIDE_PAIR], w->model[LQ_SIDE_ORIGINAL], err);
    for (int s = 0; s < LQ_SIDES && status == LQ_OK; s++)
        if (s == LQ_SIDE_PAIR || has_original(w)) status = open_runtime(w, (enum lq_side)s, err);
    if (status == LQ_OK && has_original(w))
        status = lq_runtime_same_vocabulary(w->rt[LQ_SIDE_ORIGINAL], w->rt[LQ_SIDE_PAIR], err);
    return status;
}

/* Both get the tokens that the original's template makes. */
static const struct lq_runtime *speaker(const struct work *w)
{
    return has_original(w) ? w->rt[LQ_SIDE_ORIGINAL] : w->rt[LQ_SIDE_PAIR];
}

static enum lq_status tokenise(struct work *w, struct lq_error *err)
{
    const struct lq_evaluate_options *o = w->options;
    enum lq_status status = LQ_OK;
    if (o->data != NULL) status = lq_exam_tokenise(&w->exam, speaker(w), err);
    if (status == LQ_OK && o->text != NULL)
        status = lq_windows_load(&w->windows, o->text, speaker(w), o->window, o->limit, err);
    return status;
}

/* ---- running ---- */

static uint64_t tokens_of_text(const struct work *w)
{
    uint64_t tokens = (uint64_t)w->windows.n * w->windows.window;
    for (size_t i = 0; w->options->data != NULL && i < w->options->data->n_records; i++)
        tokens += w->exam.records[i].dialogue.n_head + w->exam.records[i].dialogue.n_text;
    return tokens;
}

static uint32_t choose_cells(const struct work *w)
{
    uint64_t bytes = lq_facts_token_bytes(w->model[LQ_SIDE_PAIR]);
    uint64_t cells = bytes == 0 ? FEWEST_CELLS : LANE_BYTES / bytes;
    return cells < FEWEST_CELLS ? FEWEST_CELLS : cells > MOST_CELLS ? MOST_CELLS : (uint32_t)cells;
}

static enum lq_status run_exam(struct work *w, struct lq_error *err)
{
    struct lq_race race;
    const struct lq_sitting_terms terms = {choose_cells(w), w->options->max_tokens, &w->meter};
    lq_race_init(&race, w->rt[LQ_SIDE_ORIGINAL], w->rt[LQ_SIDE_PAIR], w->options->by_half);
    enum lq_status status = lq_exam_sit(&w->exam, &race, &terms, err);
    if (status == LQ_OK) status = lq_outcome_of_exam(w->result, &w->exam, &race, err);
    lq_race_release(&race);
    return status;
}

static enum lq_status run_text(struct work *w, struct lq_error *err)
{
    struct lq_race race;
    lq_race_init(&race, w->rt[LQ_SIDE_ORIGINAL], w->rt[LQ_SIDE_PAIR], false);
    enum lq_status status = lq_windows_run(&w->windows, &race, &w->meter, err);
    if (status == LQ_OK) status = lq_outcome_of_text(w->result, &race, w->windows.n, w->options->by_half, err);
    lq_race_release(&race);
    return status;
}

static enum lq_status run_all(struct work *w, struct lq_error *err)
{
    w->meter.total = tokens_of_text(w);
    enum lq_status status = LQ_OK;
    if (w->options->data != NULL) status = run_exam(w, err);
    if (status == LQ_OK && w->options->text != NULL) status = run_text(w, err);
    return status;
}

/* ---- what it took ---- */

static void fill_speed(struct lq_speed *out, const struct lq_runtime *rt)
{
    if (rt == NULL) return;
    struct lq_runtime_usage used = lq_runtime_used(rt);
    if (used.token_seconds > 0) out->tokens_per_second = (double)used.tokens / used.token_seconds;
    if (used.picture_seconds > 0) out->pictures_per_second = (double)used.pictures / used.picture_seconds;
    out->memory = used.memory;
}

static enum lq_status fill_provenance(struct work *w, struct lq_error *err)
{
    struct lq_provenance *p = &w->result->provenance;
    enum lq_status status = lq_provenance_fill(p, w->options, err);
    for (size_t i = 0; i < w->exam.n_questions; i++)
        p->records += w->exam.questions[i].turn == 0 && lq_exam_asked(&w->exam, &w->exam.questions[i]);
    for (size_t i = 0; i < w->exam.n_pictures; i++) {
        size_t asked = 0;
        for (size_t k = 0; k < w->exam.pictures[i].n_records; k++)
            asked += !w->exam.records[w->exam.pictures[i].records[k]].broken;
        p->pictures += asked > 0;
    }
    if (w->options->data != NULL) p->broken = w->options->data->n_broken + w->exam.n_broken;
    if (w->options->text != NULL) {
        p->text_windows = w->windows.n;
        p->window = w->windows.window;
        p->text_hash = strdup(w->windows.hash);
        if (p->text_hash == NULL && status == LQ_OK) status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for a hash");
    }
    p->threads = lq_runtime_used(w->rt[LQ_SIDE_PAIR]).threads;
    fill_speed(&w->result->speed, w->rt[LQ_SIDE_PAIR]);
    fill_speed(&w->result->speed_original, w->rt[LQ_SIDE_ORIGINAL]);
    p->peak_memory = lq_peak_memory();
    p->seconds = lq_meter_seconds(&w->meter);
    return status;
}

static void release(struct work *w)
{
    if (w->options->data != NULL) lq_exam_release(&w->exam);
    lq_windows_release(&w->windows);
    for (int s = 0; s < LQ_SIDES; s++) {
        lq_runtime_free(w->rt[s]);
        lq_model_free(w->model[s]);
    }
    lq_meter_release(&w->meter);
    lq_evaluation_free(w->result);
}

enum lq_status lq_evaluate(struct lq_evaluation **out, const struct lq_evaluate_options *options, struct lq_error *err)
{
    enum lq_status status = check_options(options, err);
    if (status != LQ_OK) return status;
    struct work w = {.options = options, .result = lq_evaluation_new()};
    lq_meter_init(&w.meter, options->hooks, 0);
    w.meter.counted = true;
    if (w.result == NULL) status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for an evaluation");
    if (status == LQ_OK) status = open_all(&w, err);
    if (status == LQ_OK) status = tokenise(&w, err);
    if (status == LQ_OK)
        status = lq_facts_of_tensors(w.result, w.model[LQ_SIDE_PAIR], w.model[LQ_SIDE_ORIGINAL], options->plan,
                                     options->threads, options->hooks, err);
    if (status == LQ_OK) status = run_all(&w, err);
    if (status == LQ_OK) status = fill_provenance(&w, err);
    if (status == LQ_OK) {
        *out = w.result;
        w.result = NULL;
    }
    release(&w);
    return status;
}

enum lq_status lq_evaluation_save(const struct lq_evaluation *evaluation, const char *path, struct lq_error *err)
{
    char *text = NULL;
    size_t size = 0;
    enum lq_status status = lq_evaluation_to_json(&text, &size, evaluation, err);
    if (status == LQ_OK) status = lq_file_save(path, text, size, err);
    free(text);
    return status;
}
