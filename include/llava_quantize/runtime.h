/* Running a pair: llama.cpp behind one narrow door.
 *
 * Enters: the two files of a pair, a picture, a question. Leaves: an answer in pieces, or log-probabilities.
 * Invariants: nothing unchecked reaches llama.cpp (both files pass our own reader first); greedy answers are
 * repeatable.
 *
 *     struct lq_runtime *rt = NULL;
 *     struct lq_runtime_options options = {.language = "m.gguf", .mmproj = "mmproj-m.gguf"};
 *     if (lq_runtime_open(&rt, &options, &err) == LQ_OK)
 *         lq_runtime_ask(rt, &(struct lq_question){.image = "cat.png", .text = "Well?"}, print_piece, NULL, &err);
 *     lq_runtime_free(rt);
 */
#ifndef LLAVA_QUANTIZE_RUNTIME_H
#define LLAVA_QUANTIZE_RUNTIME_H

#include "llava_quantize/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct lq_runtime;

struct lq_runtime_options {
    const char *language, *mmproj; /* paths */
    unsigned threads;              /* 0: lq_cpu_count(), 1 for a small language model; never more than lq_cpu_count() */
    uint32_t context;              /* tokens; 0: the model's own, at most 4096 */
    bool stock;                    /* leave LLaVA's tower as llama.cpp 0.5.0 runs it: with the class token behind the
                                      patches instead of before them, as CLIP is trained and as is done otherwise */
    const struct lq_hooks *hooks;  /* may be NULL; copied; receives llama.cpp's log lines at LQ_LOG_DEBUG */
};

struct lq_question {
    const char *image;   /* a PNG, JPEG, BMP or GIF file */
    const char *text;    /* the question, UTF-8 */
    const char *prompt;  /* a whole prompt holding "<image>" once, special tokens included, instead of `text` and the
                            template; NULL normally */
    uint32_t seed;       /* for temperature > 0 */
    float temperature;   /* 0: greedy */
    uint32_t max_tokens; /* 0: 256 */
};

/* One UTF-8 piece of the answer; return false to stop. */
typedef bool lq_piece_fn(void *data, const char *piece, size_t length);

enum lq_status lq_runtime_open(struct lq_runtime **out, const struct lq_runtime_options *options, struct lq_error *err);
void lq_runtime_free(struct lq_runtime *rt);

/* Answers one question; each call starts a fresh conversation. The prompt is the model's chat template where it has
 * one, else "USER:<image>\nQUESTION ASSISTANT:". Not thread-safe for one runtime. */
enum lq_status lq_runtime_ask(struct lq_runtime *rt, const struct lq_question *question, lq_piece_fn *piece, void *data,
                              struct lq_error *err);

/* Teacher-forced log-probabilities of `answer` and its end token after the question: *out (free with free()) holds
 * n_positions rows of n_vocab floats (natural logarithm), row i predicting answer token i; *tokens (free()) the
 * n_positions tokens, the last being the end token. */
struct lq_scores {
    float *logprobs;
    int32_t *tokens;
    size_t n_positions, n_vocab;
};
enum lq_status lq_runtime_score(struct lq_runtime *rt, const struct lq_question *question, const char *answer,
                                struct lq_scores *out, struct lq_error *err);
void lq_scores_release(struct lq_scores *scores);

/* What llama.cpp allocates beside a pair's weights, in bytes, when a client with its default settings (one sequence,
 * batches of 512, 16-bit keys and values, no GPU) opens it with a context of so many tokens. Its own figures, which
 * have two digits of MiB: rounded up. */
struct lq_footprint {
    uint32_t context;          /* tokens, as llama.cpp rounds them */
    uint64_t memory;           /* of the tokens: keys and values, or a state */
    uint64_t language, vision; /* computing, of either half */
    uint64_t output;           /* logits */
};
/* `options`: language, mmproj, context (0: the model's own, at most 4096) and hooks matter. Takes no memory for tokens
 * nor the language half's weights, whatever their size. The types of the weights change nothing, so that the original
 * tells for every quantised pair. Errors: LQ_ERR_USAGE for a missing half or a context above 2^22; those of
 * lq_runtime_open. On failure *out is untouched. */
enum lq_status lq_footprint_measure(struct lq_footprint *out, const struct lq_runtime_options *options,
                                    struct lq_error *err);
uint64_t lq_footprint_total(const struct lq_footprint *footprint);
/* What `memory` bytes leave for both files. LQ_ERR_USAGE when nothing is left: the message says what takes how much. */
enum lq_status lq_footprint_files(uint64_t *out, const struct lq_footprint *footprint, uint64_t memory,
                                  struct lq_error *err);

#ifdef __cplusplus
}
#endif
#endif
