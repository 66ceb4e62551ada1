#include "report/page.h"

#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/utf8.h"

static bool reserve(struct lq_page *page, size_t n)
{
    if (page->failed) return false;
    if (n <= page->room - page->n) return true;
    size_t room = page->room < 4096 ? 4096 : page->room;
    while (room - page->n < n && room <= SIZE_MAX / 2) room *= 2;
    char *text = room - page->n < n ? NULL : realloc(page->text, room);
    page->failed = text == NULL;
    if (page->failed) return false;
    page->text = text;
    page->room = room;
    return true;
}

void lq_page_raw(struct lq_page *page, const char *text, size_t n)
{
    if (n == 0 || !reserve(page, n)) return;
    memcpy(page->text + page->n, text, n);
    page->n += n;
}

static void put_string(struct lq_page *page, const char *text)
{
    lq_page_raw(page, text, strlen(text));
}

/* Length of what must not be shown at p, which is valid UTF-8: controls but tab and line feed, U+0080 to U+009F, and
 * the marks that turn the direction of writing, U+202A to U+202E and U+2066 to U+2069. */
static size_t unwanted(const unsigned char *p, size_t n)
{
    if (p[0] < 0x20 && p[0] != '\t' && p[0] != '\n') return 1;
    if (p[0] == 0x7F) return 1;
    if (n >= 2 && p[0] == 0xC2 && p[1] < 0xA0) return 2;
    if (n >= 3 && p[0] == 0xE2 && p[1] == 0x80 && p[2] >= 0xAA && p[2] <= 0xAE) return 3;
    if (n >= 3 && p[0] == 0xE2 && p[1] == 0x81 && p[2] >= 0xA6 && p[2] <= 0xA9) return 3;
    return 0;
}

static const char *entity(char c)
{
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    default: return NULL;
    }
}

/* n bytes of whole characters. */
static void put_valid(struct lq_page *page, const char *text, size_t n)
{
    size_t plain = 0, i = 0;
    while (i < n) {
        size_t length = unwanted((const unsigned char *)text + i, n - i);
        const char *instead = length > 0 ? "\xEF\xBF\xBD" : entity(text[i]);
        if (instead == NULL) {
            i++;
            continue;
        }
        lq_page_raw(page, text + plain, i - plain);
        put_string(page, instead);
        i += length > 0 ? length : 1;
        plain = i;
    }
    lq_page_raw(page, text + plain, n - plain);
}

static void put_escaped(struct lq_page *page, const char *text)
{
    enum { PART = 512 };
    char valid[3 * (PART + 4)];
    struct lq_utf8 stream = {0};
    for (size_t left = strlen(text), part; left > 0; left -= part, text += part) {
        part = left < PART ? left : PART;
        put_valid(page, valid, lq_utf8_push(&stream, text, part, valid));
    }
    put_valid(page, valid, lq_utf8_finish(&stream, valid));
}

enum { LONGEST_NUMBER = 400 };

/* One conversion other than %s; `spec` is its text. The type is told by its last letters; size_t and long are of one
 * size on every Linux. Returns what snprintf does. */
static int write_number(char text[LONGEST_NUMBER], const char *spec, va_list *args)
{
    size_t n = strlen(spec);
    if (strchr("fge", spec[n - 1]) != NULL) return snprintf(text, LONGEST_NUMBER, spec, va_arg(*args, double));
    if (strchr("zl", spec[n - 2]) != NULL) return snprintf(text, LONGEST_NUMBER, spec, va_arg(*args, size_t));
    return snprintf(text, LONGEST_NUMBER, spec, va_arg(*args, int));
}

static void put_number(struct lq_page *page, const char *spec, va_list *args)
{
    char text[LONGEST_NUMBER];
    int written = write_number(text, spec, args);
    if (written > 0 && written < LONGEST_NUMBER) lq_page_raw(page, text, (size_t)written);
}

static const char *put_conversion(struct lq_page *page, const char *fmt, va_list *args)
{
    char spec[16];
    size_t n = 1 + strcspn(fmt + 1, "sdiuxfge%") + 1;
    if (fmt[1] == 's') put_escaped(page, va_arg(*args, const char *));
    else if (fmt[1] == '%') lq_page_raw(page, "%", 1);
    else {
        snprintf(spec, sizeof spec, "%.*s", (int)n, fmt);
        put_number(page, spec, args);
    }
    return fmt + n;
}

void lq_page_put(struct lq_page *page, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    while (*fmt != '\0') {
        size_t plain = strcspn(fmt, "%");
        lq_page_raw(page, fmt, plain);
        fmt += plain;
        if (*fmt == '%') fmt = put_conversion(page, fmt, &args);
    }
    va_end(args);
}

void lq_page_base64(struct lq_page *page, const void *bytes, size_t n)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = bytes;
    if (n / 3 >= SIZE_MAX / 8 || !reserve(page, (n + 2) / 3 * 4)) return;
    char *out = page->text + page->n;
    for (size_t i = 0; i < n; i += 3, out += 4) {
        uint32_t bits = (uint32_t)p[i] << 16 | (i + 1 < n ? p[i + 1] : 0u) << 8 | (i + 2 < n ? p[i + 2] : 0u);
        for (int k = 0; k < 4; k++) out[k] = letters[bits >> (18 - 6 * k) & 63];
        if (i + 1 >= n) out[2] = '=';
        if (i + 2 >= n) out[3] = '=';
    }
    page->n += (n + 2) / 3 * 4;
}

void lq_page_sha256(struct lq_page *page, const void *bytes, size_t n)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (EVP_Digest(bytes, n, sum, &length, EVP_sha256(), NULL) == 1) lq_page_base64(page, sum, length);
    else page->failed = true;
}

enum lq_status lq_page_status(const struct lq_page *page, struct lq_error *err)
{
    return page->failed ? lq_error_set(err, LQ_ERR_MEMORY, "no memory for the report, %zu bytes so far", page->n)
                        : LQ_OK;
}
