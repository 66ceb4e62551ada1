#include "inspect/inspect_findings.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/inspect_backends.h"
#include "model/gguf_pair.h"
#include "plan/tower.h"
#include "source/kv.h"
#include "write/layout.h"

struct look {
    const struct lq_model *model;
    enum lq_backend backend;
    struct lq_inspection *out;
    enum lq_status status;
    struct lq_error *err;
};

/* Tensors of one half that share something odd. */
struct group {
    const struct lq_tensor *first; /* NULL: none */
    size_t n;
    uint64_t bytes;
};

static void add(struct group *g, const struct lq_tensor *t)
{
    if (g->n++ == 0) g->first = t;
    g->bytes += t->bytes;
}

/* A new finding to be filled in; NULL, with the status set, when memory is short. */
static struct lq_finding *report(struct look *look, const char *id, int half, const struct group *g)
{
    struct lq_inspection *out = look->out;
    struct lq_finding *items = realloc(out->findings, (out->n_findings + 1) * sizeof *items);
    if (items == NULL) {
        look->status = lq_error_set(look->err, LQ_ERR_MEMORY, "no memory for a list of findings");
        return NULL;
    }
    out->findings = items;
    struct lq_finding *f = &items[out->n_findings++];
    *f = (struct lq_finding){.id = id, .half = half};
    if (g != NULL) {
        f->tensor = g->first->name;
        f->tensors = g->n;
    }
    return f;
}

static void text(char *dst, size_t size, const char *fmt, ...) LQ_PRINTF(3, 4);
static void text(char *dst, size_t size, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(dst, size, fmt, args);
    va_end(args);
}

static const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

#define SAY(finding, ...) text((finding)->text, sizeof(finding)->text, __VA_ARGS__)
#define ADVISE(finding, ...) text((finding)->remedy, sizeof(finding)->remedy, __VA_ARGS__)

/* ---- what the metadata say ---- */

static void check_feature_layer(struct look *look)
{
    struct lq_feature_layer layer;
    if (look->model->hugging_face || lq_feature_layer_check(look->model, &layer, NULL) != LQ_OK) return;
    struct lq_finding *f = report(look, "feature-layer-missing", LQ_VISION, NULL);
    if (f == NULL) return;
    SAY(f,
        "the LLaVA tower has no key clip.vision.feature_layer: llama.cpp runs %" PRIu32 " of its %" PRIu32
        " blocks, one fewer than Hugging Face does when the tower was cut at its feature layer, as converters do",
        layer.run_now, layer.blocks);
    ADVISE(f,
           "'llava-quantize convert --fix-feature-layer MMPROJ OUT' adds the key; this changes what the file computes, "
           "so compare answers before and after");
}

static uint64_t language_width(const struct lq_model_half *half)
{
    char key[128];
    uint64_t width = 0;
    snprintf(key, sizeof key, "%s.embedding_length", half->architecture);
    return lq_kvs_get_u64(half->kvs, key, &width) ? width : 0;
}

static uint64_t projector_width(const struct lq_model_half *half)
{
    const char *name = lq_projector_last_matrix(half->kvs);
    for (size_t i = 0; name != NULL && i < half->n_tensors; i++)
        if (strcmp(half->tensors[i].name, name) == 0) return half->tensors[i].ne[1];
    return 0;
}

static void check_widths(struct look *look)
{
    const struct lq_model_half *vision = look->model->half[LQ_VISION], *language = look->model->half[LQ_LANGUAGE];
    if (vision == NULL || language == NULL) return;
    uint64_t from = projector_width(vision), to = language_width(language);
    if (from == 0 || to == 0 || from == to) return;
    struct lq_finding *f = report(look, "widths-differ", LQ_HALVES, NULL);
    if (f == NULL) return;
    SAY(f, "the projector gives vectors of width %" PRIu64 ", but the language model takes %" PRIu64, from, to);
    ADVISE(f, "the halves belong to different models: find the mmproj that was made for this language model");
}

static void check_pair_ids(struct look *look)
{
    const struct lq_model_half *vision = look->model->half[LQ_VISION], *language = look->model->half[LQ_LANGUAGE];
    const char *a, *b;
    size_t n, m;
    if (vision == NULL || language == NULL) return;
    if (!lq_kvs_get_string(vision->kvs, LQ_PAIR_ID_KEY, &a, &n)) return;
    if (!lq_kvs_get_string(language->kvs, LQ_PAIR_ID_KEY, &b, &m)) return;
    if (n == m && memcmp(a, b, n) == 0) return;
    struct lq_finding *f = report(look, "pair-ids-differ", LQ_HALVES, NULL);
    if (f == NULL) return;
    SAY(f, "the halves have different pair ids (" LQ_PAIR_ID_KEY "): they were written by different runs");
    ADVISE(f, "quantise both halves in one run, or, if they are meant for each other, name the mmproj with --mmproj");
}

