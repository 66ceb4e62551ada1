/* llava-quantize eval PAIR [--against ORIGINAL] --data FILE */
#include "eval_job.h"

#define AT(member) offsetof(struct cli_eval_job, member)

static const struct cli_positional positionals[] = {
    {"PAIR", false, "a folder with a GGUF pair, or a language GGUF whose mmproj-*.gguf stands beside it", AT(pair)},
    {NULL, false, NULL, 0},
};

static const struct cli_option options[] = {
    {"against", 'a', "ORIGINAL",
     "the pair that PAIR was made from, run beside it; without it answers and perplexity of PAIR alone are measured",
     CLI_TEXT, AT(original), 0, 0},
    {"mmproj", 'm', "FILE", "the vision half of PAIR, when it does not stand beside the language half", CLI_TEXT,
     AT(mmproj), 0, 0},
    {"against-mmproj", 0, "FILE", "the same of ORIGINAL", CLI_TEXT, AT(original_mmproj), 0, 0},
    CLI_EVAL_OPTIONS(AT),
};

static int check(const struct cli_eval_job *job)
{
    if (job->data == NULL && job->text == NULL)
        return cli_wrong_use("eval", "nothing to evaluate on: give --data FILE, --text FILE, or both");
    if (job->original == NULL && (job->by_half || job->original_mmproj != NULL))
        return cli_wrong_use("eval", "--%s needs --against", job->by_half ? "by-half" : "against-mmproj");
    if (job->data == NULL && job->images != NULL) return cli_wrong_use("eval", "--images needs --data");
    if (job->quiet && job->verbose) return cli_wrong_use("eval", "--quiet and --verbose contradict each other");
    return CLI_GO;
}

static int run(int argc, char **argv)
{
    struct cli_eval_job job = {.command = cli_eval.name,
                               .original_option = "against-mmproj",
                               .max_kld = CLI_NO_BOUND,
                               .min_agreement = CLI_NO_BOUND,
                               .max_flips = CLI_NO_BOUND,
                               .argc = argc,
                               .argv = argv};
    int status = cli_parse(&cli_eval, argc, argv, &job);
    if (status == CLI_GO) status = check(&job);
    return status == CLI_GO ? cli_eval_job_run(&job) : status;
}

const struct cli_command cli_eval = {
    .name = "eval",
    .summary = "measure what a quantised pair lost against its original",
    .positionals = positionals,
    .options = options,
    .example = "llava-quantize convert demo/model out-f16\n"
               "llava-quantize quantize demo/model out\n"
               "llava-quantize eval out --against out-f16 --data demo/exam.jsonl --limit 20",
    .run = run,
};
