#include "evaluate/sitting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "evaluate/embeddings.h"
#include "evaluate/greedy.h"

enum { MOST_RECORDS = 16, MOST_MEMBERS = 16, SPARE = 16 }; /* of a group; sequences for greedy answers */

/* A record in a group. */
struct seat {
    uint32_t record, sequence;
    size_t length; /* of head and picture, before the dialogue's text */
    struct lq_view *const *views;
};

/* A picture in a group, with some or all of its records. */
struct member {
    size_t picture;
    struct lq_view *views[LQ_SIDES]; /* owned */
    size_t n_records;
};

struct sitting {
    struct lq_exam *exam;
    struct lq_race *race;
    const struct lq_sitting_terms *terms;
    size_t n_seen, seen_tokens; /* pictures that could be used and the tokens they took */
    uint64_t done, text_total;
    struct member members[MOST_MEMBERS];
    size_t n_members;
    struct seat seats[MOST_RECORDS];
    size_t n_seats;
    size_t cells;  /* that the group takes, greedy answers included */
    size_t filled; /* that pictures and right answers take */
};

/* ---- how much a record takes ---- */

static const struct lq_dialogue *dialogue_of(const struct sitting *s, uint32_t record)
{
    return &s->exam->records[record].dialogue;
}

/* Tokens of the longest greedy answer to a question whose right answer has n tokens. */
static size_t longest_answer(const struct sitting *s, size_t n)
{
    return s->terms->max_tokens != 0 ? s->terms->max_tokens : 2 * n + 16;
}

/* Cells behind the picture: the dialogue, and room for one greedy answer. */
static size_t record_cells(const struct sitting *s, uint32_t record)
{
    const struct lq_dialogue *d = dialogue_of(s, record);
    size_t longest = 0;
    for (size_t t = 0; t < d->n_turns; t++)
        if (longest_answer(s, d->answers[t].n) > longest) longest = longest_answer(s, d->answers[t].n);
    return d->n_text + longest;
}

static size_t record_tokens(const struct sitting *s, uint32_t record)
{
    return dialogue_of(s, record)->n_head + dialogue_of(s, record)->n_text;
}

/* ---- looking at a picture ---- */

static void free_views(struct lq_view **views)
{
    for (size_t i = 0; i < LQ_SIDES; i++) {
        lq_view_free(views[i]);
        views[i] = NULL;
    }
}

static bool is_broken_picture(enum lq_status status)
{
    return status == LQ_ERR_IO || status == LQ_ERR_FORMAT || status == LQ_ERR_UNSUPPORTED;
}

static enum lq_status compare_views(struct lq_exam_picture *picture, struct lq_view *const *views, struct lq_error *err)
{
    size_t rows[LQ_SIDES], width[LQ_SIDES];
    const float *original = lq_view_embeddings(views[LQ_SIDE_ORIGINAL], &rows[0], &width[0]);
    const float *pair = lq_view_embeddings(views[LQ_SIDE_PAIR], &rows[1], &width[1]);
    if (rows[0] != rows[1] || width[0] != width[1])
        return lq_error_set(err, LQ_ERR_USAGE,
                            "%s: the original's projector gives %zu x %zu values, the pair's %zu x %zu: they are not "
                            "of one model",
                            picture->path, rows[0], width[0], rows[1], width[1]);
    lq_embeddings_compare(&picture->result, original, pair, rows[0], width[0]);
    picture->compared = true;
    return LQ_OK;
}

