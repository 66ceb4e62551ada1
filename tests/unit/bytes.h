/* Files made byte by byte, for tests of the readers: hostile ones as easily as good ones.
 *
 *     struct bytes b = {0};
 *     put_gguf_head(&b, 3, 1, 0);
 *     put_text(&b, "weight");
 *     int fd = bytes_fd(&b);   // an anonymous file; close() it
 */
#ifndef LQ_TESTS_BYTES_H
#define LQ_TESTS_BYTES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct bytes {
    size_t n;
    uint8_t data[1 << 16];
};

static inline void put(struct bytes *b, const void *data, size_t n)
{
    if (n > sizeof b->data - b->n) abort();
    memcpy(b->data + b->n, data, n);
    b->n += n;
}

static inline void put_integer(struct bytes *b, uint64_t v, int size)
{
    for (int i = 0; i < size; i++) put(b, &(uint8_t){(uint8_t)(v >> (8 * i))}, 1);
}

static inline void put_u8(struct bytes *b, uint8_t v)
{
    put_integer(b, v, 1);
}

static inline void put_u32(struct bytes *b, uint32_t v)
{
    put_integer(b, v, 4);
}

static inline void put_u64(struct bytes *b, uint64_t v)
{
    put_integer(b, v, 8);
}

static inline void put_f32(struct bytes *b, float v)
{
    put(b, &v, sizeof v);
}

/* A GGUF string: u64 length, then the bytes. */
static inline void put_text_n(struct bytes *b, const char *text, size_t n)
{
    put_u64(b, n);
    put(b, text, n);
}

static inline void put_text(struct bytes *b, const char *text)
{
    put_text_n(b, text, strlen(text));
}

static inline void put_zeros(struct bytes *b, size_t n)
{
    while (n-- > 0) put_u8(b, 0);
}

static inline void put_padding(struct bytes *b, size_t alignment)
{
    while (b->n % alignment != 0) put_u8(b, 0);
}

static inline void put_gguf_head(struct bytes *b, uint32_t version, uint64_t n_tensors, uint64_t n_kvs)
{
    put(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, n_tensors);
    put_u64(b, n_kvs);
}

/* A tensor's entry of up to two dimensions (ne1 0: one). */
static inline void put_gguf_tensor(struct bytes *b, const char *name, uint64_t ne0, uint64_t ne1, uint32_t type,
                                   uint64_t offset)
{
    put_text(b, name);
    put_u32(b, ne1 == 0 ? 1 : 2);
    put_u64(b, ne0);
    if (ne1 != 0) put_u64(b, ne1);
    put_u32(b, type);
    put_u64(b, offset);
}

static inline void put_gguf_u32(struct bytes *b, const char *key, uint32_t v)
{
    put_text(b, key);
    put_u32(b, 4);
    put_u32(b, v);
}

static inline void put_gguf_text(struct bytes *b, const char *key, const char *v)
{
    put_text(b, key);
    put_u32(b, 8);
    put_text(b, v);
}

static inline int bytes_fd(const struct bytes *b)
{
    int fd = memfd_create("bytes", MFD_CLOEXEC);
    if (fd < 0 || write(fd, b->data, b->n) != (ssize_t)b->n) abort();
    return fd;
}

#endif
