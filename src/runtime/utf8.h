/* UTF-8: is a text valid, and cutting a stream of token pieces at character boundaries.
 *
 * Enters: bytes in any portions. Leaves: whole valid characters; a byte that fits nowhere becomes U+FFFD.
 *
 *     struct lq_utf8 stream = {0};
 *     size_t n = lq_utf8_push(&stream, piece, piece_length, out);   // out: lq_utf8_room(piece_length) bytes
 *     n = lq_utf8_finish(&stream, out);                             // what was held back
 */
#ifndef LQ_RUNTIME_UTF8_H
#define LQ_RUNTIME_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#define LQ_UTF8_WHITE " \t\n\v\f\r"

struct lq_utf8 {
    char held[4];
    size_t n_held;
};

/* Bytes that one push of `n` can give: each byte may become U+FFFD, those held back too. */
static inline size_t lq_utf8_room(size_t n)
{
    return 3 * (n + 4);
}

size_t lq_utf8_push(struct lq_utf8 *stream, const char *bytes, size_t n, char *out);
size_t lq_utf8_finish(struct lq_utf8 *stream, char *out);
bool lq_utf8_valid(const char *text);
/* The text without the white space around it: where it begins, *n bytes. */
const char *lq_utf8_trim(const char *text, size_t *n);

#endif
