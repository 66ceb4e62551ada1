#include "base/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

struct run {
    lq_pool_fn *fn;
    void *data;
    size_t n_items;
    pthread_mutex_t lock; /* guards what follows */
    size_t next;          /* the item to hand out; n_items once something failed */
    size_t failed;        /* the lowest item that failed; n_items: none */
    enum lq_status status;
    struct lq_error *err;
};

struct worker {
    struct run *run;
    unsigned index;
    pthread_t thread;
};

static size_t take_item(struct run *run)
{
    pthread_mutex_lock(&run->lock);
    size_t item = run->next;
    if (item < run->n_items) run->next++;
    pthread_mutex_unlock(&run->lock);
    return item;
}

/* Items are handed out in order, so every item below a failing one is done or in hand: the lowest failure is always
 * met. */
static void note_failure(struct run *run, size_t item, enum lq_status status, const struct lq_error *err)
{
    pthread_mutex_lock(&run->lock);
    run->next = run->n_items;
    if (item < run->failed) {
        run->failed = item;
        run->status = status;
        if (run->err != NULL) *run->err = *err;
    }
    pthread_mutex_unlock(&run->lock);
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct run *run = worker->run;
    for (size_t item; (item = take_item(run)) < run->n_items;) {
        struct lq_error err = {0};
        enum lq_status status = run->fn(run->data, item, worker->index, &err);
        if (status != LQ_OK) note_failure(run, item, status, &err);
    }
    return NULL;
}

/* Starts workers 1 .. n-1 with all signals blocked, so that a program's handlers run in its own thread. Returns how
 * many. */
static unsigned start_workers(struct worker *workers, unsigned n, struct run *run)
{
    sigset_t all, before;
    unsigned started = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 1; i < n; i++, started++) {
        workers[i] = (struct worker){.run = run, .index = i};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

enum lq_status lq_pool_run(unsigned threads, size_t n_items, lq_pool_fn *fn, void *data, struct lq_error *err)
{
    struct run run = {.fn = fn, .data = data, .n_items = n_items, .failed = n_items, .err = err};
    struct worker self = {.run = &run};
    unsigned n = threads < n_items ? threads : (unsigned)n_items;
    unsigned started = 0;
    pthread_mutex_init(&run.lock, NULL);
    struct worker *workers = n > 1 ? calloc(n, sizeof *workers) : NULL;
    if (workers != NULL) started = start_workers(workers, n, &run);
    work(&self);
    for (unsigned i = 1; i <= started; i++) pthread_join(workers[i].thread, NULL);
    pthread_mutex_destroy(&run.lock);
    free(workers);
    return run.status;
}
