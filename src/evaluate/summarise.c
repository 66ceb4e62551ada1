#include "evaluate/summarise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/portable_math.h"

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void lq_sort(double *values, size_t n)
{
    if (n > 1) qsort(values, n, sizeof *values, compare_doubles);
}

double lq_percentile(const double *sorted, size_t n, double percent)
{
    if (n == 0) return NAN;
    double place = percent / 100 * (double)(n - 1);
    size_t below = (size_t)place;
    if (below >= n - 1) return sorted[n - 1];
    double t = place - (double)below, step = sorted[below + 1] - sorted[below];
    return t < 0.5 ? sorted[below] + step * t : sorted[below + 1] - step * (1 - t);
}

static bool takes_part(const struct lq_units *units, uint32_t question)
{
    return units->part == NULL || units->part[question];
}

/* ---- several measures, summed up by unit ---- */

/* sums[m] and counts have n_units values each; one block of memory. */
struct ledger {
    size_t n_units;
    double *counts, *sums;
};

static enum lq_status ledger_init(struct ledger *l, size_t n_measures, size_t n_units, struct lq_error *err)
{
    l->n_units = n_units;
    l->counts = calloc((n_measures + 1) * (n_units > 0 ? n_units : 1), sizeof *l->counts);
    if (l->counts == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu pictures' sums", n_units);
    l->sums = l->counts + n_units;
    return LQ_OK;
}

static void ledger_add(struct ledger *l, size_t unit, const double *values, size_t n)
{
    l->counts[unit]++;
    for (size_t m = 0; m < n; m++) l->sums[m * l->n_units + unit] += values[m];
}

/* Mean of a measure that lies in low .. high, to which the interval is cut. */
static enum lq_status ledger_mean(struct lq_estimate *out, const struct ledger *l, size_t measure, double low,
                                  double high, struct lq_error *err)
{
    enum lq_status status = lq_bootstrap_ratio(out, l->sums + measure * l->n_units, l->counts, l->n_units, err);
    if (status != LQ_OK) return status;
    if (out->low < low) out->low = low;
    if (out->high > high) out->high = high;
    return LQ_OK;
}

/* ---- tokens ---- */

enum { KL, AGREE, DP, LOSS, RATIO, LOSS_ORIGINAL, TOKEN_MEASURES };

static void measures_of(double *values, const struct lq_token_score *s)
{
    values[KL] = s->kl;
    values[AGREE] = s->agree;
    values[DP] = lq_exp(s->log_p) - lq_exp(s->log_p_original);
    values[LOSS] = -s->log_p;
    values[RATIO] = s->log_p_original - s->log_p;
    values[LOSS_ORIGINAL] = -s->log_p_original;
}

static void clear_divergence(struct lq_divergence *out)
{
    struct lq_estimate none = {NAN, NAN, NAN};
    *out = (struct lq_divergence){.kl = none,
                                  .kl_median = NAN,
                                  .kl_p90 = NAN,
                                  .kl_p99 = NAN,
                                  .kl_p999 = NAN,
                                  .kl_max = NAN,
                                  .agreement = none,
                                  .dp = none,
                                  .dp_rms = NAN,
                                  .perplexity_original = NAN,
                                  .perplexity = none,
                                  .perplexity_ratio = none};
    for (int i = 0; i < LQ_DP_PERCENTILES; i++) out->dp_at[i] = NAN;
}

static void take_percentiles(struct lq_divergence *out, double *kl, double *dp, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++) squares += dp[i] * dp[i];
    lq_sort(kl, n);
    lq_sort(dp, n);
    out->kl_median = lq_percentile(kl, n, 50);
    out->kl_p90 = lq_percentile(kl, n, 90);
    out->kl_p99 = lq_percentile(kl, n, 99);
    out->kl_p999 = lq_percentile(kl, n, 99.9);
    out->kl_max = kl[n - 1];
    out->dp_rms = sqrt(squares / (double)n);
    for (int i = 0; i < LQ_DP_PERCENTILES; i++) out->dp_at[i] = lq_percentile(dp, n, lq_dp_percentiles[i]);
}

/* Largest loss whose exponential lq_exp can give; token scores end below it. */
static const double largest_loss = 709;

static struct lq_estimate exponential(struct lq_estimate e)
{
    double *values[] = {&e.value, &e.low, &e.high};
    for (int i = 0; i < 3; i++)
        if (!isnan(*values[i])) *values[i] = lq_exp(fmax(-largest_loss + 1, fmin(largest_loss, *values[i])));
    return e;
}

static enum lq_status estimate_tokens(struct lq_divergence *out, const struct ledger *l, bool has_original,
                                      struct lq_error *err)
{
    struct lq_estimate loss, ratio, original;
    enum lq_status status = ledger_mean(&loss, l, LOSS, 0, INFINITY, err);
    if (status == LQ_OK) out->perplexity = exponential(loss);
    if (!has_original || status != LQ_OK) return status;
    status = ledger_mean(&out->kl, l, KL, 0, INFINITY, err);
    if (status == LQ_OK) status = ledger_mean(&out->agreement, l, AGREE, 0, 1, err);
    if (status == LQ_OK) status = ledger_mean(&out->dp, l, DP, -1, 1, err);
    if (status == LQ_OK) status = ledger_mean(&ratio, l, RATIO, -INFINITY, INFINITY, err);
    if (status == LQ_OK) status = ledger_mean(&original, l, LOSS_ORIGINAL, 0, INFINITY, err);
    if (status != LQ_OK) return status;
    out->perplexity_ratio = exponential(ratio);
    out->perplexity_original = exponential(original).value;
    return LQ_OK;
}

