/* A growing HTML text, into which text from files is only ever put escaped.
 *
 * Enters: formats as of printf. Leaves: one buffer.
 * Invariants: what a %s brings can neither end an element nor an attribute, and control characters, changes of the
 * direction of writing and bytes that are not UTF-8 become U+FFFD; when memory is short all later calls do nothing and
 * lq_page_status says so.
 *
 *     struct lq_page page = {0};
 *     lq_page_put(&page, "<p title=\"%s\">%zu tokens</p>", name, n);
 *     free(page.text);
 */
#ifndef LQ_REPORT_PAGE_H
#define LQ_REPORT_PAGE_H

#include "llava_quantize/base.h"

struct lq_page {
    char *text; /* free() */
    size_t n, room;
    bool failed;
};

/* %s is escaped; of the other conversions d, i, u, x, f, g and e may be used, with z or l or without. */
void lq_page_put(struct lq_page *page, const char *fmt, ...) LQ_PRINTF(2, 3);
/* Bytes as they are: our own markup. */
void lq_page_raw(struct lq_page *page, const char *text, size_t n);
void lq_page_base64(struct lq_page *page, const void *bytes, size_t n);
/* The base64 of the SHA-256 of n bytes, as a content security policy names what may run. */
void lq_page_sha256(struct lq_page *page, const void *bytes, size_t n);
/* LQ_OK, or LQ_ERR_MEMORY with its message. */
enum lq_status lq_page_status(const struct lq_page *page, struct lq_error *err);

#endif
