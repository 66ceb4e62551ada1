#include "base/meter.h"

#include "base/clock.h"

static const double interval = 0.1; /* seconds between two calls of the hook */

void lq_meter_init(struct lq_meter *meter, const struct lq_hooks *hooks, uint64_t total)
{
    *meter = (struct lq_meter){.hooks = hooks, .started = lq_clock_seconds(), .total = total};
    meter->shown = meter->started;
    pthread_mutex_init(&meter->lock, NULL);
}

void lq_meter_release(struct lq_meter *meter)
{
    pthread_mutex_destroy(&meter->lock);
}

double lq_meter_seconds(const struct lq_meter *meter)
{
    return lq_clock_seconds() - meter->started;
}

void lq_meter_add(struct lq_meter *meter, const char *what, uint64_t amount)
{
    pthread_mutex_lock(&meter->lock);
    meter->done += amount;
    double t = lq_clock_seconds();
    if (meter->hooks != NULL && meter->hooks->progress != NULL &&
        (t - meter->shown >= interval || meter->done == meter->total)) {
        struct lq_progress progress = {what, meter->done, meter->total, t - meter->started, meter->counted};
        meter->shown = t;
        meter->hooks->progress(meter->hooks->data, &progress);
    }
    pthread_mutex_unlock(&meter->lock);
}

void lq_meter_rewind(struct lq_meter *meter, uint64_t done)
{
    pthread_mutex_lock(&meter->lock);
    meter->done = done;
    pthread_mutex_unlock(&meter->lock);
}

enum lq_status lq_meter_check(const struct lq_meter *meter, struct lq_error *err)
{
    if (meter->hooks == NULL || meter->hooks->cancelled == NULL || !meter->hooks->cancelled(meter->hooks->data))
        return LQ_OK;
    return lq_error_set(err, LQ_ERR_CANCELLED, "cancelled");
}
