#include "evaluate/race.h"

#include <stdlib.h>

static const struct {
    enum lq_side language, vision;
} made_of[LQ_RUNNERS] = {
    [LQ_RUNNER_ORIGINAL] = {LQ_SIDE_ORIGINAL, LQ_SIDE_ORIGINAL},
    [LQ_RUNNER_ARM + LQ_ARM_BOTH] = {LQ_SIDE_PAIR, LQ_SIDE_PAIR},
    [LQ_RUNNER_ARM + LQ_ARM_LANGUAGE] = {LQ_SIDE_PAIR, LQ_SIDE_ORIGINAL},
    [LQ_RUNNER_ARM + LQ_ARM_VISION] = {LQ_SIDE_ORIGINAL, LQ_SIDE_PAIR},
};

enum lq_side lq_runner_language(size_t runner)
{
    return made_of[runner].language;
}

enum lq_side lq_runner_vision(size_t runner)
{
    return made_of[runner].vision;
}

void lq_race_init(struct lq_race *race, struct lq_runtime *original, struct lq_runtime *pair, bool by_half)
{
    bool halves = original != NULL && by_half;
    *race = (struct lq_race){
        .rt = {[LQ_SIDE_ORIGINAL] = original, [LQ_SIDE_PAIR] = pair},
        .runs = {[LQ_RUNNER_ORIGINAL] = original != NULL,
                 [LQ_RUNNER_ARM + LQ_ARM_BOTH] = true,
                 [LQ_RUNNER_ARM + LQ_ARM_LANGUAGE] = halves,
                 [LQ_RUNNER_ARM + LQ_ARM_VISION] = halves},
    };
}

static void close_lanes(struct lq_race *race)
{
    for (size_t r = 0; r < LQ_RUNNERS; r++) {
        lq_lane_free(race->lane[r]);
        race->lane[r] = NULL;
    }
    free(race->items);
    race->items = NULL;
    race->size = (struct lq_lane_options){0};
}

void lq_race_release(struct lq_race *race)
{
    close_lanes(race);
    for (size_t a = 0; a < LQ_ARMS; a++) free(race->scores[a].items);
    *race = (struct lq_race){0};
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* What every lane can take at once. */
static size_t least(const struct lq_race *race, size_t (*of)(const struct lq_lane *))
{
    size_t n = SIZE_MAX;
    for (size_t r = 0; r < LQ_RUNNERS; r++)
        if (race->lane[r] != NULL && of(race->lane[r]) < n) n = of(race->lane[r]);
    return n;
}

static enum lq_status open_lanes(struct lq_race *race, const struct lq_lane_options *size, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t r = 0; r < LQ_RUNNERS && status == LQ_OK; r++)
        if (race->runs[r]) status = lq_lane_open(&race->lane[r], race->rt[made_of[r].language], size, err);
    if (status == LQ_OK) {
        race->items = calloc(least(race, lq_lane_most), sizeof *race->items);
        if (race->items == NULL) status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for a batch");
    }
    if (status == LQ_OK) race->size = *size;
    else close_lanes(race);
    return status;
}

enum lq_status lq_race_open(struct lq_race *race, const struct lq_lane_options *size, struct lq_error *err)
{
    const struct lq_lane_options *now = &race->size;
    bool suffices = race->items != NULL && now->cells >= size->cells && now->sequences >= size->sequences &&
                    now->together >= size->together;
    if (!suffices) {
        struct lq_lane_options wanted = {.cells = larger(now->cells, size->cells),
                                         .sequences = larger(now->sequences, size->sequences),
                                         .together = larger(now->together, size->together)};
        close_lanes(race);
        return open_lanes(race, &wanted, err);
    }
    for (size_t r = 0; r < LQ_RUNNERS; r++)
        if (race->runs[r]) lq_lane_clear(race->lane[r]);
    return LQ_OK;
}

enum lq_status lq_race_show(struct lq_race *race, uint32_t sequence, struct lq_view *const *views, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t r = 0; r < LQ_RUNNERS && status == LQ_OK; r++)
        if (race->runs[r]) status = lq_lane_show(race->lane[r], sequence, views[made_of[r].vision], err);
    return status;
}

enum lq_status lq_race_fork(struct lq_race *race, uint32_t from, uint32_t to, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t r = 0; r < LQ_RUNNERS && status == LQ_OK; r++)
        if (race->runs[r]) status = lq_lane_fork(race->lane[r], from, to, lq_lane_length(race->lane[r], from), err);
    return status;
}

static enum lq_status append(struct lq_score_list *list, const struct lq_token_score *score, struct lq_error *err)
{
    if (list->n == list->capacity) {
        size_t capacity = list->capacity == 0 ? 256 : 2 * list->capacity;
        struct lq_token_score *items = realloc(list->items, capacity * sizeof *items);
        if (items == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the scores of %zu tokens", capacity);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->n++] = *score;
    return LQ_OK;
}

/* Compares what each arm's lane and the original's predict behind item i of the latest batch. */
static enum lq_status score(struct lq_race *race, const struct lq_step *step, size_t i, struct lq_error *err)
{
    const struct lq_lane *first = race->lane[LQ_RUNNER_ORIGINAL];
    const float *original = first == NULL ? NULL : lq_lane_logits(first, i);
    size_t n_vocab = lq_runtime_vocabulary(race->rt[LQ_SIDE_PAIR]);
    enum lq_status status = LQ_OK;
    for (size_t a = 0; a < LQ_ARMS && status == LQ_OK; a++) {
        struct lq_token_score s = {.question = step->question};
        if (!race->runs[LQ_RUNNER_ARM + a]) continue;
        lq_token_score(&s, original, lq_lane_logits(race->lane[LQ_RUNNER_ARM + a], i), n_vocab, step->right);
        status = append(&race->scores[a], &s, err);
    }
    return status;
}

/* Takes as many steps as go into one batch. */
static size_t cut_batch(struct lq_race *race, const struct lq_step *steps, size_t n)
{
    size_t most = least(race, lq_lane_most), most_wanted = least(race, lq_lane_most_wanted);
    size_t m = 0, wanted = 0;
    for (; m < n && m < most && wanted + steps[m].wanted <= most_wanted; m++) {
        race->items[m] = (struct lq_lane_item){steps[m].token, steps[m].sequence, steps[m].wanted};
        wanted += steps[m].wanted;
    }
    return m;
}

enum lq_status lq_race_feed(struct lq_race *race, const struct lq_step *steps, size_t n, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t at = 0, m; at < n && status == LQ_OK; at += m) {
        m = cut_batch(race, steps + at, n - at);
        for (size_t r = 0; r < LQ_RUNNERS && status == LQ_OK; r++)
            if (race->runs[r]) status = lq_lane_feed(race->lane[r], race->items, m, err);
        for (size_t i = 0; i < m && status == LQ_OK; i++)
            if (steps[at + i].wanted) status = score(race, &steps[at + i], i, err);
    }
    return status;
}
