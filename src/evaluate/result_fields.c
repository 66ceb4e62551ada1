#include "evaluate/result_fields.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "llava_quantize/evaluate.h"

#define AT(type, member) offsetof(struct type, member)
#define COUNT_OF(list) (sizeof(list) / sizeof *(list))
#define TABLE(list) \
    { \
        COUNT_OF(list), list \
    }
#define NUMBER(json, where, lowest, highest) \
    { \
        .name = (json), .offset = (where), .low = (lowest), .high = (highest) \
    }
#define FIELD(json, which, where) \
    { \
        .name = (json), .kind = LQ_FIELD_##which, .offset = (where) \
    }
#define GROUP(json, table) \
    { \
        .name = (json), .kind = LQ_FIELD_OBJECT, .inner = &(table) \
    }
#define OBJECT(json, where, table) \
    { \
        .name = (json), .kind = LQ_FIELD_OBJECT, .offset = (where), .inner = &(table) \
    }
#define LIST(json, type, member, number, table) \
    { \
        .name = (json), .kind = LQ_FIELD_LIST, .offset = AT(type, member), .guard = AT(type, number), \
        .inner = &(table), .size = sizeof *((struct type *)NULL)->member \
    }
/* A plain number with its interval beside it. */
#define ESTIMATE(json, where, lowest, highest) \
    NUMBER(json, (where) + AT(lq_estimate, value), lowest, highest), \
        NUMBER(json "_low", (where) + AT(lq_estimate, low), lowest, highest), \
        NUMBER(json "_high", (where) + AT(lq_estimate, high), lowest, highest)

/* ---- divergence ---- */

static const struct lq_field kl[] = {
    NUMBER("mean", AT(lq_divergence, kl.value), 0, INFINITY),
    NUMBER("low", AT(lq_divergence, kl.low), 0, INFINITY),
    NUMBER("high", AT(lq_divergence, kl.high), 0, INFINITY),
    NUMBER("median", AT(lq_divergence, kl_median), 0, INFINITY),
    NUMBER("p90", AT(lq_divergence, kl_p90), 0, INFINITY),
    NUMBER("p99", AT(lq_divergence, kl_p99), 0, INFINITY),
    NUMBER("p999", AT(lq_divergence, kl_p999), 0, INFINITY),
    NUMBER("max", AT(lq_divergence, kl_max), 0, INFINITY),
};
static const struct lq_fields kl_table = TABLE(kl);

static const struct lq_field dp[] = {
    NUMBER("mean", AT(lq_divergence, dp.value), -1, 1), NUMBER("low", AT(lq_divergence, dp.low), -1, 1),
    NUMBER("high", AT(lq_divergence, dp.high), -1, 1),  NUMBER("rms", AT(lq_divergence, dp_rms), 0, 1),
    NUMBER("p001", AT(lq_divergence, dp_at[0]), -1, 1), NUMBER("p01", AT(lq_divergence, dp_at[1]), -1, 1),
    NUMBER("p05", AT(lq_divergence, dp_at[2]), -1, 1),  NUMBER("p50", AT(lq_divergence, dp_at[3]), -1, 1),
    NUMBER("p95", AT(lq_divergence, dp_at[4]), -1, 1),  NUMBER("p99", AT(lq_divergence, dp_at[5]), -1, 1),
    NUMBER("p999", AT(lq_divergence, dp_at[6]), -1, 1),
};
static const struct lq_fields dp_table = TABLE(dp);

static const struct lq_field perplexity[] = {
    NUMBER("original", AT(lq_divergence, perplexity_original), 1, INFINITY),
    ESTIMATE("quantised", AT(lq_divergence, perplexity), 1, INFINITY),
    ESTIMATE("ratio", AT(lq_divergence, perplexity_ratio), 0, INFINITY),
};
static const struct lq_fields perplexity_table = TABLE(perplexity);

/* ---- answers ---- */

static const struct lq_field exact[] = {
    ESTIMATE("original", AT(lq_answers, exact_original), 0, 1),
    ESTIMATE("quantised", AT(lq_answers, exact), 0, 1),
};
static const struct lq_fields exact_table = TABLE(exact);

static const struct lq_field vqa[] = {
    ESTIMATE("original", AT(lq_answers, vqa_original), 0, 1),
    ESTIMATE("quantised", AT(lq_answers, vqa), 0, 1),
};
static const struct lq_fields vqa_table = TABLE(vqa);

