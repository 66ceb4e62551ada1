#include "pair.h"

#include <stdlib.h>
#include <string.h>

#include "llava_quantize/model.h"

/* A model that cannot be run, and what to do about it. */
static enum lq_status check(const char *name, const struct lq_model *model, const char *option, struct lq_error *err)
{
    if (model->hugging_face)
        return lq_error_set(err, LQ_ERR_USAGE,
                            "%s: is a Hugging Face folder; 'llava-quantize convert' makes a GGUF pair of it", name);
    if (model->half[LQ_LANGUAGE] == NULL)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: is a vision half alone; name the language half", name);
    if (model->half[LQ_VISION] == NULL)
        return lq_error_set(err, LQ_ERR_USAGE,
                            "%s: is a language half without an mmproj beside it; name one with --%s FILE", name,
                            option);
    return LQ_OK;
}

enum lq_status cli_pair_find(struct cli_pair *pair, const char *name, const char *mmproj, const char *option,
                             struct lq_error *err)
{
    struct lq_model *model = NULL;
    struct lq_model_options options = {.mmproj = mmproj, .only = -1};
    enum lq_status status = lq_model_open(&model, name, &options, err);
    if (status == LQ_OK) status = check(name, model, option, err);
    if (status == LQ_OK) {
        pair->language = strdup(model->half[LQ_LANGUAGE]->path);
        pair->mmproj = strdup(model->half[LQ_VISION]->path);
        if (pair->language == NULL || pair->mmproj == NULL) status = lq_error_set(err, LQ_ERR_MEMORY, "out of memory");
    }
    lq_model_free(model);
    return status;
}

void cli_pair_release(struct cli_pair *pair)
{
    free(pair->language);
    free(pair->mmproj);
    *pair = (struct cli_pair){NULL, NULL};
}
