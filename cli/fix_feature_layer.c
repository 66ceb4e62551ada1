#include "fix_feature_layer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "json.h"
#include "llava_quantize/inspect.h"
#include "progress.h"

static const char key[] = "clip.vision.feature_layer";

/* What is to be done, once the input is known. */
struct fix {
    const struct cli_job *job;
    struct lq_model *model;
    struct lq_feature_layer layer;
    char *path; /* of the new file */
};

/* The path given, or in a folder the input's own name; to be freed. */
static enum lq_status choose_path(struct fix *f, struct lq_error *err)
{
    const char *output = f->job->output, *input = f->model->half[LQ_VISION]->path;
    size_t n = strlen(output);
    bool file = n > 5 && strcasecmp(output + n - 5, ".gguf") == 0;
    const char *slash = strrchr(input, '/'), *base = slash == NULL ? input : slash + 1;
    size_t size = n + strlen(base) + 2;
    f->path = malloc(size);
    if (f->path == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "out of memory");
    if (file) snprintf(f->path, size, "%s", output);
    else snprintf(f->path, size, "%s%s%s", output, output[n - 1] == '/' ? "" : "/", base);
    return LQ_OK;
}

static enum lq_status prepare(struct fix *f, struct lq_error *err)
{
    struct lq_model_options options = {.only = LQ_VISION};
    enum lq_status status = lq_model_open(&f->model, f->job->input, &options, err);
    if (status == LQ_OK) status = lq_feature_layer_check(f->model, &f->layer, err);
    return status == LQ_OK ? choose_path(f, err) : status;
}

static void say_what_changes(const struct fix *f)
{
    cli_put_clean(stdout, f->model->half[LQ_VISION]->path);
    printf(": %s = [%u] is added\n", key, f->layer.value);
    printf("  before: without the key llama.cpp runs %u of the %u blocks\n", f->layer.run_now, f->layer.blocks);
    printf("  after:  it runs %u, as Hugging Face does when the tower was cut at its feature layer\n", f->layer.value);
    puts("  This changes what the file computes: compare answers before and after.");
    fflush(stdout);
}

static enum lq_status write_file(const struct fix *f, struct lq_error *err)
{
    struct cli_progress progress;
    cli_progress_init(&progress, f->job->quiet ? CLI_QUIET : CLI_NORMAL, NULL);
    enum lq_status status = lq_feature_layer_fix(f->model, f->path, f->job->force, &progress.hooks, err);
    cli_progress_end(&progress);
    if (status == LQ_ERR_CANCELLED) lq_error_set(err, status, "interrupted; nothing was written");
    return status;
}

static enum lq_status put_json(const struct fix *f, struct lq_error *err)
{
    const struct lq_feature_layer *l = &f->layer;
    return cli_json_put(json_pack("{s:s,s:s,s:o,s:o,s:s,s:[I],s:I,s:I,s:I,s:b}", "command", f->job->command, "version",
                                  lq_version(), "input", cli_json_text(f->model->half[LQ_VISION]->path), "path",
                                  cli_json_text(f->path), "key", key, "value", (json_int_t)l->value, "blocks",
                                  (json_int_t)l->blocks, "runs_before", (json_int_t)l->run_now, "runs_after",
                                  (json_int_t)l->value, "written", (int)!f->job->dry_run),
                        err);
}

static void say_where(const struct fix *f)
{
    fputs(f->job->dry_run ? "\nWould write:\n  " : "\nWritten:\n  ", stdout);
    cli_put_clean(stdout, f->path);
    putchar('\n');
}

int cli_fix_feature_layer(const struct cli_job *job)
{
    struct fix f = {.job = job};
    struct lq_error err = {0};
    bool talk = !job->quiet && !job->json;
    enum lq_status status = prepare(&f, &err);
    if (status == LQ_OK && talk) say_what_changes(&f);
    if (status == LQ_OK && !job->dry_run) status = write_file(&f, &err);
    if (status == LQ_OK && talk) say_where(&f);
    if (status == LQ_OK && job->json) status = put_json(&f, &err);
    free(f.path);
    lq_model_free(f.model);
    return status == LQ_OK ? CLI_DONE : cli_fail(&err);
}
