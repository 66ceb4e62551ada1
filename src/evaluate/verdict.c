#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "llava_quantize/evaluate.h"

/* docs/rooms/evaluate.md tells the same to people. */
enum grade { SAME, KEEPS, UNSURE, LITTLE, VISIBLE, BROKEN };

struct bounds {
    double agreement, kl; /* at least, at most */
    double lost; /* at most: share of questions lost beyond those gained, where the test says it is no chance */
};

/* What each grade still allows, by answer tokens and by text tokens. */
static const struct bounds answer_bounds[] = {
    [KEEPS] = {0.98, 0.02, 0}, [LITTLE] = {0.95, 0.1, 0.02}, [VISIBLE] = {0.7, 1, 0.2}};
static const struct bounds text_bounds[] = {
    [KEEPS] = {0.95, 0.02, 0}, [LITTLE] = {0.9, 0.1, 0}, [VISIBLE] = {0.6, 1, 0}};
static const double chance = 0.05;

static const char *const seeing[] = {
    [SAME] = "answers exactly as the original",
    [KEEPS] = "keeps what the original sees",
    [UNSURE] = "shows no clear loss, but this is too little data to be sure",
    [LITTLE] = "loses a little of what the original sees",
    [VISIBLE] = "visibly loses what the original sees",
    [BROKEN] = "is broken",
};
static const char *const writing[] = {
    [SAME] = "writes exactly as the original",
    [KEEPS] = "keeps how the original writes",
    [UNSURE] = "shows no clear loss on text, but this is too little data to be sure",
    [LITTLE] = "loses a little on text",
    [VISIBLE] = "visibly loses on text",
    [BROKEN] = "is broken on text",
};
static const char *const advice[] = {
    [SAME] = "",
    [KEEPS] = "",
    [UNSURE] = "; ask more questions",
    [LITTLE] = "; look at the changed answers before you use it",
    [VISIBLE] = "; use more bits",
    [BROKEN] = "; do not use it",
};

static bool within(const struct bounds *b, double agreement, double kl, double lost)
{
    return agreement >= b->agreement && kl <= b->kl && lost <= b->lost;
}

/* The share of questions lost on balance, 0 where chance explains it. */
static double real_loss(const struct lq_answers *a)
{
    if (a->questions == 0 || a->lost <= a->gained || !(a->p < chance)) return 0;
    return (double)(a->lost - a->gained) / (double)a->questions;
}

static enum grade grade_of(const struct lq_divergence *d, const struct bounds *bounds, double lost)
{
    if (d->kl_max == 0 && d->agreement.value == 1) return SAME;
    if (within(&bounds[KEEPS], d->agreement.low, d->kl.high, lost)) return KEEPS;
    if (within(&bounds[KEEPS], d->agreement.value, d->kl.value, lost)) return UNSURE;
    if (within(&bounds[LITTLE], d->agreement.value, d->kl.value, lost)) return LITTLE;
    return within(&bounds[VISIBLE], d->agreement.value, d->kl.value, lost) ? VISIBLE : BROKEN;
}

/* Rounded down, so that 100 means all. */
static double percent(double share)
{
    return floor(share * 1000 + 1e-9) / 10;
}

static uint64_t bytes_of(const struct lq_half_facts *halves)
{
    double sum = (double)halves[LQ_VISION].bytes + (double)halves[LQ_LANGUAGE].bytes;
    return sum < 1e18 ? (uint64_t)sum : 0;
}

static void put_size(FILE *out, const struct lq_evaluation *e)
{
    uint64_t original = bytes_of(e->original), pair = bytes_of(e->pair);
    if (original > 0 && pair > 0) fprintf(out, ", at %.3g %% of its size", 100 * (double)pair / (double)original);
}

static void put_tokens(FILE *out, const struct lq_divergence *d, const char *what)
{
    if (d->agreement.value == 1) fprintf(out, "all %" PRIu64 " %s tokens agree", d->tokens, what);
    else fprintf(out, "%.1f %% of %" PRIu64 " %s tokens agree", percent(d->agreement.value), d->tokens, what);
}

static void put_flips(FILE *out, const struct lq_answers *a)
{
    if (a->questions == 0) return;
    if (a->lost + a->gained == 0) fprintf(out, ", none of %" PRIu64 " answers turned wrong or right", a->questions);
    else
        fprintf(out, ", %" PRIu64 " of %" PRIu64 " answers turned wrong and %" PRIu64 " right", a->lost, a->questions,
                a->gained);
}

static void put_seeing(FILE *out, const struct lq_evaluation *e)
{
    const struct lq_arm_result *arm = &e->arm[LQ_ARM_BOTH];
    enum grade grade = grade_of(&arm->answer, answer_bounds, real_loss(&arm->answers));
    fprintf(out, "%s: ", seeing[grade]);
    put_tokens(out, &arm->answer, "answer");
    put_flips(out, &arm->answers);
    put_size(out, e);
    fputs(advice[grade], out);
}

static void put_writing(FILE *out, const struct lq_evaluation *e)
{
    const struct lq_divergence *d = &e->arm[LQ_ARM_BOTH].text;
    enum grade grade = grade_of(d, text_bounds, 0);
    fprintf(out, "%s: ", writing[grade]);
    put_tokens(out, d, "text");
    fprintf(out, ", mean KL %.3g, perplexity %.4g times the original's", d->kl.value, d->perplexity_ratio.value);
    put_size(out, e);
    fputs("; what it sees was not measured", out);
}

static void put_alone(FILE *out, const struct lq_evaluation *e)
{
    const struct lq_arm_result *arm = &e->arm[LQ_ARM_BOTH];
    if (arm->answers.questions > 0)
        fprintf(out, "answers %.1f %% of %" PRIu64 " questions exactly", percent(arm->answers.exact.value),
                arm->answers.questions);
    else if (arm->text.tokens > 0)
        fprintf(out, "has a perplexity of %.4g on %" PRIu64 " tokens of text", arm->text.perplexity.value,
                arm->text.tokens);
    else fputs("was measured on nothing", out);
    fputs("; what it lost is not known without its original", out);
}

enum lq_status lq_evaluation_verdict(char **out, const struct lq_evaluation *evaluation, struct lq_error *err)
{
    const struct lq_arm_result *arm = &evaluation->arm[LQ_ARM_BOTH];
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    if (file != NULL) {
        fprintf(file, "%s ", evaluation->name == NULL ? "the pair" : evaluation->name);
        if (!isnan(arm->answer.kl.value)) put_seeing(file, evaluation);
        else if (!isnan(arm->text.kl.value)) put_writing(file, evaluation);
        else put_alone(file, evaluation);
    }
    bool failed = file == NULL || ferror(file) != 0;
    if ((file != NULL && fclose(file) != 0) || failed) {
        free(text);
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a verdict");
    }
    *out = text;
    return LQ_OK;
}
