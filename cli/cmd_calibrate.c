/* llava-quantize calibrate PAIR --data DATA [--text FILE] -o STATS */
#include <sys/stat.h>

#include "calibrate_print.h"
#include "command.h"
#include "pair.h"
#include "place.h"
#include "progress.h"
#include "text.h"
#include "weighting.h"

struct args {
    const char *pair, *mmproj, *data, *images, *text, *output, *spill, *weighting, *cap;
    uint64_t memory;
    uint32_t limit, seed, window, threads;
    bool hessian, resume, force, dry_run, json, quiet;
};

#define AT(member) offsetof(struct args, member)

static const struct cli_positional positionals[] = {
    {"PAIR", false, "the original: a folder with a GGUF pair, or a language GGUF whose mmproj-*.gguf stands beside it",
     AT(pair)},
    {NULL, false, NULL, 0},
};

static const struct cli_option options[] = {
    {"data", 'd', "FILE",
     "questions about pictures with their answers: LLaVA's conversation JSON, or lines with question_id, image, text "
     "and "
     "answer",
     CLI_TEXT, AT(data), 0, 0},
    {"output", 'o', "STATS", "the statistics file to write, a GGUF file", CLI_TEXT, AT(output), 0, 0},
    {"text", 0, "FILE", "run this plain text too, in windows as llama-imatrix does", CLI_TEXT, AT(text), 0, 0},
    {"hessian", 0, NULL,
     "gather second moments of every input too, for error feedback: n columns take 2 n^2 bytes, an imatrix 60 n",
     CLI_FLAG, AT(hessian), 0, 0},
    {"memory", 0, "SIZE",
     "memory to take beside the model, such as 500M or 8G; default: 2G. Second moments that do not fit are gathered in "
     "several passes, or on disk",
     CLI_SIZE, AT(memory), 0, 0},
    {"spill", 0, "FOLDER", "where second moments go that do not fit; default: the folder of STATS", CLI_TEXT, AT(spill),
     0, 0},
    {"weighting", 0, CLI_WEIGHTING_ARGUMENT, CLI_WEIGHTING_HELP, CLI_TEXT, AT(weighting), 0, 0},
    {"cap", 0, "X|off", CLI_CAP_HELP, CLI_TEXT, AT(cap), 0, 0},
    {"limit", 0, "N", "take N pictures, drawn by --seed, and N windows of the text, at most", CLI_NUMBER, AT(limit), 1,
     UINT32_MAX},
    {"seed", 0, "N", "which pictures --limit draws; default: 0", CLI_NUMBER, AT(seed), 0, UINT32_MAX},
    {"window", 0, "N", "tokens in a window of the text; default: 512, or the model's context", CLI_NUMBER, AT(window),
     8, 1 << 24},
    {"images", 'i', "DIR", "where relative paths of pictures start; default: the folder of --data", CLI_TEXT,
     AT(images), 0, 0},
    {"mmproj", 'm', "FILE", "the vision half of PAIR, when it does not stand beside the language half", CLI_TEXT,
     AT(mmproj), 0, 0},
    {"resume", 0, NULL, "go on where an interrupted run ended; with the same settings the file becomes the same",
     CLI_FLAG, AT(resume), 0, 0},
    {"force", 'f', NULL, "replace STATS", CLI_FLAG, AT(force), 0, 0},
    {"threads", 't', "N", "threads to work with; default: the CPUs this process may use, 1 for a small model",
     CLI_NUMBER, AT(threads), 1, 1024},
    {"dry-run", 0, NULL, "run one record, print time, memory and disk that all of them would take, and write nothing",
     CLI_FLAG, AT(dry_run), 0, 0},
    {"json", 0, NULL, "print the result as one JSON object", CLI_FLAG, AT(json), 0, 0},
    {"quiet", 'q', NULL, "print only errors, and JSON where asked for", CLI_FLAG, AT(quiet), 0, 0},
    CLI_OPTION_HELP,
    CLI_OPTION_END,
};

/* What a run holds; all owned. */
struct work {
    struct cli_progress progress; /* which the calibration calls until it is freed */
    struct cli_pair pair;
    struct lq_dataset *data;
    struct lq_calibration *calibration;
};

