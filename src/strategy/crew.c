#include "strategy/crew.h"

#include "llava_quantize/model.h"

#include <stdlib.h>

#define SMALL (UINT64_C(128) << 20) /* bytes of weights that each thread may have for itself */

static enum lq_status is_small(bool *small, const struct lq_runtime_options *options, struct lq_error *err)
{
    const struct lq_model_options both = {.mmproj = options->mmproj, .only = -1, .lenient = true};
    struct lq_model *model = NULL;
    uint64_t bytes = 0;
    enum lq_status status = lq_model_open(&model, options->language, &both, err);
    if (status != LQ_OK) return status;
    for (int half = 0; half < LQ_HALVES; half++)
        for (size_t i = 0; i < model->half[half]->n_tensors; i++) bytes += model->half[half]->tensors[i].bytes;
    lq_model_free(model);
    *small = bytes <= SMALL;
    return LQ_OK;
}

static enum lq_status add(struct lq_crew *crew, const struct lq_runtime_options *options,
                          const struct lq_observer *observer, struct lq_error *err)
{
    struct lq_observer mapped = observer != NULL ? *observer : (struct lq_observer){.data = NULL};
    mapped.mapped = true;
    enum lq_status status = lq_runtime_open_observed(&crew->members[crew->n].rt, options, &mapped, err);
    crew->n += status == LQ_OK;
    return status;
}

enum lq_status lq_crew_open(struct lq_crew *crew, const struct lq_runtime_options *options,
                            const struct lq_observer *observer, struct lq_error *err)
{
    struct lq_runtime_options first = *options;
    bool small = false;
    unsigned cpus = lq_cpu_count(),
             threads = options->threads != 0 && options->threads < cpus ? options->threads : cpus;
    *crew = (struct lq_crew){.members = calloc(threads, sizeof *crew->members)};
    if (crew->members == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for runtimes");
    enum lq_status status = is_small(&small, options, err);
    if (small) first.threads = 1;
    crew->most = small ? threads : 1;
    return status == LQ_OK ? add(crew, &first, observer, err) : status;
}

/* Whose log lines would come from several threads at once. */
enum lq_status lq_crew_grow(struct lq_crew *crew, const struct lq_runtime_options *options, size_t n_items,
                            struct lq_error *err)
{
    const struct lq_hooks *hooks = options->hooks;
    const struct lq_hooks quiet = {.data = hooks != NULL ? hooks->data : NULL,
                                   .cancelled = hooks != NULL ? hooks->cancelled : NULL};
    struct lq_runtime_options more = *options;
    enum lq_status status = LQ_OK;
    more.threads = 1;
    more.hooks = &quiet;
    while (crew->n < crew->most && crew->n < n_items && status == LQ_OK) status = add(crew, &more, NULL, err);
    return status;
}

void lq_crew_release(struct lq_crew *crew)
{
    for (unsigned i = 0; i < crew->n; i++) {
        lq_lane_free(crew->members[i].lane);
        lq_runtime_free(crew->members[i].rt);
    }
    free(crew->members);
    *crew = (struct lq_crew){0};
}

enum lq_status lq_crew_recode(struct lq_crew *crew, const char *weight, enum lq_type type, const void *data,
                              struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (unsigned i = 0; i < crew->n && status == LQ_OK; i++)
        status = lq_runtime_recode(crew->members[i].rt, weight, type, data, err);
    return status;
}

struct lq_runtime_usage lq_crew_used(const struct lq_crew *crew)
{
    struct lq_runtime_usage sum = {0};
    for (unsigned i = 0; i < crew->n; i++) {
        struct lq_runtime_usage used = lq_runtime_used(crew->members[i].rt);
        sum.tokens += used.tokens;
        sum.pictures += used.pictures;
        sum.token_seconds += used.token_seconds / crew->n;
        sum.picture_seconds += used.picture_seconds / crew->n;
    }
    return sum;
}
