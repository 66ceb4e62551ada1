#include "evaluate/token_score.h"

#include "base/portable_math.h"

#include <float.h>

/* Rows are taken CHUNK logits at a time through loops without branches, and summed in LANES interleaved parts, so that
 * compilers can use vectors of any width and the order of additions stays the same. */
enum { LANES = 8, CHUNK = 128 };

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

/* ln of a token's probability relative to the likeliest one's. */
static inline double depth(float logit, float top)
{
    double d = (double)limited(logit) - (double)top;
    return d > deepest ? d : deepest;
}

/* The depths of a chunk of n logits, filled up with the deepest, which add nothing. */
static void depths(double *out, const float *row, size_t n, float top)
{
    float padded[CHUNK] = {0};
    if (n < CHUNK) row = memcpy(padded, row, n * sizeof *row);
    for (size_t i = 0; i < CHUNK; i++) out[i] = depth(row[i], top);
    for (size_t i = n; i < CHUNK; i++) out[i] = deepest;
}

static void exponentials(double *restrict out, const double *restrict depths)
{
    for (size_t i = 0; i < CHUNK; i++) out[i] = lq_exp(depths[i]);
}

static void add_up(double *restrict lanes, const double *restrict values)
{
    for (size_t i = 0; i < CHUNK; i += LANES)
        for (size_t j = 0; j < LANES; j++) lanes[j] += values[i + j];
}

static double sum_of(const double *lanes)
{
    return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

/* Sums of exp(depth) of p and of q, and of p's times the difference of the depths. */
struct sums {
    double p, q, difference;
};

/* `p` may be NULL. */
static struct sums sums_of(const float *p, float top_p, const float *q, float top_q, size_t n_vocab)
{
    double sum_p[LANES] = {0}, sum_q[LANES] = {0}, sum_d[LANES] = {0};
    double depth_p[CHUNK], depth_q[CHUNK], exp_p[CHUNK], exp_q[CHUNK];
    for (size_t i = 0; i < n_vocab; i += CHUNK) {
        size_t n = n_vocab - i < CHUNK ? n_vocab - i : CHUNK;
        depths(depth_q, q + i, n, top_q);
        exponentials(exp_q, depth_q);
        add_up(sum_q, exp_q);
        if (p == NULL) continue;
        depths(depth_p, p + i, n, top_p);
        exponentials(exp_p, depth_p);
        add_up(sum_p, exp_p);
        for (size_t k = 0; k < CHUNK; k++) exp_p[k] *= depth_p[k] - depth_q[k];
        add_up(sum_d, exp_p);
    }
    return (struct sums){sum_of(sum_p), sum_of(sum_q), sum_of(sum_d)};
}

void lq_token_score(struct lq_token_score *out, const float *original, const float *pair, size_t n_vocab, int32_t right)
{
    float top_q = highest(pair, n_vocab), top_p = original == NULL ? 0 : highest(original, n_vocab);
    struct sums sum = sums_of(original, top_p, pair, top_q, n_vocab);
    double ln_q = lq_log(sum.q);
    out->top = place_of(pair, n_vocab, top_q);
    out->log_p = depth(pair[right], top_q) - ln_q;
    out->top_original = -1;
    out->agree = false;
    out->kl = out->log_p_original = NAN;
    if (original == NULL) return;
    double ln_p = lq_log(sum.p), kl = sum.difference / sum.p - (ln_p - ln_q);
    out->top_original = place_of(original, n_vocab, top_p);
    out->agree = out->top == out->top_original;
    out->kl = kl > 0 ? kl : 0; /* rounding can take a tiny one below */
    out->log_p_original = depth(original[right], top_p) - ln_p;
}
