/* The program: finds the command, runs it, makes sure that its results arrived. */
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "signals.h"

/* A first word that is no command and no file but looks like a command was mistyped. */
static const char *mistyped_command(const char *word)
{
    if (word[0] == '-' || strpbrk(word, "/.") != NULL || access(word, F_OK) == 0) return NULL;
    return cli_command_suggest(word);
}

static int run(int argc, char **argv)
{
    if (argc < 2) return cli_usage_all(stderr), CLI_WRONG_USE;
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) word = "help";
    if (strcmp(word, "--version") == 0) word = "version";
    const struct cli_command *command = cli_command_find(word);
    if (command != NULL) return command->run(argc - 1, argv + 1);
    const char *meant = mistyped_command(word);
    if (meant != NULL) return cli_wrong_use("", "unknown command '%s' (did you mean '%s'?)", word, meant);
    return cli_quantize.run(argc, argv);
}

int main(int argc, char **argv)
{
    setvbuf(stderr, NULL, _IOLBF, BUFSIZ);
    cli_signals_install();
    return cli_finish(run(argc, argv));
}
