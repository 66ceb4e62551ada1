#include "strategy/trial.h"

#include "base/pool.h"
#include "evaluate/token_score.h"
#include "strategy/crew.h"
#include "strategy/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY (UINT64_C(1) << 30)

/* Records side by side: enough to fill batches, few enough for the cells that every token looks past. */
enum { MOST_SEATS = 16, CELLS = 256 };

struct group {
    size_t first, n; /* seats */
};

struct lq_trial {
    struct lq_crew crew;
    struct lq_sample sample;
    struct group *groups; /* what goes through a lane together */
    size_t n_groups;
    struct lq_view **recoded; /* the sample's pictures as the recoded vision half sees them; NULL where not yet */
    uint64_t sight;           /* that they were seen with */
    size_t n_vocab;
    float *rows;       /* the original's logits of all answer tokens */
    size_t *first_row; /* of each seat */
    double *kl;        /* of each seat, summed */
    size_t *n_agreed;  /* of each seat */
    uint64_t tokens;   /* of one measurement */
    uint64_t n_measured;
};

static enum lq_status no_memory(struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "no memory for measuring divergence");
}

/* ---- passes ---- */

/* A group on its way: the original's logits are kept, others compared with those kept. */
struct pass {
    struct lq_trial *trial;
    bool keeps;
    size_t first; /* seat */
};

static void hears(void *data, size_t seat, size_t i, const float *row, int32_t right)
{
    struct pass *pass = data;
    struct lq_trial *t = pass->trial;
    size_t question = pass->first + seat;
    float *kept = t->rows + (t->first_row[question] + i) * t->n_vocab;
    struct lq_token_score score;
    if (pass->keeps) {
        memcpy(kept, row, t->n_vocab * sizeof *row);
        return;
    }
    lq_token_score(&score, kept, row, t->n_vocab, right);
    t->kl[question] += score.kl;
    t->n_agreed[question] += score.agree;
}

static size_t capacity(const struct lq_trial *t)
{
    return t->sample.largest > CELLS ? t->sample.largest : CELLS;
}

/* How many seats from `first` on go together. */
static size_t count_group(const struct lq_trial *t, size_t first)
{
    const struct lq_seat *seats = t->sample.seats + first;
    size_t n = 0, cells = 0;
    for (; first + n < t->sample.n && n < MOST_SEATS; n++) {
        cells += lq_seat_cells(seats, n);
        if (n > 0 && cells > capacity(t)) break;
    }
    return n;
}

static enum lq_status open_lane(struct lq_crew_member *member, const struct lq_trial *t, struct lq_error *err)
{
    const struct lq_lane_options options = {
        .cells = (uint32_t)capacity(t), .sequences = MOST_SEATS, .together = (uint32_t)t->sample.together};
    return member->lane != NULL ? LQ_OK : lq_lane_open(&member->lane, member->rt, &options, err);
}

static enum lq_status run_group(void *data, size_t item, unsigned worker, struct lq_error *err)
{
    struct pass pass = *(const struct pass *)data;
    struct lq_trial *t = pass.trial;
    struct lq_crew_member *member = &t->crew.members[worker];
    const struct lq_audience audience = {.data = &pass, .hears = hears};
    const struct group *group = &t->groups[item];
    pass.first = group->first;
    enum lq_status status = open_lane(member, t, err);
    if (status == LQ_OK) status = lq_recite(member->lane, t->sample.seats + group->first, group->n, &audience, err);
    if (status == LQ_OK) return LQ_OK;
    lq_lane_free(member->lane);
    member->lane = NULL;
    return status;
}

static enum lq_status run(struct lq_trial *t, bool keeps, struct lq_error *err)
{
    struct pass pass = {.trial = t, .keeps = keeps};
    return lq_pool_run(t->crew.n, t->n_groups, run_group, &pass, err);
}

/* ---- pictures ---- */

static void forget_recoded(struct lq_trial *t)
{
    for (size_t i = 0; i < t->sample.n_pictures; i++) {
        lq_view_free(t->recoded[i]);
        t->recoded[i] = NULL;
    }
}

static enum lq_status see_picture(void *data, size_t item, unsigned worker, struct lq_error *err)
{
    struct lq_trial *t = data;
    if (t->recoded[item] != NULL) return LQ_OK;
    return lq_view_open(&t->recoded[item], t->crew.members[worker].rt, t->sample.pictures[item].path, err);
}

/* Gives every seat its picture as the pair sees it now. */
static enum lq_status see(struct lq_trial *t, struct lq_error *err)
{
    struct lq_sample *s = &t->sample;
    uint64_t sight = lq_runtime_sight(t->crew.members[0].rt);
    enum lq_status status = LQ_OK;
    if (sight != t->sight) forget_recoded(t);
    t->sight = sight;
    if (sight != 0) status = lq_pool_run(t->crew.n, s->n_pictures, see_picture, t, err);
    for (size_t i = 0; i < s->n; i++)
        s->seats[i].view = sight == 0 ? s->pictures[s->pictures_of[i]].view : t->recoded[s->pictures_of[i]];
    return status;
}

/* ---- life ---- */

