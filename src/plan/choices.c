#include "plan/choices.h"

#include "plan/entry.h"
#include "plan/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define T(type) ((uint64_t)1 << LQ_TYPE_##type)
#define FLOATS (T(F32) | T(F16) | T(BF16))
#define BASIC (T(Q4_0) | T(Q4_1) | T(Q5_0) | T(Q5_1) | T(Q8_0) | T(MXFP4))
#define SUPER (T(Q2_K) | T(Q3_K) | T(Q4_K) | T(Q5_K) | T(Q6_K) | T(IQ4_XS))
#define CODEBOOK (T(IQ1_S) | T(IQ2_XXS) | T(IQ2_XS) | T(IQ2_S) | T(IQ3_XXS) | T(IQ3_S))

/* What llama.cpp 0.5.0 has; docs/recipes.md says where. */
static const struct lq_device devices[] = {
    {"cpu", "x86-64 with AVX2, 64-bit ARM: types whose products are vectorised on both, without tables to look up",
     FLOATS | BASIC | SUPER | T(IQ4_NL) | T(NVFP4) | T(TQ1_0) | T(TQ2_0) | T(Q1_0)},
    {"cuda", "NVIDIA: types with integer kernels for one token and for many",
     FLOATS | BASIC | SUPER | CODEBOOK | T(IQ4_NL) | T(NVFP4) | T(Q1_0) | T(Q2_0)},
    {"metal", "Apple: types with kernels for one token and for many",
     FLOATS | BASIC | SUPER | CODEBOOK | T(IQ1_M) | T(IQ4_NL) | T(TQ2_0) | T(Q1_0) | T(Q2_0)},
    {"vulkan", "types with integer shaders for one token and for many", T(F32) | T(F16) | BASIC | SUPER | T(Q2_0)},
};

enum { DEVICES = sizeof devices / sizeof devices[0] };

const struct lq_device *lq_device_at(size_t i)
{
    return i < DEVICES ? &devices[i] : NULL;
}

const struct lq_device *lq_device_find(const char *name)
{
    for (size_t i = 0; i < DEVICES; i++)
        if (strcasecmp(devices[i].name, name) == 0) return &devices[i];
    return NULL;
}

/* ---- limits ---- */

struct build {
    const struct lq_choices_limits *limits;
    const struct lq_model_half *half; /* in hand */
    uint64_t listed, types;           /* by --types; those that a device decodes well too */
    struct lq_rules most, pins;
    bool widens; /* the half in hand has a tower, widened to `hidden` */
    struct lq_tower tower;
    uint64_t hidden;
};

static bool holds(uint64_t types, enum lq_type type)
{
    return (types >> type & 1) != 0;
}

/* "q4_k,q5_k" to a set. */
static enum lq_status parse_types(uint64_t *out, const char *text, struct lq_error *err)
{
    *out = 0;
    for (const char *at = text + strspn(text, ", "); *at != '\0'; at += strspn(at, ", ")) {
        char name[32];
        size_t n = strcspn(at, ", ");
        snprintf(name, sizeof name, "%.*s", n < sizeof name ? (int)n : (int)sizeof name - 1, at);
        const struct lq_format *format = lq_format_find(name);
        if (format == NULL || (format->flags & LQ_FORMAT_TARGET) == 0)
            return lq_error_set(err, LQ_ERR_USAGE, "--types '%.128s': '%s' is no ggml type such as q8_0, q4_k or f16",
                                text, name);
        *out |= (uint64_t)1 << format->type;
        at += n;
    }
    return *out != 0 ? LQ_OK : lq_error_set(err, LQ_ERR_USAGE, "--types '%.128s' names no type", text);
}

