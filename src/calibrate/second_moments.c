#include "calibrate/second_moments.h"

#include <stdlib.h>
#include <string.h>

#include "base/blas.h"
#include "base/pool.h"

#define WORTH_THREADS (UINT64_C(1) << 24) /* products in one flush, below which starting threads costs more */

/* ---- bands: rows [first, end) of the triangle, columns [0, end) ---- */

struct band {
    size_t first, end;
    uint64_t at; /* floats before it */
};

static struct band band_of(size_t n, size_t number)
{
    size_t first = number * LQ_MOMENTS_BAND, end = first + LQ_MOMENTS_BAND < n ? first + LQ_MOMENTS_BAND : n;
    return (struct band){first, end, (uint64_t)LQ_MOMENTS_BAND * LQ_MOMENTS_BAND * number * (number + 1) / 2};
}

static size_t floats_of(struct band b)
{
    return (b.end - b.first) * b.end;
}

size_t lq_moments_bands(size_t n)
{
    return (n + LQ_MOMENTS_BAND - 1) / LQ_MOMENTS_BAND;
}

uint64_t lq_second_moments_bytes(size_t n)
{
    struct band last = band_of(n, lq_moments_bands(n) - 1);
    return (last.at + floats_of(last)) * sizeof(float);
}

uint64_t lq_second_moments_row_bytes(size_t n, size_t capacity)
{
    return capacity * (n * sizeof(float) + sizeof(uint32_t));
}

/* The last band has the longest rows but perhaps few of them. */
size_t lq_moments_band_floats(size_t n)
{
    return (n < LQ_MOMENTS_BAND ? n : LQ_MOMENTS_BAND) * n;
}

uint64_t lq_moments_packed_at(size_t band)
{
    uint64_t first = (uint64_t)band * LQ_MOMENTS_BAND;
    return first * (first + 1) / 2;
}

uint64_t lq_moments_packed(size_t n, size_t band)
{
    struct band b = band_of(n, band);
    return (uint64_t)b.end * (b.end + 1) / 2 - lq_moments_packed_at(band);
}

/* ---- life ---- */

static enum lq_status no_memory(const struct lq_second_moments *m, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the second moments of %zu columns", m->n);
}

enum lq_status lq_second_moments_begin(struct lq_second_moments *m, size_t n, size_t capacity, struct lq_error *err)
{
    m->n = n;
    m->capacity = capacity;
    m->rows = malloc(capacity * n * sizeof *m->rows);
    m->ends = malloc(capacity * sizeof *m->ends);
    return m->rows != NULL && m->ends != NULL ? LQ_OK : no_memory(m, err);
}

void lq_second_moments_end(struct lq_second_moments *m)
{
    free(m->rows);
    free(m->ends);
    m->rows = NULL;
    m->ends = NULL;
}

void lq_second_moments_release(struct lq_second_moments *m)
{
    lq_second_moments_end(m);
    free(m->bands);
    *m = (struct lq_second_moments){0};
}

enum lq_status lq_second_moments_resident(struct lq_second_moments *m, struct lq_error *err)
{
    m->bands = calloc(1, lq_second_moments_bytes(m->n));
    return m->bands != NULL ? LQ_OK : no_memory(m, err);
}

/* ---- tokens ---- */

bool lq_second_moments_end_chunk(struct lq_second_moments *m)
{
    size_t ended = m->n_chunks > 0 ? m->ends[m->n_chunks - 1] : 0;
    if (m->n_rows > ended) m->ends[m->n_chunks++] = (uint32_t)m->n_rows;
    return m->n_rows > 0 && m->capacity - m->n_rows < LQ_MOMENTS_CHUNK;
}

bool lq_second_moments_add(struct lq_second_moments *m, const float *x, float root_of_weight)
{
    float *row = m->rows + m->n_rows * m->n;
    size_t ended = m->n_chunks > 0 ? m->ends[m->n_chunks - 1] : 0;
    for (size_t i = 0; i < m->n; i++) row[i] = x[i] * root_of_weight;
    m->n_rows++;
    return m->n_rows - ended == LQ_MOMENTS_CHUNK && lq_second_moments_end_chunk(m);
}

/* ---- adding ---- */

