/* bash completion: the tables as shell functions that answer what may stand where. */
#include <string.h>

#include "manual.h"

/* A kind as the script knows it: one word, or "words" and the words themselves. */
static void put_kind(FILE *out, const char *argument)
{
    static const char *const names[] = {
        [MANUAL_FILE] = "file", [MANUAL_WORDS] = "words ",    [MANUAL_SPEC] = "spec",
        [MANUAL_RULE] = "rule", [MANUAL_COMMAND] = "command", [MANUAL_NOTHING] = "nothing",
    };
    enum manual_kind kind = manual_kind_of(argument);
    fprintf(out, "echo '%s", names[kind]);
    if (kind == MANUAL_WORDS) manual_put_choices(out, argument);
    fputs("' ;;\n", out);
}

static void put_kinds(FILE *out, const struct cli_command *command)
{
    int place = 1;
    for (const struct cli_positional *p = command->positionals; p->name != NULL; p++, place++) {
        if (cli_repeats(p)) fprintf(out, "    %s:[1-9]*) ", command->name);
        else fprintf(out, "    %s:%d) ", command->name, place);
        put_kind(out, p->name);
    }
    for (const struct cli_option *o = command->options; o->name != NULL; o++) {
        if (o->argument == NULL) continue;
        fprintf(out, "    %s:--%s", command->name, o->name);
        if (o->letter != 0) fprintf(out, " | %s:-%c", command->name, o->letter);
        fputs(") ", out);
        put_kind(out, o->argument);
    }
}

static void put_options(FILE *out, const struct cli_command *command)
{
    fprintf(out, "    %s) echo '", command->name);
    for (const struct cli_option *o = command->options; o->name != NULL; o++) {
        fprintf(out, "%s--%s", o == command->options ? "" : " ", o->name);
        if (o->letter != 0) fprintf(out, " -%c", o->letter);
    }
    fputs("' ;;\n", out);
}

static void put_variable(FILE *out, const char *name, void (*put)(FILE *))
{
    fprintf(out, "_llava_quantize_%s='", name);
    put(out);
    fputs("'\n", out);
}

void manual_put_bash(FILE *out)
{
    fputs("# bash completion for llava-quantize, made from the program's own tables.\n", out);
    put_variable(out, "commands", manual_put_commands);
    put_variable(out, "specs", manual_put_specs);
    put_variable(out, "types", manual_put_types);
    put_variable(out, "roles", manual_put_roles);
    fputs("\n# Options of command $1.\n_llava_quantize_options() {\n    case $1 in\n", out);
    for (size_t i = 0; cli_command_at(i) != NULL; i++) put_options(out, cli_command_at(i));
    fputs(
        "    esac\n}\n\n"
        "# What stands at place $2 of command $1: its first, second, ... argument, or an option's value; nothing for a "
        "flag.\n_llava_quantize_kind() {\n    case $1:$2 in\n",
        out);
    for (size_t i = 0; cli_command_at(i) != NULL; i++) put_kinds(out, cli_command_at(i));
    fputs("    esac\n}\n\n", out);
}
