/* The harness of the codec's kernels: what its parts share. */
#ifndef TESTS_CODEC_CHECKASM_H
#define TESTS_CODEC_CHECKASM_H

#include "codec/kernels.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MOST_TABLES = 4 };

/* An instruction set to look at. */
struct subject {
    const struct lq_kernel_table *table;
    const struct lane_op *ops; /* lane_ops.h */
    const char *name;
};

struct run {
    struct subject subjects[MOST_TABLES]; /* never the scalar table, which is what they are compared with */
    size_t n_subjects;
    uint64_t seed;
    bool quick; /* fewer cases, for what is emulated or slowed down by sanitizers */
};

/* Says what is run next, for the message should it fail, even by a fault. */
void now(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Counts a failure and prints what was run. */
void failed(const char *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Compares `bytes` bytes; where `size` is 4 or 8, floats or doubles of that size which are not a number are equal. */
bool same(const void *found, const void *expected, size_t bytes, size_t size, size_t *where);

void check_lanes(const struct run *run);   /* lanes_<isa>.h */
void check_rows(const struct run *run);    /* LQ_KERNELS */
void check_abreast(const struct run *run); /* LQ_ABREAST_KERNELS */
void check_blocks(const struct run *run);  /* LQ_BLOCK_FORMATS */
void time_rows(const struct run *run);
void time_abreast(const struct run *run);
void time_blocks(const struct run *run);
/* Hands over what each of the scalar kernels of LQ_ABREAST_KERNELS writes. */
void each_abreast(void (*take)(void *context, const char *what, const void *data, size_t bytes), void *context);
/* Compares digests of what the scalar kernels write with those in the file, or writes them there. */
void check_digests(const char *path, bool update);

/* Repeats until the least time of a run is settled; seconds. */
double least_time(void (*once)(void *context), void *context);
/* A line of timings: nanoseconds per weight of the scalar table, then of each subject with its ratio. */
void print_times(const char *what, const double *seconds, size_t n, double weights);

#endif
