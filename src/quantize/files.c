#include "quantize/files.h"

#include <stdlib.h>
#include <string.h>

#include "model/names.h"
#include "quantize/metadata.h"
#include "quantize/paths.h"
#include "write/layout.h"

enum { SHARD_ALIGNMENT = 32 }; /* of shards other than the first, whose metadata do not give another one */

/* One half being cut into files. */
struct cut {
    const struct lq_model *model;
    const struct lq_plan *plan;
    const struct lq_quantize_options *options;
    enum lq_half half;
    size_t first, end; /* its entries in the plan */
    struct lq_quantize_file *files;
    size_t n;
};

static size_t first_entry(const struct lq_plan *plan, enum lq_half half)
{
    size_t i = 0;
    while (i < plan->n_entries && plan->entries[i].tensor->half != half) i++;
    return i;
}

static size_t end_of_entries(const struct lq_plan *plan, size_t first)
{
    size_t i = first;
    while (i < plan->n_entries && plan->entries[i].tensor->half == plan->entries[first].tensor->half) i++;
    return i;
}

static uint32_t alignment_of(const struct lq_model *model, const struct lq_quantize_file *file)
{
    return file->number == 1 ? model->half[file->half]->alignment : SHARD_ALIGNMENT;
}

/* The first file of a half carries its metadata, the others say where they belong. Release in any case. */
static enum lq_status build_metadata(struct lq_kvs *out, const struct lq_quantize_file *file,
                                     const struct lq_model *model, const struct lq_plan *plan,
                                     const struct lq_quantize_options *options, struct lq_error *err)
{
    const struct lq_model_half *half = model->half[file->half];
    if (file->number > 1) return lq_metadata_build_shard(out, file->number, file->count, half->n_tensors, err);
    struct lq_plan part = *plan;
    size_t first = first_entry(plan, file->half);
    part.entries += first;
    part.n_entries = end_of_entries(plan, first) - first;
    enum lq_status status = lq_metadata_build(out, model, half, &part, options, err);
    if (status != LQ_OK || file->count == 1) return status;
    return lq_metadata_set_shard(out, 1, file->count, half->n_tensors, err);
}

enum lq_status lq_files_begin(struct lq_output *output, const struct lq_quantize_file *files, size_t index,
                              const struct lq_model *model, const struct lq_plan *plan,
                              const struct lq_quantize_options *options, struct lq_error *err)
{
    const struct lq_quantize_file *file = &files[index];
    struct lq_kvs kvs = {0};
    struct lq_output_tensor *tensors = calloc(file->n + 1, sizeof *tensors);
    enum lq_status status = tensors != NULL ? build_metadata(&kvs, file, model, plan, options, err)
                                            : lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu tensors", file->n);
    if (status != LQ_OK) goto done;
    for (size_t i = 0; i < file->n; i++) {
        const struct lq_plan_entry *e = &plan->entries[file->first + i];
        const struct lq_tensor *t = e->tensor;
        tensors[i] = (struct lq_output_tensor){.name = t->name, .type = e->type, .n_dims = t->n_dims};
        memcpy(tensors[i].ne, e->ne, sizeof tensors[i].ne);
    }
    status = lq_output_begin(output, index, &kvs, tensors, file->n, alignment_of(model, file), err);
done:
    free(tensors);
    lq_kvs_release(&kvs);
    return status;
}

/* The size of a file without tensors. */
static enum lq_status begin_size(struct lq_layout_size *size, const struct cut *cut,
                                 const struct lq_quantize_file *file, struct lq_error *err)
{
    struct lq_kvs kvs = {0};
    enum lq_status status = build_metadata(&kvs, file, cut->model, cut->plan, cut->options, err);
    if (status == LQ_OK) lq_layout_size_begin(size, &kvs, alignment_of(cut->model, file));
    lq_kvs_release(&kvs);
    return status;
}

static void add_entry(struct lq_layout_size *size, const struct lq_plan_entry *e)
{
    lq_layout_size_add(size, e->tensor->name, e->tensor->n_dims, e->bytes);
}

static enum lq_status measure(const struct cut *cut, struct lq_quantize_file *file, struct lq_error *err)
{
    struct lq_layout_size size;
    enum lq_status status = begin_size(&size, cut, file, err);
    if (status != LQ_OK) return status;
    for (size_t i = 0; i < file->n; i++) add_entry(&size, &cut->plan->entries[file->first + i]);
    file->bytes = lq_layout_size_file(&size);
    return LQ_OK;
}

static enum lq_status add_file(struct cut *cut, size_t first, size_t end, struct lq_error *err)
{
    if (cut->n == LQ_OUTPUT_FILES)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: would be more than %d files; choose a larger split size",
                            cut->model->path, LQ_OUTPUT_FILES);
    struct lq_quantize_file *files = realloc(cut->files, (cut->n + 1) * sizeof *files);
    if (files == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the list of output files");
    cut->files = files;
    files[cut->n++] =
        (struct lq_quantize_file){.half = cut->half, .number = 1, .count = 1, .first = first, .n = end - first};
    return LQ_OK;
}

