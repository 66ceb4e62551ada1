/* What a model's headers say against what its original's say. */
#include "inspect/verify_names.h"
#include "inspect/verify_run.h"
#include "plan/tower.h"
#include "source/kv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- tensors ---- */

struct shape_text {
    char s[96];
};

static struct shape_text shape_text(const struct lq_tensor *t, const uint64_t ne[4])
{
    struct shape_text text;
    int used = snprintf(text.s, sizeof text.s, "%llu", (unsigned long long)ne[0]);
    for (uint32_t i = 1; i < t->n_dims && i < 4; i++)
        used += snprintf(text.s + used, sizeof text.s - (size_t)used, " x %llu", (unsigned long long)ne[i]);
    return text;
}

/* A half and its original. */
struct pairing {
    struct lq_verify_run *run;
    const struct lq_model_half *half, *other;
    struct lq_tower tower; /* of the original */
    uint64_t hidden;       /* what the metadata say that the tower was widened to; 0: not at all */
};

static struct pairing pairing_of(struct lq_verify_run *run, enum lq_half half)
{
    struct pairing p = {.run = run, .half = run->model->half[half], .other = run->options.original->half[half]};
    bool known = lq_tower_find(&p.tower, p.other) && lq_kvs_get_u64(p.half->kvs, LQ_TOWER_HIDDEN_KEY, &p.hidden);
    if (!known || p.hidden <= p.tower.hidden) p.hidden = 0;
    return p;
}

static enum lq_status missing(struct lq_verify_run *run, const struct lq_model_half *without, const char *tensor,
                              const char *with, struct lq_error *err)
{
    return lq_run_find(run, LQ_CHECK_TENSORS, err, "%s: has no tensor '%s', but %s has", without->path, tensor, with);
}

static enum lq_status match(const struct pairing *p, const struct lq_tensor *t, const struct lq_tensor *original,
                            struct lq_error *err)
{
    uint64_t ne[4];
    bool widened = p->hidden > 0 && lq_tower_shape(&p->tower, original, p->hidden, ne);
    if (!widened) memcpy(ne, original->ne, sizeof ne);
    if (memcmp(t->ne, ne, sizeof ne) != 0)
        return lq_run_find(p->run, LQ_CHECK_TENSORS, err, "%s: tensor '%s' is %s, but %s in %s%s", p->half->path,
                           t->name, shape_text(t, t->ne).s, shape_text(t, ne).s, p->other->path,
                           widened ? ", widened as " LQ_TOWER_HIDDEN_KEY " says" : "");
    p->run->result->tensors[t->half][t - p->half->tensors].original = original;
    return LQ_OK;
}

/* Walks both sorted lists at once. */
static enum lq_status pair_up(const struct pairing *p, const struct lq_tensor **here, const struct lq_tensor **there,
                              struct lq_error *err)
{
    const struct lq_model_half *half = p->half, *other = p->other;
    enum lq_status status = LQ_OK;
    for (size_t i = 0, j = 0; status == LQ_OK && (i < half->n_tensors || j < other->n_tensors);) {
        int order = i == half->n_tensors ? 1 : j == other->n_tensors ? -1 : strcmp(here[i]->name, there[j]->name);
        if (order < 0) status = missing(p->run, other, here[i++]->name, half->path, err);
        else if (order > 0) status = missing(p->run, half, there[j++]->name, other->path, err);
        else status = match(p, here[i++], there[j++], err);
    }
    return status;
}

static enum lq_status compare_half(const struct pairing *p, struct lq_error *err)
{
    const struct lq_tensor **here = lq_names_sort(p->half), **there = lq_names_sort(p->other);
    enum lq_status status = here == NULL || there == NULL
                                ? lq_error_set(err, LQ_ERR_MEMORY, "no memory to list %zu tensors", p->half->n_tensors)
                                : pair_up(p, here, there, err);
    free(here);
    free(there);
    return status;
}

static const char *half_name(int half)
{
    return half == LQ_VISION ? "vision" : "language";
}

