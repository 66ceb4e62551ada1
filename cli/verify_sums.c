#include "verify_sums.h"

#include <stdlib.h>

static void add(struct cli_verify_sum *sum, const struct lq_tensor *t, const struct lq_verify_tensor *v)
{
    sum->tensors++;
    sum->weights += t->ne[0] * t->rows;
    sum->types |= UINT64_C(1) << t->type;
    sum->error_sq += v->error_sq;
    sum->weight_sq += v->weight_sq;
    if (v->worst <= (sum->worst == NULL ? 0 : sum->worst_seen->worst)) return;
    sum->worst = t;
    sum->worst_seen = v;
}

struct cli_verify_sums *cli_verify_sums_new(const struct lq_verification *seen)
{
    struct cli_verify_sums *s = calloc(1, sizeof *s);
    if (s == NULL) return NULL;
    for (int h = 0; h < LQ_HALVES; h++) {
        const struct lq_model_half *half = seen->model->half[h];
        for (size_t i = 0; half != NULL && i < half->n_tensors; i++) {
            const struct lq_verify_tensor *v = &seen->tensors[h][i];
            if (v->original == NULL) continue;
            add(&s->role[h][half->tensors[i].role], &half->tensors[i], v);
            add(&s->half[h], &half->tensors[i], v);
            add(&s->total, &half->tensors[i], v);
        }
    }
    return s;
}
