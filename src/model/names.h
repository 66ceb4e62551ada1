/* File names: what a model is called, given where it lies.
 *
 *     lq_name_of_file("/m/mmproj-llava-Q4_K_M.gguf", name, sizeof name);   // "llava"
 */
#ifndef LQ_MODEL_NAMES_H
#define LQ_MODEL_NAMES_H

#include "llava_quantize/base.h"

/* The last component of a path, without trailing slashes; within `path`, *length characters. */
const char *lq_name_base(const char *path, size_t *length);
/* A GGUF's base name without ".gguf", shard numbers, "mmproj-" and a trailing type tag ("-Q4_K_M", ".f16", "-layered",
 * "-4bit"). */
void lq_name_of_file(const char *path, char *out, size_t size);
/* A folder's base name; of "." and ".." that of the folder meant; in the Hugging Face hub's cache, where the folder is
 * called after a revision, the model's ("models--llava-hf--llava-1.5-7b-hf/snapshots/8c85..." is "llava-1.5-7b-hf"). */
void lq_name_of_folder(const char *path, char *out, size_t size);
bool lq_name_has_suffix(const char *name, const char *suffix);

/* The parts of "STEM-00002-of-00003.gguf", as llama.cpp's gguf-split calls its shards. */
struct lq_shard_name {
    size_t stem;            /* bytes of the path before "-00002" */
    uint32_t number, count; /* 2 and 3 */
};

/* False for any other name; *out is untouched then. */
bool lq_name_shard(const char *path, struct lq_shard_name *out);
/* The base name without ".gguf" and, of a shard, "-00002-of-00003", which all files of one model share; in `path`. */
const char *lq_name_stem(const char *path, size_t *length);

/* "folder/file", in memory to be freed; NULL when memory is short. */
char *lq_path_join(const char *folder, const char *file);
/* The folder part of a path ("." where it has none), to be freed; NULL when memory is short. */
char *lq_path_folder(const char *path);

struct lq_names {
    char **items;
    size_t n;
};

/* File names in a folder that start with `prefix` and end with `suffix`, in byte order; lq_names_release frees them. */
enum lq_status lq_names_list(struct lq_names *out, const char *folder, const char *prefix, const char *suffix,
                             struct lq_error *err);
void lq_names_release(struct lq_names *names);
/* The names, comma-separated, cut with "..." where `size` ends. */
void lq_names_join(const struct lq_names *names, char *out, size_t size);

#endif
