#include "target.h"

#include <stdlib.h>

#include "device.h"
#include "job.h"
#include "job_calibrate.h"
#include "rules.h"

enum { CURVE_POINTS = 12 };

bool cli_target_is_set(const struct cli_target *target)
{
    return target->size > 0 || target->bpw > 0 || target->kld > 0 || target->fit > 0;
}

int cli_target_check(struct cli_target *t, const char *command)
{
    int status = cli_device_apply(t, command);
    if (status != CLI_GO) return status;
    if ((t->size > 0) + (t->bpw > 0) + (t->kld > 0) + (t->fit > 0) > 1)
        return cli_wrong_use(command, "--target-size, --target-bpw, --max-kld and --fit contradict each other");
    if (t->context > 0 && t->fit == 0)
        return cli_wrong_use(command, "--context is what --fit leaves room for: give --fit or --device");
    return CLI_GO;
}

enum lq_status cli_target_goal(struct cli_planned *planned, const struct cli_job *job,
                               const struct cli_calibrated *calibrated, struct lq_error *err)
{
    const struct cli_target *t = &job->target;
    struct cli_progress progress;
    planned->goal = (struct lq_goal){.bytes = t->size, .bpw = t->bpw, .kld = t->kld};
    if (t->fit == 0) return LQ_OK;
    const struct lq_runtime_options options = {.language = calibrated->language,
                                               .mmproj = calibrated->mmproj,
                                               .context = t->context,
                                               .hooks = &progress.hooks};
    cli_progress_init(&progress, cli_job_verbosity(job), NULL);
    enum lq_status status = lq_footprint_measure(&planned->footprint, &options, err);
    cli_progress_end(&progress);
    if (status != LQ_OK) return status;
    return lq_footprint_files(&planned->goal.bytes, &planned->footprint, t->fit, err);
}

void cli_planned_release(struct cli_planned *planned)
{
    free(planned->curve);
    *planned = (struct cli_planned){0};
}

static struct lq_strategy_options options_of(const struct cli_job *job, const struct cli_sources *sources,
                                             const struct cli_rules *most, const struct lq_hooks *hooks)
{
    return (struct lq_strategy_options){
        .model = sources->model,
        .language = sources->calibrated->language,
        .mmproj = sources->calibrated->mmproj,
        .data = sources->calibrated->data,
        .stats = sources->stats,
        .cache = job->stats != NULL ? job->stats : sources->calibrated->stats,
        .types = job->target.types,
        .device = job->target.device,
        .most = most->items,
        .n_most = most->n,
        .pins = sources->pins,
        .n_pins = sources->n_pins,
        .no_padding = job->no_pad,
        .allow_requantize = job->allow_requantize,
        .effort = (enum lq_effort)job->effort,
        .method = job->method < 0 ? LQ_METHOD_FEEDBACK : (enum lq_method)job->method,
        .split_size = job->split_size,
        .keep_split = job->keep_split,
        .threads = job->threads,
        .hooks = hooks,
    };
}

/* What the plan has to do without. */
static void say_missing(const struct cli_job *job, const struct cli_sources *sources)
{
    if (job->quiet) return;
    if (sources->stats == NULL)
        fputs("no statistics: types are judged by the plain errors of the weights; --stats or --data does better\n",
              stderr);
    if (sources->calibrated->data == NULL && job->effort != LQ_EFFORT_FAST)
        fputs("no data: nothing is measured, and all tensors count alike; --data FILE measures\n", stderr);
}

static enum lq_status search(struct cli_planned *planned, struct lq_plan **plan, const struct cli_job *job,
                             struct lq_strategy *strategy, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    if (cli_target_is_set(&job->target))
        status = lq_strategy_plan(strategy, &planned->goal, plan, &planned->outcome, err);
    if (status == LQ_OK && job->curve != NULL) {
        planned->n_curve = CURVE_POINTS;
        planned->curve = calloc(CURVE_POINTS, sizeof *planned->curve);
        status = planned->curve == NULL ? lq_error_set(err, LQ_ERR_MEMORY, "out of memory")
                                        : lq_strategy_curve(strategy, planned->curve, planned->n_curve, err);
        if (status == LQ_OK) status = lq_strategy_curve_save(strategy, planned->curve, CURVE_POINTS, job->curve, err);
    }
    planned->facts = lq_strategy_facts(strategy);
    return status;
}

enum lq_status cli_target_plan(struct cli_planned *planned, struct lq_plan **plan, const struct cli_job *job,
                               const struct cli_sources *sources, struct lq_error *err)
{
    struct lq_strategy *strategy = NULL;
    struct cli_rules most = {0};
    struct cli_progress progress;
    say_missing(job, sources);
    cli_progress_init(&progress, cli_job_verbosity(job), NULL);
    enum lq_status status = cli_rules_read(&most, &job->target.most, "max-type", err);
    struct lq_strategy_options options = options_of(job, sources, &most, &progress.hooks);
    if (status == LQ_OK) status = lq_strategy_open(&strategy, &options, err);
    if (status == LQ_OK) status = search(planned, plan, job, strategy, err);
    if (status == LQ_ERR_CANCELLED) lq_error_set(err, status, "interrupted; no plan was made");
    lq_strategy_free(strategy);
    cli_progress_end(&progress);
    cli_rules_release(&most);
    return status;
}
