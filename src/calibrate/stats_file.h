/* What a statistics file holds: names, shapes and meanings, for those who write it and those who read it.
 *
 * It is a GGUF file of llama.cpp's imatrix form (general.type = "imatrix", imatrix.datasets, imatrix.chunk_count,
 * imatrix.chunk_size; llama-quantize accepts it and ignores what it does not know), with more beside it. For every
 * matrix W that was multiplied, of n columns and E experts (1 for a plain matrix):
 *
 *     W.in_sum2   f32 [n, E]        sum over tokens of c x^2, c the token's weight
 *     W.counts    f32 [1, E]        sum of c, scaled together with in_sum2 so that it is the whole number of tokens
 *     W.moments   f64 [n, 2, 3, E]  sum x and sum x^2 over tokens (all of weight 1), of each kind
 *     W.tokens    f64 [3, E]        tokens of each kind
 *     W.weighted  f64 [n + 1, E]    sum c x^2, and last sum c: what in_sum2 and counts are made of
 * and for the first W of those that share an input, where asked for:
 *     W.hessian   f32 [n (n + 1) / 2, E]  sum c x x', row i of the lower triangle behind row i - 1
 *     W.spread    f64 [2, E]              sum c^2 |x|^4, sum c^2: how far single tokens are from the mean of them
 *
 * Sums in f64 and f32 are the accumulators themselves, so that a later run can go on from them to the same bytes.
 * Kinds: 0 picture (every token of the vision half, a picture's tokens in the language half), 1 text behind a picture,
 * 2 text without one before it. A member W of a shared input has its own in_sum2 and counts; moments, tokens, weighted,
 * hessian and spread stand with the first alone.
 */
#ifndef LQ_CALIBRATE_STATS_FILE_H
#define LQ_CALIBRATE_STATS_FILE_H

enum lq_kind { LQ_KIND_PICTURE, LQ_KIND_AFTER, LQ_KIND_TEXT, LQ_KINDS };

#define LQ_STATS_SUMS ".in_sum2"
#define LQ_STATS_COUNTS ".counts"
#define LQ_STATS_MOMENTS ".moments"
#define LQ_STATS_TOKENS ".tokens"
#define LQ_STATS_WEIGHTED ".weighted"
#define LQ_STATS_HESSIAN ".hessian"
#define LQ_STATS_SPREAD ".spread"

/* Metadata. */
#define LQ_STATS_KEY_VERSION "llava_quantize.statistics.version" /* u32 */
#define LQ_STATS_KEY_PAIR "llava_quantize.statistics.pair"       /* string: the pair id, "" of a pair without one */
#define LQ_STATS_KEY_MEMBERS "llava_quantize.statistics.members" /* strings: matrices that share an input ... */
#define LQ_STATS_KEY_FIRSTS "llava_quantize.statistics.firsts"   /* ... and the first one of each, in the same order */
#define LQ_STATS_KEY_DONE "llava_quantize.statistics.done"       /* u64: records and windows finished ... */
#define LQ_STATS_KEY_TOTAL "llava_quantize.statistics.total"     /* u64: ... of so many */
#define LQ_STATS_KEY_REACHED "llava_quantize.statistics.reached" /* u64 each, in unfinished files: see stats_save.c */
#define LQ_STATS_KEY_TERMS "llava_quantize.statistics.terms" /* string: all that decides the numbers, for --resume */
#define LQ_STATS_KEY_WEIGHTS "llava_quantize.statistics.weights" /* f64 x 3: c of a token of each kind, before caps */
/* What planning measured (measurements.h), of each of two kinds KEY: KEY.terms, a text of all that decides the numbers;
 * KEY.names, strings in ascending order; KEY.values, three f64 for each. */
#define LQ_STATS_KEY_ERRORS "llava_quantize.measured.errors"
#define LQ_STATS_KEY_DIVERGENCES "llava_quantize.measured.divergences"

enum {
    LQ_STATS_VERSION = 1,
    LQ_STATS_FEW = 64, /* fewer tokens are too few: see lq_stats_load */
};

#endif
