#include "place.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum lq_status cli_place_check(const char *path, struct lq_error *err)
{
    if (path == NULL) return LQ_OK;
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (folder == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "out of memory");
    struct stat info;
    bool writable = access(folder, W_OK | X_OK) == 0;
    const char *cause = strerror(errno);
    bool special = stat(path, &info) == 0 && !S_ISREG(info.st_mode);
    free(folder);
    if (writable && !special) return LQ_OK;
    return lq_error_set(err, LQ_ERR_IO, "%s: cannot be written: %s", path, writable ? "not an ordinary file" : cause);
}

enum lq_status cli_place_apart(const char *path, const char *input, struct lq_error *err)
{
    struct stat a, b;
    if (path == NULL || input == NULL || stat(path, &a) != 0 || stat(input, &b) != 0) return LQ_OK;
    if (a.st_dev != b.st_dev || a.st_ino != b.st_ino) return LQ_OK;
    return lq_error_set(err, LQ_ERR_USAGE, "%s: is also the input, %s; choose another output", path, input);
}
