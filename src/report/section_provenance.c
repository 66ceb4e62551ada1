/* Where the figures come from. */
#include "report/figure.h"
#include "report/section.h"

/* Text that may not be known. */
static const char *known(const char *text)
{
    return text != NULL && *text != '\0' ? text : "not recorded";
}

static void put_data(struct lq_page *page, const struct lq_provenance *p)
{
    if (p->data == NULL) {
        lq_page_put(page, "<dt>Data set</dt><dd class=\"none\">none</dd>\n");
        return;
    }
    lq_page_put(page, "<dt>Data set</dt><dd>%s <code>%s</code><br>%lu records on %lu pictures", p->data,
                p->data_hash != NULL ? p->data_hash : "", (unsigned long)p->records, (unsigned long)p->pictures);
    if (p->limit > 0)
        lq_page_put(page, ", limited to %lu pictures with seed %lu", (unsigned long)p->limit, (unsigned long)p->seed);
    if (p->broken > 0) lq_page_put(page, "; %lu broken ones left out", (unsigned long)p->broken);
    lq_page_put(page, "</dd>\n");
}

static void put_text_file(struct lq_page *page, const struct lq_provenance *p)
{
    if (p->text == NULL) {
        lq_page_put(page, "<dt>Plain text</dt><dd class=\"none\">none</dd>\n");
        return;
    }
    lq_page_put(page, "<dt>Plain text</dt><dd>%s <code>%s</code><br>%lu windows of %lu tokens</dd>\n", p->text,
                p->text_hash != NULL ? p->text_hash : "", (unsigned long)p->text_windows, (unsigned long)p->window);
}

static void put_file(struct lq_page *page, const char *name, const struct lq_half_facts *half)
{
    if (half->path == NULL) return;
    lq_page_put(page, "<dt>%s</dt><dd>%s<br>%s, %s weights", name, half->path, lq_figure_size(half->bytes).s,
                lq_figure_number((double)half->weights, 0).s);
    if (half->recipe != NULL) lq_page_put(page, ", recipe %s", half->recipe);
    if (half->sha256[0] != '\0') lq_page_put(page, "<br>SHA-256 <code>%s</code>", half->sha256);
    lq_page_put(page, "</dd>\n");
}

static void put_machine(struct lq_page *page, const struct lq_provenance *p)
{
    lq_page_put(page, "<dt>Program</dt><dd>%s</dd>\n<dt>Runtime</dt><dd>%s</dd>\n<dt>Machine</dt><dd>%s",
                known(p->version), known(p->runtime), known(p->cpu));
    if (p->threads > 0) lq_page_put(page, ", %u thread%s", p->threads, p->threads == 1 ? "" : "s");
    lq_page_put(page, "</dd>\n<dt>Time</dt><dd>%s</dd>\n<dt>Peak memory</dt><dd>%s</dd>\n",
                lq_figure_time(p->seconds).s, lq_figure_size(p->peak_memory).s);
}

void lq_section_provenance(struct lq_page *page, const struct lq_candidate *candidate)
{
    const struct lq_evaluation *e = candidate->e;
    const struct lq_provenance *p = &e->provenance;
    lq_page_put(
        page,
        "<section>\n<h2>Where this comes from</h2>\n<dl class=\"provenance\">\n<dt>Command</dt><dd><code>%s</code>"
        "</dd>\n",
        known(p->command));
    put_data(page, p);
    put_text_file(page, p);
    put_file(page, "Pair, vision", &e->pair[LQ_VISION]);
    put_file(page, "Pair, language", &e->pair[LQ_LANGUAGE]);
    put_file(page, "Original, vision", &e->original[LQ_VISION]);
    put_file(page, "Original, language", &e->original[LQ_LANGUAGE]);
    put_machine(page, p);
    lq_page_put(page, "</dl>\n</section>\n");
}
