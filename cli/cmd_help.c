/* llava-quantize help [COMMAND] */
#include "command.h"

struct args {
    const char *command;
};

static const struct cli_positional positionals[] = {
    {"COMMAND", true, "the command to explain; without one, all are listed", offsetof(struct args, command)},
    {NULL, false, NULL, 0},
};
static const struct cli_option options[] = {CLI_OPTION_HELP, CLI_OPTION_END};

static int run(int argc, char **argv)
{
    struct args args = {0};
    int status = cli_parse(&cli_help, argc, argv, &args);
    if (status != CLI_GO) return status;
    if (args.command == NULL) return cli_usage_all(stdout), CLI_DONE;
    const struct cli_command *command = cli_command_find(args.command);
    if (command != NULL) return cli_usage(stdout, command), CLI_DONE;
    const char *meant = cli_command_suggest(args.command);
    if (meant == NULL) return cli_wrong_use("", "unknown command '%s'", args.command);
    return cli_wrong_use("", "unknown command '%s' (did you mean '%s'?)", args.command, meant);
}

const struct cli_command cli_help = {
    .name = "help",
    .summary = "explain a command",
    .positionals = positionals,
    .options = options,
    .example = "llava-quantize help quantize",
    .run = run,
};
