#include "inspect/sha256.h"

#include "base/file.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

enum { READ_AT_ONCE = 1 << 20 };

static enum lq_status cancelled(const struct lq_hooks *hooks, struct lq_error *err)
{
    if (hooks == NULL || hooks->cancelled == NULL || !hooks->cancelled(hooks->data)) return LQ_OK;
    return lq_error_set(err, LQ_ERR_CANCELLED, "cancelled");
}

static enum lq_status digest(EVP_MD_CTX *context, unsigned char *buffer, int fd, const char *name, uint64_t from,
                             uint64_t to, const struct lq_hooks *hooks, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (uint64_t at = from; at < to && status == LQ_OK; at += READ_AT_ONCE) {
        uint64_t n = to - at < READ_AT_ONCE ? to - at : READ_AT_ONCE;
        status = cancelled(hooks, err);
        if (status == LQ_OK) status = lq_file_read(fd, name, at, buffer, n, err);
        if (status == LQ_OK && EVP_DigestUpdate(context, buffer, n) != 1)
            status = lq_error_set(err, LQ_ERR_MEMORY, "%s: SHA-256 failed", name);
    }
    return status;
}

enum lq_status lq_sha256_file(struct lq_sha256 *out, int fd, const char *name, uint64_t from, uint64_t to,
                              const struct lq_hooks *hooks, struct lq_error *err)
{
    unsigned char raw[LQ_SHA256_LENGTH / 2];
    unsigned char *buffer = malloc(READ_AT_ONCE);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    enum lq_status status = LQ_OK;
    if (buffer == NULL || context == NULL || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1)
        status = lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for SHA-256", name);
    if (status == LQ_OK) status = digest(context, buffer, fd, name, from, to, hooks, err);
    if (status == LQ_OK && EVP_DigestFinal_ex(context, raw, NULL) != 1)
        status = lq_error_set(err, LQ_ERR_MEMORY, "%s: SHA-256 failed", name);
    for (size_t i = 0; i < sizeof raw && status == LQ_OK; i++) snprintf(out->text + 2 * i, 3, "%02x", raw[i]);
    EVP_MD_CTX_free(context);
    free(buffer);
    return status;
}
