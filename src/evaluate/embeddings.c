#include "evaluate/embeddings.h"

#include <math.h>

/* Sums over one token's vector, or over all of them. */
struct products {
    double ab, aa, bb, difference;
};

static struct products multiply(const float *a, const float *b, size_t n)
{
    struct products p = {0, 0, 0, 0};
    for (size_t i = 0; i < n; i++) {
        double x = a[i], y = b[i];
        p.ab += x * y;
        p.aa += x * x;
        p.bb += y * y;
        p.difference += (x - y) * (x - y);
    }
    return p;
}

static double cosine(const struct products *p)
{
    if (p->aa == 0 || p->bb == 0) return p->aa == p->bb ? 1 : 0;
    return p->ab / sqrt(p->aa * p->bb);
}

static double relative_error(const struct products *p)
{
    if (p->difference == 0) return 0;
    return p->aa == 0 ? INFINITY : sqrt(p->difference / p->aa);
}

void lq_embeddings_compare(struct lq_picture_result *out, const float *original, const float *pair, size_t rows,
                           size_t width)
{
    struct products all = {0, 0, 0, 0};
    double least = INFINITY;
    for (size_t i = 0; i < rows; i++) {
        struct products p = multiply(original + i * width, pair + i * width, width);
        least = fmin(least, cosine(&p));
        all.ab += p.ab;
        all.aa += p.aa;
        all.bb += p.bb;
        all.difference += p.difference;
    }
    out->cosine = cosine(&all);
    out->cosine_min = least;
    out->relative_error = relative_error(&all);
}
