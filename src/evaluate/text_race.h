/* A text through all lanes, window by window, as llama-perplexity scores it.
 *
 * Enters: windows, a race without halves swapped. Leaves: the race's scores; the question of a score is the number of
 * its window.
 * Invariants: each window starts anew; tokens window / 2 + 1 .. window - 1 of it count. (llama.cpp 0.5.0,
 * tools/perplexity/perplexity.cpp)
 */
#ifndef LQ_EVALUATE_TEXT_RACE_H
#define LQ_EVALUATE_TEXT_RACE_H

#include "base/meter.h"
#include "calibrate/windows.h"
#include "evaluate/race.h"

/* `meter` counts tokens of one runner. */
enum lq_status lq_windows_run(const struct lq_windows *windows, struct lq_race *race, struct lq_meter *meter,
                              struct lq_error *err);

#endif
