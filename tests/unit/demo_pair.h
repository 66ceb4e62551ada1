/* The demo model as a GGUF pair, made by the library itself in a folder of its own.
 *
 *     struct demo_pair pair;
 *     demo_pair_make(&pair, "f16", NULL);
 *     ... pair.path[LQ_LANGUAGE] ...
 *     demo_pair_remove(&pair);
 */
#ifndef TESTS_DEMO_PAIR_H
#define TESTS_DEMO_PAIR_H

#include "llava_quantize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct demo_pair {
    char folder[64];
    char *path[LQ_HALVES];
};

static inline void demo_pair_text(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static const char *const demo_pair_files[] = {"config.json", "model.safetensors", "tokenizer.model"};

/* A folder with links to the demo model's files and a chat template of its own. */
static inline void demo_pair_model(char folder[64], const char *template)
{
    char path[256], target[4096];
    strcpy(folder, "/tmp/llava-quantize-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, demo_pair_files[i]);
        snprintf(target, sizeof target, "%s/model/%s", LQ_DEMO, demo_pair_files[i]);
        assert_int_equal(symlink(target, path), 0);
    }
    demo_pair_text(folder, "chat_template.jinja", template);
}

static inline void demo_pair_model_remove(const char *folder)
{
    char path[256];
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, demo_pair_files[i]);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/chat_template.jinja", folder);
    unlink(path);
    rmdir(folder);
}

static inline void demo_pair_write(struct demo_pair *pair, const char *source, const char *recipe)
{
    struct lq_error err = {0};
    struct lq_model *model = NULL;
    struct lq_plan *plan = NULL;
    struct lq_quantize_result result;
    const struct lq_plan_request request = {.spec = recipe};
    const struct lq_quantize_options options = {.output = pair->folder, .force = true};
    enum lq_status status = lq_model_open(&model, source, NULL, &err);
    if (status == LQ_OK) status = lq_plan_build(&plan, model, &request, &err);
    if (status == LQ_OK) status = lq_quantize(model, plan, &options, &result, &err);
    if (status != LQ_OK) fail_msg("%s", err.message);
    for (int half = 0; half < LQ_HALVES; half++) pair->path[half] = strdup(result.path[half]);
    lq_quantize_result_release(&result);
    lq_plan_free(plan);
    lq_model_free(model);
}

/* `template`: a chat template to give the model, or NULL for none. */
static inline void demo_pair_make(struct demo_pair *pair, const char *recipe, const char *template)
{
    char model[64];
    strcpy(pair->folder, "/tmp/llava-quantize-test-XXXXXX");
    assert_non_null(mkdtemp(pair->folder));
    if (template == NULL) {
        demo_pair_write(pair, LQ_DEMO "/model", recipe);
        return;
    }
    demo_pair_model(model, template);
    demo_pair_write(pair, model, recipe);
    demo_pair_model_remove(model);
}

/* Of either half; fails the test where there is none. */
static inline const struct lq_tensor *demo_pair_tensor(const struct lq_model *model, const char *name)
{
    for (int half = 0; half < LQ_HALVES; half++)
        for (size_t i = 0; i < model->half[half]->n_tensors; i++)
            if (strcmp(model->half[half]->tensors[i].name, name) == 0) return &model->half[half]->tensors[i];
    fail_msg("no tensor '%s'", name);
    return NULL;
}

static inline void demo_pair_remove(struct demo_pair *pair)
{
    for (int half = 0; half < LQ_HALVES; half++) {
        unlink(pair->path[half]);
        free(pair->path[half]);
    }
    rmdir(pair->folder);
}

#endif
