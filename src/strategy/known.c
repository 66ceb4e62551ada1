#include "strategy/known.h"

#include "calibrate/measurements.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lq_known {
    struct lq_measurements *measurements;
};

static void say(const struct lq_hooks *hooks, enum lq_log_level level, const char *message)
{
    if (hooks != NULL && hooks->log != NULL) hooks->log(hooks->data, level, message);
}

/* Leaves no measurements where the file has no room for them, or holds what is none: then nothing is kept. */
static enum lq_status open_file(struct lq_known *known, const struct lq_strategy_options *o, char **terms,
                                struct lq_error *err)
{
    struct lq_error stale = {0}, why = {0};
    enum lq_status status =
        lq_measurements_open(&known->measurements, o->cache, (const char *const *)terms, &stale, &why);
    if (status == LQ_ERR_FORMAT) {
        say(o->hooks, LQ_LOG_WARN, why.message);
        return LQ_OK;
    }
    if (status != LQ_OK) return lq_error_set(err, status, "%s", why.message);
    if (stale.message[0] != '\0') say(o->hooks, LQ_LOG_INFO, stale.message);
    return LQ_OK;
}

enum lq_status lq_known_open(struct lq_known **out, const struct lq_strategy_options *o, uint64_t rows, uint64_t limit,
                             struct lq_error *err)
{
    struct lq_measured_basis basis = {.model = o->model,
                                      .method = lq_method_name(o->method),
                                      .effort = o->effort,
                                      .rows = rows,
                                      .data = o->data,
                                      .limit = limit};
    char *terms[LQ_MEASURED_KINDS] = {NULL};
    if (o->cache == NULL) return LQ_OK;
    struct lq_known *known = calloc(1, sizeof *known);
    enum lq_status status = known == NULL ? lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory", o->cache)
                                          : lq_measured_terms(terms, &basis, err);
    if (status == LQ_OK) status = open_file(known, o, terms, err);
    for (int k = 0; k < LQ_MEASURED_KINDS; k++) free(terms[k]);
    if (status == LQ_OK && known->measurements != NULL) *out = known;
    else lq_known_free(known);
    return status;
}

void lq_known_free(struct lq_known *known)
{
    if (known == NULL) return;
    lq_measurements_free(known->measurements);
    free(known);
}

static bool find_value(const struct lq_known *known, enum lq_measured_kind kind, const char *name, double *value)
{
    const struct lq_measured *m = known == NULL ? NULL : lq_measurements_find(known->measurements, kind, name);
    if (m != NULL) *value = m->value;
    return m != NULL;
}

static enum lq_status keep_value(struct lq_known *known, enum lq_measured_kind kind, const char *name, double value,
                                 struct lq_error *err)
{
    const struct lq_measured m = {.name = name, .value = value};
    return known == NULL ? LQ_OK : lq_measurements_add(known->measurements, kind, &m, err);
}

static void name_error(char *dst, size_t size, const struct lq_tensor *tensor, enum lq_type type, uint64_t columns)
{
    if (columns == tensor->ne[0]) snprintf(dst, size, "%s %s", lq_format_name(type), tensor->name);
    else snprintf(dst, size, "%s/%" PRIu64 " %s", lq_format_name(type), columns, tensor->name);
}

bool lq_known_error(const struct lq_known *known, const struct lq_tensor *tensor, enum lq_type type, uint64_t columns,
                    double *error)
{
    char name[160];
    name_error(name, sizeof name, tensor, type, columns);
    return find_value(known, LQ_MEASURED_ERRORS, name, error);
}

enum lq_status lq_known_keep_error(struct lq_known *known, const struct lq_tensor *tensor, enum lq_type type,
                                   uint64_t columns, double error, struct lq_error *err)
{
    char name[160];
    name_error(name, sizeof name, tensor, type, columns);
    return keep_value(known, LQ_MEASURED_ERRORS, name, error, err);
}

static void name_rounding(char *dst, size_t size, const struct lq_tensor *tensor, uint32_t block)
{
    snprintf(dst, size, "rounding/%" PRIu32 " %s", block, tensor->name);
}

bool lq_known_rounding(const struct lq_known *known, const struct lq_tensor *tensor, uint32_t block, double *error)
{
    char name[160];
    name_rounding(name, sizeof name, tensor, block);
    return find_value(known, LQ_MEASURED_DIVERGENCES, name, error);
}

enum lq_status lq_known_keep_rounding(struct lq_known *known, const struct lq_tensor *tensor, uint32_t block,
                                      double error, struct lq_error *err)
{
    char name[160];
    name_rounding(name, sizeof name, tensor, block);
    return keep_value(known, LQ_MEASURED_DIVERGENCES, name, error, err);
}

/* "mean q3_k blk.0.attn_q.weight q3_k blk.0.attn_k.weight ..."; free(). */
static char *name_divergence(const char *what, const struct lq_menu *menu, const struct lq_group *group,
                             const enum lq_type *types)
{
    size_t size = strlen(what) + 1, used = 0;
    for (size_t m = 0; m < group->n; m++) size += strlen(menu->items[group->members[m]].tensor->name) + 32;
    char *name = calloc(1, size);
    if (name != NULL) used = (size_t)snprintf(name, size, "%s", what);
    for (size_t m = 0; name != NULL && m < group->n; m++)
        used += (size_t)snprintf(name + used, size - used, " %s %s", lq_format_name(types[m]),
                                 menu->items[group->members[m]].tensor->name);
    return name;
}

static const char *const what[] = {"mean", "typical"};

bool lq_known_divergence(const struct lq_known *known, const struct lq_menu *menu, const struct lq_group *group,
                         const enum lq_type *types, double *divergence, double *typical)
{
    double found[2];
    for (int i = 0; i < 2; i++) {
        char *name = known == NULL ? NULL : name_divergence(what[i], menu, group, types);
        bool is_known = name != NULL && find_value(known, LQ_MEASURED_DIVERGENCES, name, &found[i]);
        free(name);
        if (!is_known) return false;
    }
    *divergence = found[0];
    *typical = found[1];
    return true;
}

enum lq_status lq_known_keep_divergence(struct lq_known *known, const struct lq_menu *menu,
                                        const struct lq_group *group, const enum lq_type *types, double divergence,
                                        double typical, struct lq_error *err)
{
    const double found[] = {divergence, typical};
    enum lq_status status = LQ_OK;
    for (int i = 0; known != NULL && i < 2 && status == LQ_OK; i++) {
        char *name = name_divergence(what[i], menu, group, types);
        if (name == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a group of %zu tensors", group->n);
        status = keep_value(known, LQ_MEASURED_DIVERGENCES, name, found[i], err);
        free(name);
    }
    return status;
}

void lq_known_save(struct lq_known *known, const struct lq_hooks *hooks)
{
    struct lq_error err = {0};
    if (known != NULL && lq_measurements_save(known->measurements, &err) != LQ_OK) say(hooks, LQ_LOG_WARN, err.message);
}
