/* llava-quantize compare A B --data FILE */
#include "eval_job.h"

/* The job, and the bound that the parser reads as a natural number. */
struct args {
    struct cli_eval_job job;
    uint32_t max_flips;
};

#define AT(member) offsetof(struct args, job.member)

static const struct cli_positional positionals[] = {
    {"A", false, "the pair to compare with: a folder with a GGUF pair, or its language GGUF", AT(original)},
    {"B", false, "the pair to examine", AT(pair)},
    {NULL, false, NULL, 0},
};

static const struct cli_option options[] = {
    {"max-kld", 0, "NATS", "exit with 3 when the mean KL divergence of B from A is larger", CLI_REAL, AT(max_kld), 0,
     1000},
    {"min-agreement", 0, "PERCENT", "exit with 3 when fewer of the likeliest tokens are the same", CLI_REAL,
     AT(min_agreement), 0, 100},
    {"max-flips", 0, "N", "exit with 3 when more answers became wrong or right", CLI_NUMBER,
     offsetof(struct args, max_flips), 0, UINT32_MAX - 1},
    {"a-mmproj", 0, "FILE", "the vision half of A, when it does not stand beside the language half", CLI_TEXT,
     AT(original_mmproj), 0, 0},
    {"mmproj", 'm', "FILE", "the same of B", CLI_TEXT, AT(mmproj), 0, 0},
    CLI_EVAL_OPTIONS(AT),
};

static void put_details(FILE *out)
{
    fputs("\nExit status:\n", out);
    cli_usage_row(out, "0", "compared; every bound holds, on answers and with --text on text too");
    cli_usage_row(out, "1", "an error");
    cli_usage_row(out, "2", "wrong use");
    cli_usage_row(out, "3", "a bound is broken");
}

static int check(const struct args *args)
{
    const struct cli_eval_job *job = &args->job;
    if (job->data == NULL && job->text == NULL)
        return cli_wrong_use("compare", "nothing to compare on: give --data FILE, --text FILE, or both");
    if (job->data == NULL && job->max_flips >= 0)
        return cli_wrong_use("compare", "--max-flips needs --data: without questions no answer is measured");
    if (job->data == NULL && job->images != NULL) return cli_wrong_use("compare", "--images needs --data");
    if (job->quiet && job->verbose) return cli_wrong_use("compare", "--quiet and --verbose contradict each other");
    return CLI_GO;
}

static int run(int argc, char **argv)
{
    struct args args = {.job = {.command = cli_compare.name,
                                .original_option = "a-mmproj",
                                .max_kld = CLI_NO_BOUND,
                                .min_agreement = CLI_NO_BOUND,
                                .argc = argc,
                                .argv = argv},
                        .max_flips = UINT32_MAX};
    int status = cli_parse(&cli_compare, argc, argv, &args);
    args.job.max_flips = args.max_flips == UINT32_MAX ? CLI_NO_BOUND : (int64_t)args.max_flips;
    if (status == CLI_GO) status = check(&args);
    return status == CLI_GO ? cli_eval_job_run(&args.job) : status;
}

const struct cli_command cli_compare = {
    .name = "compare",
    .summary = "measure how far a pair is from another, within bounds",
    .positionals = positionals,
    .options = options,
    .details = put_details,
    .example = "llava-quantize convert demo/model out-f16\n"
               "llava-quantize quantize demo/model out-4 4\n"
               "llava-quantize compare out-f16 out-4 --data demo/exam.jsonl --limit 20 --max-kld 10",
    .run = run,
};