/* Where a band's floats are: in memory, or read into `scratch`. */
static enum lq_status fetch(float **out, const struct lq_second_moments *m, struct band b, const struct lq_spill *spill,
                            float *scratch, struct lq_error *err)
{
    *out = m->bands != NULL ? m->bands + b.at : scratch;
    if (m->bands != NULL) return LQ_OK;
    return lq_spill_read(spill, m->offset + b.at * sizeof(float), scratch, floats_of(b) * sizeof(float), err);
}

static enum lq_status store(const struct lq_second_moments *m, struct band b, const struct lq_spill *spill,
                            const float *floats, struct lq_error *err)
{
    if (m->bands != NULL) return LQ_OK;
    return lq_spill_write(spill, m->offset + b.at * sizeof(float), floats, floats_of(b) * sizeof(float), err);
}

/* One chunk of k rows: the rectangle left of the diagonal square, then the square's lower half. */
static void add_chunk(const struct lq_second_moments *m, struct band b, float *floats, const float *rows, size_t k)
{
    int n = (int)m->n, height = (int)(b.end - b.first), left = (int)b.first, width = (int)b.end;
    if (left > 0)
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, height, left, (int)k, 1, rows + b.first, n, rows, n, 1,
                    floats, width);
    cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, height, (int)k, 1, rows + b.first, n, 1, floats + left, width);
}

struct flush {
    const struct lq_second_moments *m;
    const struct lq_moments_bench *bench;
};

/* The longest bands first. */
static enum lq_status flush_band(void *data, size_t item, unsigned worker, struct lq_error *err)
{
    const struct flush *f = data;
    const struct lq_second_moments *m = f->m;
    struct band b = band_of(m->n, lq_moments_bands(m->n) - 1 - item);
    float *scratch = NULL, *floats = NULL;
    if (m->bands == NULL) scratch = f->bench->scratch + worker * lq_moments_band_floats(m->n);
    enum lq_status status = fetch(&floats, m, b, f->bench->spill, scratch, err);
    size_t first = 0;
    for (size_t c = 0; c < m->n_chunks && status == LQ_OK; first = m->ends[c++])
        add_chunk(m, b, floats, m->rows + first * m->n, m->ends[c] - first);
    return status == LQ_OK ? store(m, b, f->bench->spill, floats, err) : status;
}

enum lq_status lq_second_moments_flush(struct lq_second_moments *m, const struct lq_moments_bench *bench,
                                       struct lq_error *err)
{
    struct flush f = {m, bench};
    bool few = (uint64_t)m->n * m->n * m->n_rows < WORTH_THREADS;
    if (m->n_chunks == 0) return LQ_OK;
    lq_blas_prepare();
    enum lq_status status = lq_pool_run(few ? 1 : bench->threads, lq_moments_bands(m->n), flush_band, &f, err);
    m->n_rows = m->n_chunks = 0;
    return status;
}

enum lq_status lq_second_moments_park(struct lq_second_moments *m, const struct lq_spill *spill, struct lq_error *err)
{
    if (m->bands == NULL) return LQ_OK;
    enum lq_status status = lq_spill_write(spill, m->offset, m->bands, lq_second_moments_bytes(m->n), err);
    free(m->bands);
    m->bands = NULL;
    return status;
}

/* ---- packed rows ---- */

enum lq_status lq_second_moments_pack(const struct lq_second_moments *m, size_t band, const struct lq_spill *spill,
                                      float *scratch, float *packed, struct lq_error *err)
{
    struct band b = band_of(m->n, band);
    float *floats = NULL;
    enum lq_status status = fetch(&floats, m, b, spill, scratch, err);
    if (status != LQ_OK) return status;
    for (size_t row = b.first; row < b.end; packed += ++row)
        memcpy(packed, floats + (row - b.first) * b.end, (row + 1) * sizeof *packed);
    return LQ_OK;
}

enum lq_status lq_second_moments_unpack(struct lq_second_moments *m, size_t band, const struct lq_spill *spill,
                                        float *scratch, const float *packed, struct lq_error *err)
{
    struct band b = band_of(m->n, band);
    float *floats = m->bands != NULL ? m->bands + b.at : scratch;
    memset(floats, 0, floats_of(b) * sizeof *floats);
    for (size_t row = b.first; row < b.end; packed += ++row)
        memcpy(floats + (row - b.first) * b.end, packed, (row + 1) * sizeof *packed);
    return store(m, b, spill, floats, err);
}
