/* How second moments are gathered with little memory: in how many passes over the data, which inputs in which of them,
 * summed in memory or on disk.
 *
 * Enters: the inputs, the memory, what a pass and the disk cost. Leaves: a pass for every input, the way that is done
 * sooner, and what it takes.
 * Invariants: the memory is never exceeded; inputs keep their order; every pass holds one input at least.
 *
 * In memory, a pass holds the sums of its inputs, and those of earlier passes wait on disk. On disk, a pass holds but the
 * tokens that are still to be added, as many as the memory takes, since each addition reads and writes all sums.
 */
#ifndef LQ_CALIBRATE_PASSES_H
#define LQ_CALIBRATE_PASSES_H

#include "calibrate/census.h"

struct lq_passes_terms {
    const struct lq_census *census;
    const bool *wanted; /* inputs whose second moments are to be gathered */
    uint64_t memory;    /* bytes */
    unsigned threads;
    double *rows;          /* tokens that each input will see, experts together */
    double full_seconds;   /* of one pass over all steps */
    double vision_seconds; /* of one over pictures through the vision half alone */
    double disk_rate;      /* bytes a second */
};

struct lq_passes {
    unsigned n;             /* at least 1 */
    unsigned *of;           /* of each input; unwanted ones n */
    size_t *capacity;       /* tokens that wait for each input's matrices; a multiple of LQ_MOMENTS_CHUNK */
    bool spilled;           /* summed on disk */
    uint64_t sums, moments; /* bytes of all sums and of all second moments wanted */
    uint64_t memory, disk;  /* bytes that this way takes; disk 0: none is needed */
    uint64_t whole;         /* memory for one pass without a disk */
    double seconds;         /* of passes and disk, summing apart */
};

/* Errors: LQ_ERR_USAGE when the memory is too small for even one input, the message naming it and what is needed;
 * LQ_ERR_MEMORY. On failure *out is untouched; else lq_passes_release it. */
enum lq_status lq_passes_plan(struct lq_passes *out, const struct lq_passes_terms *terms, struct lq_error *err);
void lq_passes_release(struct lq_passes *passes);
/* Bytes for the second moments of one input, of all its experts. */
uint64_t lq_input_moments_bytes(const struct lq_input *input);

#endif
