/* Evaluating a pair: how far it is from its original on real pictures and on text, which answers changed, at what cost.
 *
 * Enters: a pair, its original (or none), a data set of questions about pictures, a text. Leaves: one
 * `struct lq_evaluation`, which can be saved as JSON, loaded again, and handed to the report.
 * Invariants: both pairs run side by side in the same runtime and are compared token by token in place, so nothing is
 * stored but what is printed; figures are the same from run to run (speed, memory and time apart); a pair against
 * itself gives exactly zero; what was not measured is NaN in memory and null in JSON.
 *
 *     struct lq_evaluation *e = NULL;
 *     struct lq_evaluate_options options = {.pair = {"m-q4.gguf", "mmproj-m-q4.gguf"},
 *                                           .original = {"m.gguf", "mmproj-m.gguf"}, .data = data};
 *     if (lq_evaluate(&e, &options, &err) == LQ_OK)
 *         printf("%g\n", e->arm[LQ_ARM_BOTH].answer.kl.value);
 *     lq_evaluation_free(e);
 *
 * Definitions. KL is the mean over tokens of sum_v p(v) ln(p(v) / q(v)), p the original's and q the pair's
 * distribution, in nats. Answer tokens are those of the right answer and its end token after the picture and the
 * question (teacher forcing). Text is cut into windows of `window` tokens, of whose second half the
 * tokens count, as llama-perplexity does it. Agreement is the share of tokens whose likeliest token is the same.
 * dp is the change of the right token's probability, q - p. Exact means that the greedy answer equals one of the given
 * ones but for white space around it; VQA is the soft accuracy of the VQA data set with its normalisation. Intervals
 * are 95 % bootstrap intervals over pictures (over windows for text), not over tokens.
 */
#ifndef LLAVA_QUANTIZE_EVALUATE_H
#define LLAVA_QUANTIZE_EVALUATE_H

#include "llava_quantize/dataset.h"
#include "llava_quantize/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A value and its 95 % interval; NaN where not measured. */
struct lq_estimate {
    double value, low, high;
};

enum { LQ_DP_PERCENTILES = 7 };
extern const double lq_dp_percentiles[LQ_DP_PERCENTILES]; /* 0.1 1 5 50 95 99 99.9, per cent */

/* One pair's token distributions against the original's. Without an original only tokens and perplexity are given. */
struct lq_divergence {
    uint64_t tokens; /* 0: not measured */
    struct lq_estimate kl;
    double kl_median, kl_p90, kl_p99, kl_p999, kl_max;
    struct lq_estimate agreement; /* share, 0 .. 1 */
    struct lq_estimate dp;        /* mean */
    double dp_rms, dp_at[LQ_DP_PERCENTILES];
    double perplexity_original;
    struct lq_estimate perplexity;       /* of the pair */
    struct lq_estimate perplexity_ratio; /* pair to original */
};

/* Greedy answers against the right ones, and against the original's. */
struct lq_answers {
    uint64_t questions;                                          /* 0: not measured */
    struct lq_estimate exact_original, exact, vqa_original, vqa; /* shares */
    uint64_t lost, gained;                                       /* flips: right became wrong, wrong became right */
    uint64_t changed; /* answers that are not the original's, flips included */
    double p;         /* McNemar's exact two-sided test of lost against gained; 1 when there are none */
};

/* One half swapped at a time. LQ_ARM_BOTH is the pair itself. */
enum lq_arm { LQ_ARM_BOTH, LQ_ARM_LANGUAGE, LQ_ARM_VISION, LQ_ARMS };
const char *lq_arm_name(enum lq_arm arm); /* "both", "language", "vision" */

struct lq_arm_result {
    bool measured;
    struct lq_divergence answer, text; /* text stays unmeasured for LQ_ARM_VISION, which cannot change it */
    struct lq_answers answers;
};

/* The same figures of the pair for the questions of one `kind`. */
struct lq_kind_result {
    char *kind;
    struct lq_divergence answer;
    struct lq_answers answers;
};

/* One question of the data set (one turn), for looking at. */
struct lq_question_result {
    char *id, *image, *kind, *question, *right; /* `right`: the answer that was teacher-forced */
    char *answer_original, *answer;             /* greedy; answer_original NULL without an original */
    bool exact_original, exact;
    double vqa_original, vqa;
    uint64_t tokens;
    double kl, agreement; /* means over its tokens */
};

/* One picture through both projectors. */
struct lq_picture_result {
    char *image;
    double cosine;         /* between the two outputs, all tokens as one vector */
    double cosine_min;     /* of the worst token */
    double relative_error; /* |difference| / |original's output| */
};

struct lq_embedding {
    uint64_t pictures; /* 0: not measured */
    double cosine_min, cosine_p1, cosine_mean;
    double error_mean, error_p99, error_max;
};

