/* The manual pages and shell completions, written from the tables that the parser and `--help` read.
 *
 * Enters: the program's table of commands. Leaves: a folder laid out like `share` below an installation's prefix.
 * Invariants: there is no second list of commands, options, recipes, types or roles; the same tables give the same
 * bytes.
 *
 *     llava-quantize-manual build/manual tools/manual 2026-11-23
 */
#ifndef LQ_MANUAL_H
#define LQ_MANUAL_H

#include "../../cli/command.h"

/* What a shell offers where an argument or an option's value is wanted. */
enum manual_kind {
    MANUAL_FILE,
    MANUAL_WORDS,   /* the words of the argument's own name: "vision|language" */
    MANUAL_SPEC,    /* bits, types, file types and recipes */
    MANUAL_RULE,    /* ROLE=TYPE */
    MANUAL_COMMAND, /* a command of the program */
    MANUAL_NOTHING, /* a number, a question */
};

/* Told by the argument's name, such as "FILE"; `argument` may be NULL (a flag). */
enum manual_kind manual_kind_of(const char *argument);

/* Each prints words that are separated by spaces: commands; what a SPEC may be; ggml types; roles and their leading
 * parts; the words of "a|b|c". */
void manual_put_commands(FILE *out);
void manual_put_specs(FILE *out);
void manual_put_types(FILE *out);
void manual_put_roles(FILE *out);
void manual_put_choices(FILE *out, const char *argument);

/* The manual page of one command, and that of the whole program. `date` is YYYY-MM-DD. */
void manual_put_page(FILE *out, const struct cli_command *command, const char *date);
void manual_put_main_page(FILE *out, const char *date);

/* What a shell's completion needs to know, to be followed by the script that uses it. */
void manual_put_bash(FILE *out);
void manual_put_zsh(FILE *out);

#endif
