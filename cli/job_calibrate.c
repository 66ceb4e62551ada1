#include "job_calibrate.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "calibrate_print.h"
#include "llava_quantize/quantize.h"

static enum lq_status no_memory(struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "out of memory");
}

static char *join(const char *folder, const char *name)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

static bool is_quantised(const struct lq_model *model)
{
    for (int h = 0; h < LQ_HALVES; h++)
        for (size_t i = 0; i < model->half[h]->n_tensors; i++)
            if ((lq_format_get(model->half[h]->tensors[i].type)->flags & LQ_FORMAT_QUANTISED) != 0) return true;
    return false;
}

static enum lq_status check_halves(const struct cli_job *job, const struct lq_model *model, struct lq_error *err)
{
    if (model->half[LQ_VISION] != NULL && model->half[LQ_LANGUAGE] != NULL) return LQ_OK;
    return lq_error_set(err, LQ_ERR_USAGE, "%s: has no %s half: %s the whole pair", job->input,
                        model->half[LQ_VISION] == NULL ? "vision" : "language",
                        job->data != NULL ? "--data runs" : "--fit counts");
}

static enum lq_status check(const struct cli_job *job, const struct lq_model *model, struct lq_error *err)
{
    if (is_quantised(model) && !job->allow_requantize)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                            "%s: is quantised already, and --data would calibrate on its errors; start from the "
                            "original, or give --allow-requantize",
                            job->input);
    return LQ_OK;
}

/* The nearest folder above the output that is there. */
static char *folder_above(const char *output)
{
    char *path = strdup(output);
    size_t n = path == NULL ? 0 : strlen(path);
    while (n > 1 && path[n - 1] == '/') path[--n] = '\0';
    for (char *slash; path != NULL && (slash = strrchr(path, '/')) != NULL;) {
        if (slash == path) slash++;
        *slash = '\0';
        if (access(path, F_OK) == 0 || slash == path + 1) return path;
    }
    free(path);
    return strdup(".");
}

static enum lq_status make_folder(struct cli_calibrated *c, const char *output, struct lq_error *err)
{
    char *above = folder_above(output), *folder = above == NULL ? NULL : join(above, ".llava-quantize-XXXXXX");
    enum lq_status status = folder == NULL ? no_memory(err) : LQ_OK;
    if (status == LQ_OK && mkdtemp(folder) == NULL)
        status = lq_error_set(err, LQ_ERR_IO, "%s: cannot create a folder for calibrating: %s", above, strerror(errno));
    free(above);
    if (status == LQ_OK) c->folder = folder;
    else free(folder);
    return status;
}

/* What llama.cpp can run of a Hugging Face folder. */
static enum lq_status convert(struct cli_calibrated *c, const struct cli_job *job, const struct lq_model *model,
                              const char *output, struct lq_error *err)
{
    struct lq_plan *plan = NULL;
    struct lq_quantize_result result = {0};
    struct cli_progress progress;
    cli_progress_init(&progress, cli_job_verbosity(job), NULL);
    struct lq_quantize_options options = {
        .output = output, .threads = job->threads, .memory = job->memory, .hooks = &progress.hooks};
    enum lq_status status = lq_plan_build(&plan, model, &(struct lq_plan_request){.spec = "f16"}, err);
    if (status == LQ_OK) status = lq_quantize(model, plan, &options, &result, err);
    cli_progress_end(&progress);
    if (status == LQ_OK) {
        c->language = strdup(result.path[LQ_LANGUAGE]);
        c->mmproj = strdup(result.path[LQ_VISION]);
    }
    lq_quantize_result_release(&result);
    lq_plan_free(plan);
    return status;
}