/* As many tensors into each file as the limit allows, at least one. */
static enum lq_status cut_by_size(struct cut *cut, struct lq_error *err)
{
    const struct lq_quantize_file forms[] = {{.half = cut->half, .number = 1, .count = 2},
                                             {.half = cut->half, .number = 2, .count = 2}};
    struct lq_layout_size size, other;
    size_t start = cut->first;
    enum lq_status status = begin_size(&size, cut, &forms[0], err);
    if (status == LQ_OK) status = begin_size(&other, cut, &forms[1], err);
    for (size_t i = cut->first; i < cut->end && status == LQ_OK; i++) {
        struct lq_layout_size larger = size;
        add_entry(&larger, &cut->plan->entries[i]);
        if (i > start && lq_layout_size_file(&larger) > cut->options->split_size) {
            status = add_file(cut, start, i, err);
            start = i;
            larger = other;
            add_entry(&larger, &cut->plan->entries[i]);
        }
        size = larger;
    }
    return status == LQ_OK ? add_file(cut, start, cut->end, err) : status;
}

/* The input's boundaries; its tensors are the plan's entries. */
static enum lq_status cut_like_input(struct cut *cut, struct lq_error *err)
{
    const struct lq_model_half *half = cut->model->half[cut->half];
    size_t start = cut->first;
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < half->n_files && status == LQ_OK; i++) {
        status = add_file(cut, start, start + half->files[i].n_tensors, err);
        start += half->files[i].n_tensors;
    }
    return status;
}

/* One file where that is allowed, else shards. */
static enum lq_status cut_half(struct cut *cut, struct lq_error *err)
{
    struct lq_quantize_file whole = {
        .half = cut->half, .number = 1, .count = 1, .first = cut->first, .n = cut->end - cut->first};
    bool language = cut->half == LQ_LANGUAGE;
    if (language && cut->options->keep_split && cut->model->half[cut->half]->n_files > 1)
        return cut_like_input(cut, err);
    enum lq_status status = measure(cut, &whole, err);
    if (status != LQ_OK) return status;
    if (language && cut->options->split_size > 0 && whole.bytes > cut->options->split_size)
        return cut_by_size(cut, err);
    return add_file(cut, cut->first, cut->end, err);
}

static enum lq_status name_file(const struct cut *cut, struct lq_quantize_file *file, struct lq_error *err)
{
    char *path = lq_path_of_half(cut->model, cut->plan, cut->options->output, cut->half);
    bool whole = file->count == 1;
    if (path != NULL) file->path = whole ? strdup(path) : lq_path_of_shard(path, file->number, file->count);
    free(path);
    if (file->path == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for output paths");
    return lq_path_check_not_input(cut->model, file->path, err);
}

/* Numbers, measures and names the files of one half. */
static enum lq_status finish_half(struct cut *cut, size_t before, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    uint32_t count = (uint32_t)(cut->n - before);
    for (uint32_t i = 0; i < count && status == LQ_OK; i++) {
        struct lq_quantize_file *file = &cut->files[before + i];
        file->number = i + 1;
        file->count = count;
        if (cut->options->output != NULL) status = name_file(cut, file, err);
        if (status == LQ_OK) status = measure(cut, file, err);
    }
    return status;
}

static enum lq_status check_options(const struct lq_quantize_options *options, struct lq_error *err)
{
    struct lq_shard_name name;
    if (options->output != NULL && *options->output == '\0')
        return lq_error_set(err, LQ_ERR_USAGE, "the output path is empty");
    if (options->keep_split && options->split_size > 0)
        return lq_error_set(err, LQ_ERR_USAGE, "keeping the input's split and a split size contradict each other");
    if (options->output != NULL && lq_name_shard(options->output, &name))
        return lq_error_set(err, LQ_ERR_USAGE, "%s: the name of a shard; leave out its numbers", options->output);
    return LQ_OK;
}

enum lq_status lq_quantize_files(struct lq_quantize_file **out, size_t *n, const struct lq_model *model,
                                 const struct lq_plan *plan, const struct lq_quantize_options *options,
                                 struct lq_error *err)
{
    struct cut cut = {.model = model, .plan = plan, .options = options};
    enum lq_status status = check_options(options, err);
    for (int h = 0; h < LQ_HALVES && status == LQ_OK; h++) {
        if (model->half[h] == NULL) continue;
        size_t before = cut.n;
        cut.half = h;
        cut.first = first_entry(plan, h);
        cut.end = end_of_entries(plan, cut.first);
        status = cut_half(&cut, err);
        if (status == LQ_OK) status = finish_half(&cut, before, err);
    }
    if (status == LQ_OK) {
        *out = cut.files;
        *n = cut.n;
    } else lq_quantize_files_free(cut.files, cut.n);
    return status;
}

void lq_quantize_files_free(struct lq_quantize_file *files, size_t n)
{
    for (size_t i = 0; i < n; i++) free(files[i].path);
    free(files);
}
