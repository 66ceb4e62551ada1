/* Progress and cancellation of one run, shared by its workers. */
#ifndef LQ_BASE_METER_H
#define LQ_BASE_METER_H

#include "llava_quantize/base.h"

#include <pthread.h>

struct lq_meter {
    const struct lq_hooks *hooks; /* may be NULL */
    double started;
    pthread_mutex_t lock; /* guards what follows and the calls of hooks->progress */
    uint64_t done, total; /* bytes of input, unless `counted` */
    double shown;
    bool counted; /* as in struct lq_progress; set after init */
};

void lq_meter_init(struct lq_meter *meter, const struct lq_hooks *hooks, uint64_t total);
void lq_meter_release(struct lq_meter *meter);
/* Adds to what is done and tells the hook, about ten times a second and at the end. */
void lq_meter_add(struct lq_meter *meter, const char *what, uint64_t amount);
/* Goes back to an earlier count, for work that has to be done again. */
void lq_meter_rewind(struct lq_meter *meter, uint64_t done);
double lq_meter_seconds(const struct lq_meter *meter);
/* LQ_ERR_CANCELLED when the hook says so. */
enum lq_status lq_meter_check(const struct lq_meter *meter, struct lq_error *err);

#endif
