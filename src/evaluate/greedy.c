#include "evaluate/greedy.h"

#define STEP 64 /* tokens fed at once where nothing is wanted of them */

/* Answers in hand: slot i continues sequence first + i. */
struct hall {
    struct lq_lane *lane;
    const struct lq_runtime *rt;
    uint32_t first;
    struct lq_greedy_job *slots[LQ_LANE_SEQUENCES]; /* NULL: free */
    size_t n_slots, n_taken;
};

static int32_t likeliest(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* Feeds the latest token of every answer in hand, and takes down what follows; finished ones leave. */
static enum lq_status advance(struct hall *hall, struct lq_error *err)
{
    struct lq_lane_item items[LQ_LANE_SEQUENCES] = {0};
    size_t at[LQ_LANE_SEQUENCES], n = 0;
    for (size_t i = 0; i < hall->n_slots; i++) {
        const struct lq_greedy_job *job = hall->slots[i];
        if (job == NULL) continue;
        items[n] = (struct lq_lane_item){job->tokens[job->n - 1], hall->first + (uint32_t)i, true};
        at[n++] = i;
    }
    enum lq_status status = lq_lane_feed(hall->lane, items, n, err);
    if (status != LQ_OK) return status;
    bool leaves[LQ_LANE_SEQUENCES];
    for (size_t k = 0; k < n; k++) {
        struct lq_greedy_job *job = hall->slots[at[k]];
        int32_t token = likeliest(lq_lane_logits(hall->lane, k), lq_runtime_vocabulary(hall->rt));
        bool ends = lq_runtime_is_end(hall->rt, token);
        if (!ends) job->tokens[job->n++] = token;
        leaves[k] = ends || job->n == job->most;
    }
    for (size_t k = 0; k < n; k++) {
        if (!leaves[k]) continue;
        lq_lane_drop(hall->lane, hall->first + (uint32_t)at[k]);
        hall->slots[at[k]] = NULL;
        hall->n_taken--;
    }
    return LQ_OK;
}

/* Puts a job into a free slot. */
static enum lq_status take(struct hall *hall, struct lq_greedy_job *job, struct lq_error *err)
{
    size_t i = 0;
    while (hall->slots[i] != NULL) i++;
    enum lq_status status = lq_lane_fork(hall->lane, job->from, hall->first + (uint32_t)i, job->length, err);
    if (status != LQ_OK) return status;
    hall->slots[i] = job;
    hall->n_taken++;
    return LQ_OK;
}

static enum lq_status continue_all(struct hall *hall, struct lq_greedy_job *jobs, size_t n, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t next = 0; (next < n || hall->n_taken > 0) && status == LQ_OK;) {
        while (status == LQ_OK && next < n && hall->n_taken < hall->n_slots) status = take(hall, &jobs[next++], err);
        if (status == LQ_OK) status = advance(hall, err);
    }
    return status;
}

static enum lq_status feed_all(struct lq_lane *lane, const int32_t *tokens, size_t n, struct lq_error *err)
{
    struct lq_lane_item items[STEP];
    size_t step = lq_lane_most(lane) < STEP ? lq_lane_most(lane) : STEP;
    enum lq_status status = LQ_OK;
    for (size_t at = 0; at < n && status == LQ_OK; at += step) {
        size_t m = n - at < step ? n - at : step;
        for (size_t i = 0; i < m; i++) items[i] = (struct lq_lane_item){.token = tokens[at + i]};
        status = lq_lane_feed(lane, items, m, err);
    }
    return status;
}

/* From the beginning, in a lane that cannot go back. */
static enum lq_status replay(struct hall *hall, struct lq_greedy_job *job, struct lq_error *err)
{
    lq_lane_clear(hall->lane);
    enum lq_status status = feed_all(hall->lane, job->dialogue->head, job->dialogue->n_head, err);
    if (status == LQ_OK) status = lq_lane_show(hall->lane, 0, job->view, err);
    if (status == LQ_OK) status = feed_all(hall->lane, job->dialogue->text, job->n_text, err);
    job->n = job->begun;
    hall->slots[0] = job;
    hall->n_taken = 1;
    while (status == LQ_OK && hall->n_taken > 0) status = advance(hall, err);
    return status;
}

static size_t slots_for(const struct lq_lane *lane, const struct lq_greedy_job *jobs, size_t n,
                        const struct lq_greedy_room *room)
{
    size_t longest = 1, slots = room->n_sequences;
    for (size_t i = 0; i < n; i++)
        if (jobs[i].most - jobs[i].n + 1 > longest) longest = jobs[i].most - jobs[i].n + 1;
    if (slots > room->cells / longest) slots = room->cells / longest;
    if (slots > lq_lane_most_wanted(lane)) slots = lq_lane_most_wanted(lane);
    return slots > 0 ? slots : 1;
}

enum lq_status lq_greedy_run(struct lq_lane *lane, const struct lq_runtime *rt, struct lq_greedy_job *jobs, size_t n,
                             const struct lq_greedy_room *room, struct lq_error *err)
{
    if (n == 0) return LQ_OK;
    struct hall hall = {.lane = lane, .rt = rt, .first = room->first, .n_slots = slots_for(lane, jobs, n, room)};
    for (size_t i = 0; i < n; i++) jobs[i].begun = jobs[i].n;
    enum lq_status status = continue_all(&hall, jobs, n, err);
    if (status != LQ_ERR_UNSUPPORTED) return status;
    hall = (struct hall){.lane = lane, .rt = rt, .n_slots = 1};
    status = LQ_OK;
    for (size_t i = 0; i < n && status == LQ_OK; i++) status = replay(&hall, &jobs[i], err);
    return status;
}
