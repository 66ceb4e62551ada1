/* llava-quantize convert INPUT OUTPUT [f16|bf16|f32] */
#include <strings.h>

#include "fix_feature_layer.h"
#include "job.h"
#include "llava_quantize/model.h"

#define AT(member) offsetof(struct cli_job, member)

static const struct cli_positional positionals[] = {
    {"INPUT", false, "a Hugging Face LLaVA folder", AT(input)},
    {"OUTPUT", false,
     "a folder, which gets NAME-TYPE.gguf and mmproj-NAME-TYPE.gguf, or the language half's path ending in "
     ".gguf, which gets its mmproj beside it",
     AT(output)},
    {"f16|bf16|f32", true, "the type of the matrices; default: f16", AT(spec)},
    {NULL, false, NULL, 0},
};

static const struct cli_option options[] = {
    {"fix-feature-layer", 0, NULL,
     "INPUT is a LLaVA mmproj GGUF without the key clip.vision.feature_layer: write it to OUTPUT, its path or a "
     "folder, "
     "with that key; this changes what the file computes",
     CLI_FLAG, AT(fix_feature_layer), 0, 0},
    {"only", 0, "vision|language", "convert one half alone", CLI_CHOICE, AT(only), 0, 0},
    {"split-size", 0, "SIZE",
     "split the language half into files of at most SIZE, such as 500M or 2G (millions or thousand millions of bytes), "
     "called NAME-00001-of-0000N.gguf",
     CLI_SIZE, AT(split_size), 0, 0},
    {"threads", 't', "N", "threads to work with; default: the CPUs this process may use", CLI_NUMBER, AT(threads), 1,
     1024},
    {"dry-run", 'n', NULL, "print what would be written; write nothing", CLI_FLAG, AT(dry_run), 0, 0},
    {"force", 'f', NULL, "replace existing output", CLI_FLAG, AT(force), 0, 0},
    {"json", 0, NULL, "print the result as one JSON object", CLI_FLAG, AT(json), 0, 0},
    {"quiet", 'q', NULL, "print nothing but errors, and JSON where asked for", CLI_FLAG, AT(quiet), 0, 0},
    {"verbose", 'v', NULL, "print a line for every tensor", CLI_FLAG, AT(verbose), 0, 0},
    CLI_OPTION_HELP,
    CLI_OPTION_END,
};

static int check(const struct cli_job *job)
{
    const char *spec = job->spec == NULL ? "f16" : job->spec;
    bool known = strcasecmp(spec, "f16") == 0 || strcasecmp(spec, "bf16") == 0 || strcasecmp(spec, "f32") == 0;
    if (!known) return cli_wrong_use("convert", "'%s' is not f16, bf16 or f32", spec);
    if (job->fix_feature_layer && (job->spec != NULL || job->only == LQ_LANGUAGE || job->split_size > 0))
        return cli_wrong_use("convert", "--fix-feature-layer changes no type and writes the vision half alone");
    if (job->quiet && job->verbose) return cli_wrong_use("convert", "--quiet and --verbose contradict each other");
    return CLI_GO;
}

static int run(int argc, char **argv)
{
    struct cli_job job = {.command = cli_convert.name, .only = -1, .hugging_face_only = true};
    int status = cli_parse(&cli_convert, argc, argv, &job);
    if (status == CLI_GO) status = check(&job);
    if (status != CLI_GO) return status;
    if (job.fix_feature_layer) return cli_fix_feature_layer(&job);
    if (job.spec == NULL) job.spec = "f16";
    return cli_job_run(&job);
}

const struct cli_command cli_convert = {
    .name = "convert",
    .summary = "turn a Hugging Face folder into a full-precision GGUF pair",
    .positionals = positionals,
    .options = options,
    .example = "llava-quantize convert demo/model out-f16",
    .run = run,
};
