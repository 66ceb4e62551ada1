#include "job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "job_calibrate.h"
#include "llava_quantize/quantize.h"
#include "plan_print.h"
#include "planned_print.h"
#include "report.h"
#include "rules.h"

/* What a run holds on to; all of it owned. */
struct work {
    struct lq_model *model;
    struct cli_calibrated calibrated;
    struct lq_stats *stats;
    struct lq_plan *plan;
    struct cli_rules rules;
    struct cli_planned planned;
};

static void release(struct work *w)
{
    cli_planned_release(&w->planned);
    cli_rules_release(&w->rules);
    lq_plan_free(w->plan);
    lq_stats_free(w->stats);
    cli_calibrated_release(&w->calibrated);
    lq_model_free(w->model);
}

static enum lq_status open_model(const struct cli_job *job, struct work *w, struct lq_error *err)
{
    struct lq_model_options options = {.mmproj = job->mmproj, .only = job->only};
    enum lq_status status = lq_model_open(&w->model, job->input, &options, err);
    if (status == LQ_OK && job->hugging_face_only && !w->model->hugging_face)
        return lq_error_set(err, LQ_ERR_USAGE,
                            "%s: is GGUF already; 'llava-quantize quantize %s OUTPUT f16' changes its type", job->input,
                            job->input);
    return status;
}

static bool has_moments(const struct work *w)
{
    for (int h = 0; h < LQ_HALVES; h++) {
        const struct lq_model_half *half = w->model->half[h];
        for (size_t i = 0; half != NULL && i < half->n_tensors; i++)
            if (lq_stats_input(w->stats, &half->tensors[i]) != NULL) return true;
    }
    return false;
}

static enum lq_status load_stats(const struct cli_job *job, struct work *w, struct lq_error *err)
{
    const char *path = job->stats != NULL ? job->stats : w->calibrated.stats;
    if (path == NULL) return LQ_OK;
    enum lq_status status = lq_stats_load(&w->stats, path, err);
    if (status == LQ_OK) status = lq_stats_check(w->stats, w->model, err);
    if (status == LQ_OK && job->method == LQ_METHOD_FEEDBACK && !has_moments(w))
        return lq_error_set(err, LQ_ERR_USAGE,
                            "%s: holds no second moments, which --method feedback needs; 'llava-quantize calibrate "
                            "--hessian' gathers them",
                            path);
    return status;
}

static bool has_search(const struct cli_job *job)
{
    return cli_target_is_set(&job->target) || job->curve != NULL;
}

static enum lq_status search(const struct cli_job *job, struct work *w, struct lq_error *err)
{
    struct cli_sources sources = {.model = w->model,
                                  .stats = w->stats,
                                  .calibrated = &w->calibrated,
                                  .pins = w->rules.items,
                                  .n_pins = w->rules.n};
    return cli_target_plan(&w->planned, &w->plan, job, &sources, err);
}

static enum lq_status make_plan(const struct cli_job *job, struct work *w, struct lq_error *err)
{
    struct lq_plan_request request = {
        .spec = job->spec,
        .vision = job->vision,
        .language = job->language,
        .rules = w->rules.items,
        .n_rules = w->rules.n,
        .stats = w->stats,
        .allow_requantize = job->allow_requantize,
        .no_padding = job->no_pad,
    };
    if (has_search(job)) return search(job, w, err);
    if (job->plan != NULL) return lq_plan_load(&w->plan, job->plan, w->model, &request, err);
    return lq_plan_build(&w->plan, w->model, &request, err);
}

static struct lq_quantize_options options_of(const struct cli_job *job, const struct work *w)
{
    return (struct lq_quantize_options){
        .output = job->output,
        .force = job->force,
        .keep_split = job->keep_split,
        .split_size = job->split_size,
        .threads = job->threads,
        .effort = (enum lq_effort)job->effort,
        .memory = job->memory,
        .stats = w->stats,
        .method = job->method < 0 ? LQ_METHOD_FEEDBACK : (enum lq_method)job->method,
    };
}