static const struct lq_field flips[] = {
    FIELD("lost", COUNT, AT(lq_answers, lost)),
    FIELD("gained", COUNT, AT(lq_answers, gained)),
    FIELD("changed", COUNT, AT(lq_answers, changed)),
    NUMBER("p", AT(lq_answers, p), 0, 1),
};
static const struct lq_fields flips_table = TABLE(flips);

/* ---- an arm: by measure first, then after pictures ("answer") and on text ---- */

#define DIVERGENCES(name, table) \
    static const struct lq_field arm_##name[] = {OBJECT("answer", AT(lq_arm_result, answer), table), \
                                                 OBJECT("text", AT(lq_arm_result, text), table)}; \
    static const struct lq_fields arm_##name##_table = TABLE(arm_##name); \
    static const struct lq_field kind_##name[] = {OBJECT("answer", AT(lq_kind_result, answer), table)}; \
    static const struct lq_fields kind_##name##_table = TABLE(kind_##name)

DIVERGENCES(kl, kl_table);
DIVERGENCES(dp, dp_table);
DIVERGENCES(perplexity, perplexity_table);

static const struct lq_field arm_agreement[] = {
    ESTIMATE("answer", AT(lq_arm_result, answer.agreement), 0, 1),
    ESTIMATE("text", AT(lq_arm_result, text.agreement), 0, 1),
};
static const struct lq_fields arm_agreement_table = TABLE(arm_agreement);

static const struct lq_field kind_agreement[] = {ESTIMATE("answer", AT(lq_kind_result, answer.agreement), 0, 1)};
static const struct lq_fields kind_agreement_table = TABLE(kind_agreement);

static const struct lq_field arm_counts[] = {
    FIELD("questions", COUNT, AT(lq_arm_result, answers.questions)),
    FIELD("answer_tokens", COUNT, AT(lq_arm_result, answer.tokens)),
    FIELD("text_tokens", COUNT, AT(lq_arm_result, text.tokens)),
};
static const struct lq_fields arm_counts_table = TABLE(arm_counts);

static const struct lq_field kind_counts[] = {
    FIELD("questions", COUNT, AT(lq_kind_result, answers.questions)),
    FIELD("answer_tokens", COUNT, AT(lq_kind_result, answer.tokens)),
};
static const struct lq_fields kind_counts_table = TABLE(kind_counts);

