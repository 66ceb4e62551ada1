/* llava-quantize version */
#include "command.h"

static const struct cli_positional positionals[] = {{NULL, false, NULL, 0}};
static const struct cli_option options[] = {CLI_OPTION_HELP, CLI_OPTION_END};

static int run(int argc, char **argv)
{
    int status = cli_parse(&cli_version, argc, argv, NULL);
    if (status != CLI_GO) return status;
    printf("llava-quantize %s\n", lq_version());
    return CLI_DONE;
}

const struct cli_command cli_version = {
    .name = "version",
    .summary = "print the version",
    .positionals = positionals,
    .options = options,
    .example = "llava-quantize version",
    .run = run,
};
