/* Opens the fuzzer's bytes as a source and touches everything that it promises to hold. */
#ifndef LQ_FUZZ_READ_SOURCE_H
#define LQ_FUZZ_READ_SOURCE_H

#include "anonymous.h"
#include "source/source.h"

#include <string.h>

static inline void read_tensor(const struct lq_source *s, const struct lq_source_tensor *t)
{
    uint8_t bytes[256];
    uint64_t n = t->bytes < sizeof bytes ? t->bytes : sizeof bytes;
    if (lq_source_find(s, t->name) != t) abort();
    if (t->offset > s->file_bytes || t->bytes > s->file_bytes - t->offset) abort();
    if (lq_source_read(s, t, t->bytes - n, n, bytes, NULL) != LQ_OK) abort();
}

static inline void read_kvs(const struct lq_kvs *kvs)
{
    struct lq_kvs copy = {0};
    if (lq_kvs_copy(&copy, kvs, NULL) != LQ_OK) return;
    for (size_t i = 0; i < kvs->n && i < 64; i++) {
        const char *key = kvs->items[i].key, *text = NULL;
        uint64_t u;
        double d;
        size_t length = 0;
        bool b;
        if (lq_kvs_find(&copy, key) != &copy.items[i]) abort();
        lq_kvs_get_u64(&copy, key, &u);
        lq_kvs_get_f64(&copy, key, &d);
        lq_kvs_get_bool(&copy, key, &b);
        if (lq_kvs_get_string(&copy, key, &text, &length) && length > 0 && memchr(text, 0, length) == text) text++;
    }
    lq_kvs_release(&copy);
}

static inline void read_source(const uint8_t *data, size_t size, const char *name)
{
    struct lq_source *s = NULL;
    struct lq_error err = {0};
    int fd = anonymous_file(data, size);
    enum lq_status status = lq_source_open_fd(&s, fd, name, &err);
    close(fd);
    if (status != LQ_OK) {
        if (s != NULL || err.status != status || err.message[0] == 0) abort();
        return;
    }
    for (size_t i = 0; i < s->n_tensors; i++) read_tensor(s, &s->tensors[i]);
    read_kvs(&s->kvs);
    lq_source_close(s);
}

#endif