/* ---- what types and shapes say ---- */

static bool takes_f32_only(const struct lq_tensor *t)
{
    return (t->role == LQ_ROLE_NORM || t->role == LQ_ROLE_BIAS || t->role == LQ_ROLE_CLASS_EMBEDDING) &&
           t->type != LQ_TYPE_F32;
}

static bool is_quantised_table(const struct lq_tensor *t)
{
    const struct lq_format *f = lq_format_get(t->type);
    bool table =
        t->role == LQ_ROLE_PATCH_EMBEDDING || t->role == LQ_ROLE_POSITION_EMBEDDING || t->role == LQ_ROLE_FIXED;
    return table && f != NULL && (f->flags & LQ_FORMAT_QUANTISED) != 0;
}

static const struct type_rule {
    const char *id;
    bool (*is_wrong)(const struct lq_tensor *tensor);
    const char *what; /* follows "N tensors, such as 'NAME' (TYPE): " */
    const char *remedy;
} type_rules[] = {
    {"vector-type", takes_f32_only,
     "norms, biases and class embeddings meet f32 activations element by element; in another type llama.cpp fails or "
     "stops "
     "the process",
     "make the file again from the original; 'llava-quantize quantize' keeps these f32 when the input is a Hugging "
     "Face "
     "folder"},
    {"table-quantised", is_quantised_table,
     "quantised, although llama.cpp does not multiply by such tensors: it fails on them or loses precision for nothing",
     "make the file again from the original; 'llava-quantize quantize' never quantises them"},
};

static void check_types(struct look *look)
{
    for (size_t r = 0; r < sizeof type_rules / sizeof type_rules[0]; r++)
        for (int h = 0; h < LQ_HALVES; h++) {
            const struct lq_model_half *half = look->model->half[h];
            struct group g = {NULL, 0, 0};
            for (size_t i = 0; half != NULL && !look->model->hugging_face && i < half->n_tensors; i++)
                if (type_rules[r].is_wrong(&half->tensors[i])) add(&g, &half->tensors[i]);
            struct lq_finding *f = g.n == 0 ? NULL : report(look, type_rules[r].id, h, &g);
            if (f == NULL) continue;
            SAY(f, "%zu tensor%s, such as '%s' (%s): %s", g.n, plural(g.n), g.first->name,
                lq_format_name(g.first->type), type_rules[r].what);
            ADVISE(f, "%s", type_rules[r].remedy);
        }
}

static bool could_be_padded(const struct lq_tensor *t)
{
    const struct lq_format *f = lq_format_get(t->type);
    return t->role == LQ_ROLE_VISION_FFN_DOWN && t->quantisable && t->ne[0] % 32 != 0 && f != NULL &&
           (f->flags & LQ_FORMAT_FLOAT) != 0;
}

static void check_padding(struct look *look)
{
    const struct lq_model_half *half = look->model->half[LQ_VISION];
    struct group g = {NULL, 0, 0};
    struct lq_tower tower;
    uint64_t padded = 0;
    bool exact = half != NULL && lq_tower_find(&tower, half);
    for (size_t i = 0; exact && i < half->n_tensors; i++) {
        const struct lq_tensor *t = &half->tensors[i];
        if (!could_be_padded(t) || t->ne[0] > UINT64_MAX - 32) continue;
        add(&g, t);
        padded += t->rows * lq_format_row_bytes(LQ_TYPE_Q8_0, (t->ne[0] + 31) / 32 * 32);
    }
    struct lq_finding *f = g.n == 0 ? NULL : report(look, "padding-possible", LQ_VISION, &g);
    if (f == NULL) return;
    uint64_t columns = g.first->ne[0];
    SAY(f,
        "%zu feed-forward matri%s, such as '%s': rows of %" PRIu64
        " weights divide into no blocks of 32, so the type stays %s (%.1f MiB)",
        g.n, g.n == 1 ? "x" : "ces", g.first->name, columns, lq_format_name(g.first->type), (double)g.bytes / 1048576);
    ADVISE(f,
           "'llava-quantize quantize' widens the hidden size from %" PRIu64 " to %" PRIu64
           " with zeros, which changes no result, as the activation of 0 is 0: at q8_0 they take %.1f MiB less then",
           columns, (columns + 31) / 32 * 32, ((double)g.bytes - (double)padded) / 1048576);
}

