/* The bounds of `compare`: on answers after pictures, and on text where that was measured too. */
#include <inttypes.h>

#include "eval_job.h"

struct measured {
    const char *where;
    const struct lq_divergence *figures;
};

static bool breaks_kld(const struct cli_eval_job *job, const struct measured *m)
{
    if (job->max_kld < 0 || m->figures->kl.value <= (double)job->max_kld) return false;
    cli_error("%s: --max-kld %g is broken: the mean KL divergence %s is %.6g", job->pair, (double)job->max_kld,
              m->where, m->figures->kl.value);
    return true;
}

static bool breaks_agreement(const struct cli_eval_job *job, const struct measured *m)
{
    double percent = m->figures->agreement.value * 100;
    if (job->min_agreement < 0 || percent >= (double)job->min_agreement) return false;
    cli_error("%s: --min-agreement %g is broken: the likeliest token %s is the same for %.6g %%", job->pair,
              (double)job->min_agreement, m->where, percent);
    return true;
}

static bool breaks_flips(const struct cli_eval_job *job, const struct lq_answers *a)
{
    if (job->max_flips < 0 || a->lost + a->gained <= (uint64_t)job->max_flips) return false;
    cli_error("%s: --max-flips %" PRId64 " is broken: %" PRIu64 " right answers became wrong, %" PRIu64
              " wrong ones right",
              job->pair, job->max_flips, a->lost, a->gained);
    return true;
}

bool cli_eval_breaks(const struct cli_eval_job *job, const struct lq_evaluation *e)
{
    const struct lq_arm_result *both = &e->arm[LQ_ARM_BOTH];
    const struct measured places[] = {{"on answers", &both->answer}, {"on text", &both->text}};
    bool broken = false;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (places[i].figures->tokens == 0) continue;
        broken |= breaks_kld(job, &places[i]);
        broken |= breaks_agreement(job, &places[i]);
    }
    return broken | breaks_flips(job, &both->answers);
}
