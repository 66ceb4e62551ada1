/* A plan for a size or a quality: the options that `plan` and `quantize` share, and what becomes of them.
 *
 * Enters: the command line, an open model, statistics, the pair and data to measure with. Leaves: a plan, and what was
 * found out on the way.
 *
 *     static const struct cli_option options[] = {..., CLI_TARGET_OPTIONS(AT(target)), ...};
 *     if (cli_target_is_set(&job->target)) status = cli_target_plan(&planned, &plan, job, model, &sources, &err);
 */
#ifndef LQ_CLI_TARGET_H
#define LQ_CLI_TARGET_H

#include "command.h"
#include "llava_quantize/runtime.h"
#include "llava_quantize/strategy.h"

struct cli_job;
struct cli_calibrated;

struct cli_target {
    uint64_t size, fit; /* bytes; 0: not given */
    uint32_t context;   /* tokens, for `fit`; 0: not given */
    const char *preset; /* of device.h */
    double bpw, kld;    /* 0: not given */
    const char *types, *device;
    struct cli_list most; /* "PATTERN=TYPE" */
};

#define CLI_TARGET_AT(base, member) ((base) + offsetof(struct cli_target, member))
/* clang-format off */
#define CLI_TARGET_OPTIONS(base) \
    {"target-size", 0, "SIZE", \
     "choose the best mix of types whose files take at most SIZE together, such as 4.2G or 3.5M (millions or thousand " \
     "millions of bytes)", CLI_SIZE, CLI_TARGET_AT(base, size), 0, 0}, \
    {"target-bpw", 0, "BITS", "the same for at most BITS bits per weight over both halves, such as 4.5", CLI_REAL, \
     CLI_TARGET_AT(base, bpw), 0, 32}, \
    {"max-kld", 0, "NATS", \
     "choose the smallest mix of types whose answers diverge by at most NATS in the mean, such as 0.02, as measured on " \
     "--data, two standard errors included", CLI_REAL, CLI_TARGET_AT(base, kld), 0, 1000}, \
    {"fit", 0, "SIZE", \
     "the same for at most SIZE of memory, files and what llama.cpp takes beside them at --context together", CLI_SIZE, \
     CLI_TARGET_AT(base, fit), 0, 0}, \
    {"context", 0, "N", "tokens that --fit leaves room for; default: the model's own, at most 4096", CLI_NUMBER, \
     CLI_TARGET_AT(base, context), 1, 1U << 22}, \
    {"device", 0, "NAME", "--fit and --only-fast-on for one of the devices below", CLI_TEXT, \
     CLI_TARGET_AT(base, preset), 0, 0}, \
    {"types", 0, "LIST", "choose from these types alone, such as q4_k,q5_k,q6_k,q8_0", CLI_TEXT, \
     CLI_TARGET_AT(base, types), 0, 0}, \
    {"only-fast-on", 0, "cpu|cuda|metal|vulkan", "choose from types that this device decodes at full speed", CLI_TEXT, \
     CLI_TARGET_AT(base, device), 0, 0}, \
    {"max-type", 0, "PATTERN=TYPE", \
     "choose nothing larger than TYPE for tensors of this name or role (as for --type); may be repeated", CLI_LIST, \
     CLI_TARGET_AT(base, most), 0, 0}
/* clang-format on */

bool cli_target_is_set(const struct cli_target *target);
/* Turns a preset into what it stands for, and finds what contradicts itself: CLI_GO, or the exit status after a
 * message. Comes before cli_target_is_set. */
int cli_target_check(struct cli_target *target, const char *command);

/* What planning found out. */
struct cli_planned {
    struct lq_goal goal;
    struct lq_footprint footprint; /* with --fit */
    struct lq_strategy_outcome outcome;
    struct lq_strategy_facts facts;
    struct lq_curve_point *curve; /* owned; NULL where none was asked for */
    size_t n_curve;
};
void cli_planned_release(struct cli_planned *planned);
/* Sets the goal; --fit takes the pair, and is turned into a size. Errors: as lq_footprint_measure, and LQ_ERR_USAGE
 * where nothing is left for the files. */
enum lq_status cli_target_goal(struct cli_planned *planned, const struct cli_job *job,
                               const struct cli_calibrated *calibrated, struct lq_error *err);

/* What a search stands on, all borrowed. */
struct cli_sources {
    const struct lq_model *model;
    const struct lq_stats *stats;            /* may be NULL */
    const struct cli_calibrated *calibrated; /* the pair and the data, where there are any */
    const struct lq_plan_rule *pins;
    size_t n_pins;
};
/* The plan for the job's target, where it has one, and the curve, where that is asked for. */
enum lq_status cli_target_plan(struct cli_planned *planned, struct lq_plan **plan, const struct cli_job *job,
                               const struct cli_sources *sources, struct lq_error *err);

#endif