static void check_quirk(struct look *look, const struct lq_backend_quirk *quirk)
{
    for (int h = 0; h < LQ_HALVES; h++) {
        const struct lq_model_half *half = look->model->half[h];
        struct group g = {NULL, 0, 0};
        for (size_t i = 0; half != NULL && i < half->n_tensors; i++)
            if (half->tensors[i].quantisable && half->tensors[i].type == quirk->type) add(&g, &half->tensors[i]);
        struct lq_finding *f = g.n == 0 ? NULL : report(look, "backend-type", h, &g);
        if (f == NULL) continue;
        SAY(f, "%zu matri%s of type %s, such as '%s': %s", g.n, g.n == 1 ? "x" : "ces", lq_format_name(quirk->type),
            g.first->name, quirk->what);
        ADVISE(f, "%s (llama.cpp 0.5.0, %s)", quirk->remedy, quirk->source);
    }
}

static void check_backend(struct look *look)
{
    for (size_t i = 0; lq_backend_quirk_at(i) != NULL; i++)
        if (lq_backend_quirk_at(i)->backend == look->backend) check_quirk(look, lq_backend_quirk_at(i));
}

/* ---- what the weights say ---- */

static void check_finite(struct look *look)
{
    for (int h = 0; h < LQ_HALVES; h++) {
        const struct lq_model_half *half = look->model->half[h];
        const struct lq_weight_stats *stats = look->out->stats[h];
        struct group g = {NULL, 0, 0};
        uint64_t nan = 0, infinite = 0;
        for (size_t i = 0; half != NULL && stats != NULL && i < half->n_tensors; i++) {
            if (stats[i].nan + stats[i].infinite == 0) continue;
            add(&g, &half->tensors[i]);
            nan += stats[i].nan;
            infinite += stats[i].infinite;
        }
        struct lq_finding *f = g.n == 0 ? NULL : report(look, "not-finite", h, &g);
        if (f == NULL) continue;
        SAY(f, "NaN weights: %" PRIu64 ", infinite ones: %" PRIu64 ", in %zu tensor%s, such as '%s'", nan, infinite,
            g.n, plural(g.n), g.first->name);
        ADVISE(f, "answers from such a file mean nothing: download or convert it again, and if the original has them "
                  "too, report it to its makers");
    }
}

static const char *dead_row_remedy(enum lq_role role)
{
    if (role == LQ_ROLE_LANGUAGE_EMBEDDING || role == LQ_ROLE_LANGUAGE_OUTPUT)
        return "harmless where they belong to tokens that are not used, as those that fill up a vocabulary";
    if (role == LQ_ROLE_VISION_FFN_UP) return "harmless where the hidden size was padded with zeros";
    return "compare with the model that the file was made from: its rows are zeros too, or the file is damaged";
}

static void check_dead_rows_of(struct look *look, int h, enum lq_role role)
{
    const struct lq_model_half *half = look->model->half[h];
    struct group g = {NULL, 0, 0};
    uint64_t rows = 0;
    for (size_t i = 0; i < half->n_tensors; i++) {
        if (half->tensors[i].role != role || look->out->stats[h][i].dead_rows == 0) continue;
        add(&g, &half->tensors[i]);
        rows += look->out->stats[h][i].dead_rows;
    }
    struct lq_finding *f = g.n == 0 ? NULL : report(look, "dead-rows", h, &g);
    if (f == NULL) return;
    SAY(f, "%s: %" PRIu64 " row%s of zeros in %zu tensor%s, such as '%s'", lq_role_name(role), rows, plural(rows), g.n,
        plural(g.n), g.first->name);
    ADVISE(f, "%s", dead_row_remedy(role));
}

static void check_dead_rows(struct look *look)
{
    for (int h = 0; h < LQ_HALVES; h++)
        for (int role = 0; role < LQ_ROLES; role++)
            if (look->out->stats[h] != NULL) check_dead_rows_of(look, h, (enum lq_role)role);
}

enum lq_status lq_inspect_findings(const struct lq_model *model, enum lq_backend backend, struct lq_inspection *out,
                                   struct lq_error *err)
{
    static void (*const checks[])(struct look *) = {
        check_feature_layer, check_widths,  check_pair_ids, check_types,
        check_padding,       check_backend, check_finite,   check_dead_rows,
    };
    struct look look = {.model = model, .backend = backend, .out = out, .status = LQ_OK, .err = err};
    for (size_t i = 0; look.status == LQ_OK && i < sizeof checks / sizeof checks[0]; i++) checks[i](&look);
    return look.status;
}
