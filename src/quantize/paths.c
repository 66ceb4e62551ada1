#include "quantize/paths.h"

#include "model/names.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
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

static bool is_file_of(const struct lq_model_half *half, const struct stat *wanted)
{
    struct stat st;
    if (half->n_files == 0) return folder_holds(half->path, wanted);
    for (size_t i = 0; i < half->n_files; i++)
        if (stat(half->files[i].path, &st) == 0 && same_file(&st, wanted)) return true;
    return false;
}

enum lq_status lq_path_check_not_input(const struct lq_model *model, const char *path, struct lq_error *err)
{
    struct stat st;
    if (stat(path, &st) != 0) return LQ_OK;
    for (int h = 0; h < LQ_HALVES; h++)
        if (model->half[h] != NULL && is_file_of(model->half[h], &st))
            return lq_error_set(err, LQ_ERR_USAGE, "%s: is also the input, %s; choose another output", path,
                                model->half[h]->path);
    return LQ_OK;
}

char *lq_path_of_half(const struct lq_model *model, const struct lq_plan *plan, const char *output, enum lq_half half)
{
    bool neighbour = half == LQ_VISION && model->half[LQ_LANGUAGE] != NULL;
    return names_a_file(output) ? path_beside(output, neighbour) : path_in_folder(output, model, plan, half);
}

char *lq_path_of_shard(const char *path, uint32_t number, uint32_t count)
{
    char *shard = NULL;
    int stem = (int)(strlen(path) - strlen(".gguf"));
    if (asprintf(&shard, "%.*s-%05" PRIu32 "-of-%05" PRIu32 ".gguf", stem, path, number, count) < 0) return NULL;
    return shard;
}

static bool is_listed(const struct lq_quantize_file *files, size_t n, const char *name)
{
    size_t length;
    for (size_t i = 0; i < n; i++)
        if (strcmp(lq_name_base(files[i].path, &length), name) == 0) return true;
    return false;
}

char *lq_path_find_other(const struct lq_quantize_file *files, size_t n)
{
    struct lq_names names = {0};
    size_t length, other;
    char *found = NULL, *folder = lq_path_folder(files[0].path);
    const char *base = lq_name_stem(files[0].path, &length);
    char *stem = strndup(base, length);
    if (folder != NULL && stem != NULL) lq_names_list(&names, folder, stem, ".gguf", NULL);
    for (size_t i = 0; i < names.n && found == NULL; i++) {
        lq_name_stem(names.items[i], &other);
        if (other == length && !is_listed(files, n, names.items[i])) found = lq_path_join(folder, names.items[i]);
    }
    lq_names_release(&names);
    free(stem);
    free(folder);
    return found;
}
