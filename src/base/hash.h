/* A 128-bit hash as people read it: 32 hexadecimal digits, the high half first.
 *
 *     char text[LQ_HASH_DIGITS + 1];
 *     lq_hash_text(text, XXH3_128bits(bytes, size));
 */
#ifndef LQ_BASE_HASH_H
#define LQ_BASE_HASH_H

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

enum { LQ_HASH_DIGITS = 32 };

static inline void lq_hash_text(char out[LQ_HASH_DIGITS + 1], XXH128_hash_t hash)
{
    snprintf(out, LQ_HASH_DIGITS + 1, "%016" PRIx64 "%016" PRIx64, (uint64_t)hash.high64, (uint64_t)hash.low64);
}

#endif
