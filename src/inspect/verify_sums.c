#include "inspect/verify_run.h"

#include "base/file.h"
#include "base/pool.h"
#include "inspect/sums_file.h"
#include "model/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file of the model and its sums. */
struct file {
    const struct lq_source *source;
    const char *name; /* without folders */
    struct lq_sha256 sum[LQ_SUMS];
};

struct files {
    struct file *items;
    size_t n;
    const struct lq_hooks *hooks;
};

/* Adds the files of a half, in order; the list has room for one per tensor. */
static void add_files(struct files *files, const struct lq_model_half *half)
{
    for (size_t i = 0; i < half->n_tensors; i++) {
        const struct lq_origin *origin = half->tensors[i].origin;
        if (files->n > 0 && files->items[files->n - 1].source == origin->source) continue;
        const char *slash = strrchr(origin->source->path, '/');
        const char *name = slash == NULL ? origin->source->path : slash + 1;
        files->items[files->n++] = (struct file){.source = origin->source, .name = name};
    }
}

static enum lq_status list_files(struct files *files, const struct lq_verify_run *run, struct lq_error *err)
{
    size_t most = 0;
    for (int h = 0; h < LQ_HALVES; h++) most += run->model->half[h] == NULL ? 0 : run->model->half[h]->n_tensors;
    files->items = calloc(most + 1, sizeof *files->items);
    if (files->items == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu files", most);
    for (int h = 0; h < LQ_HALVES; h++)
        if (run->model->half[h] != NULL) add_files(files, run->model->half[h]);
    return LQ_OK;
}

/* Item 2 i: the whole of file i; item 2 i + 1: its tensor data. */
static enum lq_status sum_item(void *data, size_t item, unsigned worker, struct lq_error *err)
{
    (void)worker;
    const struct files *files = data;
    struct file *file = &files->items[item / LQ_SUMS];
    enum lq_sum_of what = item % LQ_SUMS;
    const struct lq_source *s = file->source;
    return lq_sha256_file(&file->sum[what], s->fd, s->path, what == LQ_SUM_DATA ? s->data_offset : 0, s->file_bytes,
                          files->hooks, err);
}

static enum lq_status check_file(struct lq_verify_run *run, const struct lq_sums_file *sums, const struct file *file,
                                 struct lq_error *err)
{
    static const char *const what[LQ_SUMS] = {"file", "tensor data"};
    struct lq_sha256 expected[LQ_SUMS];
    bool given[LQ_SUMS], same[LQ_SUMS];
    const char *path = file->source->path;
    for (int i = 0; i < LQ_SUMS; i++) {
        given[i] = lq_sums_find(sums, i, file->name, &expected[i]);
        same[i] = given[i] && strcmp(expected[i].text, file->sum[i].text) == 0;
    }
    if (!given[LQ_SUM_FILE] && !given[LQ_SUM_DATA])
        return lq_run_find(run, LQ_CHECK_SUMS, err, "%s: has no sum for '%s'", run->options.sums, file->name);
    if (given[LQ_SUM_FILE] && !same[LQ_SUM_FILE] && same[LQ_SUM_DATA])
        return lq_run_find(run, LQ_CHECK_SUMS, err,
                           "%s: the metadata have changed since %s was written; the tensor "
                           "data are the same",
                           path, run->options.sums);
    int worst = given[LQ_SUM_DATA] && !same[LQ_SUM_DATA] ? LQ_SUM_DATA : LQ_SUM_FILE;
    if (!given[worst] || same[worst]) return LQ_OK;
    return lq_run_find(run, LQ_CHECK_SUMS, err, "%s: SHA-256 of the %s is %s, but %s in %s", path, what[worst],
                       file->sum[worst].text, expected[worst].text, run->options.sums);
}

static enum lq_status check(struct lq_verify_run *run, const struct files *files, struct lq_error *err)
{
    struct lq_sums_file sums = {0};
    enum lq_status status = lq_sums_load(&sums, run->options.sums, err);
    for (size_t i = 0; i < files->n && status == LQ_OK; i++) status = check_file(run, &sums, &files->items[i], err);
    if (status == LQ_OK) lq_run_pass(run, LQ_CHECK_SUMS, "SHA-256 as in %.100s", run->options.sums);
    lq_sums_release(&sums);
    return status;
}

static enum lq_status print(FILE *out, const struct files *files, struct lq_error *err)
{
    for (size_t i = 0; i < files->n; i++) {
        const struct file *f = &files->items[i];
        if (strpbrk(f->name, "\n\r\\") != NULL)
            return lq_error_set(err, LQ_ERR_USAGE, "%s: this name cannot stand in a file of sums", f->source->path);
        fprintf(out, "%s  %s\n#data %s  %s\n", f->sum[LQ_SUM_FILE].text, f->name, f->sum[LQ_SUM_DATA].text, f->name);
    }
    return LQ_OK;
}

static enum lq_status record(struct lq_verify_run *run, const struct files *files, struct lq_error *err)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for sums");
    enum lq_status status = print(out, files, err);
    if (fclose(out) != 0 && status == LQ_OK) status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for sums");
    if (status == LQ_OK) status = lq_file_save(run->options.sums, text, size, err);
    if (status == LQ_OK) {
        run->result->sums_written = true;
        lq_run_pass(run, LQ_CHECK_SUMS, "SHA-256 written to %.100s", run->options.sums);
    }
    free(text);
    return status;
}

enum lq_status lq_verify_sums(struct lq_verify_run *run, struct lq_error *err)
{
    struct files files = {.hooks = run->options.hooks};
    bool exists = access(run->options.sums, F_OK) == 0;
    if (!exists && run->result->n_findings > 0) {
        lq_run_skip(run, LQ_CHECK_SUMS, "not written, because of what was found");
        return LQ_OK;
    }
    enum lq_status status = list_files(&files, run, err);
    if (status == LQ_OK) status = lq_pool_run(run->options.threads, files.n * LQ_SUMS, sum_item, &files, err);
    if (status == LQ_OK) status = exists ? check(run, &files, err) : record(run, &files, err);
    free(files.items);
    return status;
}
