#include "write/reserve.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <xxhash.h>

/* "\0llava-quantize:DEVICE:INODE:HASH"; the leading 0 is what makes the name abstract. */
static socklen_t make_address(struct sockaddr_un *address, const struct stat *folder, const char *name)
{
    XXH128_hash_t hash = XXH3_128bits(name, strlen(name));
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "llava-quantize:%llx:%llx:%016llx%016llx",
                     (unsigned long long)folder->st_dev, (unsigned long long)folder->st_ino,
                     (unsigned long long)hash.high64, (unsigned long long)hash.low64);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

bool lq_reserve(int *out, int folder, const char *name)
{
    struct stat st;
    struct sockaddr_un address;
    *out = -1;
    if (fstat(folder, &st) != 0) return true;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return true;
    socklen_t size = make_address(&address, &st, name);
    if (bind(fd, (struct sockaddr *)&address, size) == 0) {
        *out = fd;
        return true;
    }
    bool taken = errno == EADDRINUSE;
    close(fd);
    return !taken;
}
