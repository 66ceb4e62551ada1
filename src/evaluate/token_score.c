#include "evaluate/token_score.h"

#include "evaluate/portable_math.h"

#include <float.h>

/* Sums run in LANES interleaved parts, so that compilers can use vectors of any width and the order stays the same. */
enum { LANES = 8 };

/* A logit this far below the highest, or further, counts as this far: probabilities end at about 1e-300, and nothing
 * here can become infinite. */
static const double deepest = -690;

/* Infinite logits (tokens that are masked out) count as the largest floats. */
static inline float limited(float x)
{
    x = x < FLT_MAX ? x : FLT_MAX;
    return x > -FLT_MAX ? x : -FLT_MAX;
}

static float highest(const float *row, size_t n)
{
    float most[LANES];
    size_t i = 0;
    for (int j = 0; j < LANES; j++) most[j] = -FLT_MAX;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) most[j] = row[i + j] > most[j] ? row[i + j] : most[j];
    for (; i < n; i++) most[0] = row[i] > most[0] ? row[i] : most[0];
    for (int j = 1; j < LANES; j++) most[0] = most[j] > most[0] ? most[j] : most[0];
    return limited(most[0]);
}

/* The first of the highest. */
static int32_t place_of(const float *row, size_t n, float value)
{
    for (size_t i = 0; i < n; i++)
        if (limited(row[i]) == value) return (int32_t)i;
    return 0;
}

/* ln of the row's token relative to its likeliest. */
static inline double depth(float logit, float top)
{
    double d = (double)limited(logit) - (double)top;
    return d > deepest ? d : deepest;
}

static double sum_of(const double *lanes)
{
    return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

static double sum_of_exp(const float *row, size_t n, float top)
{
    double sum[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) sum[j] += lq_exp(depth(row[i + j], top));
    for (; i < n; i++) sum[0] += lq_exp(depth(row[i], top));
    return sum_of(sum);
}

/* Sum of exp(depth) of p, and of that times the difference of depths. */
struct pair_sums {
    double p, q, p_difference;
};

static struct pair_sums sums_of_pair(const float *p, float top_p, const float *q, float top_q, size_t n)
{
    double sum_p[LANES] = {0}, sum_q[LANES] = {0}, sum_d[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            double a = depth(p[i + j], top_p), b = depth(q[i + j], top_q), e = lq_exp(a);
            sum_p[j] += e;
            sum_q[j] += lq_exp(b);
            sum_d[j] += e * (a - b);
        }
    for (; i < n; i++) {
        double a = depth(p[i], top_p), b = depth(q[i], top_q), e = lq_exp(a);
        sum_p[0] += e;
        sum_q[0] += lq_exp(b);
        sum_d[0] += e * (a - b);
    }
    return (struct pair_sums){sum_of(sum_p), sum_of(sum_q), sum_of(sum_d)};
}

void lq_token_score(struct lq_token_score *out, const float *original, const float *pair, size_t n_vocab, int32_t right)
{
    float top_q = highest(pair, n_vocab);
    out->top = place_of(pair, n_vocab, top_q);
    if (original == NULL) {
        out->agree = false;
        out->top_original = -1;
        out->kl = out->log_p_original = NAN;
        out->log_p = depth(pair[right], top_q) - lq_log(sum_of_exp(pair, n_vocab, top_q));
        return;
    }
    float top_p = highest(original, n_vocab);
    struct pair_sums sum = sums_of_pair(original, top_p, pair, top_q, n_vocab);
    double ln_p = lq_log(sum.p), ln_q = lq_log(sum.q), kl = sum.p_difference / sum.p - (ln_p - ln_q);
    out->top_original = place_of(original, n_vocab, top_p);
    out->agree = out->top == out->top_original;
    out->kl = kl > 0 ? kl : 0; /* rounding can take a tiny one below */
    out->log_p_original = depth(original[right], top_p) - ln_p;
    out->log_p = depth(pair[right], top_q) - ln_q;
}