enum lq_status lq_verify_names(struct lq_verify_run *run, struct lq_error *err)
{
    const struct lq_model *here = run->model, *there = run->options.original;
    enum lq_status status = LQ_OK;
    for (int h = 0; h < LQ_HALVES && status == LQ_OK; h++) {
        const struct lq_model *without = here->half[h] == NULL ? here : there;
        if (here->half[h] != NULL && there->half[h] != NULL) {
            struct pairing p = pairing_of(run, (enum lq_half)h);
            status = compare_half(&p, err);
        } else if (here->half[h] != there->half[h])
            status = lq_run_find(run, LQ_CHECK_TENSORS, err,
                                 "%s: has no %s half, but %s has; where one half is meant, say so with --only",
                                 without->path, half_name(h), (without == here ? there : here)->path);
    }
    if (status == LQ_OK) lq_run_pass(run, LQ_CHECK_TENSORS, "names and shapes are the original's");
    return status;
}

/* ---- metadata ---- */

/* Keys that a quantisation writes or drops; "." at the end stands for all keys that begin so. */
static const char *const written[] = {"general.file_type",    "general.quantization_version",
                                      "general.quantized_by", "llava_quantize.",
                                      "quantize.imatrix.",    "split."};

static bool is_expected(const char *key)
{
    for (size_t i = 0; i < sizeof written / sizeof written[0]; i++) {
        size_t n = strlen(written[i]);
        if (strncmp(key, written[i], n) == 0 && (key[n] == '\0' || written[i][n - 1] == '.')) return true;
    }
    return false;
}

static enum lq_status note_key(const struct pairing *p, const char *key, enum lq_change change, struct lq_error *err)
{
    static const char *const what[] = {"is not in the original", "is missing; the original has it",
                                       "has another value than in the original"};
    struct lq_verification *v = p->run->result;
    struct lq_verify_key *longer = realloc(v->keys, (v->n_keys + 1) * sizeof *longer);
    if (longer == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu keys", v->n_keys + 1);
    v->keys = longer;
    bool expected = is_expected(key) || (p->hidden > 0 && strcmp(key, LQ_TOWER_HIDDEN_KEY) == 0);
    v->keys[v->n_keys++] = (struct lq_verify_key){p->half->half, change, expected, key};
    if (expected) return LQ_OK;
    return lq_run_find(p->run, LQ_CHECK_METADATA, err, "%s: key '%s' %s", p->half->path, key, what[change]);
}

static bool same_value(const struct lq_kv *a, const struct lq_kv *b)
{
    return a->type == b->type && a->element == b->element && a->count == b->count && a->raw_size == b->raw_size &&
           (a->raw_size == 0 || memcmp(a->raw, b->raw, a->raw_size) == 0);
}

static enum lq_status compare_keys(const struct pairing *p, struct lq_error *err)
{
    const struct lq_kvs *here = p->half->kvs, *there = p->other->kvs;
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < here->n && status == LQ_OK; i++) {
        const struct lq_kv *kv = &here->items[i], *before = lq_kvs_find(there, kv->key);
        if (before == NULL) status = note_key(p, kv->key, LQ_CHANGE_ADDED, err);
        else if (!same_value(kv, before)) status = note_key(p, kv->key, LQ_CHANGE_CHANGED, err);
    }
    for (size_t i = 0; i < there->n && status == LQ_OK; i++)
        if (lq_kvs_find(here, there->items[i].key) == NULL)
            status = note_key(p, there->items[i].key, LQ_CHANGE_REMOVED, err);
    return status;
}

enum lq_status lq_verify_metadata(struct lq_verify_run *run, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (int h = 0; h < LQ_HALVES && status == LQ_OK; h++)
        if (run->model->half[h] != NULL && run->options.original->half[h] != NULL) {
            struct pairing p = pairing_of(run, (enum lq_half)h);
            status = compare_keys(&p, err);
        }
    if (status == LQ_OK)
        lq_run_pass(run, LQ_CHECK_METADATA, "%zu keys differ, all of them written by quantisation",
                    run->result->n_keys);
    return status;
}
