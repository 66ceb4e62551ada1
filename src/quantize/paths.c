#include "llava_quantize/quantize.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

static const char prefix[] = "mmproj-";

static bool names_a_file(const char *output)
{
    size_t n = strlen(output);
    return n > 5 && strcasecmp(output + n - 5, ".gguf") == 0;
}

/* OUTPUT/[mmproj-]NAME-TAG.gguf */
static char *path_in_folder(const char *folder, const struct lq_model *model, const struct lq_plan *plan,
                            enum lq_half half)
{
    char *path = NULL;
    size_t n = strlen(folder);
    const char *slash = folder[n - 1] == '/' ? "" : "/";
    if (asprintf(&path, "%s%s%s%s-%s.gguf", folder, slash, half == LQ_VISION ? prefix : "", model->name, plan->tag) < 0)
        return NULL;
    return path;
}

/* The file itself, or for the vision half of a pair its neighbour "mmproj-...". */
static char *path_beside(const char *file, bool neighbour)
{
    if (!neighbour) return strdup(file);
    const char *slash = strrchr(file, '/'), *base = slash == NULL ? file : slash + 1;
    char *path = NULL;
    if (asprintf(&path, "%.*s%s%s", (int)(base - file), file, prefix, base) < 0) return NULL;
    return path;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Is `wanted` one of the files that a half was imported from? GGUF files in its folder are results, not input. */
static bool folder_holds(const char *folder, const struct stat *wanted)
{
    DIR *dir = opendir(folder);
    bool found = false;
    for (struct dirent *e; dir != NULL && !found && (e = readdir(dir)) != NULL;) {
        struct stat st;
        found = !names_a_file(e->d_name) && fstatat(dirfd(dir), e->d_name, &st, 0) == 0 && same_file(&st, wanted);
    }
    if (dir != NULL) closedir(dir);
    return found;
}

static enum lq_status check_not_input(const struct lq_model *model, const char *output, struct lq_error *err)
{
    struct stat out, in;
    if (stat(output, &out) != 0) return LQ_OK;
    for (int h = 0; h < LQ_HALVES; h++) {
        const struct lq_model_half *half = model->half[h];
        if (half == NULL || stat(half->path, &in) != 0) continue;
        if (S_ISDIR(in.st_mode) ? folder_holds(half->path, &out) : same_file(&in, &out))
            return lq_error_set(err, LQ_ERR_USAGE, "%s: is also the input, %s; choose another output", output,
                                half->path);
    }
    return LQ_OK;
}

enum lq_status lq_quantize_paths(const struct lq_model *model, const struct lq_plan *plan, const char *output,
                                 char *path[LQ_HALVES], struct lq_error *err)
{
    char *paths[LQ_HALVES] = {NULL, NULL};
    enum lq_status status = LQ_OK;
    if (*output == '\0') return lq_error_set(err, LQ_ERR_USAGE, "the output path is empty");
    for (int h = 0; status == LQ_OK && h < LQ_HALVES; h++) {
        if (model->half[h] == NULL) continue;
        bool neighbour = h == LQ_VISION && model->half[LQ_LANGUAGE] != NULL;
        paths[h] = names_a_file(output) ? path_beside(output, neighbour) : path_in_folder(output, model, plan, h);
        status = paths[h] == NULL ? lq_error_set(err, LQ_ERR_MEMORY, "no memory for output paths")
                                  : check_not_input(model, paths[h], err);
    }
    for (int h = 0; h < LQ_HALVES; h++) {
        if (status == LQ_OK) path[h] = paths[h];
        else free(paths[h]);
    }
    return status;
}
