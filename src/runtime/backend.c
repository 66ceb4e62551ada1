#include "runtime/backend.h"

#include "runtime/log.h"

#include <dlfcn.h>
#include <ggml-backend.h>
#include <limits.h>
#include <llama.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static ggml_backend_dev_t cpu_device(void)
{
    return ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
}

/* The folder of the ggml library in use: its CPU variants lie beside it, in a build cache as in an installed prefix. */
static bool library_folder(char *folder, size_t size)
{
    Dl_info info;
    if (dladdr((void *)ggml_backend_load_all_from_path, &info) == 0 || info.dli_fname == NULL) return false;
    const char *slash = strrchr(info.dli_fname, '/');
    if (slash == NULL) return false;
    int n = snprintf(folder, size, "%.*s", (int)(slash - info.dli_fname), info.dli_fname);
    return n > 0 && (size_t)n < size;
}

static void load_backends(void)
{
    char folder[PATH_MAX];
    lq_log_install();
    if (cpu_device() == NULL && library_folder(folder, sizeof folder)) ggml_backend_load_all_from_path(folder);
    if (cpu_device() == NULL) ggml_backend_load_all();
    llama_backend_init();
}

enum lq_status lq_backend_prepare(struct lq_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_backends);
    if (cpu_device() != NULL) return LQ_OK;
    char folder[PATH_MAX] = "the system's folders";
    (void)library_folder(folder, sizeof folder);
    return lq_error_set(err, LQ_ERR_RUNTIME,
                        "%s: no CPU backend of ggml found (libggml-cpu*.so); is llama.cpp installed whole?", folder);
}

/* The pool's functions live in the CPU backend, which is loaded at run time and so cannot be linked to. */
static void *pool_function(const char *name)
{
    return ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(cpu_device()), name);
}

enum lq_status lq_backend_pool_new(struct ggml_threadpool **out, unsigned threads, struct lq_error *err)
{
    typedef struct ggml_threadpool *new_fn(struct ggml_threadpool_params *);
    new_fn *make = (new_fn *)pool_function("ggml_threadpool_new");
    struct ggml_threadpool_params params = ggml_threadpool_params_default((int)threads);
    params.poll = 0;
    struct ggml_threadpool *pool = make == NULL ? NULL : make(&params);
    if (pool == NULL) return lq_error_set(err, LQ_ERR_RUNTIME, "ggml cannot start %u threads", threads);
    *out = pool;
    return LQ_OK;
}

void lq_backend_pool_free(struct ggml_threadpool *pool)
{
    typedef void free_fn(struct ggml_threadpool *);
    if (pool == NULL) return;
    free_fn *release = (free_fn *)pool_function("ggml_threadpool_free");
    if (release != NULL) release(pool);
}