enum lq_status lq_summarise_tokens(struct lq_divergence *out, const struct lq_token_score *scores, size_t n,
                                   const struct lq_units *units, struct lq_error *err)
{
    struct ledger l = {0};
    struct lq_divergence d;
    size_t used = 0;
    bool has_original = true;
    double *kl = malloc((n > 0 ? n : 1) * sizeof *kl), *dp = malloc((n > 0 ? n : 1) * sizeof *dp);
    enum lq_status status = ledger_init(&l, TOKEN_MEASURES, units->n_units, err);
    if (kl == NULL || dp == NULL) status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu tokens' scores", n);
    for (size_t i = 0; i < n && status == LQ_OK; i++) {
        double values[TOKEN_MEASURES] = {0};
        if (!takes_part(units, scores[i].question)) continue;
        has_original = !isnan(scores[i].log_p_original);
        if (has_original) measures_of(values, &scores[i]);
        else values[LOSS] = -scores[i].log_p;
        ledger_add(&l, units->unit[scores[i].question], values, TOKEN_MEASURES);
        kl[used] = values[KL];
        dp[used++] = values[DP];
    }
    clear_divergence(&d);
    d.tokens = used;
    if (status == LQ_OK && used > 0) status = estimate_tokens(&d, &l, has_original, err);
    if (status == LQ_OK && used > 0 && has_original) take_percentiles(&d, kl, dp, used);
    if (status == LQ_OK) *out = d;
    free(l.counts);
    free(kl);
    free(dp);
    return status;
}

/* ---- answers ---- */

enum { EXACT, VQA, EXACT_ORIGINAL, VQA_ORIGINAL, ANSWER_MEASURES };

double lq_mcnemar(uint64_t lost, uint64_t gained)
{
    uint64_t n = lost + gained, few = lost < gained ? lost : gained;
    double ln_term = -(double)n * lq_log(2), sum = 0;
    if (lost == gained) return 1;
    for (uint64_t k = 0; k <= few; k++) {
        if (ln_term > -700) sum += lq_exp(ln_term);
        ln_term += lq_log((double)(n - k)) - lq_log((double)(k + 1));
    }
    return fmin(1, 2 * sum);
}

static enum lq_status estimate_answers(struct lq_answers *out, const struct ledger *l, bool has_original,
                                       struct lq_error *err)
{
    enum lq_status status = ledger_mean(&out->exact, l, EXACT, 0, 1, err);
    if (status == LQ_OK) status = ledger_mean(&out->vqa, l, VQA, 0, 1, err);
    if (status == LQ_OK && has_original) status = ledger_mean(&out->exact_original, l, EXACT_ORIGINAL, 0, 1, err);
    if (status == LQ_OK && has_original) status = ledger_mean(&out->vqa_original, l, VQA_ORIGINAL, 0, 1, err);
    return status;
}

enum lq_status lq_summarise_answers(struct lq_answers *out, const struct lq_answer_score *scores, bool has_original,
                                    const struct lq_units *units, struct lq_error *err)
{
    struct lq_estimate none = {NAN, NAN, NAN};
    struct lq_answers a = {.exact_original = none, .exact = none, .vqa_original = none, .vqa = none, .p = NAN};
    struct ledger l = {0};
    enum lq_status status = ledger_init(&l, ANSWER_MEASURES, units->n_units, err);
    for (size_t i = 0; i < units->n_questions && status == LQ_OK; i++) {
        const struct lq_answer_score *s = &scores[i];
        if (!takes_part(units, (uint32_t)i)) continue;
        ledger_add(&l, units->unit[i], (double[ANSWER_MEASURES]){s->exact, s->vqa, s->exact_original, s->vqa_original},
                   ANSWER_MEASURES);
        a.questions++;
        if (!has_original) continue;
        a.lost += s->exact_original && !s->exact;
        a.gained += !s->exact_original && s->exact;
        a.changed += s->changed;
    }
    if (status == LQ_OK && a.questions > 0) status = estimate_answers(&a, &l, has_original, err);
    if (has_original && a.questions > 0) a.p = lq_mcnemar(a.lost, a.gained);
    if (status == LQ_OK) *out = a;
    free(l.counts);
    return status;
}

/* ---- pictures ---- */

static double mean_of(const double *values, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += values[i];
    return n > 0 ? sum / (double)n : NAN;
}

enum lq_status lq_summarise_pictures(struct lq_embedding *out, const struct lq_picture_result *pictures, size_t n,
                                     struct lq_error *err)
{
    double *values = malloc((n > 0 ? n : 1) * 2 * sizeof *values);
    if (values == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu pictures", n);
    double *errors = values + n;
    for (size_t i = 0; i < n; i++) values[i] = pictures[i].cosine, errors[i] = pictures[i].relative_error;
    lq_sort(values, n);
    lq_sort(errors, n);
    *out = (struct lq_embedding){.pictures = n,
                                 .cosine_min = lq_percentile(values, n, 0),
                                 .cosine_p1 = lq_percentile(values, n, 1),
                                 .cosine_mean = mean_of(values, n),
                                 .error_mean = mean_of(errors, n),
                                 .error_p99 = lq_percentile(errors, n, 99),
                                 .error_max = lq_percentile(errors, n, 100)};
    free(values);
    return LQ_OK;
}
