/* What becomes of values that cannot be trusted; the table of defects is in docs/rooms/calibrate.md. */
#include "calibrate/stats.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* A column whose mean square is below this share of its row's mean has met nothing but zeros. */
static const double dead_share = 1e-10;
/* Of a call in the older form: llama-imatrix's own length of a chunk. */
static const double tokens_of_call = 512;

enum lq_status lq_stats_check_values(const struct lq_stats *stats, const char *part, const float *values, uint64_t n,
                                     struct lq_error *err)
{
    for (uint64_t i = 0; i < n; i++)
        if (!isfinite(values[i]) || values[i] < 0)
            return lq_error_set(err, LQ_ERR_FORMAT,
                                "%s: tensor '%s': value %" PRIu64 " is %g, expected finite and not negative",
                                stats->path, part, i, (double)values[i]);
    return LQ_OK;
}

static double mean_of(const float *row, uint64_t n)
{
    double sum = 0;
    for (uint64_t i = 0; i < n; i++) sum += row[i];
    return sum / (double)n;
}

/* Too few tokens are made up to LQ_STATS_FEW with such as have the row's mean in every column: shrinkage towards a
 * multiple of the identity, as Ledoit and Wolf (2004) do it, whose weight ends where the data suffice. */
static void make_up(float *row, uint64_t n, double mean, double tokens)
{
    for (uint64_t i = 0; i < n; i++)
        row[i] = (float)((row[i] * tokens + (LQ_STATS_FEW - tokens) * mean) / LQ_STATS_FEW);
}

/* Means of so many tokens. A dead column gets what one more token of the row's mean would have brought it. Returns the
 * number of dead columns. */
static uint64_t clean_row(float *row, uint64_t n, double mean, double tokens)
{
    double least = mean * dead_share;
    uint64_t dead = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (row[i] >= least) continue;
        row[i] = (float)(mean / (tokens + 1));
        dead++;
    }
    if (tokens < LQ_STATS_FEW) make_up(row, n, mean, tokens);
    return dead;
}

static void count_tokens(struct lq_stats_entry *e, uint64_t row, double tokens)
{
    if (row == 0 || tokens < e->fewest) e->fewest = tokens;
    e->tokens += tokens;
    e->few += tokens < LQ_STATS_FEW;
}

/* Rows of zeros alone, and rows without a count, say nothing: ones, as llama-quantize has it for the latter. */
void lq_stats_clean(struct lq_stats_entry *e, const float *counts, bool calls)
{
    uint64_t n = e->n / e->rows;
    bool any = false;
    for (uint64_t r = 0; r < e->rows; r++) {
        float *row = e->means + r * n, count = roundf(counts[r]);
        double mean = count > 0 ? mean_of(row, n) / count : 0;
        bool says = mean >= (double)FLT_MIN;
        if (!calls) count_tokens(e, r, count);
        for (uint64_t i = 0; i < n; i++) row[i] = says ? row[i] / count : 1;
        if (says) e->dead += clean_row(row, n, mean, calls ? count * tokens_of_call : count);
        else if (count > 0) e->dead += n;
        any = any || says;
    }
    if (any) return;
    free(e->means);
    e->means = NULL;
}