static enum lq_status set_types(struct build *b, struct lq_error *err)
{
    for (int type = 0; type < LQ_TYPE_COUNT; type++) {
        const struct lq_format *format = lq_format_get(type);
        if (format != NULL && (format->flags & LQ_FORMAT_TARGET) != 0) b->listed |= (uint64_t)1 << type;
    }
    if (b->limits->types != NULL) {
        enum lq_status status = parse_types(&b->listed, b->limits->types, err);
        if (status != LQ_OK) return status;
    }
    b->types = b->listed & (b->limits->device != NULL ? b->limits->device->types : UINT64_MAX);
    if (b->types != 0) return LQ_OK;
    return lq_error_set(err, LQ_ERR_USAGE, "--only-fast-on %s: it decodes none of --types '%.128s' fast",
                        b->limits->device->name, b->limits->types);
}

/* Fewer bits per weight, the same, or more: below, at or above 0. */
static int compare_sizes(enum lq_type a, enum lq_type b)
{
    const struct lq_format *x = lq_format_get(a), *y = lq_format_get(b);
    uint64_t m = (uint64_t)x->bytes * y->block, n = (uint64_t)y->bytes * x->block;
    return (m > n) - (m < n);
}

/* ---- one tensor ---- */

static enum lq_status finish(const struct build *b, struct lq_plan_entry *entry, struct lq_error *err)
{
    struct lq_plan_request request = {.stats = b->limits->stats, .allow_requantize = b->limits->allow_requantize};
    return lq_entry_finish(entry, b->half->path, &request, false, err);
}

static enum lq_status check_pin(const struct build *b, const struct lq_tensor *t, const struct lq_rule *pin,
                                const struct lq_rule *most, struct lq_error *err)
{
    const char *type = lq_format_name(pin->type);
    if (!holds(b->listed, pin->type))
        return lq_error_set(err, LQ_ERR_USAGE, "--type '%.128s=%s': %s is not among --types '%.128s'", pin->pattern,
                            type, type, b->limits->types);
    if (!holds(b->types, pin->type))
        return lq_error_set(err, LQ_ERR_USAGE, "--type '%.128s=%s': --only-fast-on %s: it does not decode %s fast",
                            pin->pattern, type, b->limits->device->name, type);
    if (most != NULL && compare_sizes(pin->type, most->type) > 0)
        return lq_error_set(err, LQ_ERR_USAGE, "tensor '%s': --type '%.128s=%s' is more than --max-type '%.128s=%s'",
                            t->name, pin->pattern, type, most->pattern, lq_format_name(most->type));
    return LQ_OK;
}

/* May it be chosen at all? What is no smaller than the tensor is only worth it as a copy. */
static bool is_candidate(const struct build *b, const struct lq_plan_entry *entry, enum lq_type type,
                         const struct lq_rule *most)
{
    const struct lq_tensor *t = entry->tensor;
    const struct lq_format *from = lq_format_get(t->type), *to = lq_format_get(type);
    if (!holds(b->types, type) || entry->ne[0] % to->block != 0) return false;
    if (most != NULL && compare_sizes(type, most->type) > 0) return false;
    if (type == t->type) return true;
    if (from != NULL && from->flags != 0 && compare_sizes(type, t->type) >= 0) return false;
    return (to->flags & LQ_FORMAT_NEEDS_IMPORTANCE) == 0 ||
           (b->limits->stats != NULL && lq_stats_importance(b->limits->stats, t) != NULL);
}

/* One clause: what the candidate was one of. */
static void say_reason(const struct build *b, struct lq_plan_entry *entry, const struct lq_rule *most, bool sole)
{
    char *at = entry->reason;
    size_t left = sizeof entry->reason;
    int n = snprintf(at, left, "%s", sole ? "no other type is left" : "budget");
    if (b->limits->device != NULL) n += snprintf(at + n, left - (size_t)n, ", fast on %s", b->limits->device->name);
    if (entry->ne[0] % LQ_TOWER_STEP != 0)
        n += snprintf(at + n, left - (size_t)n, ", fits %llu columns", (unsigned long long)entry->ne[0]);
    if (most != NULL) snprintf(at + n, left - (size_t)n, ", --max-type '%.32s'", most->pattern);
    lq_entry_say_padding(entry, LQ_TYPE_NONE);
}

