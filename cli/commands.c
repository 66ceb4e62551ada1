/* The table of commands; the program and the generator of its manual read it. */
#include <string.h>

#include "command.h"
#include "suggest.h"

static const struct cli_command *const commands[] = {
    &cli_ask,     &cli_bench, &cli_calibrate, &cli_compare, &cli_convert, &cli_eval,    &cli_help,
    &cli_inspect, &cli_plan,  &cli_quantize,  &cli_report,  &cli_verify,  &cli_version, NULL};

const struct cli_command *cli_command_at(size_t i)
{
    return commands[i];
}

const struct cli_command *cli_command_find(const char *name)
{
    for (size_t i = 0; commands[i] != NULL; i++)
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    return NULL;
}

const char *cli_command_suggest(const char *word)
{
    struct cli_suggestion s = cli_suggest(word);
    for (size_t i = 0; commands[i] != NULL; i++) cli_suggest_offer(&s, commands[i]->name);
    return s.best;
}
