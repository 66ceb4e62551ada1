/* The second moments of one matrix's input, sum c x x' over tokens x of weight c, in memory or on disk.
 *
 * Enters: tokens, one after the other. Leaves: the lower triangle.
 * Invariants: tokens are added in chunks, a chunk ending after LQ_MOMENTS_CHUNK tokens or where the caller ends it, each
 * chunk by BLAS calls over a fixed partition; so the bits depend on tokens and chunks alone, not on memory or disk, on the
 * number of threads, or on how many chunks are added at once. A matrix on disk gathers chunks until its rows are full,
 * so that reading and writing it serves all of them.
 *
 * The triangle lies in bands of LQ_MOMENTS_BAND rows, each band a rectangle up to its last diagonal element (the few
 * elements above the diagonal are 0).
 *
 *     struct lq_second_moments m = {0};
 *     lq_second_moments_begin(&m, 4096, LQ_MOMENTS_CHUNK, &err);
 *     lq_second_moments_resident(&m, &err);
 *     for each token: if (lq_second_moments_add(&m, x, sqrtf(c))) lq_second_moments_flush(&m, &bench, &err);
 *     lq_second_moments_end_chunk(&m); lq_second_moments_flush(&m, &bench, &err);
 */
#ifndef LQ_CALIBRATE_SECOND_MOMENTS_H
#define LQ_CALIBRATE_SECOND_MOMENTS_H

#include "calibrate/spill.h"

enum { LQ_MOMENTS_CHUNK = 256, LQ_MOMENTS_BAND = 256 };

struct lq_second_moments {
    size_t n;        /* columns of the input */
    float *bands;    /* in memory; NULL: on disk */
    uint64_t offset; /* on disk */
    float *rows;     /* tokens that are still to be added, each times the root of its weight */
    uint32_t *ends;  /* of the chunks among them */
    size_t n_rows, capacity, n_chunks;
};

/* What flushing works with; borrowed. */
struct lq_moments_bench {
    unsigned threads;
    const struct lq_spill *spill; /* NULL: everything is in memory */
    float *scratch;               /* for `threads` bands of the widest matrix; NULL as above */
};

uint64_t lq_second_moments_bytes(size_t n);
/* Bytes of rows for so many tokens, ends of chunks included. */
uint64_t lq_second_moments_row_bytes(size_t n, size_t capacity);
size_t lq_moments_bands(size_t n);
/* Floats of the longest band, in its rectangle. */
size_t lq_moments_band_floats(size_t n);

/* Takes memory for rows: `capacity` tokens, a multiple of LQ_MOMENTS_CHUNK, wait before they are added. m->offset is left
 * as it is, the rest must be 0. */
enum lq_status lq_second_moments_begin(struct lq_second_moments *m, size_t n, size_t capacity, struct lq_error *err);
/* Gives the rows' memory back; none may wait. */
void lq_second_moments_end(struct lq_second_moments *m);
void lq_second_moments_release(struct lq_second_moments *m);
/* Takes memory for the bands, all 0. */
enum lq_status lq_second_moments_resident(struct lq_second_moments *m, struct lq_error *err);

/* True when lq_second_moments_flush must be called before the next token. */
bool lq_second_moments_add(struct lq_second_moments *m, const float *x, float root_of_weight);
/* The same for the end of a chunk. */
bool lq_second_moments_end_chunk(struct lq_second_moments *m);
/* Adds all waiting tokens of ended chunks; none may stand in an open one. */
enum lq_status lq_second_moments_flush(struct lq_second_moments *m, const struct lq_moments_bench *bench,
                                       struct lq_error *err);
/* Sums that stand in memory go to disk at m->offset, and their memory is given back. */
enum lq_status lq_second_moments_park(struct lq_second_moments *m, const struct lq_spill *spill, struct lq_error *err);

/* Rows of one band packed, row i of the triangle being i + 1 floats: what a statistics file holds of it. Both need
 * lq_moments_band_floats(n) floats at `scratch`; `packed` has lq_moments_packed(n, band) of them, which begin
 * lq_moments_packed_at(band) floats into the packed triangle. */
uint64_t lq_moments_packed_at(size_t band);
uint64_t lq_moments_packed(size_t n, size_t band);
enum lq_status lq_second_moments_pack(const struct lq_second_moments *m, size_t band, const struct lq_spill *spill,
                                      float *scratch, float *packed, struct lq_error *err);
enum lq_status lq_second_moments_unpack(struct lq_second_moments *m, size_t band, const struct lq_spill *spill,
                                        float *scratch, const float *packed, struct lq_error *err);

#endif
