#include "calibrate/passes.h"

#include <stdlib.h>
#include <string.h>

#include "calibrate/input_sums.h"
#include "calibrate/second_moments.h"

#define BLAS_BYTES (UINT64_C(2) << 20) /* a thread's own in BLAS, beside what grows with the columns */

enum { MOST_CHUNKS = 64 }; /* that wait for a matrix on disk */

uint64_t lq_input_moments_bytes(const struct lq_input *input)
{
    return lq_input_experts(input) * lq_second_moments_bytes(lq_input_columns(input));
}

static uint64_t row_bytes(const struct lq_input *input, size_t capacity)
{
    return lq_input_experts(input) * lq_second_moments_row_bytes(lq_input_columns(input), capacity);
}

/* What one input takes in a pass, with the fewest rows. */
static uint64_t cost(const struct lq_input *input, bool spilled)
{
    return row_bytes(input, LQ_MOMENTS_CHUNK) + (spilled ? 0 : lq_input_moments_bytes(input));
}

/* What is taken whatever the pass: sums, what BLAS and disks work with, and a band as it goes into the file. */
static uint64_t fixed_bytes(const struct lq_passes_terms *t, const struct lq_passes *p, bool disk)
{
    size_t widest = 0;
    for (size_t i = 0; i < t->census->n; i++)
        if (t->wanted[i] && lq_input_columns(&t->census->inputs[i]) > widest)
            widest = lq_input_columns(&t->census->inputs[i]);
    uint64_t band = lq_moments_band_floats(widest) * sizeof(float);
    if (widest == 0) return p->sums;
    uint64_t workers = t->threads * (BLAS_BYTES + LQ_MOMENTS_CHUNK * widest * sizeof(float) + (disk ? band : 0));
    return p->sums + workers + 2 * band;
}

/* The input that takes most in a pass of its own must fit. */
static enum lq_status check_memory(const struct lq_passes_terms *t, bool spilled, uint64_t fixed, struct lq_error *err)
{
    const struct lq_input *largest = NULL;
    for (size_t i = 0; i < t->census->n; i++) {
        const struct lq_input *input = &t->census->inputs[i];
        if (t->wanted[i] && (largest == NULL || cost(input, spilled) > cost(largest, spilled))) largest = input;
    }
    uint64_t needed = fixed + (largest == NULL ? 0 : cost(largest, spilled));
    if (needed <= t->memory) return LQ_OK;
    return lq_error_set(
        err, LQ_ERR_USAGE, "%.1f MB of memory are too little: all sums%s%s take %.1f MB; give --memory %lluM or more",
        (double)t->memory / 1e6, largest == NULL ? "" : ", and work on the second moments of ",
        largest == NULL ? "" : largest->first->name, (double)needed / 1e6, (unsigned long long)(needed / 1000000 + 1));
}

/* Fills p->of, p->n and p->memory for one way. */
static enum lq_status assign(const struct lq_passes_terms *t, struct lq_passes *p, struct lq_error *err)
{
    bool whole = !p->spilled && p->whole <= t->memory;
    uint64_t fixed = fixed_bytes(t, p, !whole), in_pass = 0, most = 0;
    enum lq_status status = check_memory(t, p->spilled, fixed, err);
    if (status != LQ_OK) return status;
    p->n = 1;
    for (size_t i = 0; i < t->census->n; i++) {
        uint64_t more = cost(&t->census->inputs[i], p->spilled);
        if (!t->wanted[i]) continue;
        if (in_pass > 0 && in_pass + more > t->memory - fixed) {
            p->n++;
            in_pass = 0;
        }
        p->of[i] = p->n - 1;
        in_pass += more;
        if (in_pass > most) most = in_pass;
    }
    for (size_t i = 0; i < t->census->n; i++)
        if (!t->wanted[i]) p->of[i] = p->n;
    p->memory = fixed + most;
    return LQ_OK;
}

