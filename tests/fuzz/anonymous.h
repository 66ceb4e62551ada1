/* An anonymous file with the fuzzer's bytes in it, for readers that want a file. */
#ifndef LQ_FUZZ_ANONYMOUS_H
#define LQ_FUZZ_ANONYMOUS_H

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static inline int anonymous_file(const uint8_t *data, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    return fd;
}

#endif
