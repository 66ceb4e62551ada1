/* Checking a pair: whether it is whole, whether it is what was written, how far it is from its original.
 *
 * Enters: an opened GGUF pair or half (opened with lq_model_options.lenient, so that halves which contradict each other
 * are reported too), and on request its original and a file of sums. Leaves: what each check found.
 * Invariants: all data are read once, in bounded memory; the numbers are the same for any number of threads; what a
 * check finds is information, an error means that the checks could not be carried out.
 *
 *     struct lq_verification *v = NULL;
 *     if (lq_verify_model(&v, model, NULL, &err) == LQ_OK)
 *         for (size_t i = 0; i < v->n_findings; i++) puts(v->findings[i].text);
 *     lq_verification_free(v);
 */
#ifndef LLAVA_QUANTIZE_VERIFY_H
#define LLAVA_QUANTIZE_VERIFY_H

#include "llava_quantize/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What is checked; the names come from lq_check_name. */
enum lq_check {
    LQ_CHECK_STRUCTURE, /* "structure": the files could be read; always passed */
    LQ_CHECK_SHAPES,    /* "shapes": keys and shapes are those that the runtime needs, and of one model */
    LQ_CHECK_VALUES,    /* "values": every float and every scale of every block is finite */
    LQ_CHECK_PADDING,   /* "padding": the bytes between tensors are zero, and nothing stands behind the last */
    LQ_CHECK_PAIR_ID,   /* "pair-id": both halves carry the same one */
    LQ_CHECK_CONTENT,   /* "content": the pair id is the hash of the data, so no bit of them has changed */
    LQ_CHECK_SUMS,      /* "sums": SHA-256 as recorded */
    LQ_CHECK_TENSORS,   /* "tensors": names and shapes are the original's */
    LQ_CHECK_METADATA,  /* "metadata": only keys that a quantisation changes differ from the original's */
    LQ_CHECK_ERROR,     /* "error": no tensor is farther from the original than asked */
    LQ_CHECKS
};

const char *lq_check_name(enum lq_check check);

enum lq_check_state { LQ_CHECK_SKIPPED, LQ_CHECK_PASSED, LQ_CHECK_FAILED };

struct lq_check_result {
    enum lq_check_state state;
    char note[160]; /* why it was skipped, or what was looked at */
};

/* A difference, or something that must not be: one sentence that begins with the file, without a full stop. */
struct lq_verify_finding {
    enum lq_check check;
    char *text;
};

/* How far a tensor is from the original. A block is 256 weights of a row; a shorter one at the row's end, and a row of
 * fewer weights, count as one. */
struct lq_verify_tensor {
    const struct lq_tensor *original; /* NULL: not compared (none there, another shape, or no weights to decode) */
    double error_sq, weight_sq;       /* sum (w - q)^2 and sum w^2; relative error = sqrt(error_sq / weight_sq) */
    double worst;                     /* largest relative error of a block; infinite where zeros became something */
    uint64_t worst_row, worst_column; /* where that block begins */
};

enum lq_change { LQ_CHANGE_ADDED, LQ_CHANGE_REMOVED, LQ_CHANGE_CHANGED };

/* A metadata key that differs from the original's. */
struct lq_verify_key {
    enum lq_half half;
    enum lq_change change;
    bool expected;   /* a quantisation writes it */
    const char *key; /* borrowed from a model */
};

struct lq_verify_options {
    const struct lq_model *original; /* GGUF or Hugging Face, opened with the same `only`; NULL: none */
    bool limit_error;                /* make tensors that are farther than max_error from the original findings */
    double max_error;                /* relative error; 0.05 is 5 % */
    const char *sums;                /* a file of SHA-256 sums as sha256sum writes them: checked where it exists, else
                                        written when nothing was found; NULL: none. Lines "#data SUM  NAME" hold the
                                        sums of the tensor data alone: from the first tensor to the file's end. Files
                                        are known by their names without folders. */
    unsigned threads;                /* 0: lq_cpu_count() */
    const struct lq_hooks *hooks;    /* may be NULL; progress and cancelled */
};

struct lq_verification {
    const struct lq_model *model; /* borrowed, like the original: both must outlive the verification */
    struct lq_check_result check[LQ_CHECKS];
    size_t n_findings;
    struct lq_verify_finding *findings;
    struct lq_verify_tensor *tensors[LQ_HALVES]; /* one per tensor of the half; all zero without an original */
    size_t n_keys;
    struct lq_verify_key *keys;
    bool sums_written;
};

/* `options` may be NULL. Errors: LQ_ERR_USAGE for a Hugging Face folder (only an original may be one), LQ_ERR_IO,
 * LQ_ERR_FORMAT for a malformed file of sums, LQ_ERR_MEMORY, LQ_ERR_CANCELLED. On failure *out is untouched. */
enum lq_status lq_verify_model(struct lq_verification **out, const struct lq_model *model,
                               const struct lq_verify_options *options, struct lq_error *err);
void lq_verification_free(struct lq_verification *verification);

#ifdef __cplusplus
}
#endif
#endif
