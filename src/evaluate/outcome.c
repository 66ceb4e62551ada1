#include "evaluate/outcome.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "evaluate/judge.h"
#include "evaluate/summarise.h"

static enum lq_status no_memory(struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the results");
}

/* ---- per question ---- */

/* Everything known of the exam's questions, by number. */
struct marks {
    const struct lq_exam *exam;
    const struct lq_race *race;
    bool has_original;
    uint32_t *unit;
    bool *asked, *part;
    struct lq_answer_score *scores[LQ_ARMS]; /* NULL where the arm did not run */
};

static void marks_release(struct marks *m)
{
    free(m->unit);
    free(m->asked);
    free(m->part);
    for (size_t a = 0; a < LQ_ARMS; a++) free(m->scores[a]);
}

static enum lq_status judge(struct lq_answer_score *out, const struct lq_turn *turn, const char *original,
                            const char *answer, struct lq_error *err)
{
    *out = (struct lq_answer_score){.exact = lq_judge_exact(answer, turn), .vqa_original = NAN};
    enum lq_status status = lq_judge_vqa(&out->vqa, answer, turn, err);
    if (original == NULL || status != LQ_OK) return status;
    out->exact_original = lq_judge_exact(original, turn);
    out->changed = strcmp(original, answer) != 0;
    return lq_judge_vqa(&out->vqa_original, original, turn, err);
}

static enum lq_status judge_arm(struct marks *m, size_t arm, struct lq_error *err)
{
    const struct lq_exam *exam = m->exam;
    enum lq_status status = LQ_OK;
    m->scores[arm] = calloc(exam->n_questions, sizeof *m->scores[arm]);
    if (m->scores[arm] == NULL) return no_memory(err);
    for (size_t i = 0; i < exam->n_questions && status == LQ_OK; i++) {
        const struct lq_exam_question *q = &exam->questions[i];
        if (m->asked[i])
            status = judge(&m->scores[arm][i], lq_exam_turn(exam, q), q->answer[LQ_RUNNER_ORIGINAL],
                           q->answer[LQ_RUNNER_ARM + arm], err);
    }
    return status;
}

static enum lq_status marks_init(struct marks *m, const struct lq_exam *exam, const struct lq_race *race,
                                 struct lq_error *err)
{
    size_t n = exam->n_questions;
    *m = (struct marks){.exam = exam, .race = race, .has_original = race->runs[LQ_RUNNER_ORIGINAL]};
    m->unit = calloc(n, sizeof *m->unit);
    m->asked = calloc(n, sizeof *m->asked);
    m->part = calloc(n, sizeof *m->part);
    if (m->unit == NULL || m->asked == NULL || m->part == NULL) return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        m->unit[i] = exam->questions[i].picture;
        m->asked[i] = lq_exam_asked(exam, &exam->questions[i]);
    }
    enum lq_status status = LQ_OK;
    for (size_t a = 0; a < LQ_ARMS && status == LQ_OK; a++)
        if (race->runs[LQ_RUNNER_ARM + a]) status = judge_arm(m, a, err);
    return status;
}

/* ---- arms and kinds ---- */

static enum lq_status summarise(struct lq_divergence *divergence, struct lq_answers *answers, const struct marks *m,
                                size_t arm, const bool *part, struct lq_error *err)
{
    struct lq_units units = {m->unit, part, m->exam->n_questions, m->exam->n_pictures};
    const struct lq_score_list *scores = &m->race->scores[arm];
    enum lq_status status = lq_summarise_tokens(divergence, scores->items, scores->n, &units, err);
    if (status == LQ_OK) status = lq_summarise_answers(answers, m->scores[arm], m->has_original, &units, err);
    return status;
}

static const char *kind_of(const struct marks *m, size_t question)
{
    return m->exam->data->records[m->exam->questions[question].record].kind;
}

static int by_kind(const void *a, const void *b)
{
    return strcmp(((const struct lq_kind_result *)a)->kind, ((const struct lq_kind_result *)b)->kind);
}

static bool has_kind(const struct lq_evaluation *out, const char *kind)
{
    for (size_t i = 0; i < out->n_kinds; i++)
        if (strcmp(out->kinds[i].kind, kind) == 0) return true;
    return false;
}

/* The kinds that questions were asked of, by name. */
static enum lq_status list_kinds(struct lq_evaluation *out, const struct marks *m, struct lq_error *err)
{
    for (size_t i = 0; i < m->exam->n_questions; i++) {
        if (!m->asked[i] || kind_of(m, i)[0] == '\0' || has_kind(out, kind_of(m, i))) continue;
        struct lq_kind_result *kinds = realloc(out->kinds, (out->n_kinds + 1) * sizeof *kinds);
        if (kinds == NULL) return no_memory(err);
        out->kinds = kinds;
        kinds[out->n_kinds] = (struct lq_kind_result){.kind = strdup(kind_of(m, i))};
        if (kinds[out->n_kinds].kind == NULL) return no_memory(err);
        out->n_kinds++;
    }
    if (out->n_kinds > 0) qsort(out->kinds, out->n_kinds, sizeof *out->kinds, by_kind);
    return LQ_OK;
}