/* What stands in for a plan that is yet to be searched for: its files have the same names. */
static enum lq_status make_stand_in(struct work *w, struct lq_error *err)
{
    enum lq_status status = lq_plan_build(&w->plan, w->model, &(struct lq_plan_request){.spec = "copy"}, err);
    if (status == LQ_OK) lq_goal_name(&w->planned.goal, w->plan->tag, sizeof w->plan->tag);
    return status;
}

/* Before a calibration, what can be found wrong with the request without it: types that demand importance apart. */
static enum lq_status check_request(const struct cli_job *job, struct work *w, struct lq_error *err)
{
    struct lq_error why = {0};
    struct lq_quantize_options options = options_of(job, w);
    struct lq_quantize_file *files = NULL;
    size_t n = 0;
    if (job->planning) return LQ_OK;
    enum lq_status status = has_search(job) ? make_stand_in(w, &why) : make_plan(job, w, &why);
    if (status == LQ_ERR_UNSUPPORTED) return LQ_OK;
    if (status == LQ_OK) status = lq_quantize_files(&files, &n, w->model, w->plan, &options, &why);
    for (size_t i = 0; status == LQ_OK && i < n; i++)
        if (!job->force && access(files[i].path, F_OK) == 0)
            status = lq_error_set(&why, LQ_ERR_USAGE, "%s: already exists; --force replaces it", files[i].path);
    lq_quantize_files_free(files, n);
    lq_plan_free(w->plan);
    w->plan = NULL;
    return status == LQ_OK ? LQ_OK : lq_error_set(err, status, "%s", why.message);
}

static enum lq_status calibrate(const struct cli_job *job, struct work *w, struct lq_error *err)
{
    if (job->data == NULL) return LQ_OK;
    enum lq_status status = check_request(job, w, err);
    if (status == LQ_OK) status = cli_calibrate_first(&w->calibrated, job, w->model, err);
    if (status == LQ_ERR_CANCELLED && job->save_stats == NULL)
        lq_error_set(err, status, "interrupted; nothing was written");
    return status;
}

/* A model's file is never replaced by a plan, not even by --force: outputs are such files, and inputs may be. */
static bool names_weights(const char *path)
{
    static const char *const endings[] = {".gguf", ".safetensors"};
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t n = strlen(endings[i]);
        if (length >= n && strcasecmp(path + length - n, endings[i]) == 0) return true;
    }
    return false;
}

/* The folder that is to hold the file must be there, unless it is the output that this run makes. */
static enum lq_status check_folder(const struct cli_job *job, const char *path, struct lq_error *err)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path) + (slash == path), output = strlen(job->output);
    char *folder = slash == NULL ? strdup(".") : strndup(path, length);
    if (folder == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for the path", path);
    enum lq_status status = LQ_OK;
    while (output > 1 && job->output[output - 1] == '/') output--;
    bool made = !job->dry_run && output == length && strncmp(job->output, path, length) == 0;
    if (!made && access(folder, W_OK | X_OK) != 0)
        status = lq_error_set(err, LQ_ERR_IO, "%s: cannot create: %s", path, strerror(errno));
    free(folder);
    return status;
}

/* What stands in the way of a file beside the models, NULL for none, is found before the work, not behind it. */
static enum lq_status check_target(const struct cli_job *job, const char *path, const char *what, struct lq_error *err)
{
    struct stat st;
    if (path == NULL) return LQ_OK;
    if (names_weights(path))
        return lq_error_set(err, LQ_ERR_USAGE, "%s: is the name of a model's file; call the %s something like %s.json",
                            path, what, what);
    if (lstat(path, &st) != 0) return check_folder(job, path, err);
    if (S_ISDIR(st.st_mode))
        return lq_error_set(err, LQ_ERR_USAGE, "%s: is a folder, expected the path of a file", path);
    if (!job->force) return lq_error_set(err, LQ_ERR_USAGE, "%s: already exists; --force replaces it", path);
    return check_folder(job, path, err);
}