static int compare_entries(const void *a, const void *b)
{
    const struct lq_plan_entry *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return (x->type > y->type) - (x->type < y->type);
}

static enum lq_status refuse(const struct build *b, const struct lq_plan_entry *entry, const struct lq_rule *most,
                             struct lq_error *err)
{
    char types[160] = "", device[64] = "", limit[200] = "";
    if (b->limits->types != NULL) snprintf(types, sizeof types, " --types '%.128s'", b->limits->types);
    if (b->limits->device != NULL) snprintf(device, sizeof device, " --only-fast-on %s", b->limits->device->name);
    if (most != NULL)
        snprintf(limit, sizeof limit, " --max-type '%.128s=%s'", most->pattern, lq_format_name(most->type));
    return lq_error_set(
        err, LQ_ERR_USAGE,
        "%s: tensor '%s': no type that%s%s%s leaves fits its %llu columns and is smaller than %s: allow "
        "one with smaller blocks, such as q8_0, or %s",
        b->half->path, entry->tensor->name, types, device, limit, (unsigned long long)entry->ne[0],
        lq_format_name(entry->tensor->type), lq_format_name(entry->tensor->type));
}

/* `item->entries` has room for every type. */
static enum lq_status list_candidates(struct build *b, struct lq_choices_item *item, const struct lq_rule *most,
                                      struct lq_error *err)
{
    struct lq_plan_entry kept = item->entries[0];
    for (int type = 0; type < LQ_TYPE_COUNT; type++) {
        if (lq_format_get(type) == NULL || !is_candidate(b, &kept, (enum lq_type)type, most)) continue;
        struct lq_plan_entry *entry = &item->entries[item->n];
        *entry = kept;
        entry->type = (enum lq_type)type;
        enum lq_status status = finish(b, entry, err);
        if (status != LQ_OK) return status;
        item->n++;
    }
    if (item->n == 0) return refuse(b, &kept, most, err);
    for (size_t k = 0; k < item->n; k++) say_reason(b, &item->entries[k], most, item->n == 1);
    qsort(item->entries, item->n, sizeof *item->entries, compare_entries);
    return LQ_OK;
}

static enum lq_status choose(struct build *b, struct lq_choices_item *item, const struct lq_tensor *tensor,
                             struct lq_error *err)
{
    struct lq_plan_entry *entry = item->entries;
    const struct lq_rule *pin = lq_rules_find(&b->pins, tensor), *most = lq_rules_find(&b->most, tensor);
    item->tensor = tensor;
    *entry = lq_entry_kept(tensor);
    if (b->widens) lq_entry_set_hidden(entry, &b->tower, b->hidden);
    if (tensor->quantisable && pin == NULL) return list_candidates(b, item, most, err);
    enum lq_status status = LQ_OK;
    if (pin != NULL) {
        entry->type = pin->type;
        snprintf(entry->reason, sizeof entry->reason, "--type '%.60s'", pin->pattern);
        status = check_pin(b, tensor, pin, most, err);
    }
    lq_entry_say_padding(entry, LQ_TYPE_NONE);
    item->n = 1;
    return status == LQ_OK ? finish(b, entry, err) : status;
}

/* ---- all of them ---- */

static void release_items(struct lq_choices_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(items[i].entries);
        items[i] = (struct lq_choices_item){0};
    }
}

