#include "report/album.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/picture.h"

static const size_t largest_picture = (size_t)4 << 20, largest_album = (size_t)14 << 20;

static const char *media_type(const char *kind)
{
    static const struct {
        const char *kind, *type;
    } types[] = {{"PNG", "image/png"}, {"JPEG", "image/jpeg"}, {"GIF", "image/gif"}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].kind, kind) == 0) return types[i].type;
    return "image/bmp";
}

static void define(struct lq_page *out, size_t id, const struct lq_picture_file *file)
{
    lq_page_put(out, "<image id=\"p%zu\" width=\"%u\" height=\"%u\" href=\"data:%s;base64,", id, file->width,
                file->height, media_type(file->kind));
    lq_page_base64(out, file->bytes, file->size);
    lq_page_put(out, "\"/>\n");
}

static enum lq_status load(const struct lq_album *album, struct lq_picture_file *file, const char *path,
                           struct lq_error *err)
{
    enum lq_status status = lq_picture_load(file, path, err);
    if (status == LQ_OK && file->size > largest_picture)
        status = lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: left out, it has more than 4 MiB", path);
    else if (status == LQ_OK && file->size > largest_album - album->bytes)
        status =
            lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: left out, this page holds 14 MiB of pictures already", path);
    return status;
}

static void add(struct lq_album *album, struct lq_album_picture *picture)
{
    struct lq_picture_file file = {0};
    struct lq_error err = {0};
    if (load(album, &file, picture->path, &err) == LQ_OK) {
        define(&album->definitions, album->n, &file);
        album->bytes += file.size;
        picture->width = file.width;
        picture->height = file.height;
    } else {
        picture->problem = strdup(err.message);
        if (picture->problem == NULL) album->definitions.failed = true;
    }
    free(file.bytes);
}

/* The index of a picture, read when it is first asked for; SIZE_MAX when memory is short. */
static size_t find(struct lq_album *album, const char *path)
{
    for (size_t i = 0; i < album->n; i++)
        if (strcmp(album->pictures[i].path, path) == 0) return i;
    if (album->n == album->room) {
        size_t room = album->room == 0 ? 32 : 2 * album->room;
        struct lq_album_picture *pictures = realloc(album->pictures, room * sizeof *pictures);
        if (pictures == NULL) return SIZE_MAX;
        album->pictures = pictures;
        album->room = room;
    }
    album->pictures[album->n] = (struct lq_album_picture){.path = path};
    add(album, &album->pictures[album->n]);
    return album->n++;
}

void lq_album_show(struct lq_album *album, struct lq_page *page, const char *path, const char *alternative)
{
    size_t i = find(album, path);
    if (i == SIZE_MAX) {
        page->failed = true;
        return;
    }
    const struct lq_album_picture *picture = &album->pictures[i];
    if (picture->problem != NULL) {
        lq_page_put(page, "<p class=\"no-picture\">%s</p>\n", picture->problem);
        return;
    }
    lq_page_put(page,
                "<svg class=\"picture%s\" viewBox=\"0 0 %u %u\" role=\"img\"><title>%s</title><desc>%s</desc>"
                "<use href=\"#p%zu\"/></svg>\n",
                picture->width <= 128 ? " small" : "", picture->width, picture->height, path, alternative, i);
}

void lq_album_define(const struct lq_album *album, struct lq_page *page)
{
    page->failed = page->failed || album->definitions.failed;
    if (album->definitions.n == 0) return;
    lq_page_put(page, "<svg class=\"album\" aria-hidden=\"true\"><defs>\n");
    lq_page_raw(page, album->definitions.text, album->definitions.n);
    lq_page_put(page, "</defs></svg>\n");
}

void lq_album_release(struct lq_album *album)
{
    for (size_t i = 0; i < album->n; i++) free(album->pictures[i].problem);
    free(album->pictures);
    free(album->definitions.text);
}