#define MEASURES(of) \
    GROUP("counts", of##_counts_table), GROUP("kl", of##_kl_table), GROUP("agreement", of##_agreement_table), \
        GROUP("dp", of##_dp_table), GROUP("perplexity", of##_perplexity_table), \
        OBJECT("exact", AT(lq_##of##_result, answers), exact_table), \
        OBJECT("vqa", AT(lq_##of##_result, answers), vqa_table), \
        OBJECT("flips", AT(lq_##of##_result, answers), flips_table)

static const struct lq_field arm[] = {MEASURES(arm)};
static const struct lq_fields arm_table = TABLE(arm);

#define ARM(json, which) \
    { \
        .name = (json), .kind = LQ_FIELD_IF_TRUE, .offset = AT(lq_evaluation, arm[which]), \
        .guard = AT(lq_evaluation, arm[which].measured), .inner = &arm_table \
    }
static const struct lq_field by_half[] = {ARM("language", LQ_ARM_LANGUAGE), ARM("vision", LQ_ARM_VISION)};
static const struct lq_fields by_half_table = TABLE(by_half);

static const struct lq_field kind[] = {FIELD("kind", TEXT, AT(lq_kind_result, kind)), MEASURES(kind)};
static const struct lq_fields kind_table = TABLE(kind);

/* ---- files ---- */

static const struct lq_field facts[] = {
    FIELD("path", TEXT, AT(lq_half_facts, path)),         FIELD("bytes", COUNT, AT(lq_half_facts, bytes)),
    FIELD("weights", COUNT, AT(lq_half_facts, weights)),  NUMBER("bpw", AT(lq_half_facts, bpw), 0, INFINITY),
    FIELD("recipe", OPTIONAL, AT(lq_half_facts, recipe)), FIELD("sha256", SHA256, AT(lq_half_facts, sha256)),
};
static const struct lq_fields facts_table = TABLE(facts);

#define FACTS(json, member) \
    { \
        .name = (json), .kind = LQ_FIELD_IF_TEXT, .offset = AT(lq_evaluation, member), \
        .guard = AT(lq_evaluation, member) + AT(lq_half_facts, path), .inner = &facts_table \
    }
static const struct lq_field vision[] = {FACTS("original", original[LQ_VISION]), FACTS("quantised", pair[LQ_VISION])};
static const struct lq_fields vision_table = TABLE(vision);
static const struct lq_field language[] = {FACTS("original", original[LQ_LANGUAGE]),
                                           FACTS("quantised", pair[LQ_LANGUAGE])};
static const struct lq_fields language_table = TABLE(language);
static const struct lq_field halves[] = {GROUP("vision", vision_table), GROUP("language", language_table)};
static const struct lq_fields halves_table = TABLE(halves);

/* ---- pictures, questions, tensors ---- */

/* Rounding may take one a little beyond 1. */
#define COSINE(json, where) NUMBER(json, where, -1 - 1e-6, 1 + 1e-6)

static const struct lq_field cosine[] = {
    COSINE("min", AT(lq_embedding, cosine_min)),
    COSINE("p01", AT(lq_embedding, cosine_p1)),
    COSINE("mean", AT(lq_embedding, cosine_mean)),
};
static const struct lq_fields cosine_table = TABLE(cosine);

static const struct lq_field relative_error[] = {
    NUMBER("mean", AT(lq_embedding, error_mean), 0, INFINITY),
    NUMBER("p99", AT(lq_embedding, error_p99), 0, INFINITY),
    NUMBER("max", AT(lq_embedding, error_max), 0, INFINITY),
};
static const struct lq_fields relative_error_table = TABLE(relative_error);

static const struct lq_field embedding[] = {
    FIELD("pictures", COUNT, AT(lq_embedding, pictures)),
    OBJECT("cosine", 0, cosine_table),
    OBJECT("relative_error", 0, relative_error_table),
};
static const struct lq_fields embedding_table = TABLE(embedding);

static const struct lq_field question[] = {
    FIELD("id", TEXT, AT(lq_question_result, id)),
    FIELD("image", TEXT, AT(lq_question_result, image)),
    FIELD("kind", TEXT, AT(lq_question_result, kind)),
    FIELD("question", TEXT, AT(lq_question_result, question)),
    FIELD("right", TEXT, AT(lq_question_result, right)),
    FIELD("answer_original", OPTIONAL, AT(lq_question_result, answer_original)),
    FIELD("answer", TEXT, AT(lq_question_result, answer)),
    FIELD("exact_original", FLAG, AT(lq_question_result, exact_original)),
    FIELD("exact", FLAG, AT(lq_question_result, exact)),
    NUMBER("vqa_original", AT(lq_question_result, vqa_original), 0, 1),
    NUMBER("vqa", AT(lq_question_result, vqa), 0, 1),
    FIELD("tokens", COUNT, AT(lq_question_result, tokens)),
    NUMBER("kl", AT(lq_question_result, kl), 0, INFINITY),
    NUMBER("agreement", AT(lq_question_result, agreement), 0, 1),
};
static const struct lq_fields question_table = TABLE(question);

static const struct lq_field picture[] = {
    FIELD("image", TEXT, AT(lq_picture_result, image)),
    COSINE("cosine", AT(lq_picture_result, cosine)),
    COSINE("cosine_min", AT(lq_picture_result, cosine_min)),
    NUMBER("relative_error", AT(lq_picture_result, relative_error), 0, INFINITY),
};
static const struct lq_fields picture_table = TABLE(picture);

static const struct lq_field tensor[] = {
    FIELD("name", TEXT, AT(lq_tensor_result, name)),         FIELD("half", HALF, AT(lq_tensor_result, half)),
    FIELD("role", ROLE, AT(lq_tensor_result, role)),         FIELD("block", BLOCK, AT(lq_tensor_result, block)),
    FIELD("type", TYPE, AT(lq_tensor_result, type)),         NUMBER("error", AT(lq_tensor_result, error), 0, INFINITY),
    FIELD("reason", OPTIONAL, AT(lq_tensor_result, reason)),
};
static const struct lq_fields tensor_table = TABLE(tensor);

/* ---- what differs from run to run ---- */

static const struct lq_field speed_of_pair[] = {
    NUMBER("tokens_per_second", AT(lq_speed, tokens_per_second), 0, INFINITY),
    NUMBER("pictures_per_second", AT(lq_speed, pictures_per_second), 0, INFINITY),
    FIELD("memory", COUNT, AT(lq_speed, memory)),
};
static const struct lq_fields speed_of_pair_table = TABLE(speed_of_pair);

static const struct lq_field speed[] = {
    OBJECT("original", AT(lq_evaluation, speed_original), speed_of_pair_table),
    OBJECT("quantised", AT(lq_evaluation, speed), speed_of_pair_table),
};
static const struct lq_fields speed_table = TABLE(speed);

static const struct lq_field provenance[] = {
    FIELD("command", OPTIONAL, AT(lq_provenance, command)),
    FIELD("data", OPTIONAL, AT(lq_provenance, data)),
    FIELD("data_hash", OPTIONAL, AT(lq_provenance, data_hash)),
    FIELD("text", OPTIONAL, AT(lq_provenance, text)),
    FIELD("text_hash", OPTIONAL, AT(lq_provenance, text_hash)),
    FIELD("pictures", COUNT, AT(lq_provenance, pictures)),
    FIELD("records", COUNT, AT(lq_provenance, records)),
    FIELD("broken", COUNT, AT(lq_provenance, broken)),
    FIELD("seed", COUNT, AT(lq_provenance, seed)),
    FIELD("limit", COUNT, AT(lq_provenance, limit)),
    FIELD("text_windows", COUNT, AT(lq_provenance, text_windows)),
    FIELD("window", COUNT, AT(lq_provenance, window)),
    FIELD("version", TEXT, AT(lq_provenance, version)),
    FIELD("runtime", TEXT, AT(lq_provenance, runtime)),
    FIELD("cpu", TEXT, AT(lq_provenance, cpu)),
    FIELD("threads", THREADS, AT(lq_provenance, threads)),
    NUMBER("seconds", AT(lq_provenance, seconds), 0, INFINITY),
    FIELD("peak_memory", COUNT, AT(lq_provenance, peak_memory)),
    FIELD("stock", FLAG, AT(lq_provenance, stock)),
};
static const struct lq_fields provenance_table = TABLE(provenance);

/* ---- the whole ---- */

static const struct lq_field root[] = {
    FIELD("name", TEXT, AT(lq_evaluation, name)),
    FIELD("original_name", OPTIONAL, AT(lq_evaluation, original_name)),
    OBJECT("counts", AT(lq_evaluation, arm[LQ_ARM_BOTH]), arm_counts_table),
    OBJECT("kl", AT(lq_evaluation, arm[LQ_ARM_BOTH]), arm_kl_table),
    OBJECT("agreement", AT(lq_evaluation, arm[LQ_ARM_BOTH]), arm_agreement_table),
    OBJECT("dp", AT(lq_evaluation, arm[LQ_ARM_BOTH]), arm_dp_table),
    OBJECT("perplexity", AT(lq_evaluation, arm[LQ_ARM_BOTH]), arm_perplexity_table),
    OBJECT("exact", AT(lq_evaluation, arm[LQ_ARM_BOTH].answers), exact_table),
    OBJECT("vqa", AT(lq_evaluation, arm[LQ_ARM_BOTH].answers), vqa_table),
    OBJECT("flips", AT(lq_evaluation, arm[LQ_ARM_BOTH].answers), flips_table),
    OBJECT("embedding", AT(lq_evaluation, embedding), embedding_table),
    GROUP("by_half", by_half_table),
    LIST("kinds", lq_evaluation, kinds, n_kinds, kind_table),
    GROUP("halves", halves_table),
    LIST("questions", lq_evaluation, questions, n_questions, question_table),
    LIST("pictures", lq_evaluation, pictures, n_pictures, picture_table),
    LIST("tensors", lq_evaluation, tensors, n_tensors, tensor_table),
    GROUP("speed", speed_table),
    OBJECT("provenance", AT(lq_evaluation, provenance), provenance_table),
};
const struct lq_fields lq_result_fields = TABLE(root);

/* ---- walking ---- */

void lq_fields_clear(const struct lq_fields *table, void *base)
{
    for (const struct lq_field *f = table->fields; f < table->fields + table->n; f++) {
        char *at = (char *)base + f->offset;
        if (f->kind == LQ_FIELD_NUMBER) *(double *)at = NAN;
        if (f->inner != NULL && f->kind != LQ_FIELD_LIST) lq_fields_clear(f->inner, at);
    }
}

static void release_list(const struct lq_field *f, void *base)
{
    char *list; /* copied: the member points to another type */
    memcpy(&list, (char *)base + f->offset, sizeof list);
    size_t n = *(size_t *)((char *)base + f->guard);
    for (size_t i = 0; i < n; i++) lq_fields_release(f->inner, list + i * f->size);
    free(list);
}

void lq_fields_release(const struct lq_fields *table, void *base)
{
    for (const struct lq_field *f = table->fields; f < table->fields + table->n; f++) {
        char *at = (char *)base + f->offset;
        if (f->kind == LQ_FIELD_TEXT || f->kind == LQ_FIELD_OPTIONAL) free(*(char **)at);
        else if (f->kind == LQ_FIELD_LIST) release_list(f, base);
        else if (f->inner != NULL) lq_fields_release(f->inner, at);
    }
}
