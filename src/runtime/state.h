/* What one open runtime holds.
 *
 * Enters: nothing. Leaves: nothing; lanes, views, prompts and sessions share it. Invariants: both halves are loaded as
 * long as the runtime is open; the lane and the view of asking are made when a first question comes.
 */
#ifndef LQ_RUNTIME_STATE_H
#define LQ_RUNTIME_STATE_H

#include "runtime/lane.h"
#include "runtime/log.h"

#include <llama.h>
#include <mtmd.h>
#include <xxhash.h>

struct lq_watch;
struct lq_model;

struct lq_runtime {
    char *language, *mmproj;
    struct lq_hooks hooks;
    struct lq_log log; /* of the question in hand */
    struct llama_model *model;
    const struct llama_vocab *vocab;
    struct ggml_threadpool *pool; /* shared by all lanes, which do not run at the same time */
    unsigned threads;
    mtmd_context *vision;
    struct lq_watch *watch; /* of both halves' graphs; NULL: nobody observes */
    struct lq_model *files; /* their headers, once a tensor has been recoded */
    uint64_t sight;         /* how often one of the vision half has been */
    uint32_t context;       /* cells of the lane below, 0: not chosen by the caller */
    struct lq_lane *lane;   /* asks and scores */
    struct lq_view *view;   /* of the latest question */
    XXH128_hash_t seen;     /* the content of its file */
    struct lq_runtime_usage used;
    int memory_file;  /* see lq_usage_open */
    int64_t resident; /* bytes by which this runtime's calls have made the process larger, up to now */
};

/* ggml's abort callback; `hooks` is the runtime's. */
bool lq_runtime_cancelled(void *hooks);

#endif