/* Rows fill what a pass on disk leaves of the memory. */
static void widen(const struct lq_passes_terms *t, struct lq_passes *p)
{
    uint64_t fixed = fixed_bytes(t, p, true), most = 0;
    for (unsigned pass = 0; pass < p->n; pass++) {
        uint64_t least = 0;
        for (size_t i = 0; i < t->census->n; i++)
            if (p->of[i] == pass) least += cost(&t->census->inputs[i], true);
        uint64_t times = least == 0 ? 1 : (t->memory - fixed) / least;
        if (times > MOST_CHUNKS) times = MOST_CHUNKS;
        for (size_t i = 0; i < t->census->n; i++)
            if (p->of[i] == pass) p->capacity[i] = times * LQ_MOMENTS_CHUNK;
        if (least * times > most) most = least * times;
    }
    p->memory = fixed + most;
}

static bool needs_language(const struct lq_passes_terms *t, const struct lq_passes *p, unsigned pass)
{
    if (pass == 0) return true; /* of all inputs, the sums are gathered */
    for (size_t i = 0; i < t->census->n; i++)
        if (p->of[i] == pass && t->census->inputs[i].first->half == LQ_LANGUAGE) return true;
    return false;
}

/* Bytes to and from disk: each addition to sums on disk reads and writes them, sums in memory go there and back once. */
static double disk_bytes(const struct lq_passes_terms *t, const struct lq_passes *p)
{
    double bytes = 0;
    for (size_t i = 0; i < t->census->n; i++) {
        const struct lq_input *input = &t->census->inputs[i];
        if (p->of[i] >= p->n) continue;
        double size = (double)lq_input_moments_bytes(input);
        double additions = t->rows[i] / (double)lq_input_experts(input) / (double)p->capacity[i] + 1;
        if (p->spilled) bytes += size * (2 * additions + 1);
        else if (p->of[i] + 1 < p->n) bytes += 2 * size;
    }
    return bytes;
}

/* The sums of the last pass need no disk when they stand in memory. */
static uint64_t disk_needed(const struct lq_passes_terms *t, const struct lq_passes *p)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < t->census->n; i++)
        if (p->of[i] < p->n && (p->spilled || p->of[i] + 1 < p->n))
            bytes += lq_input_moments_bytes(&t->census->inputs[i]);
    return bytes;
}

static enum lq_status plan_way(struct lq_passes *p, const struct lq_passes_terms *t, bool spilled, struct lq_error *err)
{
    size_t n = t->census->n;
    *p = (struct lq_passes){.spilled = spilled, .of = calloc(n + 1, sizeof *p->of)};
    p->capacity = calloc(n + 1, sizeof *p->capacity);
    if (p->of == NULL || p->capacity == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a plan");
    uint64_t costs = 0;
    for (size_t i = 0; i < n; i++) {
        const struct lq_input *input = &t->census->inputs[i];
        p->sums += lq_input_sums_bytes(lq_input_columns(input), lq_input_experts(input));
        p->capacity[i] = LQ_MOMENTS_CHUNK;
        if (!t->wanted[i]) continue;
        p->moments += lq_input_moments_bytes(input);
        costs += cost(input, false);
    }
    p->whole = fixed_bytes(t, p, false) + costs;
    enum lq_status status = assign(t, p, err);
    if (status != LQ_OK) return status;
    if (spilled) widen(t, p);
    for (unsigned pass = 0; pass < p->n; pass++)
        p->seconds += needs_language(t, p, pass) ? t->full_seconds : t->vision_seconds;
    p->disk = disk_needed(t, p);
    if (p->disk > 0) p->seconds += disk_bytes(t, p) / t->disk_rate;
    return LQ_OK;
}

enum lq_status lq_passes_plan(struct lq_passes *out, const struct lq_passes_terms *terms, struct lq_error *err)
{
    struct lq_passes in_memory = {0}, on_disk = {0};
    bool first = plan_way(&in_memory, terms, false, NULL) == LQ_OK;
    enum lq_status status = plan_way(&on_disk, terms, true, err);
    bool better = first && (status != LQ_OK || in_memory.seconds <= on_disk.seconds);
    struct lq_passes *best = better ? &in_memory : &on_disk;
    if (better || status == LQ_OK) {
        *out = *best;
        *best = (struct lq_passes){0};
        status = LQ_OK;
    }
    lq_passes_release(&in_memory);
    lq_passes_release(&on_disk);
    return status;
}

void lq_passes_release(struct lq_passes *passes)
{
    free(passes->of);
    free(passes->capacity);
    *passes = (struct lq_passes){0};
}
