/* A command and its command line, as data: the parser and `--help` both read it.
 *
 * Enters: tables of positional arguments and options, each with the place in the command's own struct that it fills.
 * Leaves: the filled struct, a help text, or one message about wrong use.
 * Invariants: tables end with a row whose name is NULL; strings are borrowed from argv.
 *
 *     struct args args = {.only = -1};
 *     int status = cli_parse(&cli_quantize, argc, argv, &args);
 *     if (status != CLI_GO) return status;
 */
#ifndef LQ_CLI_COMMAND_H
#define LQ_CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

/* What an option's value is, and what `target` points at. */
enum cli_kind {
    CLI_FLAG,   /* bool: no value */
    CLI_TEXT,   /* const char * */
    CLI_LIST,   /* struct cli_list: may be given several times */
    CLI_NUMBER, /* uint32_t from `least` to `most` */
    CLI_SIZE,   /* uint64_t bytes: a number above 0 and M or G, millions or thousand millions of bytes */
    CLI_REAL,   /* double from `least` to `most` */
    CLI_CHOICE, /* int: which of the words in `argument`, "vision|language" */
    CLI_HELP,   /* prints the help text */
};

struct cli_list {
    const char **items; /* owned by the command: free() */
    size_t n;
};

struct cli_option {
    const char *name;     /* without the dashes */
    char letter;          /* short form, or 0 */
    const char *argument; /* the value's name in the help text; NULL for CLI_FLAG */
    const char *help;
    enum cli_kind kind;
    size_t target; /* offset in the command's struct */
    uint32_t least, most;
};

/* clang-format off */
#define CLI_OPTION_HELP {"help", 'h', NULL, "print this text", CLI_HELP, 0, 0, 0}
#define CLI_OPTION_END {NULL, 0, NULL, NULL, CLI_FLAG, 0, 0, 0}
/* clang-format on */

struct cli_positional {
    const char *name; /* "NAME...": one or more of them; only the last may be so */
    bool optional;
    const char *help;
    size_t target; /* offset of a const char *; of a struct cli_list for "NAME..." */
};

/* Whether more than one may be given. */
bool cli_repeats(const struct cli_positional *positional);

struct cli_command {
    const char *name;
    const char *summary; /* one line, lower case, without a full stop */
    const struct cli_positional *positionals;
    const struct cli_option *options;
    void (*details)(FILE *out);        /* more help, or NULL */
    const char *example;               /* command lines that work from the project's folder */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns the exit status */
};

extern const struct cli_command cli_ask, cli_bench, cli_calibrate, cli_compare, cli_convert, cli_eval, cli_help,
    cli_inspect, cli_plan, cli_quantize, cli_report, cli_verify, cli_version;

/* All commands in alphabetical order; NULL behind the last. */
const struct cli_command *cli_command_at(size_t i);
/* NULL when there is none of that name. */
const struct cli_command *cli_command_find(const char *name);
/* The command whose name is nearest to a mistyped one, or NULL. */
const char *cli_command_suggest(const char *word);

enum { CLI_GO = -1 };

/* Fills `args`. Returns CLI_GO, or the exit status after help asked for (0) or wrong use (2). */
int cli_parse(const struct cli_command *command, int argc, char **argv, void *args);

/* The help text of one command. */
void cli_usage(FILE *out, const struct cli_command *command);
/* The help text of the whole program. */
void cli_usage_all(FILE *out);
/* "  LEFT    text", wrapped at 100 columns with `text` from column 26 on. */
void cli_usage_row(FILE *out, const char *left, const char *text);

#endif