static int check(const struct args *args)
{
    if (args->data == NULL) return cli_wrong_use("calibrate", "nothing to run: give --data FILE");
    if (args->output == NULL && !args->dry_run)
        return cli_wrong_use("calibrate", "nowhere to write: give --output STATS, or --dry-run");
    if (args->resume && args->force) return cli_wrong_use("calibrate", "--resume and --force contradict each other");
    return CLI_GO;
}

static enum lq_status prepare(const struct args *args, struct work *w, const struct lq_hooks *hooks,
                              struct lq_error *err)
{
    const struct lq_dataset_options options = {
        .images = args->images, .limit = args->limit, .seed = args->seed, .hooks = hooks};
    enum lq_status status = cli_pair_find(&w->pair, args->pair, args->mmproj, "mmproj", err);
    const char *inputs[] = {args->data, args->text, w->pair.language, w->pair.mmproj};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs && status == LQ_OK; i++)
        status = cli_place_apart(args->output, inputs[i], err);
    return status == LQ_OK ? lq_dataset_load(&w->data, args->data, &options, err) : status;
}

static enum lq_status gather(const struct args *args, struct lq_calibrate_options *o, struct work *w,
                             struct lq_error *err)
{
    enum lq_status status = prepare(args, w, &w->progress.hooks, err);
    o->language = w->pair.language;
    o->mmproj = w->pair.mmproj;
    o->data = w->data;
    o->hooks = &w->progress.hooks;
    if (status == LQ_OK) status = lq_calibration_open(&w->calibration, o, err);
    if (status == LQ_OK && !args->quiet && !(args->dry_run && args->json))
        cli_calibrate_print(args->dry_run ? stdout : stderr, lq_calibration_plan(w->calibration));
    bool opened = status == LQ_OK;
    if (opened && !args->dry_run) status = lq_calibration_run(w->calibration, err);
    cli_progress_end(&w->progress);
    if (status == LQ_ERR_CANCELLED && !opened) lq_error_set(err, status, "interrupted; nothing was written");
    return status;
}

static enum lq_status report(const struct args *args, const struct work *w, struct lq_error *err)
{
    struct stat st = {0};
    const struct lq_calibration_plan *plan = lq_calibration_plan(w->calibration);
    if (args->json) return cli_calibrate_json(plan, args->dry_run ? NULL : args->output, !args->dry_run, err);
    if (!args->quiet && !args->dry_run && stat(args->output, &st) == 0) {
        fputs("Written: ", stdout);
        cli_put_clean(stdout, args->output);
        printf(" (%s)\n", cli_size((uint64_t)st.st_size).s);
    }
    return LQ_OK;
}

static int run(int argc, char **argv)
{
    struct args args = {.pair = NULL};
    struct lq_calibrate_options o = {.language = NULL};
    int status = cli_parse(&cli_calibrate, argc, argv, &args);
    if (status == CLI_GO) status = check(&args);
    if (status == CLI_GO) status = cli_weighting_parse(&o, cli_calibrate.name, args.weighting, args.cap);
    if (status != CLI_GO) return status;
    o.text = args.text;
    o.window = args.window;
    o.limit = args.limit;
    o.output = args.dry_run ? NULL : args.output;
    o.hessian = args.hessian;
    o.memory = args.memory;
    o.spill = args.spill;
    o.threads = args.threads;
    o.resume = args.resume;
    o.force = args.force;
    struct work w = {.data = NULL};
    struct lq_error err = {0};
    cli_progress_init(&w.progress, args.quiet ? CLI_QUIET : CLI_NORMAL, NULL);
    enum lq_status done = gather(&args, &o, &w, &err);
    if (done == LQ_OK) done = report(&args, &w, &err);
    lq_calibration_free(w.calibration);
    lq_dataset_free(w.data);
    cli_pair_release(&w.pair);
    return done == LQ_OK ? CLI_DONE : cli_fail(&err);
}

const struct cli_command cli_calibrate = {
    .name = "calibrate",
    .summary = "gather statistics for quantising from pictures, questions and text",
    .positionals = positionals,
    .options = options,
    .example = "llava-quantize convert demo/model out-f16\n"
               "llava-quantize calibrate out-f16 --data demo/calibration.json --hessian -o stats.gguf",
    .run = run,
};