static enum lq_status fill_kinds(struct lq_evaluation *out, const struct marks *m, struct lq_error *err)
{
    enum lq_status status = list_kinds(out, m, err);
    for (size_t k = 0; k < out->n_kinds && status == LQ_OK; k++) {
        for (size_t i = 0; i < m->exam->n_questions; i++)
            m->part[i] = m->asked[i] && strcmp(kind_of(m, i), out->kinds[k].kind) == 0;
        status = summarise(&out->kinds[k].answer, &out->kinds[k].answers, m, LQ_ARM_BOTH, m->part, err);
    }
    return status;
}

/* ---- lists for looking at ---- */

static bool copy_text(char **out, const char *text)
{
    *out = text == NULL ? NULL : strdup(text);
    return text == NULL || *out != NULL;
}

/* Means over the tokens of the question's right answer. */
static void average(struct lq_question_result *out, const struct lq_exam_question *q, const struct marks *m)
{
    const struct lq_token_score *scores = m->race->scores[LQ_ARM_BOTH].items + q->first_score;
    out->tokens = q->span.n;
    out->kl = out->agreement = 0;
    for (size_t i = 0; i < q->span.n; i++) {
        out->kl += scores[i].kl / (double)q->span.n;
        out->agreement += scores[i].agree / (double)q->span.n;
    }
    if (!m->has_original) out->agreement = NAN;
}

static enum lq_status add_question(struct lq_evaluation *out, const struct marks *m, size_t i, struct lq_error *err)
{
    const struct lq_exam_question *q = &m->exam->questions[i];
    const struct lq_record *record = &m->exam->data->records[q->record];
    const struct lq_turn *turn = lq_exam_turn(m->exam, q);
    const struct lq_answer_score *score = &m->scores[LQ_ARM_BOTH][i];
    struct lq_question_result *r = &out->questions[out->n_questions++];
    *r = (struct lq_question_result){.exact_original = score->exact_original,
                                     .exact = score->exact,
                                     .vqa_original = score->vqa_original,
                                     .vqa = score->vqa};
    average(r, q, m);
    bool ok = copy_text(&r->id, record->id) && copy_text(&r->image, record->image) &&
              copy_text(&r->kind, record->kind) && copy_text(&r->question, turn->question) &&
              copy_text(&r->right, turn->answers[turn->likeliest]) &&
              copy_text(&r->answer_original, q->answer[LQ_RUNNER_ORIGINAL]) &&
              copy_text(&r->answer, q->answer[LQ_RUNNER_ARM + LQ_ARM_BOTH]);
    return ok ? LQ_OK : no_memory(err);
}

static enum lq_status list_questions(struct lq_evaluation *out, const struct marks *m, struct lq_error *err)
{
    out->questions = calloc(m->exam->n_questions, sizeof *out->questions);
    if (out->questions == NULL) return no_memory(err);
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < m->exam->n_questions && status == LQ_OK; i++)
        if (m->asked[i]) status = add_question(out, m, i, err);
    return status;
}

static enum lq_status list_pictures(struct lq_evaluation *out, const struct lq_exam *exam, struct lq_error *err)
{
    out->pictures = calloc(exam->n_pictures, sizeof *out->pictures);
    if (out->pictures == NULL) return no_memory(err);
    for (size_t i = 0; i < exam->n_pictures; i++) {
        if (!exam->pictures[i].compared) continue;
        struct lq_picture_result *p = &out->pictures[out->n_pictures];
        *p = exam->pictures[i].result;
        if (!copy_text(&p->image, exam->pictures[i].path)) return no_memory(err);
        out->n_pictures++;
    }
    return lq_summarise_pictures(&out->embedding, out->pictures, out->n_pictures, err);
}

enum lq_status lq_outcome_of_exam(struct lq_evaluation *out, const struct lq_exam *exam, const struct lq_race *race,
                                  struct lq_error *err)
{
    struct marks m;
    enum lq_status status = marks_init(&m, exam, race, err);
    for (size_t a = 0; a < LQ_ARMS && status == LQ_OK; a++) {
        if (!race->runs[LQ_RUNNER_ARM + a]) continue;
        out->arm[a].measured = true;
        status = summarise(&out->arm[a].answer, &out->arm[a].answers, &m, a, m.asked, err);
    }
    if (status == LQ_OK) status = fill_kinds(out, &m, err);
    if (status == LQ_OK) status = list_questions(out, &m, err);
    if (status == LQ_OK) status = list_pictures(out, exam, err);
    marks_release(&m);
    return status;
}

enum lq_status lq_outcome_of_text(struct lq_evaluation *out, const struct lq_race *race, size_t n_windows, bool by_half,
                                  struct lq_error *err)
{
    const struct lq_score_list *scores = &race->scores[LQ_ARM_BOTH];
    uint32_t *unit = calloc(n_windows, sizeof *unit);
    if (unit == NULL) return no_memory(err);
    for (size_t i = 0; i < n_windows; i++) unit[i] = (uint32_t)i;
    struct lq_units units = {unit, NULL, n_windows, n_windows};
    enum lq_status status = lq_summarise_tokens(&out->arm[LQ_ARM_BOTH].text, scores->items, scores->n, &units, err);
    if (status == LQ_OK && by_half) {
        out->arm[LQ_ARM_LANGUAGE].measured = true;
        out->arm[LQ_ARM_LANGUAGE].text = out->arm[LQ_ARM_BOTH].text;
    }
    free(unit);
    return status;
}
