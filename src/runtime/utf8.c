#include "runtime/utf8.h"

#include <stdint.h>
#include <string.h>

/* The length of the character at p: > 0 whole, 0 when the n bytes are a proper beginning of one, -1 when they cannot
 * be. */
static int character(const unsigned char *p, size_t n)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    int length = p[0] < 0x80                   ? 1
                 : p[0] >= 0xC2 && p[0] < 0xE0 ? 2
                 : (p[0] & 0xF0) == 0xE0       ? 3
                 : p[0] >= 0xF0 && p[0] < 0xF5 ? 4
                                               : -1;
    if (length < 2) return length;
    uint32_t code = p[0] & (0x7Fu >> length);
    for (int i = 1; i < length; i++) {
        if ((size_t)i == n) return 0;
        if ((p[i] & 0xC0) != 0x80) return -1;
        code = code << 6 | (p[i] & 0x3F);
    }
    bool surrogate = code >= 0xD800 && code < 0xE000;
    return code < smallest[length] || code > 0x10FFFF || surrogate ? -1 : length;
}

static size_t put_replacement(char *out)
{
    memcpy(out, "\xEF\xBF\xBD", 3);
    return 3;
}

size_t lq_utf8_push(struct lq_utf8 *stream, const char *bytes, size_t n, char *out)
{
    size_t written = 0;
    for (size_t i = 0; i < n; i++) {
        stream->held[stream->n_held++] = bytes[i];
        int length = 1;
        while (stream->n_held > 0 && (length = character((unsigned char *)stream->held, stream->n_held)) != 0) {
            size_t used = length > 0 ? (size_t)length : 1;
            if (length > 0) memcpy(out + written, stream->held, used);
            written += length > 0 ? used : put_replacement(out + written);
            stream->n_held -= used;
            memmove(stream->held, stream->held + used, stream->n_held);
        }
    }
    return written;
}

size_t lq_utf8_finish(struct lq_utf8 *stream, char *out)
{
    if (stream->n_held == 0) return 0;
    stream->n_held = 0;
    return put_replacement(out);
}

bool lq_utf8_valid(const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        int length = character((const unsigned char *)text, left);
        if (length <= 0) return false;
        text += length;
        left -= (size_t)length;
    }
    return true;
}

const char *lq_utf8_trim(const char *text, size_t *n)
{
    text += strspn(text, LQ_UTF8_WHITE);
    *n = strlen(text);
    while (*n > 0 && strchr(LQ_UTF8_WHITE, text[*n - 1]) != NULL) --*n;
    return text;
}
