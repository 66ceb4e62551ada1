/* The demo model as a GGUF pair, made by the library itself in a folder of its own.
 *
 *     struct demo_pair pair;
 *     demo_pair_make(&pair, "f16");
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
    char *path[LQ_HALVES]; /* NULL once removed */
};

static inline void demo_pair_make(struct demo_pair *pair, const char *recipe)
{
    struct lq_error err = {0};
    struct lq_model *model = NULL;
    struct lq_plan *plan = NULL;
    struct lq_quantize_result result;
    strcpy(pair->folder, "/tmp/llava-quantize-test-XXXXXX");
    assert_non_null(mkdtemp(pair->folder));
    const struct lq_plan_request request = {.spec = recipe};
    const struct lq_quantize_options options = {.output = pair->folder, .force = true};
    enum lq_status status = lq_model_open(&model, LQ_DEMO "/model", NULL, &err);
    if (status == LQ_OK) status = lq_plan_build(&plan, model, &request, &err);
    if (status == LQ_OK) status = lq_quantize(model, plan, &options, &result, &err);
    if (status != LQ_OK) fail_msg("%s", err.message);
    for (int half = 0; half < LQ_HALVES; half++) pair->path[half] = strdup(result.path[half]);
    lq_quantize_result_release(&result);
    lq_plan_free(plan);
    lq_model_free(model);
}

static inline void demo_pair_remove(struct demo_pair *pair)
{
    for (int half = 0; half < LQ_HALVES; half++) {
        unlink(pair->path[half]);
        free(pair->path[half]);
        pair->path[half] = NULL;
    }
    rmdir(pair->folder);
}

#endif
