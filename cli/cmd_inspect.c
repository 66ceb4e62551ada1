/* llava-quantize inspect FILE|FOLDER|STATISTICS */
#include "command.h"
#include "inspect_print.h"
#include "inspect_stats.h"
#include "progress.h"

struct args {
    const char *input, *mmproj, *against;
    int only;    /* enum lq_half, or -1 */
    int backend; /* enum lq_backend */
    uint32_t threads;
    bool all, weights, json, quiet;
};

#define AT(member) offsetof(struct args, member)

static const struct cli_positional positionals[] = {
    {"FILE|FOLDER", false,
     "a GGUF file (a language half with its mmproj-*.gguf beside it, or either half alone), a folder with a GGUF pair, "
     "or a Hugging Face LLaVA folder; or statistics, an importance matrix in any of its forms",
     AT(input)},
    {NULL, false, NULL, 0},
};

static const struct cli_option options[] = {
    {"all", 'a', NULL, "print every tensor and every key", CLI_FLAG, AT(all), 0, 0},
    {"weights", 'w', NULL,
     "read the weights too: range, root mean square, outliers, NaN and infinite values, dead rows of every tensor",
     CLI_FLAG, AT(weights), 0, 0},
    {"backend", 'b', "cpu|cuda|metal|vulkan", "tell which types this backend of llama.cpp 0.5.0 handles badly",
     CLI_CHOICE, AT(backend), 0, 0},
    {"against", 0, "MODEL", "of statistics: tell which matrices of this model they cover", CLI_TEXT, AT(against), 0, 0},
    {"mmproj", 'm', "FILE", "the vision half, when it does not stand beside the language half", CLI_TEXT, AT(mmproj), 0,
     0},
    {"only", 0, "vision|language", "look at one half alone", CLI_CHOICE, AT(only), 0, 0},
    {"threads", 't', "N", "threads for --weights; default: the CPUs this process may use", CLI_NUMBER, AT(threads), 1,
     1024},
    {"json", 0, NULL, "print the result as one JSON object", CLI_FLAG, AT(json), 0, 0},
    {"quiet", 'q', NULL, "print no progress", CLI_FLAG, AT(quiet), 0, 0},
    CLI_OPTION_HELP,
    CLI_OPTION_END,
};

static void put_details(FILE *out)
{
    fputs("\nExit status:\n", out);
    cli_usage_row(out, "0", "inspected, also when something looks wrong: findings are information");
    cli_usage_row(out, "1", "the input cannot be read");
    cli_usage_row(out, "2", "wrong use");
}

static enum lq_status look(const struct args *args, const struct lq_model *model, struct lq_inspection **seen,
                           struct lq_error *err)
{
    struct cli_progress progress;
    cli_progress_init(&progress, args->quiet ? CLI_QUIET : CLI_NORMAL, NULL);
    struct lq_inspect_options options = {
        .weights = args->weights,
        .threads = args->threads,
        .backend = (enum lq_backend)args->backend,
        .hooks = &progress.hooks,
    };
    enum lq_status status = lq_inspect(seen, model, &options, err);
    cli_progress_end(&progress);
    if (status == LQ_ERR_CANCELLED) lq_error_set(err, status, "interrupted");
    return status;
}

static enum lq_status show_statistics(const struct args *args, const struct lq_model_options *options,
                                      struct lq_error *err)
{
    struct lq_stats *stats = NULL;
    struct lq_model *model = NULL;
    struct lq_stats_inspection *seen = NULL;
    enum lq_status status = lq_stats_load(&stats, args->input, err);
    if (status == LQ_OK && args->against != NULL) status = lq_model_open(&model, args->against, options, err);
    if (status == LQ_OK && model != NULL) status = lq_stats_check(stats, model, err);
    if (status == LQ_OK) status = lq_stats_inspect(&seen, stats, model, err);
    if (status == LQ_OK && args->json) status = cli_stats_json(seen, err);
    else if (status == LQ_OK) cli_stats_text(seen);
    lq_stats_inspection_free(seen);
    lq_model_free(model);
    lq_stats_free(stats);
    return status;
}

static enum lq_status show_model(const struct args *args, const struct lq_model_options *options, struct lq_error *err)
{
    struct lq_model *model = NULL;
    struct lq_inspection *seen = NULL;
    enum lq_status status = lq_model_open(&model, args->input, options, err);
    if (status == LQ_OK) status = look(args, model, &seen, err);
    if (status == LQ_OK && args->json) status = cli_inspect_json(seen, args->all, err);
    else if (status == LQ_OK) cli_inspect_text(seen, args->all);
    lq_inspection_free(seen);
    lq_model_free(model);
    return status;
}

static int run(int argc, char **argv)
{
    struct args args = {.only = -1, .backend = LQ_BACKEND_NONE};
    int parsed = cli_parse(&cli_inspect, argc, argv, &args);
    if (parsed != CLI_GO) return parsed;
    struct lq_model_options options = {.mmproj = args.mmproj, .only = args.only, .lenient = true};
    bool statistics = lq_stats_is_file(args.input);
    if (statistics && args.weights) return cli_wrong_use("inspect", "%s: statistics have no weights", args.input);
    if (!statistics && args.against != NULL) return cli_wrong_use("inspect", "--against needs statistics");
    struct lq_error err = {0};
    enum lq_status status = statistics ? show_statistics(&args, &options, &err) : show_model(&args, &options, &err);
    return status == LQ_OK ? CLI_DONE : cli_fail(&err);
}

const struct cli_command cli_inspect = {
    .name = "inspect",
    .summary = "show what a model holds, and what looks wrong with it",
    .positionals = positionals,
    .options = options,
    .details = put_details,
    .example = "llava-quantize inspect demo/model\n"
               "llava-quantize inspect demo/model --weights --only vision",
    .run = run,
};
