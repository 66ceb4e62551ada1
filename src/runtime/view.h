/* A picture as mtmd's chunks and, for those of picture tokens, their embeddings. */
#ifndef LQ_RUNTIME_VIEW_H
#define LQ_RUNTIME_VIEW_H

#include "runtime/picture.h"
#include "runtime/state.h"

struct lq_view {
    char *mmproj; /* the file of the half that saw it, for messages */
    mtmd_input_chunks *chunks;
    size_t n_chunks, n_tokens;
    size_t n_largest; /* tokens of its largest chunk of picture tokens */
    size_t rows, width;
    float *embeddings; /* of all picture chunks in order, `rows` rows */
};

/* lq_view_open with the file's content already there; `path` is for messages. */
enum lq_status lq_view_make(struct lq_view **out, struct lq_runtime *rt, const struct lq_picture_file *file,
                            const char *path, struct lq_error *err);

#endif
