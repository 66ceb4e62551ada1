/* llava-quantize plan INPUT --target-size SIZE | --target-bpw BITS | --max-kld NATS | --curve FILE */
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "job.h"
#include "llava_quantize/quantize.h"
#include "weighting.h"

#define AT(member) offsetof(struct cli_job, member)

static const struct cli_positional positionals[] = {
    {"INPUT", false, "a Hugging Face LLaVA folder, a folder with a GGUF pair, or its language GGUF", AT(input)},
    {NULL, false, NULL, 0},
};

static const struct cli_option options[] = {
    CLI_TARGET_OPTIONS(AT(target)),
    {"type", 0, "PATTERN=TYPE",
     "give this type to all tensors of this name (an extended regular expression) or role; may be repeated", CLI_LIST,
     AT(rules), 0, 0},
    {"output", 'o', "FILE", "write the plan as JSON: 'llava-quantize quantize --plan FILE' carries it out", CLI_TEXT,
     AT(save_plan), 0, 0},
    {"explain", 0, "NAME",
     "say of a tensor, or of all of a role, which type the plan gives it, why, and what more bytes would buy", CLI_TEXT,
     AT(explain), 0, 0},
    {"plan", 0, "FILE", "with --explain: look at this saved plan, and search for none", CLI_TEXT, AT(plan), 0, 0},
    {"curve", 0, "FILE",
     "print the best plan's divergence at a dozen sizes, and write it as JSON for 'llava-quantize report --curve'",
     CLI_TEXT, AT(curve), 0, 0},
    {"data", 'd', "FILE",
     "measure on these questions about pictures with their answers, in LLaVA's conversation JSON or as lines with "
     "question_id, image, text and answer; without --stats, calibrate on them first",
     CLI_TEXT, AT(data), 0, 0},
    {"stats", 's', "FILE",
     "statistics from 'llava-quantize calibrate', which judge types; what is measured is kept there for another plan",
     CLI_TEXT, AT(stats), 0, 0},
    {"effort", 0, "normal|fast|best",
     "how much is measured: groups of tensors (normal), nothing, by statistics alone (fast), or each tensor, and more "
     "of the plan's neighbours (best); quantize with the same; default: normal",
     CLI_CHOICE, AT(effort), 0, 0},
    {"method", 0, "feedback|imatrix|plain", "how the plan will be carried out; default: feedback", CLI_CHOICE,
     AT(method), 0, 0},
    {"mmproj", 'm', "FILE", "the vision half of INPUT, when it does not stand beside the language half", CLI_TEXT,
     AT(mmproj), 0, 0},
    {"limit", 0, "N", "take N pictures of the data, drawn by --seed, at most", CLI_NUMBER, AT(limit), 1, UINT32_MAX},
    {"seed", 0, "N", "which pictures --limit draws; default: 0", CLI_NUMBER, AT(seed), 0, UINT32_MAX},
    {"text", 0, "FILE", "calibrate on this plain text too", CLI_TEXT, AT(text), 0, 0},
    {"weighting", 0, CLI_WEIGHTING_ARGUMENT, CLI_WEIGHTING_HELP, CLI_TEXT, AT(weighting), 0, 0},
    {"cap", 0, "X|off", CLI_CAP_HELP, CLI_TEXT, AT(cap), 0, 0},
    {"save-stats", 0, "FILE", "keep the statistics that --data gave", CLI_TEXT, AT(save_stats), 0, 0},
    {"no-pad", 0, NULL, "do not pad vision feed-forwards with zeros", CLI_FLAG, AT(no_pad), 0, 0},
    {"allow-requantize", 0, NULL, "accept an input that is quantised already; errors add up", CLI_FLAG,
     AT(allow_requantize), 0, 0},
    {"threads", 't', "N", "threads to work with; default: the CPUs this process may use", CLI_NUMBER, AT(threads), 1,
     1024},
    {"force", 'f', NULL, "replace what stands there", CLI_FLAG, AT(force), 0, 0},
    {"json", 0, NULL, "print the result as one JSON object", CLI_FLAG, AT(json), 0, 0},
    {"quiet", 'q', NULL, "print nothing but errors, and JSON where asked for", CLI_FLAG, AT(quiet), 0, 0},
    CLI_OPTION_HELP,
    CLI_OPTION_END,
};

static int check_saved(const struct cli_job *job)
{
    if (job->explain == NULL) return cli_wrong_use("plan", "--plan is a plan to look at: give --explain NAME");
    if (cli_target_is_set(&job->target) || job->curve != NULL || job->data != NULL || job->save_plan != NULL)
        return cli_wrong_use("plan", "--plan is made already: it goes with no target, --curve, --data or --output");
    return CLI_GO;
}

static int check(struct cli_job *job)
{
    bool calibrates = job->stats == NULL && job->data != NULL;
    bool how = job->text != NULL || job->weighting != NULL || job->cap != NULL || job->save_stats != NULL;
    int status = cli_target_check(&job->target, "plan");
    if (status != CLI_GO) return status;
    if (job->plan != NULL) return check_saved(job);
    if (!cli_target_is_set(&job->target) && job->curve == NULL)
        return cli_wrong_use("plan",
                             "nothing to plan for: give --target-size, --target-bpw, --max-kld, --fit or --curve");
    if (job->explain != NULL && !cli_target_is_set(&job->target))
        return cli_wrong_use(
            "plan", "--explain is about one plan: give --plan, --target-size, --target-bpw, --max-kld or --fit");
    if (job->save_plan != NULL && !cli_target_is_set(&job->target))
        return cli_wrong_use("plan", "--output is for one plan: give --target-size, --target-bpw, --max-kld or --fit");
    if (job->save_plan != NULL && job->curve != NULL && strcmp(job->save_plan, job->curve) == 0)
        return cli_wrong_use("plan", "--output and --curve are the same file");
    if (how && !calibrates)
        return cli_wrong_use("plan", "--text, --weighting, --cap and --save-stats say how to calibrate: give --data, "
                                     "and no --stats");
    if (job->data == NULL && (job->limit > 0 || job->seed > 0))
        return cli_wrong_use("plan", "--limit and --seed draw from --data, which is not given");
    if (job->method >= 0 && job->method != LQ_METHOD_PLAIN && job->stats == NULL && job->data == NULL)
        return cli_wrong_use("plan", "--method %s needs statistics: --stats FILE, or --data FILE",
                             lq_method_name((enum lq_method)job->method));
    return cli_weighting_parse(&job->calibrate, "plan", job->weighting, job->cap);
}

static int run(int argc, char **argv)
{
    struct cli_job job = {.command = cli_plan.name, .only = -1, .method = -1, .planning = true, .dry_run = true};
    int status = cli_parse(&cli_plan, argc, argv, &job);
    job.output = job.save_plan != NULL ? job.save_plan : job.curve != NULL ? job.curve : "plan";
    if (status == CLI_GO) status = check(&job);
    if (status == CLI_GO) status = cli_job_run(&job);
    free(job.rules.items);
    free(job.target.most.items);
    return status;
}

const struct cli_command cli_plan = {
    .name = "plan",
    .summary = "find the best mix of types for a size or a quality",
    .positionals = positionals,
    .options = options,
    .details = cli_device_details,
    .example = "llava-quantize plan demo/model --target-bpw 4.5 --effort fast -o plan.json\n"
               "llava-quantize plan demo/model --target-size 3.5M --data demo/calibration.json --limit 16\n"
               "llava-quantize plan demo/model --curve curve.json --effort fast\n"
               "llava-quantize plan demo/model --plan plan.json --explain blk.0.ffn_down.weight",
    .run = run,
};
