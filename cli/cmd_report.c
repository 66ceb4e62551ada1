/* llava-quantize report RESULT.json... */
#include <stdlib.h>
#include <sys/stat.h>

#include "command.h"
#include "llava_quantize/report.h"
#include "place.h"
#include "text.h"

struct args {
    struct cli_list results;
    const char *output, *curve;
};

#define AT(member) offsetof(struct args, member)

static const struct cli_positional positionals[] = {
    {"RESULT...", false, "what 'eval --output' or 'compare --output' wrote; several make a page that compares them",
     AT(results)},
    {NULL, false, NULL, 0},
};

static const struct cli_option options[] = {
    {"output", 'o', "FILE", "the page to write; default: report.html", CLI_TEXT, AT(output), 0, 0},
    {"curve", 0, "FILE", "what 'plan --curve' wrote: draw the best plan at each size, with the results beside it",
     CLI_TEXT, AT(curve), 0, 0},
    CLI_OPTION_HELP,
    CLI_OPTION_END,
};

static void put_details(FILE *out)
{
    fputs("\nThe page:\n", out);
    cli_usage_row(out, "one file", "it needs a browser and nothing else: no network, no other file");
    cli_usage_row(out, "pictures",
                  "those of flipped answers are read from the paths in RESULT; missing ones are named");
    cli_usage_row(out, "FILE", "an existing one is replaced once the new page is whole");
}

static enum lq_status check_output(const struct args *args, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < args->results.n && status == LQ_OK; i++)
        status = cli_place_apart(args->output, args->results.items[i], err);
    if (status == LQ_OK && args->curve != NULL) status = cli_place_apart(args->output, args->curve, err);
    return status;
}

static enum lq_status write_page(const struct args *args, struct lq_error *err)
{
    enum lq_status status = check_output(args, err);
    struct lq_curve *curve = NULL;
    size_t n = args->results.n;
    struct lq_evaluation **evaluations = calloc(n, sizeof *evaluations);
    if (status == LQ_OK && evaluations == NULL)
        status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu results", n);
    for (size_t i = 0; i < n && status == LQ_OK; i++)
        status = lq_evaluation_load(&evaluations[i], args->results.items[i], err);
    if (status == LQ_OK && args->curve != NULL) status = lq_curve_load(&curve, args->curve, err);
    if (status == LQ_OK)
        status = lq_report_save(args->output, (const struct lq_evaluation *const *)evaluations, n, curve, err);
    lq_curve_free(curve);
    for (size_t i = 0; evaluations != NULL && i < n; i++) lq_evaluation_free(evaluations[i]);
    free(evaluations);
    return status;
}

static int run(int argc, char **argv)
{
    struct args args = {.output = "report.html"};
    struct lq_error err = {0};
    struct stat st = {0};
    int status = cli_parse(&cli_report, argc, argv, &args);
    if (status == CLI_GO && write_page(&args, &err) != LQ_OK) status = cli_fail(&err);
    if (status == CLI_GO && stat(args.output, &st) == 0)
        printf("Written: %s (%s)\n", args.output, cli_size((uint64_t)st.st_size).s);
    free(args.results.items);
    return status == CLI_GO ? CLI_DONE : status;
}

const struct cli_command cli_report = {
    .name = "report",
    .summary = "show evaluations as one HTML page",
    .positionals = positionals,
    .options = options,
    .details = put_details,
    .example = "llava-quantize convert demo/model out-f16\n"
               "llava-quantize quantize demo/model out\n"
               "llava-quantize eval out --against out-f16 --data demo/exam.jsonl --limit 20 -o result.json\n"
               "llava-quantize report result.json -o report.html",
    .run = run,
};
