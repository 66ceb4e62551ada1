/* llava-quantize [quantize] INPUT OUTPUT [BITS|TYPE|RECIPE] */
#include <stdlib.h>

#include "device.h"
#include "job.h"
#include "llava_quantize/codec.h"
#include "llava_quantize/plan.h"
#include "llava_quantize/quantize.h"
#include "weighting.h"

#define AT(member) offsetof(struct cli_job, member)

static const struct cli_positional positionals[] = {
    {"INPUT", false,
     "a Hugging Face LLaVA folder, a folder with a GGUF pair, or a GGUF file: the language half, whose "
     "mmproj-*.gguf stands beside it, or either half alone; of a split half, any shard",
     AT(input)},
    {"OUTPUT", false,
     "a folder, which gets NAME-TAG.gguf and mmproj-NAME-TAG.gguf, or the language half's path ending in "
     ".gguf, which gets its mmproj beside it",
     AT(output)},
    {"BITS|TYPE|RECIPE", true,
     "2, 3, 4, 5, 6 or 8 bits, a ggml type, a file type of llama-quantize, or a recipe (below); "
     "names ignore case; default: layered",
     AT(spec)},
    {NULL, false, NULL, 0},
};

static const struct cli_option options[] = {
    {"mmproj", 'm', "FILE", "the vision half of INPUT, when it does not stand beside the language half", CLI_TEXT,
     AT(mmproj), 0, 0},
    {"only", 0, "vision|language", "take one half of INPUT alone", CLI_CHOICE, AT(only), 0, 0},
    {"type", 0, "PATTERN=TYPE",
     "give a type to all tensors whose name matches PATTERN, an extended regular expression, or "
     "whose role is or begins with it, such as vision.ffn=q5_k; may be repeated, the last match wins",
     CLI_LIST, AT(rules), 0, 0},
    CLI_TARGET_OPTIONS(AT(target)),
    {"vision", 0, "SPEC", "bits, type or recipe of the vision half", CLI_TEXT, AT(vision), 0, 0},
    {"language", 0, "SPEC", "bits, type or recipe of the language half", CLI_TEXT, AT(language), 0, 0},
    {"stats", 's', "FILE",
     "statistics from 'llava-quantize calibrate', or an imatrix from llama-imatrix; applied to whichever tensors they "
     "cover",
     CLI_TEXT, AT(stats), 0, 0},
    {"imatrix", 'i', "FILE", "the same, by llama-quantize's name", CLI_TEXT, AT(stats), 0, 0},
    {"method", 0, "feedback|imatrix|plain",
     "the most that is made of statistics: error feedback, where they hold second moments (calibrate --hessian); "
     "importance of columns; or nothing, but for types that demand it; default: feedback",
     CLI_CHOICE, AT(method), 0, 0},
    {"data", 'd', "FILE",
     "calibrate first, on these questions about pictures with their answers: LLaVA's conversation JSON, or lines with "
     "question_id, image, text and answer",
     CLI_TEXT, AT(data), 0, 0},
    {"text", 0, "FILE", "calibrate on this plain text too", CLI_TEXT, AT(text), 0, 0},
    {"limit", 0, "N", "calibrate on N pictures, drawn by --seed, and N windows of the text, at most", CLI_NUMBER,
     AT(limit), 1, UINT32_MAX},
    {"seed", 0, "N", "which pictures --limit draws; default: 0", CLI_NUMBER, AT(seed), 0, UINT32_MAX},
    {"weighting", 0, CLI_WEIGHTING_ARGUMENT, CLI_WEIGHTING_HELP, CLI_TEXT, AT(weighting), 0, 0},
    {"cap", 0, "X|off", CLI_CAP_HELP, CLI_TEXT, AT(cap), 0, 0},
    {"sequential", 0, NULL,
     "match the original's outputs on the quantised model's inputs, block after block (GPTAQ): --data runs once more "
     "through both models for each block, and the model is twice in memory",
     CLI_FLAG, AT(sequential), 0, 0},
    {"save-stats", 0, "FILE", "keep the statistics that --data gave; an interrupted run leaves what it has", CLI_TEXT,
     AT(save_stats), 0, 0},
    {"split-size", 0, "SIZE",
     "split the language half into files of at most SIZE, such as 500M or 2G (millions or thousand millions of bytes), "
     "called NAME-00001-of-0000N.gguf",
     CLI_SIZE, AT(split_size), 0, 0},
    {"keep-split", 0, NULL, "split the language half where INPUT's is split", CLI_FLAG, AT(keep_split), 0, 0},
    {"threads", 't', "N", "threads to work with; default: the CPUs this process may use", CLI_NUMBER, AT(threads), 1,
     1024},
    {"memory", 0, "SIZE",
     "take at most SIZE of memory, such as 100M or 2G, with fewer threads if need be; default: 250M, or what error "
     "feedback needs",
     CLI_SIZE, AT(memory), 0, 0},
    {"effort", 0, "normal|fast|best",
     "how long to search for the smallest error: normal is at or below ggml's, best about as slow as ggml; default: "
     "normal",
     CLI_CHOICE, AT(effort), 0, 0},
    {"dry-run", 'n', NULL, "print the plan with sizes; write nothing", CLI_FLAG, AT(dry_run), 0, 0},
    {"save-plan", 0, "FILE", "write the plan as JSON, to be read, edited and used again", CLI_TEXT, AT(save_plan), 0,
     0},
    {"plan", 0, "FILE", "use a saved plan instead of a recipe", CLI_TEXT, AT(plan), 0, 0},
    {"no-pad", 0, NULL,
     "do not pad vision feed-forwards with zeros; a file type then gives exactly llama-quantize's types", CLI_FLAG,
     AT(no_pad), 0, 0},
    {"allow-requantize", 0, NULL, "accept an input that is quantised already; errors add up", CLI_FLAG,
     AT(allow_requantize), 0, 0},
    {"force", 'f', NULL, "replace existing output", CLI_FLAG, AT(force), 0, 0},
    {"json", 0, NULL, "print the result as one JSON object", CLI_FLAG, AT(json), 0, 0},
    {"quiet", 'q', NULL, "print nothing but errors, and JSON where asked for", CLI_FLAG, AT(quiet), 0, 0},
    {"verbose", 'v', NULL, "print a line for every tensor", CLI_FLAG, AT(verbose), 0, 0},
    CLI_OPTION_HELP,
    CLI_OPTION_END,
};

