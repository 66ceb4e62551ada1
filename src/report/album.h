/* The pictures of a page, each kept once however often it is shown.
 *
 * Enters: paths from evaluations. Leaves: <image> definitions with data: addresses, to be shown by <use>.
 * Invariants: only what begins like a PNG, JPEG, GIF or BMP is put into a page, at most 4 MiB of a file and 14 MiB in
 * all, so that a page stays below 20 MiB; a picture that is left out says why.
 */
#ifndef LQ_REPORT_ALBUM_H
#define LQ_REPORT_ALBUM_H

#include "report/page.h"

struct lq_album_picture {
    const char *path; /* borrowed */
    char *problem;    /* owned: why it is not shown, NULL when it is */
    uint32_t width, height;
};

struct lq_album {
    struct lq_album_picture *pictures;
    size_t n, room, bytes;
    struct lq_page definitions;
};

/* Puts the picture, or why it cannot be shown, into the page. `alternative` stands for it where it cannot be seen. */
void lq_album_show(struct lq_album *album, struct lq_page *page, const char *path, const char *alternative);
/* Puts the definitions of all pictures shown into the page. */
void lq_album_define(const struct lq_album *album, struct lq_page *page);
void lq_album_release(struct lq_album *album);

#endif
