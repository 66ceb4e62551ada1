/* Is an answer right: exactly, and by the VQA data set's soft measure.
 *
 * Source: the evaluation code of the VQA data set (Antol et al. 2015, https://visualqa.org/evaluation.html): lower case,
 * articles, contractions, number words and punctuation normalised, then min(matches / 3, 1), averaged over the answers
 * left out one at a time. Fewer than four answers: matches / min(3, answers), at most 1. As in that code, a period goes
 * unless a digit follows, other marks go altogether where one stands beside a space or commas group digits, and else
 * become spaces; unlike it, answers are normalised even when all people agree. Letters beyond ASCII stay as they are.
 */
#ifndef LQ_EVALUATE_JUDGE_H
#define LQ_EVALUATE_JUDGE_H

#include "llava_quantize/dataset.h"

/* Equal to one of the answers but for white space at both ends. */
bool lq_judge_exact(const char *answer, const struct lq_turn *turn);
/* 0 .. 1. LQ_ERR_MEMORY. */
enum lq_status lq_judge_vqa(double *out, const char *answer, const struct lq_turn *turn, struct lq_error *err);
/* The official normalisation; *out: free(). */
enum lq_status lq_vqa_normalise(char **out, const char *answer, struct lq_error *err);

#endif