/* One half of one pair. */
struct lq_half_facts {
    char *path;       /* NULL: not given */
    uint64_t bytes;   /* of its files */
    uint64_t weights; /* of its tensors */
    double bpw;       /* tensor data bits per weight */
    char *recipe;     /* llava_quantize.recipe, or NULL */
    char sha256[65];  /* of its first file; "" where not computed */
};

/* Speed and memory of one pair; they differ from run to run. */
struct lq_speed {
    double tokens_per_second, pictures_per_second;
    uint64_t memory; /* bytes that opening and running it took */
};

/* One tensor of the pair, for the map of tensors. */
struct lq_tensor_result {
    char *name;
    enum lq_half half;
    enum lq_role role;
    int block;
    enum lq_type type;
    double error; /* relative, against the original's weights; NaN where not compared */
    char *reason; /* from the plan; NULL where none was given */
};

struct lq_provenance {
    char *command;                             /* as typed; NULL from the library */
    char *data, *data_hash, *text, *text_hash; /* NULL where not used; hashes XXH3-128 of the file */
    uint64_t pictures, records, broken, seed, limit;
    uint64_t text_windows, window;
    char *version, *runtime; /* of this program, "llama.cpp 0.5.0" */
    char *cpu;               /* the processor's name */
    unsigned threads;
    double seconds;       /* of the whole evaluation */
    uint64_t peak_memory; /* of the process, bytes */
    bool stock;
};

struct lq_evaluation {
    char *name;          /* for tables and plots: the pair's recipe, else its file name */
    char *original_name; /* NULL without an original */
    struct lq_half_facts pair[LQ_HALVES], original[LQ_HALVES];
    struct lq_arm_result arm[LQ_ARMS];
    struct lq_embedding embedding;
    struct lq_speed speed, speed_original;
    size_t n_kinds;
    struct lq_kind_result *kinds; /* by name; none where the data set names none */
    size_t n_questions;
    struct lq_question_result *questions; /* in the data set's order */
    size_t n_pictures;
    struct lq_picture_result *pictures;
    size_t n_tensors;
    struct lq_tensor_result *tensors; /* vision first, file order */
    struct lq_provenance provenance;
};

struct lq_pair_paths {
    const char *language, *mmproj;
};

struct lq_evaluate_options {
    struct lq_pair_paths pair, original; /* original.language NULL: accuracy and perplexity alone */
    const struct lq_dataset *data;       /* NULL: text alone */
    const char *text;                    /* a UTF-8 file; NULL: pictures alone */
    const char *plan;                    /* the pair's plan file, for the reasons of its types; NULL: none */
    bool by_half;                        /* measure LQ_ARM_LANGUAGE and LQ_ARM_VISION too */
    bool strict;                         /* a picture that cannot be read is an error */
    bool stock;                          /* see struct lq_runtime_options */
    uint32_t window;                     /* tokens of a text window; 0: 512, or the model's context if shorter */
    uint32_t max_tokens;                 /* of a greedy answer; 0: twice the right answer's and 16 more */
    unsigned threads;                    /* 0: lq_cpu_count(), 1 for small models */
    uint64_t seed;                       /* recorded; the bootstrap's own seed is fixed */
    size_t limit;                        /* recorded: what the data set was loaded with; at most that many windows of
                                            the text too; 0: all */
    const char *command;                 /* recorded; may be NULL */
    const struct lq_hooks *hooks;        /* may be NULL */
};

/* Errors: LQ_ERR_USAGE (neither data nor text; vocabularies or widths that differ; a text shorter than a window),
 * LQ_ERR_FORMAT (more than a tenth of the pictures or records unusable, any with `strict`), and those of the runtime.
 * On failure *out is untouched. */
enum lq_status lq_evaluate(struct lq_evaluation **out, const struct lq_evaluate_options *options, struct lq_error *err);
void lq_evaluation_free(struct lq_evaluation *evaluation);

/* One sentence that a person can act on, without a full stop at its end; *out: free(). */
enum lq_status lq_evaluation_verdict(char **out, const struct lq_evaluation *evaluation, struct lq_error *err);

/* The documented JSON object (docs/output.md), indented, ending in a line feed; *out: free(). */
enum lq_status lq_evaluation_to_json(char **out, size_t *size, const struct lq_evaluation *evaluation,
                                     struct lq_error *err);
/* The same into a file, whole or not at all. Errors: LQ_ERR_IO (what stood at `path` stays), LQ_ERR_MEMORY. */
enum lq_status lq_evaluation_save(const struct lq_evaluation *evaluation, const char *path, struct lq_error *err);
/* Reads what lq_evaluation_to_json wrote; unknown members are let pass, missing ones are not measured. Errors:
 * LQ_ERR_IO, LQ_ERR_FORMAT naming the file and the member. On failure *out is untouched. */
enum lq_status lq_evaluation_load(struct lq_evaluation **out, const char *path, struct lq_error *err);

#ifdef __cplusplus
}
#endif
#endif