static enum lq_status choose_all(struct build *b, struct lq_choices_item *items, struct lq_error *err)
{
    for (size_t i = 0; i < b->half->n_tensors; i++) {
        struct lq_choices_item *item = &items[i];
        item->entries = calloc(LQ_TYPE_COUNT, sizeof *item->entries);
        if (item->entries == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for types", b->half->path);
        enum lq_status status = choose(b, item, &b->half->tensors[i], err);
        if (status != LQ_OK) return status;
        struct lq_plan_entry *smaller = realloc(item->entries, item->n * sizeof *item->entries);
        if (smaller != NULL) item->entries = smaller;
    }
    return LQ_OK;
}

static uint64_t round_up(uint64_t n, uint64_t step)
{
    return (n + step - 1) / step * step;
}

/* Does some candidate for the rows of hidden values fit them at this size and no smaller one? */
static bool is_needed(const struct build *b, const struct lq_choices_item *items)
{
    for (size_t i = 0; i < b->half->n_tensors; i++)
        for (size_t k = 0; k < items[i].n && items[i].tensor->role == LQ_ROLE_VISION_FFN_DOWN; k++)
            if (round_up(b->tower.hidden, lq_format_get(items[i].entries[k].type)->block) == b->hidden) return true;
    return false;
}

/* Tries the tower's hidden sizes in this order. */
static enum lq_status choose_padded(struct build *b, struct lq_choices_item *items, struct lq_error *err)
{
    static const struct {
        uint64_t step, share; /* share: no more than one of so many is added; 0: no matter */
    } sizes[] = {{LQ_TOWER_STEP, 20}, {32, 8}, {1, 0}, {32, 0}, {LQ_TOWER_STEP, 0}};
    const uint64_t hidden = b->tower.hidden;
    struct lq_error other;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        bool plain = sizes[i].step == 1;
        b->hidden = round_up(hidden, sizes[i].step);
        if (!plain && (b->hidden == hidden || b->hidden == b->tower.width)) continue;
        if ((b->hidden - hidden) * sizes[i].share > hidden) continue;
        enum lq_status status = choose_all(b, items, plain ? err : &other);
        if (status == LQ_OK && (plain || is_needed(b, items))) return LQ_OK;
        release_items(items, b->half->n_tensors);
    }
    return err->status;
}

static enum lq_status choose_half(struct build *b, const struct lq_model_half *half, struct lq_choices_item *items,
                                  struct lq_error *err)
{
    b->half = half;
    b->widens = !b->limits->no_padding && lq_tower_find(&b->tower, half);
    return b->widens ? choose_padded(b, items, err) : choose_all(b, items, err);
}

static enum lq_status build(struct build *b, struct lq_choices *out, const struct lq_model *model, struct lq_error *err)
{
    const struct lq_choices_limits *limits = b->limits;
    size_t n[LQ_HALVES];
    for (int h = 0; h < LQ_HALVES; h++) out->n += n[h] = model->half[h] != NULL ? model->half[h]->n_tensors : 0;
    out->items = calloc(out->n + 1, sizeof *out->items);
    if (out->items == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for types", model->path);
    enum lq_status status = set_types(b, err);
    if (status == LQ_OK) status = lq_rules_init(&b->most, "--max-type", limits->most, limits->n_most, err);
    if (status == LQ_OK) status = lq_rules_init(&b->pins, "--type", limits->pins, limits->n_pins, err);
    for (int h = 0; h < LQ_HALVES && status == LQ_OK; h++)
        if (n[h] > 0) status = choose_half(b, model->half[h], out->items + (h == LQ_LANGUAGE ? n[LQ_VISION] : 0), err);
    if (status == LQ_OK) status = lq_rules_check(&b->most, err);
    if (status == LQ_OK) status = lq_rules_check(&b->pins, err);
    return status;
}

enum lq_status lq_choices_build(struct lq_choices *out, const struct lq_model *model,
                                const struct lq_choices_limits *limits, struct lq_error *err)
{
    struct build b = {.limits = limits};
    struct lq_choices choices = {0};
    struct lq_error own;
    enum lq_status status = build(&b, &choices, model, err != NULL ? err : &own);
    if (status == LQ_OK) *out = choices;
    else lq_choices_release(&choices);
    lq_rules_release(&b.most);
    lq_rules_release(&b.pins);
    return status;
}

void lq_choices_release(struct lq_choices *choices)
{
    if (choices->items != NULL) release_items(choices->items, choices->n);
    free(choices->items);
    *choices = (struct lq_choices){0};
}
