/* Looking inside a model: what it holds, what its weights look like, what looks wrong and what to do about it.
 *
 * Enters: an opened model (open it with lq_model_options.lenient, so that halves which contradict each other can be
 * looked at too). Leaves: sums by role, the tokenizer's facts, findings, and on request statistics of every tensor.
 * Invariants: without `weights` no tensor data are read; with it memory stays bounded, and the numbers are the same for
 * any number of threads; a finding is information, never an error.
 *
 *     struct lq_inspection *seen = NULL;
 *     struct lq_inspect_options options = {.backend = LQ_BACKEND_NONE};
 *     if (lq_inspect(&seen, model, &options, &err) == LQ_OK)
 *         for (size_t i = 0; i < seen->n_findings; i++) puts(seen->findings[i].text);
 *     lq_inspection_free(seen);
 */
#ifndef LLAVA_QUANTIZE_INSPECT_H
#define LLAVA_QUANTIZE_INSPECT_H

#include "llava_quantize/calibrate.h"
#include "llava_quantize/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- metadata ---- */

enum lq_value_kind { LQ_VALUE_INTEGER, LQ_VALUE_NATURAL, LQ_VALUE_REAL, LQ_VALUE_TRUTH, LQ_VALUE_TEXT };

/* One metadata value, or one element of an array; the member that `kind` names holds it. */
struct lq_value {
    enum lq_value_kind kind;
    int64_t integer;
    uint64_t natural;
    double real;
    bool truth;
    const char *text; /* borrowed, not terminated, any bytes */
    size_t length;
};

struct lq_key {
    const char *name;
    const char *type; /* GGUF's name of the value's type, of the elements' for an array: "u32", "string", ... */
    bool array;
    uint64_t count;     /* elements of an array, else 1 */
    const void *origin; /* private to this room */
};

/* Keys of a half in file order. Everything is borrowed from the model. */
size_t lq_key_count(const struct lq_model_half *half);
struct lq_key lq_key_at(const struct lq_model_half *half, size_t i);
/* False when the half has no such key; *out is untouched then. */
bool lq_key_find(const struct lq_model_half *half, const char *name, struct lq_key *out);
/* Walks the values of a key: *at begins at 0 and moves. False behind the last. */
bool lq_key_next(const struct lq_key *key, uint64_t *at, struct lq_value *out);

/* ---- the whole ---- */

/* The backends whose treatment of types is known; see lq_inspect_options. */
enum lq_backend { LQ_BACKEND_NONE = -1, LQ_BACKEND_CPU, LQ_BACKEND_CUDA, LQ_BACKEND_METAL, LQ_BACKEND_VULKAN };

struct lq_inspect_options {
    bool weights;                 /* read all weights too */
    unsigned threads;             /* for `weights`; 0: lq_cpu_count() */
    enum lq_backend backend;      /* tell which types this backend of llama.cpp handles badly */
    const struct lq_hooks *hooks; /* may be NULL; progress and cancelled, for `weights` */
};

struct lq_role_sum {
    size_t tensors;
    uint64_t weights, bytes; /* bits per weight: bytes * 8 / weights */
    uint64_t types;          /* bit i: some tensor has ggml type i */
};

struct lq_tokenizer_facts {
    bool present;     /* everything below counts only then */
    char model[32];   /* "llama", "gpt2", ... */
    uint64_t tokens;  /* 0: the list is missing */
    int64_t bos, eos; /* -1: not given */
    bool chat_template;
};

/* Statistics of one tensor's weights. A row is ne[0] weights. */
struct lq_weight_stats {
    bool measured;     /* false: the type holds no weights, or a row is longer than LQ_INSPECT_LONGEST_ROW */
    float min, max;    /* of the finite weights; 0 when there are none */
    double rms;        /* root mean square of the finite weights */
    uint64_t weights;  /* all of them */
    uint64_t outliers; /* finite weights farther from zero than 6 rms */
    uint64_t nan, infinite;
    uint64_t dead_rows; /* rows of zeros alone; counted in matrices only, as a bias of zeros is nothing odd */
};

enum { LQ_INSPECT_LONGEST_ROW = 1 << 22 }; /* weights */

/* Something that looks wrong. Ids are stable:
 *   feature-layer-missing   a LLaVA tower without clip.vision.feature_layer
 *   widths-differ           the projector's output is not as wide as the language model
 *   pair-ids-differ         the halves come from two runs
 *   vector-type             norms, biases or the class embedding in another type than f32
 *   table-quantised         patch or position embedding, or another tensor that is never multiplied, quantised
 *   padding-possible        a vision feed-forward kept wide because its rows do not divide into blocks of 32
 *   backend-type            a type that the named backend does not multiply by as it should
 *   not-finite              NaN or infinite weights (only with `weights`)
 *   dead-rows               rows of zeros (only with `weights`)
 */
struct lq_finding {
    const char *id;
    int half;           /* enum lq_half; LQ_HALVES: the pair */
    const char *tensor; /* the first tensor concerned, or NULL */
    size_t tensors;     /* how many */
    char text[512];     /* one sentence, without a full stop */
    char remedy[512];   /* what to do, likewise */
};