/* Leaves all views NULL when the picture is left out. */
static enum lq_status see(struct sitting *s, size_t picture, struct lq_view **views, struct lq_error *err)
{
    struct lq_exam_picture *p = &s->exam->pictures[picture];
    struct lq_error why = {0};
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < LQ_SIDES && status == LQ_OK; i++)
        if (s->race->rt[i] != NULL) status = lq_view_open(&views[i], s->race->rt[i], p->path, &why);
    if (status != LQ_OK) {
        free_views(views);
        if (is_broken_picture(status)) return lq_exam_leave_out_picture(s->exam, picture, why.message, err);
        return lq_error_set(err, status, "%s", why.message);
    }
    s->n_seen++;
    s->seen_tokens += lq_view_tokens(views[LQ_SIDE_PAIR]);
    if (views[LQ_SIDE_ORIGINAL] != NULL) status = compare_views(p, views, err);
    if (status != LQ_OK) free_views(views);
    return status;
}

/* ---- one group ---- */

static size_t shown_cells(const struct sitting *s, const struct member *m, uint32_t record)
{
    return dialogue_of(s, record)->n_head + lq_view_tokens(m->views[LQ_SIDE_PAIR]);
}

static enum lq_status open_lanes(const struct sitting *s, struct lq_error *err)
{
    size_t together = 0;
    for (size_t i = 0; i < s->n_members; i++) {
        size_t n = lq_view_tokens(s->members[i].views[LQ_SIDE_PAIR]);
        if (n > together) together = n;
    }
    size_t cells = s->cells > s->terms->cells ? s->cells : s->terms->cells;
    if (cells > INT32_MAX) return lq_error_set(err, LQ_ERR_UNSUPPORTED, "a picture that takes %zu tokens", together);
    struct lq_lane_options size = {
        .cells = (uint32_t)cells, .sequences = MOST_RECORDS + SPARE, .together = (uint32_t)together};
    return lq_race_open(s->race, &size, err);
}

