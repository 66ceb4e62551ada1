/* The text of `inspect`: a headline for each half, the roles, metadata, tensors, findings. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "inspect_print.h"
#include "message.h"
#include "summary.h"
#include "text.h"

enum { LONGEST_TEXT = 72, MOST_ELEMENTS = 6 };

bool cli_key_is_short(const struct lq_key *key)
{
    static const char *const prefixes[] = {"general.", "quantize.", "llava_quantize."};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (strncmp(key->name, prefixes[i], strlen(prefixes[i])) == 0) return true;
    return false;
}

/* ---- values ---- */

/* On one line, cut between UTF-8 characters. */
static void put_text(const struct lq_value *v)
{
    char text[LONGEST_TEXT + 1];
    size_t n = v->length < LONGEST_TEXT ? v->length : LONGEST_TEXT;
    while (n < v->length && n > 0 && ((unsigned char)v->text[n] & 0xC0) == 0x80) n--;
    for (size_t i = 0; i < n; i++) text[i] = v->text[i] == '\n' || v->text[i] == '\0' ? ' ' : v->text[i];
    text[n] = '\0';
    cli_put_clean(stdout, text);
    if (n < v->length) fputs("...", stdout);
}

static void put_value(const struct lq_value *v)
{
    switch (v->kind) {
    case LQ_VALUE_INTEGER: printf("%" PRId64, v->integer); break;
    case LQ_VALUE_NATURAL: printf("%" PRIu64, v->natural); break;
    case LQ_VALUE_REAL: printf("%.9g", v->real); break;
    case LQ_VALUE_TRUTH: fputs(v->truth ? "true" : "false", stdout); break;
    case LQ_VALUE_TEXT: put_text(v); break;
    }
}

static void put_values(const struct lq_key *key)
{
    struct lq_value v;
    uint64_t at = 0;
    for (int i = 0; i < MOST_ELEMENTS && lq_key_next(key, &at, &v); i++) {
        if (i > 0) fputs(", ", stdout);
        put_value(&v);
    }
    if (key->count > MOST_ELEMENTS) printf(", ... (%" PRIu64 " of %s)", key->count, key->type);
}

static void put_keys(const struct lq_model_half *half, bool all)
{
    printf("\nMetadata of the %s half:\n", cli_half_name(half->half));
    for (size_t i = 0; i < lq_key_count(half); i++) {
        struct lq_key key = lq_key_at(half, i);
        if (!all && !cli_key_is_short(&key)) continue;
        fputs("  ", stdout);
        cli_put_clean(stdout, key.name);
        fputs(" = ", stdout);
        put_values(&key);
        putchar('\n');
    }
}

/* ---- headlines ---- */

/* Numbers worth a place in a half's headline; "%" stands for the architecture. */
static const struct fact {
    enum lq_half half;
    const char *key, *before, *after;
} facts[] = {
    {LQ_VISION, "clip.projector_type", "projector ", ""},
    {LQ_VISION, "clip.vision.block_count", "", " blocks"},
    {LQ_VISION, "clip.vision.embedding_length", "width ", ""},
    {LQ_VISION, "clip.vision.feed_forward_length", "feed-forward ", ""},
    {LQ_VISION, "clip.vision.image_size", "pictures of ", ""},
    {LQ_VISION, "clip.vision.patch_size", "patches of ", ""},
    {LQ_VISION, "clip.vision.feature_layer", "feature layer ", ""},
    {LQ_LANGUAGE, "%.block_count", "", " blocks"},
    {LQ_LANGUAGE, "%.embedding_length", "width ", ""},
    {LQ_LANGUAGE, "%.feed_forward_length", "feed-forward ", ""},
    {LQ_LANGUAGE, "%.attention.head_count", "", " heads"},
    {LQ_LANGUAGE, "%.attention.head_count_kv", "", " of keys and values"},
    {LQ_LANGUAGE, "%.context_length", "context ", ""},
};

static bool find_fact(const struct lq_model_half *half, const struct fact *fact, struct lq_key *key)
{
    char name[160];
    if (fact->half != half->half) return false;
    if (fact->key[0] == '%') snprintf(name, sizeof name, "%s%s", half->architecture, fact->key + 1);
    else snprintf(name, sizeof name, "%s", fact->key);
    return lq_key_find(half, name, key);
}

static void put_headline(const struct lq_model_half *half)
{
    printf("%-10s ", cli_half_name(half->half));
    cli_put_clean(stdout, half->architecture);
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        struct lq_key key;
        if (!find_fact(half, &facts[i], &key)) continue;
        printf(", %s", facts[i].before);
        put_values(&key);
        fputs(facts[i].after, stdout);
    }
    printf("\n%-10s ", "");
    cli_put_clean(stdout, half->path);
    if (half->n_files > 1) printf(" and %zu more shard%s", half->n_files - 1, half->n_files > 2 ? "s" : "");
    putchar('\n');
}

static void put_token(const char *name, int64_t id)
{
    if (id < 0) printf(", no %s", name);
    else printf(", %s %" PRId64, name, id);
}

static void put_tokenizer(const struct lq_tokenizer_facts *t)
{
    if (!t->present) return;
    fputs("tokenizer  ", stdout);
    cli_put_clean(stdout, t->model);
    printf(", %" PRIu64 " tokens", t->tokens);
    put_token("bos", t->bos);
    put_token("eos", t->eos);
    puts(t->chat_template ? ", chat template" : ", no chat template");
}

