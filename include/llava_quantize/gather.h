/* Gathering statistics: the original pair runs over pictures, questions and text, and what flows into each of its
 * matrices is summed up.
 *
 * Enters: a pair, a data set, a text (or none). Leaves: one statistics file, which llama-quantize reads as an imatrix
 * and lq_stats_load reads whole; docs/calibration.md says what is in it.
 * Invariants: the file is whole or not there; for the same input it has the same bytes whatever the memory, the number of
 * passes and of our threads, and whether the run was interrupted and resumed; memory beside the model's own stays
 * within what is given.
 *
 *     struct lq_calibration *c = NULL;
 *     struct lq_calibrate_options options = {.language = "m.gguf", .mmproj = "mmproj-m.gguf", .data = data,
 *                                            .output = "stats.gguf", .hessian = true};
 *     if (lq_calibration_open(&c, &options, &err) == LQ_OK) lq_calibration_run(c, &err);
 *     lq_calibration_free(c);
 */
#ifndef LLAVA_QUANTIZE_GATHER_H
#define LLAVA_QUANTIZE_GATHER_H

#include "llava_quantize/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How much a token of each kind counts in the language half. Kinds: 0 of a picture, 1 behind a picture, 2 of text with no
 * picture before it. The vision half has tokens of one kind, which count 1. */
enum lq_weighting {
    LQ_WEIGHTING_COUNTS,   /* every token 1 */
    LQ_WEIGHTING_EQUAL,    /* each kind has the same sum */
    LQ_WEIGHTING_RATIO,    /* the kinds' sums are as `ratio` */
    LQ_WEIGHTING_MEASURED, /* a token as much as its error costs the answers */
};

struct lq_calibrate_options {
    const char *language, *mmproj; /* paths of the pair */
    const struct lq_dataset *data; /* borrowed until lq_calibration_free; some of its pictures must be usable */
    const char *text;              /* a UTF-8 file; NULL: pictures alone */
    uint32_t window;               /* tokens of a text window; 0: 512, or the model's context if shorter */
    size_t limit;                  /* at most that many windows of the text; 0: all */
    const char *output;            /* NULL: lq_calibration_run must not be called */
    bool hessian;                  /* second moments too */
    enum lq_weighting weighting;
    double ratio[3];
    double cap;      /* a token whose |x|^2 is above `cap` times its batch's median counts as if it were that; 0: off */
    uint64_t memory; /* bytes beside the model; 0: 2 GB */
    const char *spill;            /* folder for what does not fit; NULL: the output's */
    unsigned threads;             /* 0: lq_cpu_count(), 1 for small models */
    bool resume;                  /* go on from an unfinished file at `output`; one that is not there begins anew */
    bool force;                   /* replace what stands at `output` */
    const struct lq_hooks *hooks; /* may be NULL; borrowed as data is */
};

/* What a run will take, known before it begins. */
struct lq_calibration_plan {
    uint64_t records, windows, broken; /* to be run, and records left out */
    uint64_t done;                     /* records and windows that an earlier run has finished */
    uint64_t tokens[3];                /* of each kind, in the language half */
    double weights[3];                 /* of one token of each kind */
    uint64_t inputs, matrices;         /* different inputs, and matrices that take them */
    uint64_t sums_bytes, hessian_bytes, file_bytes;
    uint64_t memory_bytes; /* beside the model */
    uint64_t disk_bytes;   /* of what is spilled, the file itself apart */
    uint64_t whole_bytes;  /* memory with which one pass without a disk would do */
    unsigned passes;       /* over the data */
    bool spilled;          /* second moments are summed on disk; else the disk keeps those of earlier passes */
    double seconds;        /* of all that is to be done, from the rates below */
    double token_seconds, picture_seconds; /* measured: a token of the language half, a picture in the vision half */
    double flops;                          /* measured, of summing second moments; 0 where none are */
    double disk_rate;                      /* measured, bytes a second; 0 where no disk is needed */
    unsigned threads;
};

struct lq_calibration;

/* Opens the pair, reads texts and sizes of pictures, runs one record to see what the model is made of, and plans.
 * Errors: LQ_ERR_USAGE (no picture tokens, memory too small: the message says how much is needed; an output that exists
 * without `force`, a file to be resumed that was gathered with other settings: the message names them), LQ_ERR_FORMAT
 * (more than a tenth of the records unusable; a damaged file to be resumed), LQ_ERR_IO (too little space on disk), and
 * those of the runtime. On failure *out is untouched. */
enum lq_status lq_calibration_open(struct lq_calibration **out, const struct lq_calibrate_options *options,
                                   struct lq_error *err);
const struct lq_calibration_plan *lq_calibration_plan(const struct lq_calibration *calibration);
/* Gathers and writes the file. LQ_ERR_CANCELLED: the record in hand was finished, and what is done was written, to be
 * resumed, unless nothing is. Errors: LQ_ERR_IO (disk full), LQ_ERR_RUNTIME (an input that is NaN or infinite: the
 * message names the matrix), after which no file has been written. To be called once. */
enum lq_status lq_calibration_run(struct lq_calibration *calibration, struct lq_error *err);
void lq_calibration_free(struct lq_calibration *calibration);

#ifdef __cplusplus
}
#endif
#endif