enum lq_status cli_calibrated_find(struct cli_calibrated *c, const struct cli_job *job, const struct lq_model *model,
                                   struct lq_error *err)
{
    enum lq_status status = c->language != NULL ? LQ_OK : check_halves(job, model, err);
    if (status != LQ_OK || c->language != NULL) return status;
    if (model->hugging_face) {
        char *output = NULL;
        if (c->folder == NULL) status = make_folder(c, job->output, err);
        if (status == LQ_OK && (output = join(c->folder, "original.gguf")) == NULL) status = no_memory(err);
        if (status == LQ_OK) status = convert(c, job, model, output, err);
        free(output);
        if (status != LQ_OK) return status;
    } else {
        c->language = strdup(model->half[LQ_LANGUAGE]->path);
        c->mmproj = strdup(model->half[LQ_VISION]->path);
    }
    return c->language == NULL || c->mmproj == NULL ? no_memory(err) : LQ_OK;
}

static enum lq_status load_data(struct cli_calibrated *c, const struct cli_job *job, struct lq_error *err)
{
    struct cli_progress progress;
    cli_progress_init(&progress, cli_job_verbosity(job), NULL);
    struct lq_dataset_options options = {.limit = job->limit, .seed = job->seed, .hooks = &progress.hooks};
    enum lq_status status = lq_dataset_load(&c->data, job->data, &options, err);
    cli_progress_end(&progress);
    return status;
}

struct lq_calibrate_options cli_calibrated_terms(const struct cli_calibrated *c, const struct cli_job *job,
                                                 const struct lq_hooks *hooks)
{
    struct lq_calibrate_options options = job->calibrate;
    if (options.weighting == LQ_WEIGHTING_MEASURED) memcpy(options.ratio, c->weights, sizeof options.ratio);
    options.language = c->language;
    options.mmproj = c->mmproj;
    options.data = c->data;
    options.text = job->text;
    options.limit = job->limit;
    options.output = c->stats;
    options.spill = c->folder;
    options.hessian = job->method < 0 || job->method == LQ_METHOD_FEEDBACK;
    options.memory = job->memory;
    options.threads = job->threads;
    options.force = job->force;
    options.hooks = hooks;
    return options;
}

static enum lq_status gather(struct cli_calibrated *c, const struct cli_job *job, struct lq_error *err)
{
    struct lq_calibration *calibration = NULL;
    struct cli_progress progress;
    cli_progress_init(&progress, cli_job_verbosity(job), NULL);
    struct lq_calibrate_options options = cli_calibrated_terms(c, job, &progress.hooks);
    enum lq_status status = lq_calibration_open(&calibration, &options, err);
    if (status == LQ_OK) memcpy(c->weights, lq_calibration_plan(calibration)->weights, sizeof c->weights);
    if (status == LQ_OK && !job->quiet) cli_calibrate_print(stderr, lq_calibration_plan(calibration));
    if (status == LQ_OK) status = lq_calibration_run(calibration, err);
    lq_calibration_free(calibration);
    cli_progress_end(&progress);
    return status;
}

enum lq_status cli_calibrate_first(struct cli_calibrated *out, const struct cli_job *job, const struct lq_model *model,
                                   struct lq_error *err)
{
    enum lq_status status = check_halves(job, model, err);
    if (status == LQ_OK) status = check(job, model, err);
    if (status == LQ_OK) status = load_data(out, job, err);
    if (status == LQ_OK && job->stats == NULL && out->folder == NULL) status = make_folder(out, job->output, err);
    if (status == LQ_OK) status = cli_calibrated_find(out, job, model, err);
    if (status != LQ_OK || job->stats != NULL) return status;
    out->stats = job->save_stats != NULL ? strdup(job->save_stats) : join(out->folder, "statistics.gguf");
    if (out->stats == NULL) return no_memory(err);
    return gather(out, job, err);
}

/* The folder is flat: what cannot be unlinked is itself and the folder above. */
static void remove_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        char *path = join(folder, entry->d_name);
        if (path != NULL) unlink(path);
        free(path);
    }
    if (dir != NULL) closedir(dir);
    rmdir(folder);
}

void cli_calibrated_release(struct cli_calibrated *c)
{
    if (c->folder != NULL) remove_folder(c->folder);
    lq_dataset_free(c->data);
    free(c->folder);
    free(c->stats);
    free(c->language);
    free(c->mmproj);
    *c = (struct cli_calibrated){0};
}