static enum lq_status prepare(const struct cli_job *job, struct work *w, struct lq_error *err)
{
    enum lq_status status = cli_rules_read(&w->rules, &job->rules, "type", err);
    if (status == LQ_OK) status = check_target(job, job->save_plan, "plan", err);
    if (status == LQ_OK) status = check_target(job, job->curve, "curve", err);
    if (status == LQ_OK) status = open_model(job, w, err);
    if (status == LQ_OK && job->target.fit > 0) status = cli_calibrated_find(&w->calibrated, job, w->model, err);
    if (status == LQ_OK) status = cli_target_goal(&w->planned, job, &w->calibrated, err);
    if (status == LQ_OK) status = calibrate(job, w, err);
    if (status == LQ_OK) status = load_stats(job, w, err);
    if (status == LQ_OK) status = make_plan(job, w, err);
    if (status == LQ_OK && w->plan != NULL && w->plan->note[0] != '\0' && !job->quiet)
        fprintf(stderr, "%s\n", w->plan->note);
    return status;
}

static enum lq_status show_plan(const struct cli_job *job, const struct work *w, struct lq_error *err)
{
    struct lq_quantize_options options = options_of(job, w);
    struct cli_report report = {
        .command = job->command, .output = job->output, .model = w->model, .plan = w->plan, .effort = options.effort};
    struct lq_quantize_file *files = NULL;
    enum lq_status status = lq_quantize_files(&files, &report.n_files, w->model, w->plan, &options, err);
    report.files = files;
    if (status == LQ_OK && job->json) {
        status = cli_report_json(&report, err);
    } else if (status == LQ_OK && !job->quiet) {
        status = cli_plan_put(stdout, w->plan, err);
        if (status == LQ_OK) cli_report_files(&report, "Would write");
    }
    lq_quantize_files_free(files, report.n_files);
    return status;
}

enum cli_verbosity cli_job_verbosity(const struct cli_job *job)
{
    return job->quiet ? CLI_QUIET : job->verbose ? CLI_VERBOSE : CLI_NORMAL;
}

static enum lq_status write_pair(const struct cli_job *job, const struct work *w, struct lq_quantize_result *result,
                                 struct lq_error *err)
{
    struct cli_progress progress;
    cli_progress_init(&progress, cli_job_verbosity(job), w->plan);
    struct lq_quantize_options options = options_of(job, w);
    struct lq_calibrate_options terms = cli_calibrated_terms(&w->calibrated, job, &progress.hooks);
    options.hooks = &progress.hooks;
    if (job->sequential) options.sequential = &terms;
    enum lq_status status = lq_quantize(w->model, w->plan, &options, result, err);
    cli_progress_end(&progress);
    if (status == LQ_ERR_CANCELLED) lq_error_set(err, status, "interrupted; nothing was written");
    return status;
}

static enum lq_status produce(const struct cli_job *job, const struct work *w, struct lq_error *err)
{
    struct lq_quantize_result result = {0};
    enum lq_status status = write_pair(job, w, &result, err);
    if (status != LQ_OK) return status;
    struct cli_report report = {
        .command = job->command,
        .output = job->output,
        .model = w->model,
        .plan = w->plan,
        .effort = (enum lq_effort)job->effort,
        .verbose = job->verbose,
        .files = result.files,
        .n_files = result.n_files,
        .result = &result,
    };
    if (job->json) status = cli_report_json(&report, err);
    else if (!job->quiet) status = cli_report_table(&report, err);
    lq_quantize_result_release(&result);
    return status;
}

static enum lq_status run(const struct cli_job *job, const struct work *w, struct lq_error *err)
{
    if (job->planning) return cli_planned_report(job, w->model, w->plan, &w->planned, err);
    if (cli_target_is_set(&job->target) && !job->quiet && !job->json) cli_planned_put_line(&w->planned, w->plan);
    return job->dry_run ? show_plan(job, w, err) : produce(job, w, err);
}

int cli_job_run(const struct cli_job *job)
{
    struct work w = {0};
    struct lq_error err = {0};
    enum lq_status status = prepare(job, &w, &err);
    if (status == LQ_OK) status = run(job, &w, &err);
    if (status == LQ_OK && job->save_plan != NULL) status = lq_plan_save(w.plan, job->save_plan, &err);
    release(&w);
    return status == LQ_OK ? CLI_DONE : cli_fail(&err);
}
