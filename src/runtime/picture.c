#include "runtime/picture.h"

#include "base/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE_BYTES (UINT64_C(64) << 20)
#define MAX_SIDE 65535 /* llama.cpp resizes to at most 65536, and some models upscale the longer side */

static uint32_t big_endian(const unsigned char *p, int n)
{
    uint32_t v = 0;
    for (int i = 0; i < n; i++) v = v << 8 | p[i];
    return v;
}

static uint32_t little_endian(const unsigned char *p, int n)
{
    uint32_t v = 0;
    for (int i = n - 1; i >= 0; i--) v = v << 8 | p[i];
    return v;
}

static bool png_size(const unsigned char *p, size_t n, uint32_t *width, uint32_t *height)
{
    if (n < 33 || memcmp(p + 12, "IHDR", 4) != 0) return false;
    *width = big_endian(p + 16, 4);
    *height = big_endian(p + 20, 4);
    return true;
}

static bool gif_size(const unsigned char *p, size_t n, uint32_t *width, uint32_t *height)
{
    if (n < 13) return false;
    *width = little_endian(p + 6, 2);
    *height = little_endian(p + 8, 2);
    return true;
}

/* The old header has 16-bit sides; in the others a negative height means rows from the top down. */
static bool bmp_size(const unsigned char *p, size_t n, uint32_t *width, uint32_t *height)
{
    if (n < 30) return false;
    bool old = little_endian(p + 14, 4) == 12;
    *width = old ? little_endian(p + 18, 2) : little_endian(p + 18, 4);
    *height = old ? little_endian(p + 20, 2) : little_endian(p + 22, 4);
    if (!old && *height > INT32_MAX) *height = 0 - *height;
    return true;
}

/* Walks the segments to the frame header: SOF0 to SOF15 without DHT, JPG and DAC. */
static bool jpeg_size(const unsigned char *p, size_t n, uint32_t *width, uint32_t *height)
{
    for (size_t at = 2; at + 9 <= n;) {
        if (p[at] != 0xFF) return false;
        unsigned marker = p[at + 1];
        if (marker == 0xFF) {
            at++;
            continue;
        }
        if (marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC) {
            *height = big_endian(p + at + 5, 2);
            *width = big_endian(p + at + 7, 2);
            return true;
        }
        uint32_t length = big_endian(p + at + 2, 2);
        if (length < 2 || marker == 0xDA) return false;
        at += 2 + length;
    }
    return false;
}

/* What decoding takes at most for each pixel, measured: 21 bytes of a PNG (16 bits, interlaced), 12 of a JPEG
 * (progressive), 8 of a GIF. So no picture takes a gigabyte, and a photograph of 60 million pixels is read. */
static const struct {
    const char *kind, *magic;
    size_t n_magic;
    uint64_t max_pixels;
    bool (*size)(const unsigned char *p, size_t n, uint32_t *width, uint32_t *height);
} kinds[] = {
    {"PNG", "\x89PNG\r\n\x1a\n", 8, UINT64_C(32) << 20, png_size},
    {"JPEG", "\xff\xd8\xff", 3, UINT64_C(64) << 20, jpeg_size},
    {"GIF", "GIF8", 4, UINT64_C(64) << 20, gif_size},
    {"BMP", "BM", 2, UINT64_C(64) << 20, bmp_size},
};

static enum lq_status check_size(const struct lq_picture_file *file, uint64_t max_pixels, const char *path,
                                 struct lq_error *err)
{
    if (file->width == 0 || file->height == 0)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: the %s header claims %" PRIu32 " x %" PRIu32 " pixels", path,
                            file->kind, file->width, file->height);
    if (file->width > MAX_SIDE || file->height > MAX_SIDE || (uint64_t)file->width * file->height > max_pixels)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                            "%s: the %s header claims %" PRIu32 " x %" PRIu32 " pixels; at most %d a side and %" PRIu64
                            " in all are read: scale the picture down",
                            path, file->kind, file->width, file->height, MAX_SIDE, max_pixels);
    return LQ_OK;
}

static enum lq_status measure(struct lq_picture_file *file, const char *path, struct lq_error *err)
{
    if (file->size == 0) return lq_error_set(err, LQ_ERR_FORMAT, "%s: the file is empty, a picture is expected", path);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (file->size < kinds[i].n_magic || memcmp(file->bytes, kinds[i].magic, kinds[i].n_magic) != 0) continue;
        file->kind = kinds[i].kind;
        if (!kinds[i].size((const unsigned char *)file->bytes, file->size, &file->width, &file->height))
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: the %s header is cut short or damaged (%zu bytes)", path,
                                file->kind, file->size);
        return check_size(file, kinds[i].max_pixels, path, err);
    }
    return lq_error_set(err, LQ_ERR_FORMAT, "%s: not a picture: found neither a PNG, JPEG, GIF nor BMP header", path);
}

enum lq_status lq_picture_load(struct lq_picture_file *out, const char *path, struct lq_error *err)
{
    struct lq_picture_file file = {0};
    enum lq_status status = lq_file_load(path, MAX_FILE_BYTES, &file.bytes, &file.size, err);
    if (status == LQ_OK) status = measure(&file, path, err);
    if (status == LQ_OK) *out = file;
    else free(file.bytes);
    return status;
}