static void put_types(FILE *out)
{
    char names[512];
    size_t used = 0;
    for (int type = 0; type < LQ_TYPE_COUNT; type++) {
        const struct lq_format *f = lq_format_get(type);
        if (f == NULL || (f->flags & LQ_FORMAT_TARGET) == 0 || used >= sizeof names) continue;
        bool importance = (f->flags & LQ_FORMAT_NEEDS_IMPORTANCE) != 0;
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s%s", used == 0 ? "" : " ", f->name,
                                 importance ? "*" : "");
    }
    fputs("\nTypes (* needs --stats):\n", out);
    cli_usage_row(out, "", names);
}

static void put_details(FILE *out)
{
    fputs("\nRecipes:\n", out);
    for (size_t i = 0; lq_recipe_at(i) != NULL; i++) cli_usage_row(out, lq_recipe_at(i)->name, lq_recipe_at(i)->what);
    put_types(out);
    cli_device_details(out);
}

static int check_statistics(struct cli_job *job)
{
    bool calibrates = job->text != NULL || job->weighting != NULL || job->cap != NULL || job->save_stats != NULL ||
                      job->limit > 0 || job->seed > 0;
    bool measures = cli_target_is_set(&job->target);
    if (job->data != NULL && job->stats != NULL && !measures)
        return cli_wrong_use("quantize", "--data and --stats contradict each other");
    if (job->data != NULL && job->stats != NULL && job->sequential)
        return cli_wrong_use("quantize", "--sequential calibrates as it goes: it goes with no --stats");
    if (job->data == NULL && calibrates)
        return cli_wrong_use(
            "quantize",
            "--text, --limit, --seed, --weighting, --cap and --save-stats say how to calibrate: give --data");
    if (job->sequential && (job->data == NULL || job->method > LQ_METHOD_FEEDBACK))
        return cli_wrong_use("quantize", "--sequential is error feedback on --data: it needs --data, and no other "
                                         "--method");
    if (job->sequential && job->allow_requantize)
        return cli_wrong_use("quantize", "--sequential changes the weights of a running model, which a quantised one "
                                         "does not allow: it goes with no --allow-requantize");
    if (job->data != NULL && job->dry_run)
        return cli_wrong_use("quantize", "--dry-run runs no model: 'llava-quantize calibrate --dry-run' tells what "
                                         "--data would take");
    if (job->data != NULL && job->only >= 0)
        return cli_wrong_use("quantize", "--data runs the whole pair, and --only leaves a half out");
    if (job->method >= 0 && job->method != LQ_METHOD_PLAIN && job->stats == NULL && job->data == NULL)
        return cli_wrong_use("quantize", "--method %s needs statistics: --stats FILE, or --data FILE",
                             lq_method_name((enum lq_method)job->method));
    return cli_weighting_parse(&job->calibrate, "quantize", job->weighting, job->cap);
}