static enum lq_status feed_head(struct sitting *s, const struct seat *seat, struct lq_error *err)
{
    const struct lq_dialogue *d = dialogue_of(s, seat->record);
    struct lq_step *steps = calloc(d->n_head + 1, sizeof *steps);
    if (steps == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu tokens", d->n_head);
    for (size_t i = 0; i < d->n_head; i++) steps[i] = (struct lq_step){.token = d->head[i], .sequence = seat->sequence};
    enum lq_status status = lq_race_feed(s->race, steps, d->n_head, err);
    free(steps);
    return status;
}

/* Head and picture into the first seat's sequence, and from there into those of the picture's other records. */
static enum lq_status show(struct sitting *s, const struct member *m, struct seat *seats, struct lq_error *err)
{
    enum lq_status status = feed_head(s, &seats[0], err);
    if (status == LQ_OK) status = lq_race_show(s->race, seats[0].sequence, m->views, err);
    for (size_t i = 1; i < m->n_records && status == LQ_OK; i++)
        status = lq_race_fork(s->race, seats[0].sequence, seats[i].sequence, err);
    size_t length = lq_lane_length(s->race->lane[LQ_RUNNER_ARM + LQ_ARM_BOTH], seats[0].sequence);
    for (size_t i = 0; i < m->n_records; i++) seats[i].length = length;
    return status;
}

/* All of a record's text but its last token, which predicts nothing that counts. */
static size_t write_steps(struct sitting *s, const struct seat *seat, struct lq_step *steps, size_t *n_wanted)
{
    const struct lq_exam_record *r = &s->exam->records[seat->record];
    const struct lq_dialogue *d = &r->dialogue;
    for (size_t i = 0; i + 1 < d->n_text; i++)
        steps[i] = (struct lq_step){.token = d->text[i], .sequence = seat->sequence, .right = d->text[i + 1]};
    for (size_t t = 0; t < d->n_turns; t++) {
        size_t q = r->first_question + t;
        s->exam->questions[q].first_score = s->race->scores[LQ_ARM_BOTH].n + *n_wanted;
        for (size_t k = 0; k < d->answers[t].n; k++) {
            struct lq_step *step = &steps[d->answers[t].first + k - 1];
            step->wanted = true;
            step->question = (uint32_t)q;
        }
        *n_wanted += d->answers[t].n;
    }
    return d->n_text - 1;
}

static enum lq_status force_answers(struct sitting *s, struct lq_error *err)
{
    size_t total = 0, n = 0, n_wanted = 0;
    for (size_t i = 0; i < s->n_seats; i++) total += dialogue_of(s, s->seats[i].record)->n_text;
    struct lq_step *steps = calloc(total, sizeof *steps);
    if (steps == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu tokens", total);
    for (size_t i = 0; i < s->n_seats; i++) n += write_steps(s, &s->seats[i], steps + n, &n_wanted);
    enum lq_status status = lq_race_feed(s->race, steps, n, err);
    free(steps);
    return status;
}

/* ---- greedy answers ---- */

/* A runner's answers to the group's questions; tokens owned. */
struct sheet {
    struct lq_greedy_job *jobs; /* those that must be computed, before those that are known */
    size_t *questions;          /* of each job */
    size_t n, n_open, capacity;
};

static void sheet_release(struct sheet *sheet)
{
    for (size_t i = 0; i < sheet->n; i++) free(sheet->jobs[i].tokens);
    free(sheet->jobs);
    free(sheet->questions);
}

static enum lq_status sheet_init(struct sheet *sheet, const struct sitting *s, struct lq_error *err)
{
    for (size_t i = 0; i < s->n_seats; i++) sheet->capacity += dialogue_of(s, s->seats[i].record)->n_turns;
    sheet->jobs = calloc(sheet->capacity, sizeof *sheet->jobs);
    sheet->questions = calloc(sheet->capacity, sizeof *sheet->questions);
    if (sheet->jobs != NULL && sheet->questions != NULL) return LQ_OK;
    return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu answers", sheet->capacity);
}

/* The token that a runner finds likeliest, where score i was taken. */
static int32_t top_token(const struct lq_race *race, size_t runner, size_t i)
{
    if (runner == LQ_RUNNER_ORIGINAL) return race->scores[LQ_ARM_BOTH].items[i].top_original;
    return race->scores[runner - LQ_RUNNER_ARM].items[i].top;
}

/* The answer as far as teacher forcing shows it: the right one up to where another token is likelier. *open: there may
 * be more behind it. */
static void begin_answer(const struct sitting *s, size_t runner, const struct lq_exam_question *q,
                         const struct lq_dialogue *d, struct lq_greedy_job *job, bool *open)
{
    const struct lq_runtime *rt = s->race->rt[lq_runner_language(runner)];
    *open = false;
    for (size_t k = 0; k < q->span.n && job->n < job->most; k++) {
        int32_t top = top_token(s->race, runner, q->first_score + k);
        if (lq_runtime_is_end(rt, top)) return;
        job->tokens[job->n++] = top;
        job->n_text = q->span.first + k;
        *open = top != d->text[q->span.first + k];
        if (*open) break;
    }
    *open = *open && job->n < job->most;
}

static enum lq_status add_answer(struct sitting *s, struct sheet *sheet, size_t runner, const struct seat *seat,
                                 size_t question, struct lq_error *err)
{
    const struct lq_exam_question *q = &s->exam->questions[question];
    const struct lq_dialogue *d = dialogue_of(s, seat->record);
    size_t before = seat->length + q->span.first, context = lq_runtime_trained_context(s->race->rt[LQ_SIDE_PAIR]);
    struct lq_greedy_job job = {.from = seat->sequence,
                                .most = longest_answer(s, q->span.n),
                                .dialogue = d,
                                .view = seat->views[lq_runner_vision(runner)]};
    if (job.most > context - before) job.most = context - before;
    job.tokens = calloc(job.most + 1, sizeof *job.tokens);
    if (job.tokens == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for an answer");
    bool open = false;
    begin_answer(s, runner, q, d, &job, &open);
    job.length = seat->length + job.n_text;
    size_t at = sheet->n++;
    if (open) {
        sheet->jobs[at] = sheet->jobs[sheet->n_open];
        sheet->questions[at] = sheet->questions[sheet->n_open];
        at = sheet->n_open++;
    }
    sheet->jobs[at] = job;
    sheet->questions[at] = question;
    return LQ_OK;
}

static enum lq_status answer_as(struct sitting *s, size_t runner, struct sheet *sheet, struct lq_error *err)
{
    struct lq_lane *lane = s->race->lane[runner];
    const struct lq_runtime *rt = s->race->rt[lq_runner_language(runner)];
    enum lq_status status = sheet_init(sheet, s, err);
    for (size_t i = 0; i < s->n_seats && status == LQ_OK; i++) {
        const struct lq_exam_record *r = &s->exam->records[s->seats[i].record];
        for (size_t t = 0; t < r->dialogue.n_turns && status == LQ_OK; t++)
            status = add_answer(s, sheet, runner, &s->seats[i], r->first_question + t, err);
    }
    struct lq_greedy_room room = {MOST_RECORDS, SPARE, lq_lane_cells(lane) - s->filled};
    if (status == LQ_OK) status = lq_greedy_run(lane, rt, sheet->jobs, sheet->n_open, &room, err);
    for (size_t i = 0; i < sheet->n && status == LQ_OK; i++)
        status = lq_runtime_text(&s->exam->questions[sheet->questions[i]].answer[runner], rt, sheet->jobs[i].tokens,
                                 sheet->jobs[i].n, err);
    return status;
}

static enum lq_status answer_all(struct sitting *s, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t r = 0; r < LQ_RUNNERS && status == LQ_OK; r++) {
        struct sheet sheet = {0};
        if (s->race->runs[r]) status = answer_as(s, r, &sheet, err);
        sheet_release(&sheet);
    }
    return status;
}

/* ---- filling groups ---- */

/* The total is what is known of the text, and of pictures as many tokens as those seen so far took. */
static void count(struct sitting *s, uint64_t tokens, size_t picture)
{
    char what[64];
    double usual = s->n_seen == 0 ? LQ_USUAL_PICTURE : (double)s->seen_tokens / (double)s->n_seen;
    s->terms->meter->total = s->text_total + (uint64_t)(usual * (double)s->exam->n_pictures);
    snprintf(what, sizeof what, "picture %zu of %zu", picture + 1, s->exam->n_pictures);
    lq_meter_add(s->terms->meter, what, tokens);
}

/* Sits what has gathered. The latest picture's views are kept in *keep where it is not NULL. */
static enum lq_status flush(struct sitting *s, struct lq_view **keep, struct lq_error *err)
{
    enum lq_status status = s->n_members == 0 ? LQ_OK : open_lanes(s, err);
    size_t first = 0;
    for (size_t i = 0; i < s->n_members && status == LQ_OK; i++) {
        status = show(s, &s->members[i], &s->seats[first], err);
        first += s->members[i].n_records;
    }
    if (status == LQ_OK && s->n_seats > 0) status = force_answers(s, err);
    if (status == LQ_OK && s->n_seats > 0) status = answer_all(s, err);
    uint64_t tokens = 0;
    for (size_t i = 0; i < s->n_seats; i++) tokens += record_tokens(s, s->seats[i].record);
    for (size_t i = 0; i < s->n_members; i++) {
        struct member *m = &s->members[i];
        tokens += lq_view_tokens(m->views[LQ_SIDE_PAIR]);
        if (i + 1 == s->n_members && status == LQ_OK) count(s, tokens, m->picture);
        if (i + 1 == s->n_members && keep != NULL) memcpy(keep, m->views, sizeof m->views);
        else free_views(m->views);
    }
    s->n_members = s->n_seats = s->cells = s->filled = 0;
    return status;
}

/* Cells that a picture alone may take: what was asked for, and in any case half as much again as the picture itself,
 * so that several questions share it. */
static size_t capacity(const struct sitting *s, size_t shown)
{
    return s->terms->cells > shown + shown / 2 ? s->terms->cells : shown + shown / 2;
}

/* Seats as many of the picture's records as fit, from *next on, beside what has gathered already. */
static void seat(struct sitting *s, size_t picture, struct lq_view **views, size_t *next)
{
    const struct lq_exam_picture *p = &s->exam->pictures[picture];
    struct member *m = &s->members[s->n_members];
    *m = (struct member){.picture = picture, .views = {views[0], views[1]}};
    for (; *next < p->n_records && s->n_seats < MOST_RECORDS; ++*next) {
        uint32_t record = p->records[*next];
        if (s->exam->records[record].broken) continue;
        size_t shown = m->n_records == 0 ? shown_cells(s, m, record) : 0, more = shown + record_cells(s, record);
        bool alone = s->n_seats == 0;
        if (!alone && s->cells + more > capacity(s, s->n_members == 0 ? shown_cells(s, m, record) : 0)) break;
        s->seats[s->n_seats] = (struct seat){record, (uint32_t)s->n_seats, 0, m->views};
        s->n_seats++;
        m->n_records++;
        s->cells += more;
        s->filled += shown + dialogue_of(s, record)->n_text;
    }
    if (m->n_records > 0) s->n_members++;
}

/* Records that the model's context cannot hold. */
static enum lq_status leave_out_long(struct sitting *s, size_t picture, const struct lq_view *view,
                                     struct lq_error *err)
{
    const struct lq_exam_picture *p = &s->exam->pictures[picture];
    size_t context = lq_runtime_trained_context(s->race->rt[LQ_SIDE_PAIR]);
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < p->n_records && status == LQ_OK; i++) {
        uint32_t record = p->records[i];
        size_t text = record_tokens(s, record), needed = text + lq_view_tokens(view);
        if (s->exam->records[record].broken || needed <= context) continue;
        char why[160];
        snprintf(why, sizeof why, "text of %zu tokens and picture of %zu are longer than the model's context of %zu",
                 text, lq_view_tokens(view), context);
        status = lq_exam_leave_out(s->exam, record, why, err);
    }
    return status;
}

static enum lq_status ask_about(struct sitting *s, size_t picture, struct lq_error *err)
{
    struct lq_view *views[LQ_SIDES] = {NULL, NULL};
    enum lq_status status = see(s, picture, views, err);
    if (status != LQ_OK || views[LQ_SIDE_PAIR] == NULL) return status;
    status = leave_out_long(s, picture, views[LQ_SIDE_PAIR], err);
    size_t next = 0, n = s->exam->pictures[picture].n_records;
    while (status == LQ_OK) {
        size_t before = s->n_members;
        if (s->n_members < MOST_MEMBERS) seat(s, picture, views, &next);
        bool held = s->n_members > before;
        if (held) views[0] = views[1] = NULL;
        if (next == n) break;
        status = flush(s, held ? views : NULL, err);
    }
    free_views(views);
    return status;
}

enum lq_status lq_exam_sit(struct lq_exam *exam, struct lq_race *race, const struct lq_sitting_terms *terms,
                           struct lq_error *err)
{
    struct sitting *s = calloc(1, sizeof *s);
    if (s == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the exam");
    *s = (struct sitting){.exam = exam, .race = race, .terms = terms, .text_total = terms->meter->total};
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < exam->n_pictures && status == LQ_OK; i++) {
        bool all_broken = true;
        for (size_t k = 0; k < exam->pictures[i].n_records; k++)
            all_broken &= exam->records[exam->pictures[i].records[k]].broken;
        if (!all_broken) status = ask_about(s, i, err);
        if (status == LQ_OK) status = lq_meter_check(terms->meter, err);
    }
    if (status == LQ_OK) status = flush(s, NULL, err);
    for (size_t i = 0; i < s->n_members; i++) free_views(s->members[i].views);
    free(s);
    return status;
}
