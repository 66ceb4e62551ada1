/* The pipeline: a model and a plan in, a finished pair of files out.
 *
 * Enters: a model, a plan, an output path. Leaves: all files under their final names, or nothing at all.
 * Invariants: bounded memory whatever the tensor; the input is read once; the same bytes for any number of threads;
 * what got its name has been synced, re-opened and verified.
 *
 *     struct lq_quantize_options options = {.output = "out", .threads = 0};
 *     struct lq_quantize_result result;
 *     enum lq_status s = lq_quantize(model, plan, &options, &result, &err);
 *     if (s == LQ_OK) printf("%s\n", result.path[LQ_LANGUAGE]);
 *     lq_quantize_result_release(&result);
 */
#ifndef LLAVA_QUANTIZE_QUANTIZE_H
#define LLAVA_QUANTIZE_QUANTIZE_H

#include "llava_quantize/gather.h"
#include "llava_quantize/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LQ_QUANTIZE_MEMORY UINT64_C(250000000)

/* The most that is made of a tensor's statistics. */
enum lq_method {
    LQ_METHOD_FEEDBACK, /* error feedback, where they hold second moments and the type has a grid */
    LQ_METHOD_IMATRIX,  /* importance of columns */
    LQ_METHOD_PLAIN     /* nothing, but for types that demand importance */
};
/* "feedback", "imatrix", "plain". */
const char *lq_method_name(enum lq_method method);

struct lq_quantize_options {
    const char *output;           /* a folder, or a path ending in ".gguf" */
    bool force;                   /* replace existing output */
    bool keep_split;              /* split the language half as the input's is; without effect on a single file */
    uint64_t split_size;          /* 0: no limit; else bytes that no language file exceeds, unless it holds one
                                         tensor alone: then the log hook is told */
    unsigned threads;             /* 0: lq_cpu_count() */
    enum lq_effort effort;        /* of the encoders that are ours */
    uint64_t memory;              /* bytes that the process may take, as far as this run decides it: it works with
                                         fewer threads to stay below; 0: LQ_QUANTIZE_MEMORY
                                         besides what the process takes already */
    const struct lq_stats *stats; /* the one the plan was built with, or NULL */
    enum lq_method method;
    /* NULL, or what `stats` were gathered with: error feedback then aims at the original's outputs on the inputs that
     * the model quantised so far gives, block after block, for each of which both models run all the data once more.
     * Weights are in memory twice, besides the original's on disk. `language` and `mmproj` are the original;
     * where `weighting` is measured, `ratio` holds what was found (struct lq_calibration_plan). */
    const struct lq_calibrate_options *sequential;
    const struct lq_hooks *hooks; /* may be NULL */
};

/* One file of the output. A vision half is always one file: llama.cpp loads no split mmproj. */
struct lq_quantize_file {
    char *path; /* of shards: STEM-00001-of-00003.gguf */
    enum lq_half half;
    uint32_t number, count; /* 2 and 3 for the second of three shards; 1 and 1 where the half is not split */
    size_t first, n;        /* its tensors: plan->entries[first] .. [first + n - 1] */
    uint64_t bytes;         /* of the whole file */
};

/* How one tensor was encoded. The output error of a row w, written as q, is sum (w - q)' H (w - q) over a token's share
 * of H, the second moments of the inputs: how far its products are off, squared, for a token of calibration. */
struct lq_quantize_outcome {
    enum lq_method method;     /* plain for one that is copied or of a float type */
    double plain, written;     /* output error of all rows that went through feedback: without it, known of an eighth of
                                  them or more and estimated of the others; and as written */
    uint64_t fed, kept, alone; /* rows that went through feedback; of those, kept as they were without it; and rows of a
                                  `feedback` tensor whose second moments were of no use, encoded by importance */
};

struct lq_quantize_result {
    struct lq_quantize_file *files; /* owned; the vision half first, shards in order */
    size_t n_files;
    const char *path[LQ_HALVES];    /* the half's file or first shard, in `files`; NULL for a half that is absent */
    uint64_t file_bytes[LQ_HALVES]; /* of all files of the half */
    char pair_id[40];
    size_t n_entries;  /* as plan->n_entries */
    double *error_sq;  /* owned, one per entry: sum (w - q)^2 over its weights; 0 for exact copies */
    double *weight_sq; /* owned, one per entry: sum w^2; relative error = sqrt(error_sq / weight_sq) */
    struct lq_quantize_outcome *outcome; /* owned, one per entry */
    double seconds;
};

/* The files that lq_quantize would write, for checks and --dry-run; free with lq_quantize_files_free. Sizes may grow
 * where weights turn out to overflow their type. Without options->output they have sizes and no paths. Errors:
 * LQ_ERR_USAGE (an output that is the input too, keep_split with split_size, more than 256 files). On failure *out is
 * untouched. */
enum lq_status lq_quantize_files(struct lq_quantize_file **out, size_t *n, const struct lq_model *model,
                                 const struct lq_plan *plan, const struct lq_quantize_options *options,
                                 struct lq_error *err);
void lq_quantize_files_free(struct lq_quantize_file *files, size_t n);

/* Widens entries of `plan` where the data overflow the planned type's scales (with the reason). Replaces only files of
 * the very names that it writes: an earlier output of the same name that was split otherwise stays, and the log hook is
 * told. Errors: besides those of calibrating, where `sequential` is given, and of reading, encoding and writing,
 * LQ_ERR_MEMORY where one thread alone needs more than options->memory (the message says how much). */
enum lq_status lq_quantize(const struct lq_model *model, struct lq_plan *plan,
                           const struct lq_quantize_options *options, struct lq_quantize_result *result,
                           struct lq_error *err);
void lq_quantize_result_release(struct lq_quantize_result *result);

#ifdef __cplusplus
}
#endif
#endif