static int check_target(struct cli_job *job)
{
    bool types = job->spec != NULL || job->vision != NULL || job->language != NULL || job->plan != NULL;
    bool limits = job->target.types != NULL || job->target.device != NULL || job->target.most.n > 0;
    int status = cli_target_check(&job->target, "quantize");
    bool set = cli_target_is_set(&job->target);
    if (status != CLI_GO) return status;
    if (set && types)
        return cli_wrong_use("quantize", "--target-size, --target-bpw, --max-kld and --fit choose all types: they go "
                                         "with no recipe, --vision, --language or --plan");
    if (limits && !set)
        return cli_wrong_use("quantize", "--types, --only-fast-on and --max-type say what to choose from: give "
                                         "--target-size, --target-bpw, --max-kld or --fit");
    if (set && job->only >= 0)
        return cli_wrong_use("quantize", "a target is for both halves, and --only leaves one out");
    return CLI_GO;
}

static int check(struct cli_job *job)
{
    bool spec = job->spec != NULL || job->vision != NULL || job->language != NULL || job->rules.n > 0;
    if (job->plan != NULL && spec)
        return cli_wrong_use(
            "quantize", "--plan gives every tensor its type: it goes with no recipe, --vision, --language or --type");
    if (job->plan != NULL && job->no_pad)
        return cli_wrong_use("quantize", "--plan gives every tensor its shape: it goes with no --no-pad");
    int status = check_target(job);
    if (status != CLI_GO) return status;
    if (job->keep_split && job->split_size > 0)
        return cli_wrong_use("quantize", "--keep-split and --split-size contradict each other");
    if (job->quiet && job->verbose) return cli_wrong_use("quantize", "--quiet and --verbose contradict each other");
    return check_statistics(job);
}

static int run(int argc, char **argv)
{
    struct cli_job job = {.command = cli_quantize.name, .only = -1, .method = -1};
    int status = cli_parse(&cli_quantize, argc, argv, &job);
    if (status == CLI_GO) status = check(&job);
    if (status == CLI_GO) status = cli_job_run(&job);
    free(job.rules.items);
    free(job.target.most.items);
    return status;
}

const struct cli_command cli_quantize = {
    .name = "quantize",
    .summary = "make a smaller GGUF pair of a LLaVA model",
    .positionals = positionals,
    .options = options,
    .details = put_details,
    .example = "llava-quantize quantize demo/model out\n"
               "llava-quantize demo/model out-q4.gguf q4_k --type language.output=q8_0\n"
               "llava-quantize demo/model out-3 3 --data demo/calibration.json --limit 16\n"
               "llava-quantize quantize demo/model out-auto --target-bpw 4.5 --only-fast-on cpu --effort fast",
    .run = run,
};
