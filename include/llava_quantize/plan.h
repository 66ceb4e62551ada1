/* A plan: a type for each tensor, with the reason.
 *
 * Enters: a model and a request (bits, type, file type or recipe; one for each half; --type rules; importance data),
 * or a plan file that a person may have edited. Leaves: a `struct lq_plan` in the model's tensor order.
 * Invariants: every type fits its row; types that demand importance data have it; the same request gives the same plan.
 *
 *     struct lq_plan_request request = {.spec = "layered"};
 *     struct lq_plan *plan = NULL;
 *     if (lq_plan_build(&plan, model, &request, &err) == LQ_OK)
 *         printf("%s: %zu tensors\n", plan->recipe, plan->n_entries);
 *     lq_plan_free(plan);
 */
#ifndef LLAVA_QUANTIZE_PLAN_H
#define LLAVA_QUANTIZE_PLAN_H

#include "llava_quantize/calibrate.h"
#include "llava_quantize/model.h"

#ifdef __cplusplus
extern "C" {
#endif

struct lq_plan_rule {
    const char *pattern; /* POSIX extended regular expression on the tensor's name, or a role or its leading part
                            ("vision.ffn", "language.attention.q", "projector") */
    const char *type;    /* a ggml type */
};

struct lq_plan_request {
    const char *spec;   /* bits, type, file type or recipe for both halves; NULL: "layered" */
    const char *vision; /* the same for one half alone; NULL: spec */
    const char *language;
    const struct lq_plan_rule *rules; /* later rules win over earlier ones, all over the recipe */
    size_t n_rules;
    const struct lq_stats *stats; /* NULL: none */
    bool allow_requantize;
    bool no_padding; /* keep every shape; of a file type, give the vision half exactly llama-quantize's types */
};

/* Why an automatic plan (strategy.h) gave an entry its type. */
struct lq_plan_judgement {
    bool known;          /* all below hold */
    double error;        /* of its outputs, squared, relative to their size */
    double sensitivity;  /* divergence of the answers, nats, per unit of that error; NaN: not measured, and the two
                            below are then errors, as if all tensors mattered alike */
    double divergence;   /* their product: what the type costs */
    enum lq_type next;   /* what more budget would buy it first; LQ_TYPE_NONE: nothing */
    uint64_t next_bytes; /* more than now */
    double next_gain;    /* divergence less than now */
};

/* How an automatic plan came out as a whole. */
struct lq_plan_quality {
    char goal[32];          /* as it is recorded: "auto-4.2G", "auto-kld0.02"; "": not an automatic plan, or edited */
    double estimate;        /* mean divergence of the answers, nats, by the additive model; NaN: not known */
    double measured, error; /* of the plan itself, and its standard error; NaN: not measured */
    char data[160];         /* what it was measured with: "calibration.json, 48 records" */
};

struct lq_plan_entry {
    const struct lq_tensor *tensor; /* borrowed from the model */
    enum lq_type type;
    uint64_t ne[4], rows; /* the shape as written: the tensor's, or larger where a vision feed-forward is padded with
                             zeros; it starts with the tensor's rows, and each row with the tensor's weights */
    uint64_t bytes;       /* of the encoded data */
    char reason[128];     /* one clause: "layered", "--type 'vision.ffn'", "1152 columns do not fit q4_k: iq4_nl", ...;
                             of a padded one two: "padded 4304 -> 4352 for q4_k, exact; layered" */
    struct lq_plan_judgement judged; /* of an automatic plan */
};

struct lq_plan {
    char recipe[96];          /* as recorded: "layered", "4 bits", "Q4_K_M", "q8_0", "vision q4_0, language q8_0",
                                 "layered, 2 --type rules", "layered, edited" and "plan file" (from a plan file that
                                 was changed, or names no recipe) */
    char tag[48];             /* for file names: "layered", "Q4_K_M", "4bit", ... */
    int file_type[LQ_HALVES]; /* general.file_type of each half (llama.cpp's ids) */
    size_t n_entries;         /* vision tensors first, then language ones, each in file order */
    struct lq_plan_entry *entries;
    struct lq_plan_quality quality; /* of an automatic plan */
    char note[160]; /* one line for the user, or "": "4 means 4 bits; llama-quantize's type number 4 ..." */
};

/* Errors: LQ_ERR_USAGE for a name or pattern that means nothing (the message lists what would), LQ_ERR_UNSUPPORTED for
 * a quantised input without allow_requantize or a type that demands importance data. */
enum lq_status lq_plan_build(struct lq_plan **out, const struct lq_model *model, const struct lq_plan_request *request,
                             struct lq_error *err);
void lq_plan_free(struct lq_plan *plan);

/* JSON, stable order, one line per tensor; written atomically. */
enum lq_status lq_plan_save(const struct lq_plan *plan, const char *path, struct lq_error *err);
/* A judgement is kept where its entry is as it was saved, the quality where all are. docs/plan.schema.json describes
 * the file. Unknown tensors, types, keys and versions are refused by name, tensors that the file leaves out too, and
 * shapes that are neither the model's nor those of its tower padded alike in all blocks, by less than 256. Of the
 * request only imatrix and allow_requantize count. */
enum lq_status lq_plan_load(struct lq_plan **out, const char *path, const struct lq_model *model,
                            const struct lq_plan_request *request, struct lq_error *err);

/* Moves one entry to the nearest larger type that holds it (an overflow found while encoding); false at f32. */
bool lq_plan_widen(struct lq_plan *plan, size_t entry, const char *reason);

/* A record of at most size - 1 characters for the metadata, role by role: "vision.ffn=q4_k projector=q8_0 ..."; parts
 * of a role that differ stand apart, several types of one role with their numbers of tensors
 * ("language.ffn.down=q4_k*16/q6_k*16"), what is never quantised is left out. Returns its length; what does not fit is
 * left out whole behind "...". */
size_t lq_plan_summary(const struct lq_plan *plan, char *dst, size_t size);

/* Plain sentences about one entry, at most size - 1 characters, lines ended: its type and bytes, why, what it costs and
 * what the next bytes would buy. Returns the text's length. */
size_t lq_plan_explain(const struct lq_plan *plan, size_t entry, char *dst, size_t size);

/* Names that lq_plan_build takes, for help texts: the i-th, or NULL behind the last. */
struct lq_recipe_info {
    const char *name, *what;
};
const struct lq_recipe_info *lq_recipe_at(size_t i);

#ifdef __cplusplus
}
#endif
#endif
