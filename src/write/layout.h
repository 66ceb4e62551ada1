/* The shape of one GGUF v3 file before any weight is known: header bytes, and where each tensor's data will stand.
 *
 * Enters: metadata, the tensor table, the alignment. Leaves: the header up to the first byte of data, offsets, the
 * size.
 * Invariants: data follow one another in listing order, each padded to the alignment with zeros (the last one too);
 * every size is a checked product; the same input gives the same bytes.
 *
 *     struct lq_layout layout = {0};
 *     lq_layout_init(&layout, "out/model.gguf", kvs, tensors, n, 32, &err);
 *     printf("%llu bytes\n", (unsigned long long)layout.file_bytes);
 *     lq_layout_release(&layout);
 */
#ifndef LQ_WRITE_LAYOUT_H
#define LQ_WRITE_LAYOUT_H

#include "source/kv.h"
#include "write/write.h"

#define LQ_PAIR_ID_KEY "llava_quantize.pair_id"
enum { LQ_PAIR_ID_LENGTH = 32 };

struct lq_layout_tensor {
    char *name;
    enum lq_type type;
    uint32_t n_dims;
    uint64_t ne[4];  /* unused ones are 1 */
    uint64_t offset; /* from the start of the file */
    uint64_t bytes;
};

struct lq_layout {
    uint8_t *header; /* owned; header_bytes long, padding to the first tensor included */
    uint64_t header_bytes;
    uint64_t pair_id_offset; /* of the 32 characters of the pair id; 0: the metadata have none */
    uint64_t file_bytes;
    size_t n_tensors;
    struct lq_layout_tensor *tensors;
};

/* How large a file becomes while tensors are added to it, before it is laid out:
 *
 *     struct lq_layout_size size;
 *     lq_layout_size_begin(&size, kvs, 32);
 *     lq_layout_size_add(&size, "output.weight", 2, tensor_bytes);
 *     uint64_t bytes = lq_layout_size_file(&size);   // UINT64_MAX when it does not fit 64 bits
 */
struct lq_layout_size {
    uint64_t header, data;
    uint32_t alignment;
};

void lq_layout_size_begin(struct lq_layout_size *size, const struct lq_kvs *kvs, uint32_t alignment);
void lq_layout_size_add(struct lq_layout_size *size, const char *name, uint32_t n_dims, uint64_t bytes);
uint64_t lq_layout_size_file(const struct lq_layout_size *size);

/* `path` stands in messages. Errors: LQ_ERR_USAGE (alignment, or a tensor that no GGUF can hold), LQ_ERR_MEMORY; on
 * failure *out is untouched. */
enum lq_status lq_layout_init(struct lq_layout *out, const char *path, const struct lq_kvs *kvs,
                              const struct lq_output_tensor *tensors, size_t n_tensors, uint32_t alignment,
                              struct lq_error *err);
void lq_layout_release(struct lq_layout *layout);

#endif
