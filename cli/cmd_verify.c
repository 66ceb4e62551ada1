/* llava-quantize verify PAIR [--against ORIGINAL] */
#include "command.h"
#include "llava_quantize/verify.h"
#include "progress.h"
#include "verify_report.h"

struct args {
    const char *pair, *mmproj, *against, *against_mmproj, *sums;
    int only; /* enum lq_half, or -1 */
    double max_error;
    uint32_t threads;
    bool all, json, quiet;
};

#define AT(member) offsetof(struct args, member)
#define NO_LIMIT (-1.0f)

static const struct cli_positional positionals[] = {
    {"PAIR", false,
     "a folder with a GGUF pair, a language GGUF whose mmproj-*.gguf stands beside it, or either half alone", AT(pair)},
    {NULL, false, NULL, 0},
};

static const struct cli_option options[] = {
    {"against", 'a', "ORIGINAL",
     "compare with what PAIR was made from, a GGUF pair or a Hugging Face folder: names, shapes, metadata, and how far "
     "the weights are from it",
     CLI_TEXT, AT(against), 0, 0},
    {"max-error", 0, "PERCENT", "with --against: find tensors whose relative error is larger", CLI_REAL, AT(max_error),
     0, 100},
    {"hash", 0, "FILE",
     "check SHA-256 sums of the files and of their tensor data against FILE; where it does not exist, write it, for "
     "'sha256sum --check' too",
     CLI_TEXT, AT(sums), 0, 0},
    {"mmproj", 'm', "FILE", "the vision half of PAIR, when it does not stand beside the language half", CLI_TEXT,
     AT(mmproj), 0, 0},
    {"against-mmproj", 0, "FILE", "the same of ORIGINAL", CLI_TEXT, AT(against_mmproj), 0, 0},
    {"only", 0, "vision|language", "look at one half alone", CLI_CHOICE, AT(only), 0, 0},
    {"threads", 't', "N", "threads to work with; default: the CPUs this process may use", CLI_NUMBER, AT(threads), 1,
     1024},
    {"all", 0, NULL, "print every tensor and every key that differs from ORIGINAL", CLI_FLAG, AT(all), 0, 0},
    {"json", 0, NULL, "print the result as one JSON object", CLI_FLAG, AT(json), 0, 0},
    {"quiet", 'q', NULL, "print only what is found, and JSON where asked for", CLI_FLAG, AT(quiet), 0, 0},
    CLI_OPTION_HELP,
    CLI_OPTION_END,
};

static void put_details(FILE *out)
{
    fputs("\nChecks:\n", out);
    cli_usage_row(out, "structure", "the files can be read; one that cannot is an error");
    cli_usage_row(out, "shapes", "keys and shapes are what llama.cpp needs, and of one model");
    cli_usage_row(out, "values", "every float and every scale of every block is finite");
    cli_usage_row(out, "padding", "the bytes between tensors are zero, and nothing stands behind the last");
    cli_usage_row(out, "pair-id", "both halves carry the same llava_quantize.pair_id");
    cli_usage_row(out, "content", "the pair id is the hash of the tensors: not a bit of them has changed");
    cli_usage_row(out, "sums", "with --hash: the SHA-256 sums are those recorded");
    cli_usage_row(out, "tensors", "with --against: names and shapes are the original's");
    cli_usage_row(out, "metadata", "with --against: only keys that a quantisation writes differ");
    cli_usage_row(out, "error", "with --max-error: no tensor is farther from the original");
    fputs("\nExit status: 0 all is well, 3 a check found a difference, 1 an error, 2 wrong use.\n", out);
}

/* The models of a run; both owned. */
struct models {
    struct lq_model *pair, *original;
};

static enum lq_status open_models(const struct args *args, struct models *m, struct lq_error *err)
{
    struct lq_model_options pair = {.mmproj = args->mmproj, .only = args->only, .lenient = true};
    struct lq_model_options original = {.mmproj = args->against_mmproj, .only = args->only, .lenient = true};
    enum lq_status status = lq_model_open(&m->pair, args->pair, &pair, err);
    if (status == LQ_OK && args->against != NULL) status = lq_model_open(&m->original, args->against, &original, err);
    return status;
}

static enum lq_status verify(const struct args *args, const struct models *m, struct lq_verification **seen,
                             struct lq_error *err)
{
    struct cli_progress progress;
    cli_progress_init(&progress, args->quiet ? CLI_QUIET : CLI_NORMAL, NULL);
    struct lq_verify_options options = {
        .original = m->original,
        .limit_error = args->max_error >= 0,
        .max_error = args->max_error / 100,
        .sums = args->sums,
        .threads = args->threads,
        .hooks = &progress.hooks,
    };
    enum lq_status status = lq_verify_model(seen, m->pair, &options, err);
    cli_progress_end(&progress);
    if (status == LQ_ERR_CANCELLED) lq_error_set(err, status, "interrupted");
    return status;
}

static enum lq_status report(const struct args *args, const struct models *m, const struct lq_verification *seen,
                             struct lq_error *err)
{
    struct cli_verify_report r = {args->pair, args->against, m->original, seen, args->all};
    if (args->json) return cli_verify_json(&r, err);
    if (!args->quiet) return cli_verify_table(&r, err);
    cli_verify_findings(seen);
    return LQ_OK;
}

static int run(int argc, char **argv)
{
    struct args args = {.only = -1, .max_error = NO_LIMIT};
    int status = cli_parse(&cli_verify, argc, argv, &args);
    if (status != CLI_GO) return status;
    if (args.against == NULL && (args.max_error >= 0 || args.against_mmproj != NULL))
        return cli_wrong_use("verify", "--%s needs --against", args.max_error >= 0 ? "max-error" : "against-mmproj");
    struct models m = {NULL, NULL};
    struct lq_verification *seen = NULL;
    struct lq_error err = {0};
    enum lq_status done = open_models(&args, &m, &err);
    if (done == LQ_OK) done = verify(&args, &m, &seen, &err);
    if (done == LQ_OK) done = report(&args, &m, seen, &err);
    status = done != LQ_OK ? cli_fail(&err) : seen->n_findings > 0 ? CLI_DIFFERS : CLI_DONE;
    lq_verification_free(seen);
    lq_model_free(m.original);
    lq_model_free(m.pair);
    return status;
}

const struct cli_command cli_verify = {
    .name = "verify",
    .summary = "check that a pair is whole, and how far it is from its original",
    .positionals = positionals,
    .options = options,
    .details = put_details,
    .example = "llava-quantize quantize demo/model out\n"
               "llava-quantize verify out --against demo/model",
    .run = run,
};
