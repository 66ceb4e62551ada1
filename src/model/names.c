#include "model/names.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *lq_name_base(const char *path, size_t *length)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') start--;
    *length = end - start;
    return path + start;
}

bool lq_name_has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    return n >= m && strcmp(name + n - m, suffix) == 0;
}

/* Five digits at `at`. */
static bool read_five(const char *at, uint32_t *out)
{
    uint32_t value = 0;
    for (int i = 0; i < 5; i++) {
        if (at[i] < '0' || at[i] > '9') return false;
        value = 10 * value + (uint32_t)(at[i] - '0');
    }
    *out = value;
    return true;
}

bool lq_name_shard(const char *path, struct lq_shard_name *out)
{
    static const char form[] = "-NNNNN-of-NNNNN.gguf";
    struct lq_shard_name name;
    size_t n = strlen(path), length = sizeof form - 1;
    if (n <= length) return false;
    const char *at = path + n - length;
    if (at[-1] == '/' || at[0] != '-' || memcmp(at + 6, "-of-", 4) != 0 || strcmp(at + 15, ".gguf") != 0) return false;
    if (!read_five(at + 1, &name.number) || !read_five(at + 10, &name.count)) return false;
    name.stem = n - length;
    *out = name;
    return true;
}

const char *lq_name_stem(const char *path, size_t *length)
{
    struct lq_shard_name shard;
    const char *base = lq_name_base(path, length);
    if (lq_name_shard(path, &shard)) *length = shard.stem - (size_t)(base - path);
    else if (*length > 5 && strncasecmp(base + *length - 5, ".gguf", 5) == 0) *length -= 5;
    return base;
}

/* "4bit": how a whole number of bits stands in our own file names. */
static bool is_bits(const char *tag)
{
    return tag[0] >= '1' && tag[0] <= '9' && strcasecmp(tag + 1, "bit") == 0;
}

/* "Q4_K_M", "iq2_xxs", "mxfp4_moe": a family, a digit, then digits, letters and underscores. */
static bool is_quant_type(const char *tag)
{
    static const char *const families[] = {"q", "iq", "tq", "mxfp", "nvfp"};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        size_t n = strlen(families[i]);
        if (strncasecmp(tag, families[i], n) != 0 || tag[n] < '0' || tag[n] > '9') continue;
        return strspn(tag + n, "0123456789_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == strlen(tag + n);
    }
    return false;
}

static bool is_tag(const char *tag)
{
    static const char *const words[] = {"f32", "f16", "fp16", "fp32", "bf16", "layered", "mixed", "custom", "copy"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(tag, words[i]) == 0) return true;
    return is_bits(tag) || is_quant_type(tag);
}

static void cut_tag(char *name)
{
    size_t at = strlen(name);
    while (at > 1 && name[at - 1] != '-' && name[at - 1] != '.') at--;
    if (at > 1 && is_tag(name + at)) name[at - 1] = '\0';
}

void lq_name_of_file(const char *path, char *out, size_t size)
{
    size_t length;
    const char *base = lq_name_stem(path, &length);
    if (length > 7 && strncmp(base, "mmproj-", 7) == 0) base += 7, length -= 7;
    snprintf(out, size, "%.*s", (int)length, base);
    cut_tag(out);
}

/* The NAME of ".../models--ORG--NAME/snapshots/REVISION", where the hub's cache keeps a model; else NULL. */
static const char *hub_name(const char *base, const char *path, size_t *length)
{
    static const char snapshots[] = "/snapshots/", models[] = "models--";
    size_t folder = (size_t)(base - path), n = sizeof snapshots - 1;
    if (folder <= n || memcmp(base - n, snapshots, n) != 0) return NULL;
    const char *end = base - n, *name = end;
    while (name > path && name[-1] != '/') name--;
    if ((size_t)(end - name) < sizeof models || memcmp(name, models, sizeof models - 1) != 0) return NULL;
    for (const char *p = name; p + 2 < end; p++)
        if (p[0] == '-' && p[1] == '-') name = p + 2;
    *length = (size_t)(end - name);
    return name;
}

void lq_name_of_folder(const char *path, char *out, size_t size)
{
    char *real = realpath(path, NULL);
    const char *whole = real == NULL ? path : real;
    size_t length;
    const char *base = lq_name_base(whole, &length);
    const char *name = hub_name(base, whole, &length);
    if (name == NULL) name = base;
    if (length == 0 || (length == 1 && name[0] == '/')) name = "model", length = 5;
    snprintf(out, size, "%.*s", (int)length, name);
    free(real);
}

char *lq_path_join(const char *folder, const char *file)
{
    size_t size = strlen(folder) + strlen(file) + 2;
    char *out = malloc(size);
    if (out == NULL) return NULL;
    snprintf(out, size, "%s%s%s", folder, lq_name_has_suffix(folder, "/") ? "" : "/", file);
    return out;
}

char *lq_path_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum lq_status append_name(struct lq_names *names, const char *name, struct lq_error *err)
{
    char **items = realloc(names->items, (names->n + 1) * sizeof *items);
    if (items != NULL) names->items = items;
    char *copy = items == NULL ? NULL : strdup(name);
    if (copy == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: not enough memory for the list of files", name);
    names->items[names->n++] = copy;
    return LQ_OK;
}

enum lq_status lq_names_list(struct lq_names *out, const char *folder, const char *prefix, const char *suffix,
                             struct lq_error *err)
{
    struct lq_names names = {0};
    enum lq_status status = LQ_OK;
    DIR *dir = opendir(folder);
    if (dir == NULL) return lq_error_set(err, LQ_ERR_IO, "%s: cannot open: %s", folder, strerror(errno));
    for (struct dirent *e; status == LQ_OK && (e = readdir(dir)) != NULL;)
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0 && lq_name_has_suffix(e->d_name, suffix))
            status = append_name(&names, e->d_name, err);
    closedir(dir);
    if (status != LQ_OK) {
        lq_names_release(&names);
        return status;
    }
    if (names.n > 1) qsort(names.items, names.n, sizeof *names.items, compare_names);
    *out = names;
    return LQ_OK;
}

void lq_names_release(struct lq_names *names)
{
    for (size_t i = 0; i < names->n; i++) free(names->items[i]);
    free(names->items);
    *names = (struct lq_names){0};
}

void lq_names_join(const struct lq_names *names, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < names->n; i++) {
        int n = snprintf(out + used, size - used, "%s%s", i == 0 ? "" : ", ", names->items[i]);
        if (n < 0 || (size_t)n >= size - used) {
            snprintf(out + size - 4, 4, "...");
            return;
        }
        used += (size_t)n;
    }
}