static void put_head(const struct lq_inspection *seen)
{
    const struct lq_model *m = seen->model;
    fputs("model      ", stdout);
    cli_put_clean(stdout, m->name);
    puts(m->hugging_face ? ", Hugging Face folder, as the GGUF pair that it would become" : ", GGUF");
    for (int h = 0; h < LQ_HALVES; h++)
        if (m->half[h] != NULL) put_headline(m->half[h]);
    put_tokenizer(&seen->tokenizer);
}

/* ---- roles and tensors ---- */

static double bpw(uint64_t bytes, uint64_t weights)
{
    return weights == 0 ? 0 : (double)bytes * 8 / (double)weights;
}

static void put_sum(const char *name, bool types, const struct lq_role_sum *sum)
{
    printf("%-24s %7zu %10s %6.2f", name, sum->tensors, cli_size(sum->bytes).s, bpw(sum->bytes, sum->weights));
    for (int t = 0; types && t < LQ_TYPE_COUNT; t++)
        if (sum->types >> t & 1) printf(" %s", lq_format_name(t));
    putchar('\n');
}

static void put_roles(const struct lq_inspection *seen)
{
    printf("\n%-24s %7s %10s %6s %s\n", "role", "tensors", "size", "bpw", "types");
    for (int h = 0; h < LQ_HALVES; h++) {
        if (seen->half[h].tensors == 0) continue;
        put_sum(cli_half_name(h), false, &seen->half[h]);
        for (int role = 0; role < LQ_ROLES; role++) {
            char name[64];
            snprintf(name, sizeof name, "  %s", lq_role_name((enum lq_role)role));
            if (seen->role[h][role].tensors > 0) put_sum(name, true, &seen->role[h][role]);
        }
    }
    if (seen->model->half[LQ_VISION] != NULL && seen->model->half[LQ_LANGUAGE] != NULL)
        put_sum("total", false, &seen->total);
}

struct widths {
    int name, shape;
};

static int longer(int width, const char *text)
{
    int length = (int)strlen(text);
    return length > width ? length : width;
}

static struct widths widths_of(const struct lq_model_half *half)
{
    struct widths w = {6, 5};
    for (size_t i = 0; i < half->n_tensors; i++) {
        w.name = longer(w.name, half->tensors[i].name);
        w.shape = longer(w.shape, cli_shape(half->tensors[i].n_dims, half->tensors[i].ne).s);
    }
    return w;
}

static void put_stats(const struct lq_weight_stats *s)
{
    if (!s->measured) {
        fputs("  not measured", stdout);
        return;
    }
    double share = s->weights == 0 ? 0 : (double)s->outliers / (double)s->weights;
    printf(" %12.5g %12.5g %11.5g %10s %8" PRIu64 " %6" PRIu64, (double)s->min, (double)s->max, s->rms,
           cli_percent(share).s, s->nan + s->infinite, s->dead_rows);
}

static void put_tensor(const struct lq_tensor *t, const struct lq_weight_stats *stats, const struct widths *w)
{
    char name[128];
    snprintf(name, sizeof name, "%-*s", w->name, t->name);
    cli_put_clean(stdout, name);
    printf("  %-7s %*s", lq_format_name(t->type), w->shape, cli_shape(t->n_dims, t->ne).s);
    if (stats != NULL) put_stats(stats);
    else printf(" %10s  %s", cli_size(t->bytes).s, lq_role_name(t->role));
    putchar('\n');
}

static void put_tensors(const struct lq_inspection *seen, const struct lq_model_half *half)
{
    const struct lq_weight_stats *stats = seen->stats[half->half];
    struct widths w = widths_of(half);
    printf("\n%-*s  %-7s %*s", w.name, "tensor", "type", w.shape, "shape");
    if (stats != NULL) printf(" %12s %12s %11s %10s %8s %6s\n", "min", "max", "rms", "outliers", "NaN, inf", "dead");
    else printf(" %10s  %s\n", "size", "role");
    for (size_t i = 0; i < half->n_tensors; i++) put_tensor(&half->tensors[i], stats == NULL ? NULL : &stats[i], &w);
}

/* ---- findings ---- */

/* Names of tensors in them have been checked by the reader: no control characters. */
static void put_findings(const struct lq_inspection *seen)
{
    puts(seen->n_findings == 0 ? "\nNothing looks wrong." : "\nWhat looks wrong:");
    for (size_t i = 0; i < seen->n_findings; i++) {
        cli_usage_row(stdout, seen->findings[i].id, seen->findings[i].text);
        cli_usage_row(stdout, "  what to do", seen->findings[i].remedy);
    }
}

void cli_inspect_text(const struct lq_inspection *seen, bool all)
{
    const struct lq_model *m = seen->model;
    bool stats = seen->stats[LQ_VISION] != NULL || seen->stats[LQ_LANGUAGE] != NULL;
    put_head(seen);
    put_roles(seen);
    for (int h = 0; h < LQ_HALVES; h++)
        if (m->half[h] != NULL) put_keys(m->half[h], all);
    for (int h = 0; h < LQ_HALVES; h++)
        if (m->half[h] != NULL && (all || stats)) put_tensors(seen, m->half[h]);
    if (stats)
        puts("\nmin, max and rms (root mean square) are those of the finite weights; outliers are the share of weights "
             "farther\nfrom zero than 6 rms of their tensor; dead are rows of zeros alone, in matrices.");
    put_findings(seen);
}