struct lq_inspection {
    const struct lq_model *model; /* borrowed: must outlive the inspection */
    struct lq_role_sum role[LQ_HALVES][LQ_ROLES], half[LQ_HALVES], total;
    struct lq_tokenizer_facts tokenizer;      /* of the language half */
    struct lq_weight_stats *stats[LQ_HALVES]; /* one per tensor of the half; NULL without `weights` */
    size_t n_findings;
    struct lq_finding *findings;
};

/* Errors: LQ_ERR_IO, LQ_ERR_MEMORY, LQ_ERR_CANCELLED. On failure *out is untouched. */
enum lq_status lq_inspect(struct lq_inspection **out, const struct lq_model *model,
                          const struct lq_inspect_options *options, struct lq_error *err);
void lq_inspection_free(struct lq_inspection *inspection);

/* ---- statistics files ---- */

enum { LQ_STATS_WORST = 3 };

struct lq_stats_column {
    uint64_t expert, column;
    double ratio; /* to the median of its expert's columns */
};

/* What a statistics file knows of one matrix. Columns are counted over all its experts; a plain matrix is one expert.
 * Kinds of tokens: 0 of a picture, 1 of text behind a picture, 2 of text without one. */
struct lq_stats_matrix {
    const char *name, *input;       /* borrowed; `input`: the matrix under whose name the input that it shares stands */
    const struct lq_tensor *tensor; /* of the model compared with, or NULL */
    enum lq_half half;              /* without a model told from the name */
    uint64_t columns, experts;      /* columns of one expert */
    double tokens, fewest;          /* of all experts, of the one with the fewest; 0: the file does not say */
    double kind[3];                 /* tokens of each kind; 0 in llama.cpp's files */
    uint64_t few;                   /* experts with fewer than 64 tokens: too few */
    uint64_t dead, outliers;        /* columns that met nothing but zeros; far above the others: see below */
    double ratio;                   /* of the largest column to the median of its expert's */
    size_t n_worst;
    struct lq_stats_column worst[LQ_STATS_WORST]; /* outliers, the largest first */
    uint64_t moment_bytes;                        /* of the second moments of its input; 0: none */
};

/* A column is an outlier when the logarithm of its mean square is more than six robust deviations (1.4826 times the
 * median distance from the median) above the median of its expert's, and itself ten times the median. */
struct lq_stats_inspection {
    const struct lq_stats *stats; /* borrowed, as are the model's tensors and paths */
    const struct lq_model *model; /* NULL: compared with none */
    bool ours, legacy;            /* made by `calibrate`; the older binary form; neither: llama.cpp's GGUF form */
    const char *pair;             /* pair id, or "" */
    uint64_t chunks, done, total; /* chunks as llama.cpp counts; records and windows done of all, 0 in its files */
    bool uneven;                  /* an unfinished run whose second moments do not count yet */
    double weights[3];            /* of a token of each kind; 0 in llama.cpp's files */
    size_t n_datasets, n_matrices, n_missing;
    char **datasets;                  /* owned */
    struct lq_stats_matrix *matrices; /* by name */
    const struct lq_tensor **missing; /* matrices of the model without data, the token embedding apart */
    uint64_t moment_bytes;            /* of all second moments */
    size_t measured[2];               /* what planning kept there: errors of tensors in types, divergences */
};

/* `model`: NULL, or one that lq_stats_check has passed. Errors: LQ_ERR_IO, LQ_ERR_FORMAT, LQ_ERR_MEMORY; *out is
 * untouched then. */
enum lq_status lq_stats_inspect(struct lq_stats_inspection **out, const struct lq_stats *stats,
                                const struct lq_model *model, struct lq_error *err);
void lq_stats_inspection_free(struct lq_stats_inspection *inspection);

/* ---- the missing feature layer ---- */

/* What the tower computes without and with the key clip.vision.feature_layer. */
struct lq_feature_layer {
    uint32_t blocks;  /* in the file */
    uint32_t run_now; /* blocks that llama.cpp runs today */
    uint32_t value;   /* what the key would say: the blocks that it would run */
};

/* Whether the key can be added to the model's vision half. Errors: LQ_ERR_USAGE, with the reason: no vision half, no
 * LLaVA CLIP tower, the key is there, or the tower is a whole CLIP, of which llama.cpp rightly leaves out the last
 * block. */
enum lq_status lq_feature_layer_check(const struct lq_model *model, struct lq_feature_layer *out, struct lq_error *err);

/* Writes the vision half with the key to `path`; every tensor's bytes and every other key stay as they are, the pair id
 * too, since it is a hash of tensors: the result still pairs with its language half. Of `hooks` cancelled and progress
 * count. Errors: those of lq_feature_layer_check, LQ_ERR_USAGE (`path` exists and `force` is not given, or is the
 * input), LQ_ERR_IO, LQ_ERR_CANCELLED; nothing is left at `path` then, or what was there. */
enum lq_status lq_feature_layer_fix(const struct lq_model *model, const char *path, bool force,
                                    const struct lq_hooks *hooks, struct lq_error *err);

#ifdef __cplusplus
}
#endif
#endif