static enum lq_status make_room(struct lq_trial *t, struct lq_error *err)
{
    const struct lq_sample *s = &t->sample;
    t->groups = calloc(s->n, sizeof *t->groups);
    t->recoded = calloc(s->n_pictures, sizeof(struct lq_view *));
    t->first_row = calloc(s->n, sizeof *t->first_row);
    t->kl = calloc(s->n, sizeof *t->kl);
    t->n_agreed = calloc(s->n, sizeof *t->n_agreed);
    t->rows = calloc(s->answer_tokens, t->n_vocab * sizeof *t->rows);
    if (t->groups == NULL || t->recoded == NULL || t->first_row == NULL || t->kl == NULL || t->n_agreed == NULL ||
        t->rows == NULL)
        return no_memory(err);
    for (size_t i = 1; i < s->n; i++) t->first_row[i] = t->first_row[i - 1] + s->parts[i - 1].n_wanted;
    for (size_t i = 0; i < s->n; i += t->groups[t->n_groups++].n)
        t->groups[t->n_groups] = (struct group){i, count_group(t, i)};
    return LQ_OK;
}

static enum lq_status open_trial(struct lq_trial *t, const struct lq_trial_options *options, struct lq_error *err)
{
    const struct lq_sample_terms terms = {.data = options->data,
                                          .limit = options->limit,
                                          .memory = options->memory != 0 ? options->memory : MEMORY,
                                          .hooks = options->pair.hooks};
    enum lq_status status = lq_crew_open(&t->crew, &options->pair, NULL, err);
    if (status != LQ_OK) return status;
    t->n_vocab = lq_runtime_vocabulary(t->crew.members[0].rt);
    status = lq_sample_draw(&t->sample, t->crew.members[0].rt, &terms, err);
    if (status == LQ_OK) status = make_room(t, err);
    if (status == LQ_OK) status = lq_crew_grow(&t->crew, &options->pair, t->n_groups, err);
    if (status == LQ_OK) status = run(t, true, err);
    if (status == LQ_OK) t->tokens = lq_crew_used(&t->crew).tokens;
    return status;
}

enum lq_status lq_trial_open(struct lq_trial **out, const struct lq_trial_options *options, struct lq_error *err)
{
    struct lq_trial *t = calloc(1, sizeof *t);
    if (t == NULL) return no_memory(err);
    enum lq_status status = open_trial(t, options, err);
    if (status == LQ_OK) *out = t;
    else lq_trial_free(t);
    return status;
}

void lq_trial_free(struct lq_trial *trial)
{
    if (trial == NULL) return;
    if (trial->recoded != NULL) forget_recoded(trial);
    lq_sample_release(&trial->sample);
    lq_crew_release(&trial->crew);
    free(trial->groups);
    free(trial->recoded);
    free(trial->first_row);
    free(trial->kl);
    free(trial->n_agreed);
    free(trial->rows);
    free(trial);
}

enum lq_status lq_trial_recode(struct lq_trial *trial, const char *weight, enum lq_type type, const void *data,
                               struct lq_error *err)
{
    return lq_crew_recode(&trial->crew, weight, type, data, err);
}

/* ---- measuring ---- */

/* Standard error of a ratio of sums over pictures, each a draw of tokens that go together. Seats about one picture are
 * side by side. */
static double standard_error(const struct lq_trial *t, double mean)
{
    const struct lq_sample *s = &t->sample;
    double squares = 0, off = 0, n = (double)s->n_pictures;
    for (size_t i = 0; i < s->n; i++) {
        off += t->kl[i] - mean * (double)s->parts[i].n_wanted;
        if (i + 1 < s->n && s->pictures_of[i + 1] == s->pictures_of[i]) continue;
        squares += off * off;
        off = 0;
    }
    return n < 2 ? NAN : sqrt(squares * n / (n - 1)) / (double)s->answer_tokens;
}

enum lq_status lq_trial_measure(struct lq_trial *trial, struct lq_trial_divergence *out, double *by_question,
                                struct lq_error *err)
{
    double sum = 0, n_agreed = 0, n = (double)trial->sample.answer_tokens;
    memset(trial->kl, 0, trial->sample.n * sizeof *trial->kl);
    memset(trial->n_agreed, 0, trial->sample.n * sizeof *trial->n_agreed);
    enum lq_status status = see(trial, err);
    if (status == LQ_OK) status = run(trial, false, err);
    if (status != LQ_OK) return status;
    for (size_t i = 0; i < trial->sample.n; i++) {
        sum += trial->kl[i];
        n_agreed += (double)trial->n_agreed[i];
    }
    *out = (struct lq_trial_divergence){
        .mean = sum / n, .error = standard_error(trial, sum / n), .agreement = n_agreed / n};
    if (by_question != NULL) memcpy(by_question, trial->kl, trial->sample.n * sizeof *by_question);
    trial->n_measured++;
    return LQ_OK;
}

struct lq_trial_cost lq_trial_cost(const struct lq_trial *trial)
{
    struct lq_runtime_usage used = lq_crew_used(&trial->crew);
    return (struct lq_trial_cost){.questions = trial->sample.n,
                                  .pictures = trial->sample.n_pictures,
                                  .answer_tokens = trial->sample.answer_tokens,
                                  .tokens = trial->tokens,
                                  .picture_tokens = trial->sample.together,
                                  .measurements = trial->n_measured,
                                  .picture_seconds = used.picture_seconds,
                                  .token_seconds = used.token_seconds};
}
