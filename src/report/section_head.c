/* The document's head, the verdict, the headline figures; and its end. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/assets.h"
#include "report/figure.h"
#include "report/section.h"

uint64_t lq_pair_bytes(const struct lq_half_facts halves[LQ_HALVES])
{
    if (halves[LQ_VISION].bytes > UINT64_MAX - halves[LQ_LANGUAGE].bytes) return 0;
    return halves[LQ_VISION].bytes + halves[LQ_LANGUAGE].bytes;
}

static void put_source(struct lq_page *page, const struct lq_asset *asset)
{
    lq_page_put(page, " 'sha256-");
    lq_page_sha256(page, asset->bytes, asset->size);
    lq_page_put(page, "'");
}

/* Nothing is loaded from anywhere, and of styles and scripts only these very ones count. */
static void put_policy(struct lq_page *page)
{
    lq_page_put(page, "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
                      "base-uri 'none'; form-action 'none'; style-src");
    put_source(page, &lq_asset_page_css);
    put_source(page, &lq_asset_dark_css);
    lq_page_put(page, "; script-src");
    put_source(page, &lq_asset_page_js);
    lq_page_put(page, "\">\n");
}

static void put_asset(struct lq_page *page, const char *open, const struct lq_asset *asset, const char *close)
{
    lq_page_raw(page, open, strlen(open));
    lq_page_raw(page, (const char *)asset->bytes, asset->size);
    lq_page_raw(page, close, strlen(close));
}

/* The original's name where all candidates were compared with the same. */
static const char *common_original(const struct lq_view *view)
{
    const char *first = view->candidates[0].e->original_name;
    for (size_t i = 1; i < view->n; i++) {
        const char *name = view->candidates[i].e->original_name;
        if (first == NULL || name == NULL || strcmp(first, name) != 0) return NULL;
    }
    return first;
}

static void put_title(struct lq_page *page, const struct lq_view *view)
{
    const char *original = common_original(view);
    if (view->n == 1) lq_page_put(page, "%s", view->candidates[0].label);
    else lq_page_put(page, "%zu candidates", view->n);
    if (original != NULL) lq_page_put(page, " against %s", original);
}

static void put_document_head(struct lq_page *page, const struct lq_view *view)
{
    lq_page_put(page, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    put_policy(page);
    lq_page_put(page, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                      "<meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n"
                      "<title>");
    put_title(page, view);
    lq_page_put(page, "</title>\n");
    put_asset(page, "<style>", &lq_asset_page_css, "</style>\n");
    put_asset(page, "<style id=\"dark\" media=\"screen and (prefers-color-scheme: dark)\">", &lq_asset_dark_css,
              "</style>\n</head>\n");
}

static void put_headline(struct lq_page *page, const char *name, const char *figure, const char *note)
{
    bool none = strcmp(figure, lq_not_measured) == 0;
    lq_page_put(page, "<div><dt>%s</dt><dd class=\"%s\">%s</dd>", name, none ? "none" : "figure", figure);
    if (*note != '\0') lq_page_put(page, "<dd class=\"note\">%s</dd>", note);
    lq_page_put(page, "</div>\n");
}

static void put_size(struct lq_page *page, const struct lq_evaluation *e)
{
    uint64_t bytes = lq_pair_bytes(e->pair), original = lq_pair_bytes(e->original);
    char note[160] = "";
    if (bytes > 0 && original > 0)
        snprintf(note, sizeof note, "%s of %s", lq_figure_percent((double)bytes / (double)original, 0).s,
                 lq_figure_size(original).s);
    put_headline(page, "Size", lq_figure_size(bytes).s, note);
}

static void put_kl(struct lq_page *page, const char *name, const struct lq_divergence *d)
{
    put_headline(page, name, lq_figure_kl(d->kl.value).s, lq_figure_kl_interval(&d->kl).s);
}

static void put_exact(struct lq_page *page, const struct lq_answers *a)
{
    char note[160] = "";
    if (lq_is_measured(&a->exact_original))
        snprintf(note, sizeof note, "original %s; %" PRIu64 " lost, %" PRIu64 " gained",
                 lq_figure_share(a->exact_original.value).s, a->lost, a->gained);
    put_headline(page, "Answered exactly", lq_figure_share(a->exact.value).s, note);
}

static void put_headlines(struct lq_page *page, const struct lq_evaluation *e)
{
    const struct lq_arm_result *both = &e->arm[LQ_ARM_BOTH];
    lq_page_put(page, "<dl class=\"headlines\">\n");
    put_size(page, e);
    put_kl(page, "KL, answers", &both->answer);
    put_kl(page, "KL, plain text", &both->text);
    put_headline(page, "Same likeliest token", lq_figure_share(both->answer.agreement.value).s,
                 lq_figure_share_interval(&both->answer.agreement).s);
    put_exact(page, &both->answers);
    put_headline(page, "Worst picture’s cosine",
                 lq_figure_number(e->embedding.pictures > 0 ? e->embedding.cosine_min : NAN, 5).s, "");
    lq_page_put(page, "</dl>\n");
}

static void put_verdicts(struct lq_page *page, const struct lq_view *view)
{
    lq_page_put(page, "<ul class=\"verdicts\">\n");
    for (size_t i = 0; i < view->n; i++) {
        const struct lq_candidate *c = &view->candidates[i];
        size_t n = strlen(c->e->name != NULL ? c->e->name : "the pair"); /* the verdict begins with it */
        lq_page_put(page, "<li><a href=\"#c%zu\">%s</a>%s.</li>\n", c->number, c->label, c->verdict + n);
    }
    lq_page_put(page, "</ul>\n");
}

void lq_section_head(struct lq_page *page, const struct lq_view *view)
{
    put_document_head(page, view);
    lq_page_put(page, "<body>\n<main>\n<header>\n<p class=\"kicker\">llava-quantize report</p>\n<h1>");
    put_title(page, view);
    lq_page_put(page, "</h1>\n");
    if (view->n == 1) {
        lq_page_put(page, "<p class=\"verdict\">%s.</p>\n", view->candidates[0].verdict);
        put_headlines(page, view->candidates[0].e);
    } else put_verdicts(page, view);
    lq_page_put(page, "</header>\n");
}

void lq_section_foot(struct lq_page *page, const struct lq_view *view)
{
    lq_album_define(&view->album, page);
    lq_page_put(page,
                "<footer>\n<p>KL is the divergence of the pair’s next-token distribution from the original’s in nats, "
                "0 for no difference. Intervals are 95 %% bootstrap intervals over pictures, for plain text over "
                "windows. Written by llava-quantize %s.</p>\n</footer>\n</main>\n",
                lq_version());
    put_asset(page, "<script>", &lq_asset_page_js, "</script>\n</body>\n</html>\n");
}
