#include "evaluate/text_race.h"

#include <stdio.h>
#include <stdlib.h>

enum { TOGETHER = 256, MOST_TOGETHER = 16 }; /* short windows run side by side until they fill that many cells */

/* Steps of window `number`; its last token predicts nothing that counts. */
static void write_steps(const struct lq_windows *w, size_t number, uint32_t sequence, struct lq_step *steps)
{
    const int32_t *tokens = w->tokens + number * w->window;
    for (uint32_t i = 0; i + 1 < w->window; i++)
        steps[i] = (struct lq_step){tokens[i], sequence, i >= w->window / 2, tokens[i + 1], (uint32_t)number};
    if (w->begin >= 0) steps[0].token = w->begin;
}

static enum lq_status run_some(const struct lq_windows *w, struct lq_race *race, size_t first, size_t n,
                               struct lq_step *steps, struct lq_error *err)
{
    struct lq_lane_options size = {.cells = (uint32_t)(n * w->window), .sequences = (uint32_t)n};
    enum lq_status status = lq_race_open(race, &size, err);
    for (size_t i = 0; i < n; i++) write_steps(w, first + i, (uint32_t)i, steps + i * (w->window - 1));
    return status == LQ_OK ? lq_race_feed(race, steps, n * (w->window - 1), err) : status;
}

enum lq_status lq_windows_run(const struct lq_windows *windows, struct lq_race *race, struct lq_meter *meter,
                              struct lq_error *err)
{
    size_t together = TOGETHER / windows->window;
    if (together > MOST_TOGETHER) together = MOST_TOGETHER;
    if (together == 0) together = 1;
    struct lq_step *steps = calloc(together * windows->window, sizeof *steps);
    if (steps == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a window of %u tokens", windows->window);
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < windows->n && status == LQ_OK; i += together) {
        size_t n = windows->n - i < together ? windows->n - i : together;
        char what[64];
        status = run_some(windows, race, i, n, steps, err);
        if (status == LQ_OK) status = lq_meter_check(meter, err);
        snprintf(what, sizeof what, "text window %zu of %zu", i + n, windows->n);
        lq_meter_add(meter, what, n * windows->window);
    }
    free(steps);
    return status;
}
